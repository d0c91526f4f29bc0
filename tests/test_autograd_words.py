"""Custom functions, saved tensors, edges and hooks where they are asked for something unusual: as PyTorch answers."""

import io
import sys
import warnings

import pytest

import bibun as torch
from bibun.autograd import forward_ad
from bibun.autograd.graph import GradientEdge, Node, saved_tensors_hooks


def function(forward, jvp=None, backward=lambda ctx, g: g):
    return type("F", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward), "jvp": staticmethod(jvp)})


def double_in_place(ctx, x):
    ctx.mark_dirty(x)
    return x.mul_(2)


@pytest.mark.parametrize("forward, jvp, words", [
    (double_in_place, lambda ctx, t: t * 2, "gradient inplace"),
    (double_in_place, lambda ctx, t: t, "gradient inplace"),
    (double_in_place, lambda ctx, t: t.mul_(2), None),
    (lambda ctx, x: x[:2], lambda ctx, t: t[:2], None),
    (lambda ctx, x: x[:2], lambda ctx, t: t[:2].clone(), "not returning a view"),
    (lambda ctx, x: x[:2], lambda ctx, t: t.clone()[:2], "not returning a view of the given grad input"),
    (lambda ctx, x: x, lambda ctx, t: t.view_as(t), None),
    (lambda ctx, x: x, lambda ctx, t: t, "not returning a view"),
    (lambda ctx, x: x.argmax(), lambda ctx, t: t[0], "return None at that position"),
])
def test_tangents_follow_what_forward_did(forward, jvp, words):
    x, t = torch.ones(4), torch.ones(4)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, t)
        if words is None:
            out = forward_ad.unpack_dual(function(forward, jvp).apply(dual)).tangent
            assert out is t or out._base is t
        else:
            with pytest.raises(RuntimeError, match=words):
                function(forward, jvp).apply(dual)


def test_jvp_has_only_what_was_saved_for_it():
    seen = []

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clone()

    def jvp(ctx, t):
        seen.append(len(ctx.saved_tensors))
        return t
    with forward_ad.dual_level():
        function(forward, jvp).apply(forward_ad.make_dual(torch.ones(2), torch.ones(2)))
    assert seen == [0]


def test_saved_tensors_of_a_function():
    def forward(ctx, x):
        ctx.save_for_backward(x, None)
        return x * 1

    def backward(ctx, g):
        return g * ctx.saved_tensors[0]
    y = function(forward, backward=backward).apply(torch.full((2,), 3.0, requires_grad=True))
    first, second = y.grad_fn._raw_saved_tensors
    assert isinstance(first, torch.autograd.SavedTensor) and second.data is None
    with pytest.raises(RuntimeError, match="None is forbidden"):
        second.register_hooks(abs, abs)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        first.register_hooks(abs)
    first.register_hooks(lambda t: t * 2, lambda t: t + 1)
    with pytest.raises(RuntimeError, match="already been set"):
        first.register_hooks(abs, abs)
    leaf = y.grad_fn.next_functions[0][0].variable
    y.sum().backward()
    assert leaf.grad.tolist() == [7.0, 7.0]
    with pytest.raises(RuntimeError, match="already been freed"):
        y.grad_fn._raw_saved_tensors
    with pytest.raises(RuntimeError, match="forbidden"):
        torch.autograd.SavedTensor()


def test_old_functions_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="non-static forward"):
            function(lambda self, x: x)()(torch.ones(1))


def test_an_input_given_back_keeps_its_class():
    class Mine(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return super().__torch_function__(func, types, args, kwargs or {})
    assert type(function(lambda ctx, x: x).apply(torch.ones(2).as_subclass(Mine))) is Mine


def test_gradients_kept_in_a_graph_share_no_memory():
    x, y = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    (x + y).backward(torch.ones(3), create_graph=True)
    x.grad.add_(1)
    assert x.grad.tolist() == [2.0] * 3 and y.grad.tolist() == [1.0] * 3
    (x * x).sum().backward(create_graph=True)
    assert torch.autograd.grad(x.grad.sum(), x)[0].tolist() == [2.0] * 3


def test_numbers_are_not_packed():
    seen = []
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: (seen.append(t), t)[1], lambda t: t):
        (x * 3 / 2.0).sum().backward()
        x ** 3
        x * torch.tensor(2.0)
    assert [t.shape for t in seen] == [(3,), ()]


def test_anomaly_names_the_node_of_any_error():
    def run():
        a = torch.ones(2, requires_grad=True)
        b = a + 1
        c = b ** 2
        b += 1
        c.sum().backward()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="modified by an inplace"):
            run()
    assert "Error detected in PowBackward0" in str(seen[-1].message)
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        with warnings.catch_warnings():
            with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="modified by an inplace"):
                warnings.simplefilter("error")
                run()
        assert "Error detected in PowBackward0" in sys.stderr.getvalue()
    finally:
        sys.stderr = before


def test_nodes_are_instances_of_node_alone():
    n = (torch.ones(1, requires_grad=True) * 2).grad_fn
    assert isinstance(n, Node) and issubclass(type(n), Node) and Node not in type(n).mro() and not isinstance(1, Node)


def test_materialized_gradients_of_edges_that_are_used():
    x, y = (torch.ones(2, requires_grad=True).clone() for _ in range(2))
    edges = [GradientEdge(t.grad_fn, t.output_nr) for t in (x, y)]
    out = x.clone().sum()
    assert torch.autograd.grad(out, (edges[0], y), materialize_grads=True)[1].tolist() == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="GradientEdge"):
        torch.autograd.grad(out, (x, edges[1]), materialize_grads=True)


def test_distinct_values_lead_back_to_no_derivative():
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    for made, name in ((torch.unique(x), "_unique2"), (torch.unique(x, dim=0), "unique_dim"), (torch.unique_consecutive(x), "unique_consecutive")):
        with pytest.raises(NotImplementedError, match=f"derivative for '{name}' is not implemented"):
            made.sum().backward()
    assert not torch.unique(x.detach(), return_counts=True)[0].requires_grad


def test_module_hooks_in_second_derivatives():
    calls = []
    loss = torch.nn.MSELoss()
    loss.register_full_backward_hook(lambda *a: calls.append(1))
    x = torch.ones(1, requires_grad=True)
    (g,) = torch.autograd.grad(loss(x, torch.zeros(1)), x, create_graph=True)
    assert torch.autograd.grad(g, x)[0].tolist() == [2.0] and calls == [1]


def test_batches_of_nothing():
    assert torch.vmap(lambda x: ())(torch.ones(3)) == ()


def test_backward_within_backward_goes_deep():
    class Deep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x.detach() - 1
            return ctx.x.clone()

        @staticmethod
        def backward(ctx, g):
            if ctx.x < -1:
                raise ValueError("too far")
            if ctx.x > 0:
                with torch.enable_grad():
                    Deep.apply(ctx.x.requires_grad_()).backward()
                assert ctx.x.grad.item() == 1.0 and not torch.is_grad_enabled()
            return g
    x = torch.tensor(300.0, requires_grad=True)
    Deep.apply(x).backward()
    assert x.grad.item() == 1.0
    with pytest.raises(ValueError, match="too far"):
        Deep.apply(torch.tensor(-1.0, requires_grad=True)).backward()
