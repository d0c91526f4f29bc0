"""Function transforms over what speaks of memory (strides) and of numbers without dimensions (0-d examples)."""

import pytest

import bibun as torch
from bibun.func import grad, jvp, vmap


def strided_of(x, offset=1):
    return x.as_strided((2, 2), (1, 2), offset)


def test_tangents_lie_in_memory_as_their_values():
    x = torch.arange(1.0, 31).view(3, 10)
    t = x * 0.5 + 0.25
    want = jvp(strided_of, (x,), (t,))[1]
    torch.testing.assert_close(want, strided_of(t))
    torch.testing.assert_close(jvp(strided_of, (x,), (t.t().contiguous().t(),))[1], want)
    y = x.t()
    assert y.stride() == (1, 10)
    torch.testing.assert_close(jvp(strided_of, (y,), (t.t().contiguous(),))[1], want)


def test_strided_writes_run_without_a_loop(recwarn):
    x = torch.randn(3, 10)

    def f(a):
        return torch.as_strided_scatter(a, a[:4].view(2, 2), (2, 2), (1, 2), 1)
    torch.testing.assert_close(vmap(f)(x), torch.stack([f(a.clone()) for a in x]))
    got = vmap(grad(lambda a: f(a).sin().sum()))(x)
    torch.testing.assert_close(got, torch.stack([grad(lambda a: f(a).sin().sum())(a.clone()) for a in x]))

    def g(a):
        b = (a.t() * 2).contiguous().t()       # columns one after another
        b.as_strided((2, 2), (1, 2), 0).mul_(a[0, 0])
        return b
    z = torch.randn(4, 2, 3)
    for dim in (0, 1, 2):
        zs = z.movedim(0, dim)
        torch.testing.assert_close(vmap(g, in_dims=dim)(zs), torch.stack([g(a) for a in z]))
        torch.testing.assert_close(vmap(grad(lambda a: g(a).sin().sum()), in_dims=dim)(zs), torch.stack([grad(lambda a: g(a).sin().sum())(a) for a in z]))
    assert not [w for w in recwarn if "performance drop" in str(w.message)]


def test_positions_of_32_bits():
    x, i = torch.randn(3, 5, 2), torch.zeros(3, 2, 2, dtype=torch.int32)
    torch.testing.assert_close(vmap(lambda a, i: a.gather(0, i))(x, i), x[:, :1].expand(3, 2, 2))
    torch.testing.assert_close(vmap(lambda a, i: a.index_add(0, i, a[:2]))(x, i[..., 0])[:, 0], x[:, 0] + x[:, 0] + x[:, 1])


@pytest.mark.parametrize("reduce", ["prod", "mean", "amax"])
def test_numbers_have_one_position(reduce):
    x, i, v = torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, 1, dtype=torch.int64), torch.tensor([2.0, 3.0, 1.0])

    def f(x, i, v):
        return grad(lambda x: x.index_reduce(0, i, v, reduce))(x)
    torch.testing.assert_close(vmap(f)(x, i, v), torch.stack([f(*a) for a in zip(x, i, v)]))
    torch.testing.assert_close(vmap(lambda i: x[0].index_select(0, i))(i), torch.ones(3))


class Sum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, y=1.0, *, z=None):
        return x + y

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g, None


def test_keywords_of_functions():
    x = torch.ones(3)
    assert torch.equal(Sum.apply(x, y=2.0), x + 2) and torch.equal(vmap(lambda a: Sum.apply(a, y=2.0))(x), x + 2)
    with pytest.raises(NotImplementedError, match="kwarg-only Tensor args"):
        vmap(lambda a: Sum.apply(a, z=x))(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        Sum.apply(x, z=x)
