"""Activations, the softmax family and dropout held against PyTorch: values, derivatives, nodes, errors, random masks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

from side_by_side import compare

rng = np.random.default_rng(3)
ARRAYS = {
    "gx": rng.uniform(-4, 4, (3, 4)), "gc": np.array([-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 30.0, -30.0]),
    "f": rng.uniform(-4, 4, (3, 4)).astype(np.float32), "i": np.arange(-2, 4), "g3": rng.standard_normal((2, 3, 4)),
    "gw": np.array(0.25), "gw3": np.array([0.1, 0.2, 0.3]), "gs": np.array(0.7), "c": np.array([1 + 1j, 2.0]),
}
#: The corners, at which the choice of a subgradient shows.
BOTH = """relu leaky_relu elu celu selu gelu silu mish softplus softsign hardtanh hardsigmoid hardswish relu6 hardshrink softshrink tanhshrink
logsigmoid sigmoid tanh""".split()
AGREE = """
F.threshold(gx, 0.5, -2.0) | F.leaky_relu(gx, 0.3) | F.leaky_relu(gx, -0.3) | F.elu(gx, 0.5) | F.elu(gx, -1.5) | F.celu(gx, 0.7)
F.gelu(gx, approximate='tanh') | F.gelu(gx, approximate='x') | F.softplus(gx, 3.0, 2.0) | F.softplus(gx, beta=0.5) | F.hardtanh(gx, -0.5, 2.0)
F.hardtanh(gx, 1.0, -1.0) | F.hardshrink(gx, 1.0) | F.softshrink(gx, 1.0) | F.softshrink(gx, -1.0) | F.prelu(gx, gw) | F.prelu(g3, gw3)
F.prelu(gs, gw) | F.prelu(gx, gw3) | F.glu(gx) | F.glu(gx, 0) | F.glu(g3, dim=2) | F.glu(gs) | F.rrelu(gx, 0.2, 0.2, training=True)
F.softmax(gx, 0) | F.softmax(gx, -1) | F.softmax(gs, 0) | F.softmax(f, 1, dtype=torch.float64) | F.softmax(i, 0) | F.softmax(gx, 2)
torch.softmax(gx, dim=1) | gx.softmax(1) | gx.float().softmax(-1, torch.float64) | F.log_softmax(gx, 0) | F.log_softmax(gx, -1) | F.log_softmax(g3, 1)
F.log_softmax(gs, 0) | F.log_softmax(f, 1, dtype=torch.float64) | gx.log_softmax(1) | F.softmin(gx, 1) | F.softmax(gx[:0], 0) | F.softmax(gx[:0], 1)
F.log_softmax(gx * 100, 1) | F.softmax(torch.tensor([1.0, inf, -inf]), 0) | F.log_softmax(torch.tensor([1.0, -inf]), 0)
torch.selu(gx) | torch.celu(gx) | torch.relu(i) | F.relu6(i) | F.hardtanh(i) | torch.relu(gx).sum() | gx.relu() | gx.sigmoid()
F.softmax(gx) | F.log_softmax(gx) | F.softmin(gx) | F.softmax(g3) | F.dropout(gx, 1.5) | F.dropout(gx, -0.1) | F.dropout(gx, 0.5, training=False)
F.alpha_dropout(gx, 0.5) | F.relu(2) | F.silu(i) | F.softplus(i) | F.dropout(gx, 0.0) | F.dropout(gx, 1.0)
"""


@pytest.mark.parametrize("name", BOTH)
def test_one_operand(name):
    compare(torch, bibun, ARRAYS, f"F.{name}(gx)", second=name != "hardsigmoid")
    compare(torch, bibun, ARRAYS, f"F.{name}(gc)", second=name not in ("logsigmoid", "hardsigmoid"), tolerance=1e-8)
    compare(torch, bibun, ARRAYS, f"F.{name}(f)")


@pytest.mark.parametrize("expression", [e.strip() for line in AGREE.strip().splitlines() for e in line.split(" | ")])
def test_agree(expression):
    compare(torch, bibun, ARRAYS, expression)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow(name, dtype):
    found = []
    for m in (torch, bibun):
        x = m.tensor(ARRAYS["gc"]).to(getattr(m, dtype)).requires_grad_()
        y = getattr(m.nn.functional, name)(x)
        y.sum().backward()
        assert str(y.dtype) == f"torch.{dtype}"
        found.append([t.detach().double().numpy() for t in (y, x.grad)])
    close = 2e-2 if dtype == "bfloat16" else 3e-3
    for want, have in zip(*found):
        np.testing.assert_allclose(have, want, rtol=close, atol=close)


@pytest.mark.parametrize("name", ["relu_", "elu_", "selu_", "celu_", "leaky_relu_", "hardtanh_", "threshold_"])
def test_in_place(name):
    extra = (0.1, 2.0) if name == "threshold_" else ()
    found = []
    for m in (torch, bibun):
        x = m.tensor(ARRAYS["gc"], requires_grad=True)
        y = x * 1
        out = getattr(m.nn.functional, name)(y, *extra)
        assert out is y
        out.sum().backward()
        found.append([out.detach().numpy(), x.grad.numpy()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12, atol=1e-15)
    for plain in ("relu", "silu", "mish", "hardswish", "relu6", "hardsigmoid", "elu", "leaky_relu", "hardtanh"):
        x = bibun.tensor(ARRAYS["gc"])
        want = getattr(bibun.nn.functional, plain)(x.clone())
        assert getattr(bibun.nn.functional, plain)(x, inplace=True) is x
        assert bibun.equal(x, want)


def test_same_seed_same_masks():
    for shape in ((7,), (5, 5), (3, 4, 4), (2, 3, 4, 4), (2, 3, 2, 2, 2), (40, 50)):
        for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu", "gumbel_softmax"):
            found = []
            for m in (torch, bibun):
                m.manual_seed(5)
                keywords = {} if name == "gumbel_softmax" else {"training": True} if name == "rrelu" else {"p": 0.3, "training": True}
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    try:
                        x = m.ones(shape, requires_grad=True)
                        y = getattr(m.nn.functional, name)(-x if name == "rrelu" else x, **keywords)
                        y.square().sum().backward()
                        made = [y.detach().numpy(), x.grad.numpy()]
                    except RuntimeError as error:
                        made = str(error)
                found.append((made, [str(w.message) for w in caught if "channel-wise" in str(w.message)]))
            assert found[0][1] == found[1][1]
            if isinstance(found[0][0], str):
                assert found[1][0] == found[0][0]
            else:
                for want, have in zip(found[0][0], found[1][0]):
                    np.testing.assert_allclose(have, want, rtol=2e-5, atol=1e-6, err_msg=f"{name} {shape}")


@pytest.mark.parametrize("name", "relu leaky_relu threshold hardtanh relu6 hardshrink softshrink hardswish elu prelu".split())
def test_second_derivatives_of_piecewise_functions_are_zeros(name):
    x = bibun.tensor([-2.5, -0.3, 0.2, 2.0], requires_grad=True)
    extra = {"threshold": (0.1, 1.0), "prelu": (bibun.tensor(0.5),)}.get(name, ())
    first, = bibun.autograd.grad(getattr(bibun.nn.functional, name)(x, *extra).sum(), x, create_graph=True)
    second, = bibun.autograd.grad(first.sum(), x)
    assert second.shape == x.shape and (name in ("hardswish", "elu") or not second.any())
