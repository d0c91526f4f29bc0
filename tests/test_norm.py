"""Normalisations, linear layers, embeddings and distances held against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import compare, numbers

import bibun

torch = pytest.importorskip("torch")

rng = np.random.default_rng(11)
D = rng.standard_normal
ARRAYS = {
    "g": D((2, 3, 4)), "gw": D(4), "gb": D(4), "gm": D((3, 4)), "x": D((5, 4)), "gx": D((5, 4)), "gc": D((2, 4, 3, 2)), "gc1": D((1, 4)), "o": np.ones(3),
    "v": rng.uniform(0.5, 2, 4), "r": D(4), "i": np.arange(24).reshape(2, 3, 4), "gW": D((5, 4)), "gB": D(5), "g1": D(4), "f": D((5, 4)).astype(np.float32),
    "gE": D((10, 3)), "n": np.array([[1, 2], [2, 4]]), "m": np.array([1, 2, 2, 4, 9]), "off": np.array([0, 2, 2]), "gs": D(5), "gT": D((5, 4, 4)), "c": D((5, 4)) + 1j,
}


def lines(text):
    return [each.strip() for line in text.splitlines() for each in line.split(" | ") if each.strip()]


@pytest.mark.parametrize("expression", lines("""
F.layer_norm(g, (4,)) | F.layer_norm(g, (3, 4)) | F.layer_norm(g, (4,), gw, gb) | F.layer_norm(g, (3, 4), gm) | F.layer_norm(g, (5,))
F.layer_norm(g, 4) | F.layer_norm(g, (4,), o) | F.layer_norm(g, (4,), None, o) | F.layer_norm(g, ()) | F.layer_norm(g, (4,), gw.float()) | F.layer_norm(i, (4,))
torch.layer_norm(g, (4,), gw) | torch.native_layer_norm(g, (3, 4), None, None, 1e-5) | F.layer_norm(g.transpose(0, 1), (4,), gw, gb) | F.layer_norm(g[:0], (4,), gw, gb)
F.rms_norm(g, (4,)) | F.rms_norm(g, (4,), gw) | F.rms_norm(g, (3, 4), gm, 0.1) | F.rms_norm(g, (5,)) | F.rms_norm(g, (4,), o) | F.rms_norm(i, (4,)) | F.rms_norm(c, (4,))
F.group_norm(gc, 2) | F.group_norm(gc, 2, gw, gb) | F.group_norm(gc, 4, gw) | F.group_norm(gc, 3) | F.group_norm(gc, 2, o) | F.group_norm(gc1, 4) | F.group_norm(g1, 4)
torch.group_norm(gx, 2, gw, gb) | F.group_norm(gx, 1)
F.batch_norm(gx, None, None, training=True) | F.batch_norm(gc, None, None, gw, gb, True) | F.batch_norm(gx, r, v, gw, gb, True) | F.batch_norm(gx, r, v, gw, gb)
F.batch_norm(gc, r, v) | F.batch_norm(gc, r, v, gw) | F.batch_norm(g.transpose(1, 2), None, None, gw, gb, True) | F.batch_norm(gx, None, None) | F.batch_norm(gx, r, None)
F.batch_norm(gx, o, o) | F.batch_norm(gx, r, v, o) | F.batch_norm(gc1, r, v, training=True) | F.batch_norm(g1, r, v) | F.batch_norm(gx, r.float(), v.float())
F.batch_norm(x[:0], r, v, training=True) | F.batch_norm(x.long(), r, v) | torch.batch_norm(gx, gw, gb, None, None, True, 0.1, 1e-5, True)
torch.native_batch_norm(gx, gw, gb, None, None, True, 0.1, 1e-5)
F.instance_norm(gc) | F.instance_norm(gc, None, None, gw, gb) | F.instance_norm(gc, r, v, use_input_stats=False) | F.instance_norm(gc, use_input_stats=False)
F.instance_norm(gx) | F.instance_norm(gc, r, v, gw)
F.local_response_norm(gc, 2) | F.local_response_norm(gc, 3, 0.5, 0.6, 2.0) | F.local_response_norm(gx, 2)
F.normalize(gx) | F.normalize(gx, p=1.0, dim=0) | F.normalize(gx, p=3)
"""))
def test_normalisation(expression):
    compare(torch, bibun, ARRAYS, expression, tolerance=1e-8)


@pytest.mark.parametrize("expression", lines("""
F.linear(gx, gW, gB) | F.linear(gx, gW) | F.linear(g1, gW, gB) | F.linear(g1, gW) | F.linear(g, gW, gB) | F.linear(g, gW) | F.linear(gx[:1], gW, gB) | F.linear(gx, gw)
F.linear(g1, gw) | F.linear(gx, gw, gB[0]) | F.linear(f, gW, gB) | F.linear(gx, gW, gB.float()) | F.linear(x.long(), gW) | F.linear(gc, gW) | F.linear(gB, gW, gB)
F.linear(gx, gW, gw) | F.linear(gx, gW, gB[None]) | F.linear(gx, gT) | F.linear(gx, gT, gB) | F.linear(gB[0], gW, gB) | F.linear(x > 0, x > 0) | F.linear(x.long(), x.long())
F.linear(gx[:0], gW, gB) | F.linear(gx[:, :0], gW[:, :0], gB) | F.linear(gx, 3, gB) | F.linear([1.0], gW, gB) | F.linear(c, c) | F.linear(gx.t()[:, :4], gW)
F.bilinear(gx, x, gT, gB) | F.bilinear(g, g, gT) | F.bilinear(gx, x, gT[:, :, :3]) | F.bilinear(gx, x[:2], gT)
"""))
def test_linear(expression):
    names = {"F.bilinear(g, g, gT)"}      # PyTorch's has a node of its own
    if expression in names:
        expression += " * 1"
    compare(torch, bibun, ARRAYS, expression)


@pytest.mark.parametrize("expression", lines("""
F.embedding(n, gE) | F.embedding(n, gE, padding_idx=2) | F.embedding(n, gE, padding_idx=-8) | F.embedding(n, gE, padding_idx=20) | F.embedding(n + 8, gE)
F.embedding(n - 8, gE) | F.embedding(n.double(), gE) | F.embedding(n.int(), gE) | F.embedding(n, gE[0]) | F.embedding(n, gE, scale_grad_by_freq=True)
F.embedding(n, gE.detach().clone(), max_norm=0.5) | torch.embedding(gE, n) | F.embedding(n[0, 0], gE)
F.embedding_bag(n, gE) | F.embedding_bag(n, gE, mode='sum') | F.embedding_bag(n, gE, mode='foo') | F.embedding_bag(m, gE) | F.embedding_bag(m, gE, off)
F.embedding_bag(m, gE, off, mode='sum', per_sample_weights=gs) | F.embedding_bag(m, gE, off + 1) | F.embedding_bag(m, gE, off * 8)
F.embedding_bag(m, gE, torch.tensor([0, 2, 4]), include_last_offset=True) | F.embedding_bag(n, gE, per_sample_weights=gs) | F.embedding_bag(m, gE, off, padding_idx=2)
F.embedding_bag(n, gE, mode='max', scale_grad_by_freq=True) | F.embedding_bag(n[None], gE) | F.embedding_bag(m, gE, off, mode='sum', padding_idx=4)
F.one_hot(n) | F.one_hot(n, 3) | F.one_hot(n - 9) | F.one_hot(n.int()) | F.one_hot(n[:0]) | F.one_hot(n[:0], 4) | F.one_hot(n, 0) | F.one_hot(n[0, 0], 6)
F.cosine_similarity(gx, x) | F.cosine_similarity(g, g + 1, dim=0) | F.cosine_similarity(gx, g1) | F.cosine_similarity(x.long(), x.long())
F.pairwise_distance(gx, x) | F.pairwise_distance(gx, g1, p=1.0, keepdim=True) | F.pairwise_distance(g1, gw)
"""))
def test_embedding_and_distance(expression):
    # The second derivative of embedding_bag is not PyTorch's to give.
    compare(torch, bibun, ARRAYS, expression, second="_bag" not in expression)


@pytest.mark.parametrize("expression", ["F.embedding_bag(n, gE, mode='max')", "F.embedding_bag(m, gE, off, mode='max', padding_idx=9)", "F.pdist(gx) * 1", "F.pdist(gx, 1.0) * 1",
                                        "F.layer_norm(g, (4,), None, gb)"])
def test_first_derivative(expression):
    compare(torch, bibun, ARRAYS, expression, second=False)


def test_running_statistics():
    made = []
    for module in (torch, bibun):
        mean, variance = module.zeros(4), module.ones(4)
        for _ in range(3):
            module.nn.functional.batch_norm(module.tensor(ARRAYS["f"]) * 2 + 1, mean, variance, training=True, momentum=0.3)
        module.nn.functional.instance_norm(module.tensor(ARRAYS["gc"]).float(), mean, variance)
        made.append((mean.numpy(), variance.numpy()))
    for want, have in zip(*made):
        np.testing.assert_allclose(have, want, rtol=1e-5)


def test_a_backward_after_the_statistics_moved_on():
    x = bibun.tensor(ARRAYS["gx"], requires_grad=True)
    mean, variance = bibun.zeros(4).double(), bibun.ones(4).double()
    out = bibun.nn.functional.batch_norm(x, mean, variance)
    before = mean._version
    bibun.nn.functional.batch_norm(x, mean, variance, training=True)
    assert mean._version == before + 1
    out.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full((5, 4), 1 / np.sqrt(1 + 1e-5)))


@pytest.mark.parametrize("call", ["F.layer_norm(x, (4,), w, w)", "F.rms_norm(x, (4,), w)", "F.group_norm(x, 2, w, w)", "F.batch_norm(x, None, None, w, w, True)",
                                  "F.linear(x, x, None)", "F.embedding(n, x)"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow(call, dtype):
    made = []
    for module, d in ((torch, dtype), (torch, "float64"), (bibun, dtype)):
        x, w = (module.tensor(ARRAYS[k]).to(getattr(module, dtype)).to(getattr(module, d)).requires_grad_() for k in ("gx", "gw"))
        out = eval(call, {"F": module.nn.functional, "x": x, "w": w, "n": module.tensor(ARRAYS["n"])})
        (out * out * out).sum().backward()
        made.append([str(out.dtype), *(numbers(t) for t in (out, x.grad))])
    assert made[0][0] == made[2][0]
    for theirs, truth, ours in zip(*(m[1:] for m in made)):     # as near to the truth as PyTorch is
        assert np.abs(ours - truth).max() <= 1.5 * np.abs(theirs - truth).max() + 1e-3 * np.abs(truth).max()


def test_batched_like_pytorch():
    x, w, b = ARRAYS["g"], ARRAYS["gw"], ARRAYS["gb"]
    program = """[vmap(lambda x: F.layer_norm(x, (4,), w, b))(x), vmap(lambda w: F.layer_norm(x, (4,), w, b))(torch.stack([w, w * 2])),
        vmap(grad(lambda w, x: (F.layer_norm(x, (4,), w, b) ** 2).sum()), (None, 0))(w, x), vmap(lambda x: F.group_norm(x, 2, w, b))(y),
        vmap(grad(lambda x: (F.rms_norm(x, (4,), w) ** 3).sum()))(x), vmap(grad(lambda W, x: F.linear(x, W).sum()), (None, 0))(W, x),
        vmap(lambda n: F.embedding(n, E))(n), vmap(grad(lambda E, n: (F.embedding(n, E, padding_idx=2) ** 2).sum()), (None, 0))(E, n)]"""
    made = []
    for module in (torch, bibun):
        names = {"torch": module, "F": module.nn.functional, "vmap": module.func.vmap, "grad": module.func.grad, "x": module.tensor(x), "w": module.tensor(w),
                 "b": module.tensor(b), "y": module.tensor(D((2, 3, 4, 5)) * 0 + np.arange(5.0)), "W": module.tensor(ARRAYS["gW"]), "E": module.tensor(ARRAYS["gE"]),
                 "n": module.tensor(ARRAYS["n"])}
        made.append([numbers(t) for t in eval(program, names)])
    for want, have in zip(*made):
        np.testing.assert_allclose(have, want, atol=1e-10)
