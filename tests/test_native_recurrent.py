"""Whole layers with gates in native kernels, held to NumPy's in float64, and to any number of threads."""

import numpy as np
import pytest

from bibun.backends import recurrent as plain
from bibun.backends.large import native

pytestmark = pytest.mark.skipif(not native(), reason="no native kernels here")

SHAPES = [(35, 32, 128), (1, 1, 1), (3, 1, 40), (4, 2, 7), (2, 5, 16), (3, 9, 33), (2, 70, 20), (5, 17, 64)]


def drawn(steps, batch, n, bias, dtype=np.float32, gates=4):
    rng = np.random.default_rng(0)
    rows = gates * n
    shapes = [(steps, batch, rows), (rows, n), (rows,) if bias else None, (batch, n), (batch, n)]
    given = [None if s is None else rng.standard_normal(s).astype(dtype) for s in shapes]
    given[1] *= n**-0.5
    return given, [rng.standard_normal(s).astype(dtype) for s in [(steps, batch, n), (batch, n), (batch, n)]]


def wide(arrays):
    return [a if a is None else a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reverse, bias", [(False, True), (True, True), (True, False)])
def test_against_numpy(shape, reverse, bias):
    from bibun.native import pool
    from bibun.native.kernels import recurrent as kernels

    given, grads = drawn(*shape, bias)
    wanted = plain.lstm_layer(*wide(given), reverse)
    wanted_back = plain.lstm_layer_gradients(*wide(grads), given[1].astype(np.float64), *wanted[3:], reverse)
    before, found = pool.threads(), []
    try:
        for threads in (1, 2, 3):
            pool.set_threads(threads)
            outs = kernels.lstm(*given, reverse)
            found.append([*outs, *kernels.lstm_gradients(*grads, given[1], *outs[3:], reverse)])
    finally:
        pool.set_threads(before)
    for *same, reference in zip(*found, [*wanted, *wanted_back], strict=True):
        for other in same[1:]:
            np.testing.assert_array_equal(same[0], other)
        assert same[0].shape == reference.shape
        np.testing.assert_allclose(same[0], reference, rtol=2e-4, atol=2e-5 * max(1, np.abs(reference).max()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reverse, bias", [(False, True), (True, False)])
def test_gated_units_against_numpy(shape, reverse, bias):
    from bibun.native import pool
    from bibun.native.kernels import recurrent as kernels

    (x, w, b, h, _), (g, g_last, _) = drawn(*shape, bias, gates=3)
    wanted = plain.gru_layer(*wide([x, w, b, h]), reverse)
    wanted_back = plain.gru_layer_gradients(*wide([g, g_last, w]), *wanted[2:], reverse)
    before, found = pool.threads(), []
    try:
        for threads in (1, 2):
            pool.set_threads(threads)
            outs = kernels.gru(x, w, b, h, reverse)
            found.append([*outs, *kernels.gru_gradients(g, g_last, w, *outs[2:], reverse)])
    finally:
        pool.set_threads(before)
    for one, two, reference in zip(*found, [*wanted, *wanted_back], strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape == reference.shape
        np.testing.assert_allclose(one, reference, rtol=2e-4, atol=2e-5 * max(1, np.abs(reference).max()))


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1)])
def test_inputs_and_gradients_that_lie_otherwise(axes):
    from bibun.native.kernels import recurrent as kernels

    given, grads = drawn(6, 5, 12, True)
    back = np.argsort(axes)
    outs = kernels.lstm(*given, False)
    x, g = (np.ascontiguousarray(a.transpose(axes)).transpose(back) for a in (given[0], grads[0]))
    assert not x.flags.c_contiguous
    for a, b in zip(outs, kernels.lstm(x, *given[1:], False), strict=True):
        np.testing.assert_array_equal(a, b)
    first = kernels.lstm_gradients(*grads, given[1], *outs[3:], False)
    for a, b in zip(first, kernels.lstm_gradients(g, *grads[1:], given[1], *outs[3:], False), strict=True):
        np.testing.assert_array_equal(a, b)


def test_numbers_that_are_not_finite():
    from bibun.native.kernels import recurrent as kernels

    given, _ = drawn(3, 9, 5, True)
    given[0][0, 0, 0], given[0][1, 1] = np.nan, np.inf
    given[0][0, 2] = -1e30
    with np.errstate(all="ignore"):
        wanted = plain.lstm_layer(*wide(given), False)
    for made, reference in zip(kernels.lstm(*given, False), wanted, strict=True):
        np.testing.assert_allclose(made, reference, rtol=2e-4, atol=2e-5)


def test_other_dtypes_are_left_to_numpy():
    from bibun.native.kernels import recurrent as kernels

    given, _ = drawn(2, 2, 3, True, np.float64)
    assert kernels.lstm(*given, False) is NotImplemented


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
