"""In-place writes and captured tensors inside function transforms; what has escaped from them."""

import pytest

import bibun as torch
from bibun.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

fwd = torch.autograd.forward_ad

X, T, W = torch.tensor([1.0, 2.0, 3.0]), torch.ones(3), torch.ones(3)


def made_from_captured(x):
    h = W * 2
    h[0] = x.sum()
    return h.sum()


def test_what_is_computed_from_captured_tensors_may_be_written():
    assert grad(made_from_captured)(X).tolist() == [1, 1, 1]
    value, tangent = jvp(made_from_captured, (X,), (T,))
    assert (value.item(), tangent.item()) == (10, 3)
    assert jacrev(made_from_captured)(X).tolist() == jacfwd(made_from_captured)(X).tolist() == [1, 1, 1]
    assert hessian(lambda x: made_from_captured(x) ** 2)(X).tolist() == [[2.0] * 3] * 3
    assert W.tolist() == [1, 1, 1]


def base_after_view(x):
    h = W * 2
    v = h[0]
    h.copy_(x)
    return v * 1, h * 1, v


def test_views_taken_before_the_write_see_it():
    values, tangents = jvp(base_after_view, (X,), (T,))
    assert [v.tolist() for v in values] == [1, [1, 2, 3], 1]
    assert [t.tolist() for t in tangents] == [1, [1, 1, 1], 1]
    assert vjp(base_after_view, X)[1]((torch.ones(()), torch.ones(3), torch.ones(())))[0].tolist() == [3, 1, 1]


@pytest.mark.parametrize("transform", [grad, lambda f: lambda x: jvp(f, (x,), (T,)), jacrev, jacfwd])
def test_captured_tensors_may_not(transform):
    y = torch.zeros(3)
    for write in (lambda x: y.copy_(x), lambda x: y[1:].copy_(x[1:]), lambda x: y.add_(x)):
        with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
            transform(lambda x, write=write: (write(x) * x[0]).sum())(X)
        assert y.tolist() == [0, 0, 0]


def test_arguments_may_be_written_though_not_differentiated_in():
    y = torch.zeros(2)
    assert grad(lambda x, y: y.add_(x.sum()).sum())(X, y).tolist() == [2, 2, 2]
    assert y.tolist() == [6, 6]
    assert grad(lambda x, *, y: y.add_(x.sum()).sum())(X, y=torch.zeros(2)).tolist() == [2, 2, 2]
    for jac in (jacrev, jacfwd):
        assert torch.equal(jac(lambda x, y: y.copy_(x))(X, torch.zeros(3)), torch.eye(3))


def test_a_write_does_not_reach_the_tangent_of_another():
    def f(x):
        y = x + 1
        y.mul_(2)
        z = x.sum() + torch.ones(3)
        z.mul_(3)
        z[0] = x[1]
        return x * 1, y, z

    t = torch.ones(3)
    _, (dx, dy, dz) = jvp(f, (X,), (t,))
    assert (dx.tolist(), dy.tolist(), dz.tolist()) == ([1, 1, 1], [2, 2, 2], [1, 9, 9])
    assert t.tolist() == [1, 1, 1] and X.tolist() == [1, 2, 3]
    with fwd.dual_level():
        d = fwd.make_dual(X.clone(), t.clone())
        y = d + 1
        y.mul_(2)
        assert fwd.unpack_dual(d).tangent.tolist() == [1, 1, 1]
        assert fwd.unpack_dual(y).tangent.tolist() == [2, 2, 2]


def test_plain_views_of_what_becomes_dual():
    with fwd.dual_level():
        h = W * 2
        v = h[0]
        h.copy_(fwd.make_dual(X, T))
        assert fwd.unpack_dual(v).tangent.item() == 1
        w = h[1:]
        w.mul_(3)
        assert fwd.unpack_dual(h * 1).tangent.tolist() == [1, 3, 3]
    assert type(h) is torch.Tensor and h.tolist() == [1, 6, 9]


def test_written_under_vmap_of_transforms():
    out, tangent = vmap(lambda a: jvp(lambda b: (W * a).copy_(b.expand(3)), (a,), (a,)))(X)
    assert out.tolist() == tangent.tolist() == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert vmap(lambda a: grad(lambda b: (W * a).copy_(b.expand(3)).sum())(a))(X).tolist() == [3, 3, 3]
    out, tangent = jvp(lambda x: vmap(lambda a: (W * a).copy_(a.expand(3)))(x), (X,), (T,))
    assert tangent.tolist() == [[1.0] * 3] * 3


def test_running_statistics_follow_inside_a_transform():
    norm = torch.nn.functional.batch_norm
    x = torch.randn(4, 3)
    kept = [torch.zeros(3), torch.ones(3)]
    expected = [torch.zeros(3), torch.ones(3)]
    norm(x, *expected, training=True)
    grad(lambda x: norm(x, *kept, training=True).pow(3).sum())(x)
    for k, e in zip(kept, expected):
        torch.testing.assert_close(k, e)
    with pytest.raises(RuntimeError, match="Batch norm got a batched tensor"):
        vmap(lambda x: norm(x, *kept, training=True))(torch.randn(2, 4, 3))
    layer = torch.nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError, match="mutate a captured"):
        grad(lambda x: layer(x).pow(3).sum())(x)
    state = dict(layer.named_parameters()), dict(layer.named_buffers())
    assert set(grad(lambda p, b: functional_call(layer, (p, b), (x,)).pow(3).sum())(*state)) == {"weight", "bias"}


def test_escaped_tensors():
    kept = []
    grad(lambda x: (kept.append(x * 2), x.sum())[1])(X)
    assert grad(lambda x: (kept[0] * x).sum())(X).tolist() == [2, 4, 6]
    vmap(lambda x: (kept.append(x * 1), x)[1])(X)
    with pytest.raises(RuntimeError, match="escaped"):
        kept[1] + 1
    with pytest.raises(RuntimeError, match="escaped"):
        grad(lambda x: (kept[1] * x).sum())(X)


def test_saved_tensor_hooks_are_refused():
    hooks = torch.autograd.graph.save_on_cpu

    def inside(x):
        with hooks():
            return x.sin().sum()

    for transform in (grad, jacrev, hessian, lambda f: lambda x: vjp(f, x)):
        with pytest.raises(RuntimeError, match="saved tensor hooks"):
            transform(inside)(X)
        with hooks(), pytest.raises(RuntimeError, match="saved tensor hooks"):
            transform(torch.sum)(X)
    with hooks():
        y = X.clone().requires_grad_()
        vmap(torch.sin)(y).sum().backward()
    torch.testing.assert_close(y.grad, X.cos())
