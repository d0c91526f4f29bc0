"""Functions under second names: losses and recurrent layers in ``torch`` itself, hashes, numbers of sizes."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import compare

import bibun

torch = pytest.importorskip("torch")
rng = np.random.default_rng(11)
ARRAYS = {
    "gx": rng.standard_normal((3, 4)), "gy": rng.standard_normal((3, 4)), "gz": rng.standard_normal((3, 4)), "p": rng.random((3, 4)),
    "s": np.sign(rng.standard_normal((3, 4))), "v": np.array([1.0, -1, 1]), "f": rng.standard_normal((2, 3)).astype(np.float32),
    "i": rng.integers(-9, 9, (3, 4)), "u": rng.integers(0, 200, 5, dtype=np.uint8), "b": np.array([True, False, True]), "e": np.zeros((0, 2)),
}
LOSSES = [
    "binary_cross_entropy_with_logits(gx, p, reduction={})",
    "binary_cross_entropy_with_logits(gx, p, p, p, {})",
    "cosine_embedding_loss(gx, gy, v, 0.3, {})",
    "hinge_embedding_loss(gx, s, 0.5, {})",
    "kl_div(gx, p, {})",
    "kl_div(gx, gy, {}, log_target=True)",
    "margin_ranking_loss(gx, gy, s, 0.1, {})",
    "poisson_nll_loss(gx, p, True, True, 1e-8, {})",
    "triplet_margin_loss(gx, gy, gz, 1.0, 2, 1e-6, True, {})",
]


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss, reduction):
    compare(torch, bibun, ARRAYS, f"torch.{loss.format(reduction)} * 1.0")


@pytest.mark.parametrize(
    "call",
    ["f", "i", "u", "b", "i, 1", "i, (0, 1)", "i, 0, True", "f.bfloat16()", "e", "e, 0", "e, 1", "f, mode=1", "i, 5", "f.to(torch.complex64)"],
)
def test_hash(call):
    compare(torch, bibun, ARRAYS, f"torch.hash_tensor({call})")


@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers(mode, bidirectional):
    cls, kw = ("RNN", {"nonlinearity": mode[4:]}) if mode.startswith("rnn") else (mode.upper(), {})
    net = getattr(torch.nn, cls)(3, 5, 2, bidirectional=bidirectional, batch_first=True, **kw)
    x, h = torch.randn(2, 4, 3), torch.randn(4 if bidirectional else 2, 2, 5)
    results = []
    for module in (torch, bibun):
        def give(t, module=module):
            return module.tensor(t.detach().numpy())

        hx = (give(h), give(h * 0.5)) if mode == "lstm" else give(h)
        weights = [give(w) for w in net._flat_weights]
        run = getattr(module, mode)
        results.append(
            [
                *run(give(x), hx, weights, True, 2, 0.0, False, bidirectional, True),
                *run(give(x.reshape(8, 3)[:6]), module.tensor([2, 2, 1, 1]), hx, weights, True, 2, 0.0, False, bidirectional),
            ]
        )
    for want, have in zip(*results, strict=True):
        np.testing.assert_allclose(have.numpy(), want.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_cells(name):
    rows = {"lstm": 20, "gru": 15}.get(name, 5)
    drawn = {k: rng.standard_normal(s) for k, s in {"gx": (2, 3), "gh": (2, 5), "gw": (rows, 3), "gu": (rows, 5), "gb": (rows,)}.items()}
    state = "(gh, gh * 2)" if name == "lstm" else "gh"
    take = "[0] * 1.0" if name == "lstm" else " * 1.0"
    compare(torch, bibun, drawn, f"torch.{name}_cell(gx, {state}, gw, gu, gb, gb){take}", tolerance=1e-8)
    compare(torch, bibun, drawn, f"torch.{name}_cell(gx, {state}, gw, gu){take}", tolerance=1e-8)


def test_sizes():
    for expression in ("sym_max(1, 2.0)", "sym_min(1, 2.0)", "sym_int(-2.7)", "sym_not(1)", "sym_sum([1, 2])", "sym_ite(True, 1, 2)", "sym_sqrt(4)"):
        want, have = eval(f"torch.{expression}"), eval(f"bibun.{expression}")
        assert want == have and type(want) is type(have)


def test_absent_names_are_said_to_be_absent():
    assert not hasattr(bibun, "no_such_name")
    hasattr(bibun, "compile")  # answers, whether or not there is a compiler


def test_modules_under_other_names():
    assert bibun.torch is bibun
    assert bibun._VF.lstm is bibun.lstm
    assert not hasattr(bibun._VF, "no_such_name")


@pytest.mark.parametrize(
    "call",
    [
        "arange(0.0, -8.000001, -4.0, dtype=torch.int64)",
        "arange(-0.9, 2.1, 2, dtype=torch.int64)",
        "arange(3.1, dtype=torch.int64)",
        "arange(0, 3.9, dtype=torch.uint8)",
        "arange(0, 3, 0.5, dtype=torch.int32)",
        "arange(0, 2, 0.5, dtype=torch.int64)",
        "arange(0, 3, 0)",
        "arange(0, inf)",
        "arange(0, 2, dtype=torch.bool)",
        "arange(1, 0)",
        "range(0, 3, 0)",
        "range(3, 0)",
    ],
)
def test_ranges(call):
    compare(torch, bibun, {}, f"torch.{call}")


def test_solving_nothing():
    solved = bibun.linalg.ldl_solve(bibun.zeros(0, 0), bibun.zeros(0, dtype=bibun.int32), bibun.zeros(0, 5))
    assert tuple(solved.shape) == (0, 5)


NUMBERS = {
    "none": "atan2 hypot maximum minimum fmax fmin logaddexp logaddexp2 logical_and logical_or logical_xor gcd lcm igamma igammac ldexp "
    "heaviside nextafter isclose complex polar",
    "second": "eq ne ge gt le lt fmod copysign rsub clamp_max clamp_min",
    "one": "bitwise_and bitwise_left_shift remainder xlogy pow special.xlog1py special.zeta special.hermite_polynomial_h",
    "both": "add sub mul div floor_divide true_divide",
}


@pytest.mark.parametrize("name", " ".join(NUMBERS.values()).split())
def test_numbers_where_pytorch_takes_them(name):
    """Operands that are Python numbers are taken, or refused, as PyTorch does."""
    for operands in ("f, 2", "2, f", "2, 2", "i, 2", "2, i", "2.5, i"):
        found = []
        for module in (torch, bibun):
            names = {"torch": module, "f": module.tensor([1.0, 2.0]), "i": module.tensor([1, 2])}
            try:
                found.append(eval(f"torch.{name}({operands})", names).tolist())
            except Exception as error:
                found.append((type(error).__name__, str(error).split(" - ")[0].split("\n")[0]))
        assert found[0] == found[1] or found[0][0] == found[1][0] == "NotImplementedError", f"{name}({operands})"
