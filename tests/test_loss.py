"""Losses held against PyTorch: values, derivatives of first and second order, names of nodes, errors and warnings."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import compare

import bibun

torch = pytest.importorskip("torch")

rng = np.random.default_rng(7)
D = rng.standard_normal
ARRAYS = {
    "gx": D((3, 4)), "gy": D((3, 4)), "y": D((3, 4)), "gv": D(4), "f": D((3, 4)).astype(np.float32), "i": np.arange(12).reshape(3, 4),
    "c": D((3, 4)) + 1j, "gp": rng.uniform(0.05, 0.95, (3, 4)), "gq": rng.uniform(0.05, 0.95, (3, 4)), "w": rng.uniform(0.1, 2, (3, 4)),
    "wc": rng.uniform(0.1, 2, 4), "s": np.sign(D((3, 4))), "sv": np.array([1.0, -1, 1]), "t": np.array([0, 3, 2]), "ti": np.array([0, -100, 2]),
    "g4": D((2, 4, 3, 2)), "t4": rng.integers(0, 4, (2, 3, 2)), "g3": D((2, 4, 3)), "t3": np.array([[0, 1, -100], [3, 2, 1]]),
    "gv2": rng.uniform(0.1, 2, (3, 4)), "l": np.array([[0, 2, -1, 1], [3, -1, 0, 0], [-1, 0, 0, 0]]),
}

AGREE = """
F.mse_loss(gx, gy) | F.mse_loss(gx, gy, reduction='sum') | F.mse_loss(gx, gy, reduction='none') | F.mse_loss(gx, gv)
F.mse_loss(gx, torch.randn(5)) | F.mse_loss(i, i) | F.mse_loss(i, f) | F.mse_loss(f, y) | F.mse_loss(c, c) | F.mse_loss(gx, y, reduction='foo')
F.mse_loss(gx, y, reduce=False) | F.mse_loss(gx, y, size_average=False) | F.mse_loss(gx, gy, weight=w) | F.mse_loss(gx[:0], y[:0])
F.mse_loss(gx, gy, weight=w, reduction='none') | F.mse_loss(gx, gy, weight=wc) | F.mse_loss(gx, y, reduction='elementwise_mean') | F.mse_loss(gx, 3.0)
F.l1_loss(gx, gy) | F.l1_loss(gx, gy, reduction='none') | F.l1_loss(c, c) | F.l1_loss(i, i, reduction='none') | F.l1_loss(gx, gy, weight=w)
F.smooth_l1_loss(gx, gy) | F.smooth_l1_loss(gx, gy, beta=0.3, reduction='sum') | F.smooth_l1_loss(gx, gy, beta=0.0) | F.smooth_l1_loss(gx, gy, beta=-1.0)
F.smooth_l1_loss(i, i) | F.smooth_l1_loss(gx, gy, reduction='none', beta=0.5) | F.huber_loss(gx, gy) | F.huber_loss(gx, gy, delta=0.4, reduction='none')
F.huber_loss(gx, gy, delta=0.0) | F.huber_loss(i, i) | F.huber_loss(gx, gy, weight=w)
F.binary_cross_entropy(gp, gq) | F.binary_cross_entropy(gp, gq, weight=w) | F.binary_cross_entropy(gp, gq, weight=wc, reduction='sum')
F.binary_cross_entropy(gp, gq[:2]) | F.binary_cross_entropy(gx, gq) | F.binary_cross_entropy(gp, gq + 8) | F.binary_cross_entropy(gp, i > 4)
F.binary_cross_entropy(i, i) | F.binary_cross_entropy(gp, gq, reduction='none')
F.binary_cross_entropy_with_logits(gx, gq) | F.binary_cross_entropy_with_logits(gx, gq, w, pos_weight=wc) | F.binary_cross_entropy_with_logits(gx, gq[:2])
F.binary_cross_entropy_with_logits(gx, gq, reduction='sum', pos_weight=wc) | F.binary_cross_entropy_with_logits(i, i)
F.binary_cross_entropy_with_logits(f, y).float() | F.binary_cross_entropy_with_logits(gx, gq, wc, reduction='none') | F.binary_cross_entropy_with_logits(gx, i)
F.nll_loss(gx, t) | F.nll_loss(gx, ti) | F.nll_loss(gx, ti, wc) | F.nll_loss(gx, ti, wc, reduction='sum') | F.nll_loss(gx, ti, wc, reduction='none')
F.nll_loss(gx, t, ignore_index=3) | F.nll_loss(gx, t + 2) | F.nll_loss(gx, t - 1) | F.nll_loss(gx, t[:2]) | F.nll_loss(gx, t.int()) | F.nll_loss(gx, t.to(torch.uint8))
F.nll_loss(gx, t.double()) | F.nll_loss(gv, t[0]) | F.nll_loss(gv, t[0], wc)
F.nll_loss(gx, t, torch.ones(3)) | F.nll_loss(gx, t, torch.ones(4).float()) | F.nll_loss(gx[:1], t[:1]) | F.nll_loss(gx[:1], t[:1], reduction='none')
F.nll_loss(g4, t4) | F.nll_loss(g4, t4, wc, reduction='none') | F.nll_loss(g3, t3, wc) | F.nll_loss(g3, t3, reduction='sum') | F.nll_loss(g3, t4)
F.nll_loss(g4, t4[:, :2]) | F.nll_loss(g4, t4 + 3) | F.nll_loss(i, t) | F.nll_loss(c, t) | F.nll_loss(gx[:0], t[:0]) | F.nll_loss(gx, t * 0 - 100)
F.nll_loss(torch.tensor(1.0), torch.tensor(0))
F.cross_entropy(gx, t) | F.cross_entropy(gx, ti, wc) | F.cross_entropy(gx, t + 2) | F.cross_entropy(gx, t[:2]) | F.cross_entropy(gx, gp) | F.cross_entropy(gx, gp, wc)
F.cross_entropy(gx, gp, wc, reduction='none') | F.cross_entropy(gx, gp, label_smoothing=0.1) | F.cross_entropy(gx, t, label_smoothing=0.1)
F.cross_entropy(gx, ti, wc, label_smoothing=0.2) | F.cross_entropy(gx, ti, wc, label_smoothing=0.2, reduction='none') | F.cross_entropy(gx, t, label_smoothing=1.1)
F.cross_entropy(gx, ti, label_smoothing=0.2, reduction='sum') | F.cross_entropy(gx, t.double()) | F.cross_entropy(gv, t[0])
F.cross_entropy(gv, t[0], label_smoothing=0.1) | F.cross_entropy(gx, i) | F.cross_entropy(gx, gp[:2]) | F.cross_entropy(gx, gp, ignore_index=2)
F.cross_entropy(gx, gp, torch.ones(3)) | F.cross_entropy(gx, t, torch.ones(3)) | F.cross_entropy(g4, t4) | F.cross_entropy(g3, t3, wc, label_smoothing=0.3)
F.cross_entropy(g4, g4.softmax(1)) | F.cross_entropy(gv, gv.softmax(0)) | F.cross_entropy(i, t) | F.cross_entropy(gx[:1], t[:1], reduction='none')
F.kl_div(gx, gp) | F.kl_div(gx, gp, reduction='batchmean') | F.kl_div(gx, gy, reduction='sum', log_target=True) | F.kl_div(gx, gp, reduction='none')
F.kl_div(gx, gp, reduction='xx') | F.kl_div(i, i)
F.poisson_nll_loss(gx, gp) | F.poisson_nll_loss(gx, gv2 * 3, full=True) | F.poisson_nll_loss(gp, gq, log_input=False) | F.poisson_nll_loss(gx, gy, reduction='xx')
F.gaussian_nll_loss(gx, gy, gv2) | F.gaussian_nll_loss(gx, gy, gv2[:, :1], full=True) | F.gaussian_nll_loss(gx, gy, gv2[:, 0]) | F.gaussian_nll_loss(gx, gy, gv2[:2])
F.gaussian_nll_loss(gx, gy, -gv2) | F.gaussian_nll_loss(gx, gy, 2.0) | F.gaussian_nll_loss(gx, gy, gv2, reduction='xx')
F.soft_margin_loss(gx, s) | F.soft_margin_loss(gx, s, reduction='none') | F.soft_margin_loss(gx, s[:2]) | F.soft_margin_loss(i, i)
F.hinge_embedding_loss(gx, s) | F.hinge_embedding_loss(gx, s, margin=0.3, reduction='none')
F.cosine_embedding_loss(gx, gy, sv) | F.cosine_embedding_loss(gx, gy, sv, margin=0.2, reduction='sum') | F.cosine_embedding_loss(gx[0], gy[0], sv[0])
F.cosine_embedding_loss(gx[0], gy[0], sv[:1]) | F.cosine_embedding_loss(gx, gy, sv[0]) | F.cosine_embedding_loss(gx, gy, sv[:, None])
F.margin_ranking_loss(gx, gy, s) | F.margin_ranking_loss(gx, gy, s[0]) | F.margin_ranking_loss(gx, gy, s, margin=0.5, reduction='none')
F.multi_margin_loss(gx, t, p=3)
F.multi_margin_loss(gx, t + 5) | F.multi_margin_loss(gx, t[:2]) | F.multi_margin_loss(gx, t, weight=wc[:3])
F.multilabel_margin_loss(gx, l + 4)
F.multilabel_margin_loss(gx, l[:, :3]) | F.multilabel_soft_margin_loss(gx, gq) | F.multilabel_soft_margin_loss(gx, gq, wc, reduction='none')
F.triplet_margin_loss(gx, gy, y) | F.triplet_margin_loss(gx, gy, y, swap=True, p=3, reduction='none') | F.triplet_margin_loss(gx, gy, y, margin=-1)
F.triplet_margin_loss(gx, gy, y[0]) | F.triplet_margin_with_distance_loss(gx, gy, y) | F.triplet_margin_with_distance_loss(gx, gy, y, margin=0)
F.triplet_margin_with_distance_loss(gx, gy, y, distance_function=lambda a, b: (a - b).abs().sum(1))
"""

#: PyTorch has no second derivative for these.
FIRST_ONLY = """
F.multi_margin_loss(gx, t, p=2)
F.multi_margin_loss(gx, t) | F.multi_margin_loss(gx, t, weight=wc, margin=0.5) | F.multi_margin_loss(gx, t, reduction='none')
F.multi_margin_loss(gv, t[1]) | F.multi_margin_loss(gv, t[1], p=2, reduction='none')
F.multilabel_margin_loss(gx, l) | F.multilabel_margin_loss(gx, l, reduction='none') | F.multilabel_margin_loss(gv, l[0])
"""


def lines(text):
    return [each.strip() for line in text.splitlines() for each in line.split(" | ") if each.strip()]


@pytest.mark.parametrize("expression", lines(AGREE))
def test_as_pytorch(expression):
    compare(torch, bibun, ARRAYS, expression)


@pytest.mark.parametrize("expression", lines(FIRST_ONLY))
def test_first_derivative(expression):
    compare(torch, bibun, ARRAYS, expression, second=False)


@pytest.mark.parametrize("name", ["mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "soft_margin_loss"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow(name, dtype):
    made = []
    for module in (torch, bibun):
        x = module.tensor(ARRAYS["gx"]).to(getattr(module, dtype)).requires_grad_()
        loss = getattr(module.nn.functional, name)(x, module.tensor(ARRAYS["gp"]).to(getattr(module, dtype)))
        loss.backward()
        made.append((loss.float().item(), x.grad.float().numpy(), str(x.grad.dtype)))
    assert made[0][2] == made[1][2]
    assert made[1][0] == pytest.approx(made[0][0], rel=1e-2)
    np.testing.assert_allclose(made[1][1], made[0][1], rtol=2e-2, atol=1e-3)


def test_double_backward_of_squared_margins():
    x = bibun.tensor(ARRAYS["gx"], requires_grad=True)
    assert bibun.autograd.gradgradcheck(lambda x: bibun.nn.functional.multi_margin_loss(x, bibun.tensor([0, 3, 2]), p=2), (x,))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("blank", [0, 4])
def test_ctc(reduction, zero_infinity, blank):
    local = np.random.default_rng(blank)
    x, t = local.standard_normal((9, 3, 5)), local.integers(0, 4, (3, 4)) + (blank == 0)
    long, short = np.array([9, 6, 5]), np.array([4, 0, 3])
    made = []
    for module in (torch, bibun):
        leaf = module.tensor(x, requires_grad=True)
        loss = module.nn.functional.ctc_loss(leaf.log_softmax(2), module.tensor(t), module.tensor(long), module.tensor(short), blank, reduction,
                                             zero_infinity)
        loss.sum().backward()
        made.append((loss.detach().numpy(), leaf.grad.numpy()))
    for want, have in zip(*made):
        np.testing.assert_allclose(have, want, atol=1e-10)


CTC = {"gl": D((5, 2, 4)), "t2": np.array([[1, 2], [2, 2]]), "t1": np.array([1, 2, 2, 2])}


@pytest.mark.parametrize("expression", lines("""
F.ctc_loss(gl.log_softmax(2), t1, (5, 4), (2, 2), blank=3, reduction='none') | F.ctc_loss(gl.log_softmax(2), t1, (5, 4), (2, 2), blank=4)
F.ctc_loss(gl.log_softmax(2), t1, (7, 4), (2, 2)) | F.ctc_loss(gl.log_softmax(2), t1, (5,), (2, 2)) | F.ctc_loss(gl.log_softmax(2), t1[:3], (5, 5), (2, 2))
F.ctc_loss(gl.log_softmax(2), t2, (5, 5), (2, 3)) | F.ctc_loss(gl[:, 0].log_softmax(1), t2[0], torch.tensor(5), torch.tensor(2))
"""))
def test_ctc_arguments(expression):
    compare(torch, bibun, CTC, expression, second=False)


def test_a_loss_of_one_example_is_the_plain_formula():
    x = bibun.tensor([[0.5, -1.0, 2.0]], requires_grad=True)
    loss = bibun.nn.functional.cross_entropy(x, bibun.tensor([2]))
    loss.backward()
    e = np.exp([0.5, -1.0, 2.0])
    assert loss.item() == pytest.approx(-np.log(e[2] / e.sum()), rel=1e-6)
    np.testing.assert_allclose(x.grad.numpy()[0], e / e.sum() - [0, 0, 1], rtol=1e-5)
