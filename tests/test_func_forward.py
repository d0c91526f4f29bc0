"""Forward mode through views and in-place writes, by hand and by `jvp`, and every order of two modes, against PyTorch."""

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))


def setitem(m, x):
    y = x.clone()
    y[0] = x[1] * 2
    return y, y.sum()


def through_views(m, x):
    y = x * 2
    v = y.view(-1)
    v[1:3].mul_(x.reshape(-1)[:1])
    return y, v


def into_zeros(m, x):
    y = m.zeros(3, 4, dtype=m.float64)
    y[:, 1] = x[:, 0]
    return y, y.t()


def transposed(m, x):
    y = x.clone()
    y.t().add_(x.t())
    return y


def parts(m, x):
    a, b = (x * 1).chunk(2, 1)
    return a * b, x.unbind(0)[0]


def diagonal(m, x):
    y = x.clone()
    y.diagonal().copy_(x[0, :3])
    return y


def view_before(m, x):
    y = m.ones_like(x)
    v = y[0]
    y.mul_(x)
    return v, y


def expanded(m, x):
    y = x.clone().unsqueeze(0).expand(2, 3, 4)
    return y.sum(0), y


def detached(m, x):
    y = x.detach().clone()
    z = y * 2
    y.copy_(x * 3)
    return y, z * x


def overwritten(m, x):
    y, z, w = x.clone(), x.clone(), x.clone()
    y.zero_()
    z.masked_fill_(x > 0, 0.0)
    w.fill_(2.0)
    return y + x, z, w * x


def scattered(m, x):
    y = x.clone()
    y.index_put_((m.tensor([0, 2]),), x[1])
    y.index_add_(0, m.tensor([1]), x[:1])
    return y


def metadata(m, x):
    y = x.clone()
    y.transpose_(0, 1)
    y.mul_(2)
    z = (x * x).clone()
    z.unsqueeze_(0)
    z.swapaxes_(0, 1)
    return y, z * 2


def twins(m, x):
    y = x.clone()
    z = y.view_as(y)
    z.sin_()
    y.cos_()
    return y, z


def complex_parts(m, x):
    y = (x + 1j).clone()
    y.real.mul_(2)
    m.view_as_real(y)[..., 1].add_(x)
    return y


def fused(m, x):
    y = m.zeros_like(x)
    y.addcmul_(x, x, value=2.0)
    y.lerp_(x, 0.5)
    y.addmm_(x[:, :3], x)
    return y


def masked(m, x):
    y = x.clone()
    y.clamp_(min=0.1)
    return m.where(x > 0, y, x * 2), m.cat([x, x * x]), m.stack([x, m.ones_like(x)])


def several(m, x):
    return (*m.var_mean(x, 1), *m.aminmax(x), *m.topk(x, 2).values.unbind())


PROGRAMS = [
    setitem, through_views, into_zeros, transposed, parts, diagonal, view_before, expanded, detached, overwritten, scattered, metadata, twins, complex_parts,
    fused, masked, several,
]  # fmt: skip


def flat(out):
    return list(out) if isinstance(out, tuple) else [out]


def array(t):
    return np.array(t.detach().resolve_conj())


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        if a is None or b is None:
            assert not np.any(b if a is None else a)
        else:
            np.testing.assert_allclose(a, b, atol=1e-12)


def by_hand(m, f):
    fw = m.autograd.forward_ad
    with fw.dual_level():
        outs = [fw.unpack_dual(o) for o in flat(f(m, fw.make_dual(m.tensor(X), m.tensor(T))))]
        return [array(o.primal) for o in outs] + [o.tangent if o.tangent is None else array(o.tangent) for o in outs]


@pytest.mark.parametrize("f", PROGRAMS)
def test_by_hand(f):
    import torch.autograd.forward_ad

    same(by_hand(bibun, f), by_hand(torch, f))


@pytest.mark.parametrize("f", PROGRAMS)
def test_jvp(f):
    def run(m):
        out, tangent = m.func.jvp(lambda x: f(m, x), (m.tensor(X),), (m.tensor(T),))
        return [array(t) for t in flat(out) + flat(tangent)]

    same(run(bibun), run(torch))


def scalar(m, f):
    def g(x):
        return sum((m.view_as_real(o) if o.is_complex() else o).pow(2).sum() for o in flat(f(m, x)))

    return g


@pytest.mark.parametrize("f", PROGRAMS)
def test_modes_in_every_order(f):
    g = scalar(bibun, f)
    func, x = bibun.func, bibun.tensor(X)
    expected = array(torch.func.jacrev(torch.func.jacrev(scalar(torch, f)))(torch.tensor(X)))
    for outer in (func.jacfwd, func.jacrev):
        for inner in (func.jacfwd, func.jacrev):
            np.testing.assert_allclose(array(outer(inner(g))(x)), expected, atol=1e-9)
    if f is into_zeros:
        return  # one plain tensor for all examples cannot take what differs from one to the next
    each = bibun.vmap(func.grad(g))(bibun.tensor(np.stack([X, T])))
    for row, start in zip(each, (X, T)):
        np.testing.assert_allclose(array(row), array(torch.func.grad(scalar(torch, f))(torch.tensor(start))), atol=1e-9)


def test_batched_tangents_by_hand():
    """vmap over a dual level: tangents are kept as they are, and reach plain tensors that are written to."""

    def program(m, transposed):
        fwad = m.autograd.forward_ad
        base = m.zeros(2, 2)
        view = base.T if transposed else base.view_as(base)

        def f(tangent):
            with fwad.dual_level():
                x = fwad.make_dual(m.ones(2, 2), tangent)
                assert fwad.unpack_dual(x).tangent is tangent
                other = fwad.unpack_dual(fwad.make_dual(m.ones(2, 2).T, tangent)).tangent
                assert other is not tangent
                view.copy_(x * 3)
                return *[fwad.unpack_dual(t).tangent for t in (x, view, base)], other

        given = m.arange(12.0).reshape(3, 2, 2)
        first, seen, below, other = m._vmap_internals._vmap(f)(given)  # (PyTorch's vmap knows no dual levels)
        assert (seen is below) == (not transposed) and seen._is_view() == transposed
        return [array(t) for t in (first, seen, below, other, base)]

    for transposed in (False, True):
        same(program(bibun, transposed), program(torch, transposed))


def test_strides_of_examples_stay_within_an_example():
    """Also those of a tangent, where the primal has more memory."""

    def program(m, f):
        with pytest.raises(RuntimeError) as error:
            m._vmap_internals._vmap(f)(m.zeros(3, 4))
        return str(error.value).replace(" ", "")  # (the old vmap's words lack some)

    def dual(m):
        def f(t):
            fwad = m.autograd.forward_ad
            with fwad.dual_level():
                fwad.make_dual(m.zeros(5)[:4].detach(), t).as_strided((5,), (1,), 0)

        return f

    for f in (
        dual,
        lambda m: lambda t: t.as_strided((5,), (1,), 0),
        lambda m: lambda t: t[1:].as_strided((4,), (1,), 0),
        lambda m: lambda t: t[1:].as_strided((2, 2), (2, 1)),
    ):
        assert program(bibun, f(bibun)) == program(torch, f(torch))
