"""Products of matrices by the kernel of our own and by OpenBLAS, held to float64 and to any number of threads."""

import itertools

import numpy as np
import pytest

from bibun.backends import products
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import blas, build, pool

if not blas.available():
    pytest.skip("no BLAS of our own here", allow_module_level=True)

SHAPES = [(1, 1, 1), (12, 32, 16), (13, 33, 17), (5, 40, 390), (100, 70, 800), (97, 600, 31), (8, 31, 5), (300, 1030, 10)]


@pytest.fixture(params=[True, False], ids=["own", "library"])
def own(request, monkeypatch):
    if request.param and build.vector_bytes() != 64:
        pytest.skip("registers for half of the rows")
    monkeypatch.setattr(blas, "_own", lambda *shape: request.param)
    monkeypatch.setattr(blas, "_plans", {})


def drawn(rng, rows, columns, turned, dtype):
    x = rng.standard_normal((columns, rows) if turned else (rows, columns)).astype(dtype)
    return x.T if turned else x


def near(found, wanted, k):
    eps = np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, wanted, rtol=0, atol=8 * eps * max(k, 1) ** 0.5 * max(np.abs(wanted).max(), 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_biases_and_threads(own, shape, dtype):
    m, n, k = shape
    rng = np.random.default_rng(0)
    before = pool.threads()
    for turned_a, turned_b in itertools.product((False, True), repeat=2):
        a, b = drawn(rng, m, k, turned_a, dtype), drawn(rng, k, n, turned_b, dtype)
        wanted = a.astype(np.float64) @ b.astype(np.float64)
        biases = [None, *(rng.standard_normal(s).astype(dtype) for s in ((n,), (m, 1), (m, n), (1, 1), (1,))), drawn(rng, m, n, True, dtype)]
        for bias in biases:
            found = []
            try:
                for threads in (1, 2):
                    pool.set_threads(threads)
                    found.append(blas.matmul(a, b) if bias is None else blas.addmm(bias, a, b))
            finally:
                pool.set_threads(before)
            np.testing.assert_array_equal(*found)
            near(found[0], wanted if bias is None else wanted + bias, k)


def test_batches_and_views(own):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4, 50, 90)).astype(np.float32)
    y = rng.standard_normal((4, 70, 90)).astype(np.float32)
    for a, b in (
        (x, y.swapaxes(-1, -2)),
        (x[:, 1:3, :40, 5:80], y[1:3, :, 5:80].swapaxes(-1, -2)),
        (x[:, :, ::2], y[:1, ::3].swapaxes(-1, -2)),
        (x[0, :, :, ::2], y[0, :, ::2].T),
        (np.stack([x, x]), y[2].T),
    ):
        near(blas.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64), 90)


def test_what_is_not_finite_stays_in_its_row_and_column(own):
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((30, 20)).astype(np.float32), rng.standard_normal((20, 50)).astype(np.float32)
    a[29, 19], b[0, 49] = np.nan, np.inf
    found, wanted = blas.matmul(a, b), a @ b
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))


def test_an_element_does_not_depend_on_its_place():
    if not blas._own(300, 300, 300, False):
        pytest.skip("the library multiplies")
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((300, 500)).astype(np.float32), rng.standard_normal((500, 300)).astype(np.float32)
    whole = products.mm(a, b)
    np.testing.assert_array_equal(products.mm(a[100:], b[:, 40:]), whole[100:, 40:])
    np.testing.assert_array_equal(products.mm(np.asfortranarray(a), np.asfortranarray(b)), whole)


@pytest.mark.parametrize("rows, m, n", [(300, 64, 130), (511, 97, 64), (768, 128, 512), (1, 5, 7), (30, 12, 33)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_gradients_of_a_layer_together(rows, m, n, bias, parts):
    if build.vector_bytes() != 64:
        pytest.skip("registers for half of the rows")
    from bibun.native.kernels import gemm

    rng = np.random.default_rng(4)
    g, x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((rows, m), (rows, n), (m, n)))
    before = pool.threads()
    found = []
    try:
        for threads in (1, 2):
            pool.set_threads(threads)
            found.append(gemm.gradients(g, x, weight, parts, (True, True, bias)))
    finally:
        pool.set_threads(before)
    wanted = [a.astype(np.float64) for a in (g, x, weight)]
    for one, two, right, k in zip(*found, (wanted[0] @ wanted[2], wanted[0].T @ wanted[1], wanted[0].sum(0)), (m, rows, rows)):
        if one is None:
            assert two is None and not bias
            continue
        np.testing.assert_array_equal(one, two)
        near(one, right, k)
    dx, dw, db = gemm.gradients(g, x, weight, parts, (False, True, False))
    assert dx is None and db is None
    np.testing.assert_array_equal(dw, found[0][1])


@pytest.mark.parametrize("lead", [(6, 100), (600,)])
def test_layers_of_many_rows(lead):
    import bibun as torch

    torch.manual_seed(0)
    layer, x = torch.nn.Linear(130, 128), torch.randn(*lead, 130, requires_grad=True)
    g = torch.randn(*lead, 128)

    def gradients(wanted):
        return [None if a is None else a.numpy() for a in torch.autograd.grad(layer(x), wanted, g)]

    every = gradients((x, layer.weight, layer.bias))
    rows, grown = x.detach().numpy().reshape(-1, 130), g.numpy().reshape(-1, 128)
    near(every[0].reshape(-1, 130), grown.astype(np.float64) @ layer.weight.detach().numpy(), 128)
    near(every[1], grown.astype(np.float64).T @ rows, 300)
    near(every[2], grown.astype(np.float64).sum(0), 300)
    for some in ((x,), (layer.weight,), (layer.bias,), (x, layer.bias), (layer.weight, layer.bias)):
        for a, b in zip(gradients(some), [e for e, w in zip(every, (x, layer.weight, layer.bias)) if any(w is s for s in some)]):
            near(a, b.astype(np.float64), 300)
    (dx,) = torch.autograd.grad(layer(x), x, g, create_graph=True)
    (again,) = torch.autograd.grad(dx.sum(), layer.weight)
    near(again.numpy(), np.broadcast_to(grown.sum(0, dtype=np.float64)[:, None], (128, 130)), 300)


def test_threads_keep_their_rows_of_a_layers_weight(monkeypatch):
    from bibun.native import blas

    monkeypatch.setattr(blas, "_CORES", 2)
    assert blas._own_cut(256, 128, 784, 1, True) == (256, 64)
    assert blas._own_cut(1024, 128, 784, 1, True)[0] == 512  # many rows: what is read of the weight is little
    assert blas._own_cut(256, 160, 512, 1, True)[0] == 128  # parts would be uneven


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_that_meet_are_added_by_the_rules_of_layers(compiled):
    """A value that goes to several layers and on: its gradients come together in the last layer's rule."""
    import bibun as torch

    torch.manual_seed(0)
    norm, left, right = torch.nn.LayerNorm(128), torch.nn.Linear(128, 128), torch.nn.Linear(128, 128)
    x = torch.randn(600, 128, requires_grad=True)
    seen = []

    def run(x, norm, left, right):
        h = x * 1
        h = h + norm(h)
        h = left(h) + right(h) + h
        return h.square().mean()

    def step():
        loss = run(x, norm, left, right)
        loss.backward()
        return loss

    if compiled:
        step = torch.compile(step)
    leaves = [x, *norm.parameters(), *left.parameters(), *right.parameters()]
    for _ in range(4):
        for p in leaves:
            p.grad = None
        step()
    double = [torch.nn.LayerNorm(128).double(), torch.nn.Linear(128, 128).double(), torch.nn.Linear(128, 128).double()]
    for to, of in zip(double, (norm, left, right)):
        to.load_state_dict(of.state_dict())
    y = x.detach().double().requires_grad_()
    run(y, *double).backward()
    for p, q in zip(leaves, [y, *[q for m in double for q in m.parameters()]]):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=0, atol=1e-5 * float(q.grad.abs().max()))
    # hooks and inputs in the middle see the sum
    h = x * 1
    h.register_hook(lambda g: seen.append(g.clone()))
    out = (h + norm(h)).square().mean()
    (wanted,) = torch.autograd.grad(out, h, retain_graph=True)
    out.backward()
    near(seen[-1].numpy(), wanted.numpy().astype(np.float64), 1)
