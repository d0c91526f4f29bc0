"""Whole recurrent layers on arrays: a run over all time steps, and its gradient, with nothing in between.

In: the input's part of every step, (T, B, gates · H), the first state, the recurrent weight and bias. Out: the states
of every step, and what the gradient will want. The steps are those of `bibun.nn.modules.recurrence`, written for speed:
what does not depend on the state is computed for all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["RUNS", "Run"]

ndarray = np.ndarray


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _sigmoid(x: ndarray) -> None:
    """1 / (1 + exp(-x)), in place."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)


def _before(states: ndarray, first: ndarray, reverse: bool) -> ndarray:
    """For each step, the state it started from."""
    if reverse:
        return np.concatenate([states[1:], first[None]])
    return np.concatenate([first[None], states[:-1]])


def _weight_gradients(d: ndarray, h: ndarray) -> tuple[ndarray, ndarray]:
    """Of the recurrent weight and bias, from the gradients (T, B, rows) and the states before (T, B, H)."""
    rows = d.shape[-1]
    flat = d.reshape(-1, rows)
    return flat.T @ h.reshape(-1, h.shape[-1]), flat.sum(axis=0)


def lstm_run(x: ndarray, first: tuple[ndarray, ...], w: ndarray, b: ndarray | None, reverse: bool) -> Any:
    """((h, c) of all steps, what `lstm_gradient` takes)."""
    steps, batch, rows = x.shape
    n = rows // 4
    h, c = first
    gates = np.empty_like(x)
    outputs, cells, squashed = (np.empty((steps, batch, n), x.dtype) for _ in range(3))
    wt = w.T
    for t in _order(steps, reverse):
        z = gates[t]
        np.matmul(h, wt, out=z)
        if b is not None:
            z += b
        z += x[t]
        _sigmoid(z[:, : 2 * n])
        np.tanh(z[:, 2 * n : 3 * n], out=z[:, 2 * n : 3 * n])
        _sigmoid(z[:, 3 * n :])
        c = np.multiply(z[:, n : 2 * n], c, out=cells[t])
        c += z[:, :n] * z[:, 2 * n : 3 * n]
        h = np.multiply(z[:, 3 * n :], np.tanh(c, out=squashed[t]), out=outputs[t])
    return (outputs, cells), (gates, squashed)


def lstm_gradient(
    kept: Any,
    states: tuple[ndarray, ...],
    first: tuple[ndarray, ...],
    w: ndarray,
    reverse: bool,
    g_outputs: ndarray,
    g_last: tuple[ndarray | None, ...],
) -> Any:
    """Gradients of (x, first states, weight, bias), given those of all outputs and of the last states."""
    gates, squashed = kept
    outputs, cells = states
    steps, batch, n = outputs.shape
    split = gates.reshape(steps, batch, 4, n)
    i, f, g, o = (split[:, :, k] for k in range(4))
    # d(pre-activation) is d(cell), or for the last gate d(output), times these; d(cell) takes d(output) times `into`.
    slopes = np.empty_like(split)
    slopes[:, :, 0] = g * i * (1 - i)
    slopes[:, :, 1] = _before(cells, first[1], reverse) * f * (1 - f)
    slopes[:, :, 2] = i * (1 - g * g)
    slopes[:, :, 3] = squashed * o * (1 - o)
    into = o * (1 - squashed * squashed)
    d = np.empty_like(split)
    dh = np.zeros_like(first[0]) if g_last[0] is None else g_last[0]
    dc = np.zeros_like(first[1]) if g_last[1] is None else g_last[1]
    for t in _order(steps, not reverse):
        dh = dh + g_outputs[t]
        dc = dc + dh * into[t]
        np.multiply(dc[:, None], slopes[t, :, :3], out=d[t, :, :3])
        np.multiply(dh, slopes[t, :, 3], out=d[t, :, 3])
        dc = dc * f[t]
        dh = d[t].reshape(batch, -1) @ w
    dx = d.reshape(gates.shape)
    return dx, (dh, dc), *_weight_gradients(dx, _before(outputs, first[0], reverse))


def gru_run(x: ndarray, first: tuple[ndarray, ...], w: ndarray, b: ndarray | None, reverse: bool) -> Any:
    """((h,) of all steps, what `gru_gradient` takes)."""
    steps, batch, rows = x.shape
    n = rows // 3
    (h,) = first
    gates = np.empty_like(x)
    outputs, hidden = (np.empty((steps, batch, n), x.dtype) for _ in range(2))
    wt = w.T
    for t in _order(steps, reverse):
        y = h @ wt
        if b is not None:
            y += b
        z = gates[t]
        np.add(x[t, :, : 2 * n], y[:, : 2 * n], out=z[:, : 2 * n])
        _sigmoid(z[:, : 2 * n])
        hidden[t] = y[:, 2 * n :]
        new = z[:, 2 * n :]
        np.multiply(z[:, :n], hidden[t], out=new)
        new += x[t, :, 2 * n :]
        np.tanh(new, out=new)
        out = outputs[t]
        np.subtract(h, new, out=out)
        out *= z[:, n : 2 * n]
        out += new
        h = out
    return (outputs,), (gates, hidden)


def gru_gradient(
    kept: Any,
    states: tuple[ndarray, ...],
    first: tuple[ndarray, ...],
    w: ndarray,
    reverse: bool,
    g_outputs: ndarray,
    g_last: tuple[ndarray | None, ...],
) -> Any:
    """Gradients of (x, first states, weight, bias), given those of all outputs and of the last states."""
    gates, hidden = kept
    (outputs,) = states
    steps, batch, n = outputs.shape
    split = gates.reshape(steps, batch, 3, n)
    r, z, new = (split[:, :, k] for k in range(3))
    before = _before(outputs, first[0], reverse)
    # All three are d(output) times these.
    to_new = (1 - z) * (1 - new * new)
    slopes = np.empty_like(split)
    slopes[:, :, 0] = to_new * hidden * r * (1 - r)
    slopes[:, :, 1] = (before - new) * z * (1 - z)
    slopes[:, :, 2] = to_new * r  # of the recurrent part; the input's part lacks r
    d = np.empty_like(split)
    dx_new = np.empty_like(outputs)
    dh = np.zeros_like(first[0]) if g_last[0] is None else g_last[0]
    for t in _order(steps, not reverse):
        dh = dh + g_outputs[t]
        np.multiply(dh[:, None], slopes[t], out=d[t])
        np.multiply(dh, to_new[t], out=dx_new[t])
        dh = dh * z[t]
        dh += d[t].reshape(batch, -1) @ w
    dy = d.reshape(gates.shape)
    dw, db = _weight_gradients(dy, before)
    dx = dy.copy()
    dx[:, :, 2 * n :] = dx_new
    return dx, (dh,), dw, db


def _plain_run(
    x: ndarray, first: tuple[ndarray, ...], w: ndarray, b: ndarray | None, reverse: bool, squash: Any
) -> Any:
    (h,) = first
    outputs = np.empty_like(x)
    wt = w.T
    for t in _order(len(x), reverse):
        z = outputs[t]
        np.matmul(h, wt, out=z)
        if b is not None:
            z += b
        z += x[t]
        h = squash(z, z)
    return (outputs,), None


def tanh_run(x: ndarray, first: tuple[ndarray, ...], w: ndarray, b: ndarray | None, reverse: bool) -> Any:
    """((h,) of all steps, nothing more)."""
    return _plain_run(x, first, w, b, reverse, np.tanh)


def relu_run(x: ndarray, first: tuple[ndarray, ...], w: ndarray, b: ndarray | None, reverse: bool) -> Any:
    """((h,) of all steps, nothing more)."""
    return _plain_run(x, first, w, b, reverse, lambda z, out: np.maximum(z, 0, out=out))


def _plain_gradient(
    slopes: ndarray,
    states: tuple[ndarray, ...],
    first: tuple[ndarray, ...],
    w: ndarray,
    reverse: bool,
    g_outputs: ndarray,
    g_last: tuple[ndarray | None, ...],
) -> Any:
    (outputs,) = states
    d = np.empty_like(outputs)
    dh = np.zeros_like(first[0]) if g_last[0] is None else g_last[0]
    for t in _order(len(outputs), not reverse):
        dh = dh + g_outputs[t]
        np.multiply(dh, slopes[t], out=d[t])
        dh = d[t] @ w
    return d, (dh,), *_weight_gradients(d, _before(outputs, first[0], reverse))


def tanh_gradient(kept: Any, states: tuple[ndarray, ...], *rest: Any) -> Any:
    """Gradients of (x, first states, weight, bias), given those of all outputs and of the last states."""
    return _plain_gradient(1 - states[0] * states[0], states, *rest)


def relu_gradient(kept: Any, states: tuple[ndarray, ...], *rest: Any) -> Any:
    """Gradients of (x, first states, weight, bias), given those of all outputs and of the last states."""
    return _plain_gradient((states[0] > 0).astype(states[0].dtype), states, *rest)


class Run(NamedTuple):
    """A recurrence over a sequence, and its gradient."""

    forward: Callable[..., Any]
    gradient: Callable[..., Any]


RUNS = {
    "LSTM": Run(lstm_run, lstm_gradient),
    "GRU": Run(gru_run, gru_gradient),
    "RNN_TANH": Run(tanh_run, tanh_gradient),
    "RNN_RELU": Run(relu_run, relu_gradient),
}
