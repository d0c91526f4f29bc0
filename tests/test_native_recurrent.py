"""Whole recurrent layers in native kernels, held to NumPy's in float64, and to any number of threads."""

import numpy as np
import pytest

from bibun.backends import recurrent as plain
from bibun.backends.large import native

pytestmark = pytest.mark.skipif(not native(), reason="no native kernels here")

PARTS = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
#: steps, batch, inputs, states
SHAPES = [(35, 32, 64, 128), (1, 1, 1, 1), (3, 1, 5, 40), (4, 2, 40, 7), (2, 5, 3, 16), (3, 9, 31, 33), (2, 150, 8, 20)]


def drawn(mode, steps, batch, inner, n, bias=True, packed=False, dtype=np.float32):
    """(inputs of a layer, gradients of its outputs, sizes of the steps)."""
    rng = np.random.default_rng(0)
    rows = PARTS[mode] * n
    sizes = None
    if packed:
        lengths = np.r_[steps, rng.integers(1, steps + 1, batch - 1)]
        sizes = tuple(int((lengths > t).sum()) for t in range(steps))
    lead = (sum(sizes),) if packed else (steps, batch)
    shapes = [(*lead, inner), (rows, inner), (rows, n), (rows,) if bias else None, (rows,) if bias else None, (batch, n)]
    shapes += [(batch, n) if mode == "LSTM" else None]
    given = [None if s is None else rng.standard_normal(s).astype(dtype) for s in shapes]
    given[1] *= inner**-0.5
    given[2] *= n**-0.5
    grads = [None if s is None else rng.standard_normal(s).astype(dtype) for s in [(*lead, n), (batch, n), shapes[6]]]
    return given, grads, sizes


def reference(mode, given, grads, reverse, sizes):
    """What NumPy makes of it in float64: outputs, last states, gradients."""
    x, u, w, bu, bw, h, c = (None if a is None else a.astype(np.float64) for a in given)
    g, g_last, g_cell = (None if a is None else a.astype(np.float64) for a in grads)
    wanted = (True,) * 7
    if mode == "LSTM":
        out, last, cell, *kept = plain.lstm_layer(x, u, w, bu, bw, h, c, reverse, True, sizes)
        return [out, last, cell, *plain.lstm_layer_gradients(g, g_last, g_cell, x, u, w, h, *kept, reverse, sizes, wanted)]
    if mode == "GRU":
        out, last, *kept = plain.gru_layer(x, u, w, bu, bw, h, reverse, True, sizes)
        return [out, last, *plain.gru_layer_gradients(g, g_last, x, u, w, h, *kept, reverse, sizes, wanted)]
    relu = mode == "RNN_RELU"
    out, last, *kept = plain.rnn_layer(x, u, w, bu, bw, h, reverse, True, sizes, relu)
    return [out, last, *plain.rnn_layer_gradients(g, g_last, x, u, w, h, *kept, reverse, sizes, relu, wanted)]


def natively(mode, given, grads, reverse, sizes, wanted=(True,) * 7):
    from bibun.native.kernels import recurrent as kernels

    x, u, w = given[:3]
    out, last, cell, *kept = kernels.layer(mode, *given, reverse, True, sizes)
    found = [out, last, cell, *kernels.gradients(mode, *grads, x, u, w, *kept, reverse, sizes, wanted)]
    return found if mode == "LSTM" else [*found[:2], *found[3:-1]]


@pytest.fixture
def numpy_alone(monkeypatch):
    monkeypatch.setattr(plain, "MANY", 1 << 62)


@pytest.mark.parametrize("mode", PARTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reverse, bias, packed", [(False, True, False), (True, False, False), (False, False, True), (True, True, True)])
def test_against_numpy(mode, shape, reverse, bias, packed, numpy_alone):
    from bibun.native import pool

    given, grads, sizes = drawn(mode, *shape, bias, packed)
    wanted = reference(mode, given, grads, reverse, sizes)
    before, found = pool.threads(), []
    try:
        for threads in (1, 2, 3):
            pool.set_threads(threads)
            found.append(natively(mode, given, grads, reverse, sizes))
    finally:
        pool.set_threads(before)
    for *same, expected in zip(*found, wanted, strict=True):
        for other in same[1:]:
            np.testing.assert_array_equal(same[0], other)
        assert same[0].shape == expected.shape
        np.testing.assert_allclose(same[0], expected, rtol=2e-4, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("mode", PARTS)
def test_what_is_not_wanted_is_not_made(mode):
    given, grads, sizes = drawn(mode, 4, 6, 5, 8)
    whole = natively(mode, given, grads, False, sizes)
    states = len(whole) - (7 if mode == "LSTM" else 6)
    inputs = natively(mode, given, grads, False, sizes, (True, *(False,) * 6))[states:]
    weights = natively(mode, given, grads, False, sizes, (False, True, True, True, True, False, False))[states:]
    np.testing.assert_array_equal(inputs[0], whole[states])
    assert weights[0] is None and inputs[1] is None
    for made, same in zip(weights[1:], whole[states + 1 :]):
        np.testing.assert_array_equal(made, same)


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)])
def test_inputs_and_gradients_that_lie_otherwise(axes):
    given, grads, _ = drawn("LSTM", 6, 5, 10, 12)
    back = np.argsort(axes)
    turned = [np.ascontiguousarray(a.transpose(axes)).transpose(back) for a in (given[0], grads[0])]
    assert not turned[0].flags.c_contiguous
    first = natively("LSTM", given, grads, False, None)
    second = natively("LSTM", [turned[0], *given[1:]], [turned[1], *grads[1:]], False, None)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    if axes == (1, 0, 2):  # batch first: so are the outputs
        assert second[0].transpose(axes).flags.c_contiguous


@pytest.mark.parametrize("mode", PARTS)
def test_numbers_that_are_not_finite(mode, numpy_alone):
    given, grads, _ = drawn(mode, 3, 9, 5, 5)
    given[0][0, 0, 0], given[0][1, 1] = np.nan, np.inf
    given[0][0, 2] = -1e30
    with np.errstate(all="ignore"):
        wanted = reference(mode, given, grads, False, None)
    made = natively(mode, given, grads, False, None)
    for a, b in list(zip(made, wanted))[: 3 if mode == "LSTM" else 2]:
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("mode", PARTS)
@pytest.mark.parametrize("shape", [(6, 9, 12, 24), (3, 5, 7, 13)])
@pytest.mark.parametrize("packed", [False, True])
def test_double_precision(mode, shape, packed, numpy_alone):
    given, grads, sizes = drawn(mode, *shape, packed=packed, dtype=np.float64)
    given[0] *= 4  # gates in all their range
    wanted = reference(mode, given, grads, False, sizes)
    for made, expected in zip(natively(mode, given, grads, False, sizes), wanted, strict=True):
        assert made.dtype == np.float64
        np.testing.assert_allclose(made, expected, rtol=1e-11, atol=1e-13 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("dtype, ulps", [(np.float32, 3), (np.float64, 3)])
def test_gates_are_near_the_true_values(dtype, ulps):
    """A step whose inputs are all that goes into its gates: tanh by a plain layer, σ as an LSTM's output gate at tanh(c) = 1."""
    from bibun.native.kernels import recurrent as kernels

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-20, 20, 3000), rng.uniform(-1, 1, 3000), 10.0 ** rng.uniform(-30, 1, 1000), [0.0]])
    x = x.astype(dtype).reshape(1, 1, -1)
    n = x.size
    eye, none, zeros = np.ones((1, 1), dtype), np.zeros((1, 1), dtype), np.zeros((n, 1), dtype)
    wide = np.longdouble(x.reshape(-1))
    out = kernels.layer("RNN_TANH", x.reshape(1, -1, 1), eye, none, None, None, zeros, None, False, False, None)[0]
    true = np.tanh(wide)
    assert np.all(np.abs(out.reshape(-1) - true) <= ulps * np.spacing(np.abs(true).astype(dtype)))
    u = np.array([[0], [0], [0], [1]], dtype)
    b = np.array([-200, 200, 0, 0], dtype)  # c stays as it is
    made = kernels.layer("LSTM", x.reshape(1, -1, 1), u, np.zeros((4, 1), dtype), b, None, zeros, zeros + 50, False, False, None)
    true = 1 / (1 + np.exp(-wide))
    assert np.all(np.abs(made[0].reshape(-1) - true) <= ulps * np.spacing(true.astype(dtype)))


def test_other_dtypes_are_left_to_numpy():
    from bibun.native.kernels import recurrent as kernels

    given, _, _ = drawn("LSTM", 2, 2, 3, 3, dtype=np.float16)
    assert kernels.layer("LSTM", *given, False, True, None) is NotImplemented


def test_nothing_is_kept_for_a_backward_that_cannot_come():
    import bibun as torch
    from bibun.functions import recurrent

    held = []
    call, static = recurrent._LAYERS["LSTM"]
    lstm, x = torch.nn.LSTM(16, 32), torch.randn(20, 8, 16)
    try:
        recurrent._LAYERS["LSTM"] = lambda *a: held.append(call(*a)) or held[-1], static
        out = lstm(x)[0]
        with torch.no_grad():
            same = lstm(x)[0]
    finally:
        recurrent._LAYERS["LSTM"] = call, static
    assert torch.equal(out, same)
    assert held[0][5].shape == (20, 8, 128) and not held[1][5].numel()


def test_a_compiled_step_is_the_plain_one_in_few_steps():
    import bibun as torch

    def built():
        torch.manual_seed(0)
        model = torch.nn.LSTM(8, 16, batch_first=True)
        x, optimizer = torch.randn(4, 20, 8), torch.optim.SGD(model.parameters(), lr=0.1)

        def step():
            optimizer.zero_grad()
            loss = model(x)[0].square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    plain, compiled = built(), torch.compile(built())
    for _ in range(6):
        assert torch.allclose(plain(), compiled(), rtol=1e-6, atol=0)
    state = torch.compiler.report(compiled).splitlines()[1].split()
    assert state[-1] == "compiled" and int(state[1]) < 40
