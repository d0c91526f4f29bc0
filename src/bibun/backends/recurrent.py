"""Whole recurrent layers on arrays: a run over all time steps, and its gradient, with nothing in between.

In and out: see `bibun.ops.recurrent`, whose entries these compute; what does not depend on the state is computed for all steps at
once, and layers with gates go to a native kernel unless they are small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .large import native

__all__ = [
    "gru_layer",
    "gru_layer_gradients",
    "lstm_layer",
    "lstm_layer_gradients",
    "rnn_layer",
    "rnn_layer_gradients",
]

ndarray = np.ndarray
#: Elements of the gates of all steps from which the native kernel is worth being made.
MANY = 1 << 11


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _sigmoid(x: ndarray) -> None:
    """1 / (1 + exp(-x)), in place."""
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)


def _room(first: ndarray, steps: int, reverse: bool) -> tuple[ndarray, ndarray, ndarray]:
    """(the states around all steps, of these those before each step, those after it)."""
    states = np.empty((steps + 1, *first.shape), first.dtype)
    states[-1 if reverse else 0] = first
    return states, *_sides(states, reverse)


def _sides(states: ndarray, reverse: bool) -> tuple[ndarray, ndarray]:
    return (states[1:], states[:-1]) if reverse else (states[:-1], states[1:])


def _last(states: ndarray, reverse: bool) -> ndarray:
    return states[0 if reverse else -1].copy()


def _row(b: ndarray | None) -> ndarray | None:
    return None if b is None else b[..., None, :]


def _shared(d: ndarray, h: ndarray, w: ndarray) -> tuple[ndarray, ndarray]:
    """Gradients of the recurrent weight and bias, from the gradients (T, B, rows) and the states before (T, B, H)."""
    if w.ndim > 2:
        d, h = (np.moveaxis(a, 0, -3).reshape(*a.shape[1:-2], -1, a.shape[-1]) for a in (d, h))
        return np.matmul(d.swapaxes(-1, -2), h), d.sum(axis=-2)
    flat, before = d.reshape(-1, d.shape[-1]), h.reshape(-1, h.shape[-1])
    return flat.T @ before, flat.sum(axis=0)


def _given(g: Any, shape: Any, like: ndarray) -> ndarray:
    return np.zeros(shape, like.dtype) if g is None else g


def lstm_layer(x: ndarray, w: ndarray, b: Any, h: ndarray, c: ndarray, reverse: bool) -> tuple[ndarray, ...]:
    """(outputs, last state and cell, states and cells around all steps, gates, tanh of the cells)."""
    if x.size >= MANY and native():
        from ..native.kernels import recurrent

        made = recurrent.lstm(x, w, b, h, c, reverse)
        if made is not NotImplemented:
            return made
    n = w.shape[-1]
    states, _, outputs = _room(h, len(x), reverse)
    cells, _, after = _room(c, len(x), reverse)
    gates, squashed = np.empty_like(x, order="C"), np.empty_like(outputs)
    wt, b = w.swapaxes(-1, -2), _row(b)
    for t in _order(len(x), reverse):
        z = gates[t]
        np.matmul(h, wt, out=z)
        if b is not None:
            z += b
        z += x[t]
        _sigmoid(z[..., : 2 * n])
        np.tanh(z[..., 2 * n : 3 * n], out=z[..., 2 * n : 3 * n])
        _sigmoid(z[..., 3 * n :])
        c = np.multiply(z[..., n : 2 * n], c, out=after[t])
        c += z[..., :n] * z[..., 2 * n : 3 * n]
        h = np.multiply(z[..., 3 * n :], np.tanh(c, out=squashed[t]), out=outputs[t])
    return outputs.copy(), _last(states, reverse), _last(cells, reverse), states, cells, gates, squashed


def lstm_layer_gradients(
    g_outputs: Any,
    dh: Any,
    dc: Any,
    w: ndarray,
    states: ndarray,
    cells: ndarray,
    gates: ndarray,
    squashed: ndarray,
    reverse: bool,
) -> list[ndarray]:
    """Gradients of (x, weight, bias, first state, first cell), given those of the outputs, last state and last cell (None: zeros)."""
    g_outputs = _given(g_outputs, squashed.shape, states)
    dh, dc = (_given(g, states.shape[1:], states) for g in (dh, dc))
    if gates.size >= MANY and native():
        from ..native.kernels import recurrent

        made = recurrent.lstm_gradients(g_outputs, dh, dc, w, states, cells, gates, squashed, reverse)
        if made is not NotImplemented:
            return made
    n = w.shape[-1]
    before = _sides(states, reverse)[0]
    split = gates.reshape(*gates.shape[:-1], 4, n)
    i, f, g, o = (split[..., k, :] for k in range(4))
    # d(pre-activation) is d(cell), or for the last gate d(output), times these; d(cell) takes d(output) times `into`.
    slopes = np.empty_like(split)
    slopes[..., 0, :] = g * i * (1 - i)
    slopes[..., 1, :] = _sides(cells, reverse)[0] * f * (1 - f)
    slopes[..., 2, :] = i * (1 - g * g)
    slopes[..., 3, :] = squashed * o * (1 - o)
    into = o * (1 - squashed * squashed)
    d = np.empty_like(split)
    dx = d.reshape(gates.shape)
    for t in _order(len(gates), not reverse):
        dh = dh + g_outputs[t]
        dc = dc + dh * into[t]
        np.multiply(dc[..., None, :], slopes[t, ..., :3, :], out=d[t, ..., :3, :])
        np.multiply(dh, slopes[t, ..., 3, :], out=d[t, ..., 3, :])
        dc = dc * f[t]
        dh = dx[t] @ w
    return [dx, *_shared(dx, before, w), dh, dc]


def gru_layer(x: ndarray, w: ndarray, b: Any, h: ndarray, reverse: bool) -> tuple[ndarray, ...]:
    """(outputs, last state, states around all steps, gates, the last gate's recurrent part)."""
    if x.size >= MANY and native():
        from ..native.kernels import recurrent

        made = recurrent.gru(x, w, b, h, reverse)
        if made is not NotImplemented:
            return made
    n = w.shape[-1]
    states, _, outputs = _room(h, len(x), reverse)
    gates, hidden = np.empty_like(x, order="C"), np.empty_like(outputs)
    wt, b = w.swapaxes(-1, -2), _row(b)
    for t in _order(len(x), reverse):
        y = h @ wt
        if b is not None:
            y += b
        z = gates[t]
        np.add(x[t, ..., : 2 * n], y[..., : 2 * n], out=z[..., : 2 * n])
        _sigmoid(z[..., : 2 * n])
        hidden[t] = y[..., 2 * n :]
        new = z[..., 2 * n :]
        np.multiply(z[..., :n], hidden[t], out=new)
        new += x[t, ..., 2 * n :]
        np.tanh(new, out=new)
        out = outputs[t]
        np.subtract(h, new, out=out)
        out *= z[..., n : 2 * n]
        out += new
        h = out
    return outputs.copy(), _last(states, reverse), states, gates, hidden


def gru_layer_gradients(
    g_outputs: Any,
    dh: Any,
    w: ndarray,
    states: ndarray,
    gates: ndarray,
    hidden: ndarray,
    reverse: bool,
) -> list[ndarray]:
    """Gradients of (x, weight, bias, first state), given those of the outputs and the last state (None: zeros)."""
    g_outputs, dh = _given(g_outputs, hidden.shape, states), _given(dh, states.shape[1:], states)
    if gates.size >= MANY and native():
        from ..native.kernels import recurrent

        made = recurrent.gru_gradients(g_outputs, dh, w, states, gates, hidden, reverse)
        if made is not NotImplemented:
            return made
    n = w.shape[-1]
    split = gates.reshape(*gates.shape[:-1], 3, n)
    r, z, new = (split[..., k, :] for k in range(3))
    before = _sides(states, reverse)[0]
    # All three are d(output) times these.
    to_new = (1 - z) * (1 - new * new)
    slopes = np.empty_like(split)
    slopes[..., 0, :] = to_new * hidden * r * (1 - r)
    slopes[..., 1, :] = (before - new) * z * (1 - z)
    slopes[..., 2, :] = to_new * r  # of the recurrent part; the input's part lacks r
    d = np.empty_like(split)
    dy = d.reshape(gates.shape)
    dx_new = np.empty_like(hidden)
    for t in _order(len(gates), not reverse):
        dh = dh + g_outputs[t]
        np.multiply(dh[..., None, :], slopes[t], out=d[t])
        np.multiply(dh, to_new[t], out=dx_new[t])
        dh = dh * z[t]
        dh += dy[t] @ w
    dw, db = _shared(dy, before, w)
    dx = dy.copy()
    dx[..., 2 * n :] = dx_new
    return [dx, dw, db, dh]


def _relu(z: ndarray, out: ndarray) -> ndarray:
    return np.maximum(z, 0, out=out)


def rnn_layer(x: ndarray, w: ndarray, b: Any, h: ndarray, reverse: bool, relu: bool) -> tuple[ndarray, ...]:
    """(outputs, last state, states around all steps)."""
    states, _, outputs = _room(h, len(x), reverse)
    wt, b = w.swapaxes(-1, -2), _row(b)
    squash: Callable[..., Any] = _relu if relu else np.tanh
    for t in _order(len(x), reverse):
        z = outputs[t]
        np.matmul(h, wt, out=z)
        if b is not None:
            z += b
        z += x[t]
        h = squash(z, out=z)
    return outputs.copy(), _last(states, reverse), states


def rnn_layer_gradients(
    g_outputs: Any, dh: Any, w: ndarray, states: ndarray, reverse: bool, relu: bool
) -> list[ndarray]:
    """Gradients of (x, weight, bias, first state), given those of the outputs and the last state (None: zeros)."""
    before, outputs = _sides(states, reverse)
    g_outputs, dh = _given(g_outputs, outputs.shape, states), _given(dh, states.shape[1:], states)
    slopes = (outputs > 0).astype(outputs.dtype) if relu else 1 - outputs * outputs
    d = np.empty_like(outputs)
    for t in _order(len(outputs), not reverse):
        dh = dh + g_outputs[t]
        np.multiply(dh, slopes[t], out=d[t])
        dh = d[t] @ w
    return [d, *_shared(d, before, w), dh]
