"""Attention in one native kernel, held to the product of all weights in float64, to PyTorch, and to any number of threads."""

import itertools

import numpy as np
import pytest

import bibun
from bibun.backends import attention as plain
from bibun.backends.large import native

pytestmark = pytest.mark.skipif(not native(), reason="no native kernels here")

SHAPES = [(2, 3, 64, 64, 32), (1, 2, 65, 65, 32), (1, 1, 1, 1, 1), (2, 2, 5, 7, 3), (1, 3, 130, 200, 40), (1, 2, 200, 130, 64), (1, 1, 3, 300, 256), (1, 2, 17, 16, 33)]


def drawn(n, h, length, sources, e, seed=0):
    rng = np.random.default_rng(seed)
    lengths = (length, sources, sources, length)
    return [rng.standard_normal((n, s, h, e)).astype(np.float32).transpose(0, 2, 1, 3) for s in lengths]


def masks(n, h, length, sources):
    rng = np.random.default_rng(1)
    some = rng.random((n, 1, length, sources)) < 0.7
    some[..., 0, :] = False  # a query that sees nothing
    yield None
    yield some
    yield rng.standard_normal((h, 1, sources)).astype(np.float32)
    yield rng.standard_normal((length, 1)).astype(np.float32)


def reference(q, k, v, g, mask, scale, causal):
    q, k, v, g = (a.astype(np.float64) for a in (q, k, v, g))
    mask = mask.astype(np.float64) if mask is not None and mask.dtype != np.bool_ else mask
    with np.errstate(all="ignore"):
        weights = plain.attention_weights(plain.attention_scores(q, k), mask, scale, causal)
    slopes = plain.attention_weights_gradient(g @ v.swapaxes(-1, -2), weights, scale)
    return [weights @ v, slopes @ k, slopes.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g]


@pytest.mark.parametrize("shape", SHAPES)
def test_against_all_weights_in_double_precision(shape):
    from bibun.native import pool
    from bibun.native.kernels import attention as kernels

    q, k, v, g = drawn(*shape)
    scale = shape[-1] ** -0.5
    before = pool.threads()
    for mask, causal in itertools.product(masks(*shape[:-1]), (False, True)):
        found = []
        try:
            for threads in (1, 2):
                pool.set_threads(threads)
                out, sums = kernels.attention(q, k, v, mask, scale, causal)
                found.append([out, *kernels.attention_gradient(g, q, k, v, mask, out, sums, scale, causal)])
        finally:
            pool.set_threads(before)
        for a, b, wanted in zip(*found, reference(q, k, v, g, mask, scale, causal), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, wanted, atol=2e-5 * (1e-3 + np.abs(wanted).max()), rtol=2e-5)


def test_the_path_through_numpy_gives_the_same_sums():
    q, k, v, _ = drawn(1, 2, 20, 30, 8)
    for mask in masks(1, 2, 20, 30):
        found = plain.flash_attention(q, k, v, mask, 0.3, False)
        with np.errstate(all="ignore"):
            wanted = plain.flash_attention(*(a.astype(np.float64) for a in (q, k, v)), mask, 0.3, False)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_values_that_are_not_finite():
    q, k, v, _ = drawn(1, 1, 70, 70, 16)
    k[0, 0, 66, 3] = np.nan
    v[0, 0, 68, 0] = np.inf
    made, _ = plain.flash_attention(q, k, v, None, 0.25, True)
    assert np.isfinite(made[0, 0, :64]).all()  # (a weight of zero times infinity is nan, as in PyTorch, within a block)
    assert np.isnan(made[0, 0, 66:]).all()
    q, k, v, _ = drawn(1, 1, 70, 70, 16)
    v[0, 0, 68, 0] = np.inf
    made, _ = plain.flash_attention(q, k, v, None, 0.25, False)
    assert np.isinf(made[0, 0, :, 0]).all() and np.isfinite(made[0, 0, :, 1:]).all()
    large = [1e4 * a for a in drawn(1, 1, 70, 70, 16)[:3]]
    assert np.isfinite(plain.flash_attention(*large, None, 0.25, False)[0]).all()


@pytest.mark.parametrize("options", [dict(is_causal=True), dict(), dict(mask="bool"), dict(mask="float"), dict(scale=0.5)])
def test_through_the_public_function(options):
    torch = pytest.importorskip("torch")
    options = dict(options)
    kind = options.pop("mask", None)
    results = []
    for t in (torch, bibun):
        rng = np.random.default_rng(0)
        wide = t.from_numpy(rng.standard_normal((3, 70, 3 * 64)).astype(np.float32)).requires_grad_()
        q, k, v = (x.view(3, 70, 4, 16).transpose(1, 2) for x in wide.split(64, dim=2))
        if kind is not None:
            m = rng.random((70, 70)) < 0.8
            options["attn_mask"] = t.from_numpy(m if kind == "bool" else np.where(m, 1.0, -2.0).astype(np.float32))
        out = t.nn.functional.scaled_dot_product_attention(q, k, v, **options)
        name = type(out.grad_fn).__name__
        stride = out.stride()
        (out * t.from_numpy(rng.standard_normal(out.shape).astype(np.float32))).sum().backward()
        results.append((name, stride, out.detach().numpy(), wide.grad.numpy()))
    (name, stride, out, grad), (our_name, our_stride, our_out, our_grad) = results
    assert (our_name, our_stride) == (name, stride)
    np.testing.assert_allclose(our_out, out, atol=2e-6)
    np.testing.assert_allclose(our_grad, grad, atol=1e-5)


def test_twice_with_one_gradient_that_changes_between():
    q, k, v, g = (bibun.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in drawn(1, 4, 64, 64, 16))
    out = bibun.nn.functional.scaled_dot_product_attention(q, k, v)
    g = g.detach()
    out.backward(g, retain_graph=True)
    first = [x.grad.clone() for x in (q, k, v)]
    g.mul_(3)
    for x in (q, k, v):
        x.grad = None
    out.backward(g)
    for x, once in zip((q, k, v), first):
        np.testing.assert_allclose(x.grad.numpy(), 3 * once.numpy(), rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_gradient():
    torch = pytest.importorskip("torch")
    results = []
    for t in (torch, bibun):
        q, k, v, g = (t.from_numpy(np.ascontiguousarray(a)).requires_grad_() for a in drawn(1, 2, 48, 48, 8))
        if t is torch:
            out = ((q @ k.mT) * 8**-0.5).softmax(-1) @ v
        else:
            out = t.nn.functional.scaled_dot_product_attention(q, k, v)
        first = t.autograd.grad(out, (q, k, v), g, create_graph=True)
        results.append(t.autograd.grad(sum((x * x).sum() for x in first), (q, k, v, g)))
    for ours, theirs in zip(results[1], results[0]):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-3)


def test_transforms_take_the_plain_form():
    q, k, v, _ = (bibun.from_numpy(np.ascontiguousarray(a)) for a in drawn(3, 4, 48, 48, 8))
    attend = bibun.nn.functional.scaled_dot_product_attention
    mapped = bibun.func.vmap(attend)(q, k, v)
    np.testing.assert_allclose(mapped.numpy(), attend(q, k, v).numpy(), atol=1e-6)
    _, tangent = bibun.func.jvp(lambda x: attend(x, k, v), (q,), (k,))
    step = (attend(q + 1e-2 * k, k, v) - attend(q - 1e-2 * k, k, v)) / 2e-2
    np.testing.assert_allclose(tangent.numpy(), step.numpy(), atol=5e-3)
