"""Whole recurrent layers on arrays: a run over all time steps, and its gradient, with nothing in between.

In and out: see `bibun.ops.recurrent`, whose entries these compute. All but small layers go to a native kernel; what is here does the
input's part of all steps in one product, and the rest step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .large import native
from .linear import linear, linear_transpose
from .products import mm

__all__ = [
    "gru_layer",
    "gru_layer_gradients",
    "lstm_layer",
    "lstm_layer_gradients",
    "rnn_layer",
    "rnn_layer_gradients",
]

ndarray = np.ndarray
#: Elements of what the inputs' product makes, and steps, from which the native kernel is worth its call.
MANY, STEPS = 1 << 7, 4
EVERY = slice(None)


def _order(steps: Any, sizes: Any, reverse: bool) -> Any:
    """(where a step lies, which sequences reach it), in the order of the run."""
    if sizes is None:
        found = [(t, EVERY) for t in range(len(steps))]
    else:
        found, begin = [], 0
        for n in sizes:
            found.append((slice(begin, begin + n), slice(0, n)))  # type: ignore[arg-type]
            begin += n
    return found[::-1] if reverse else found


def _sigmoid(x: ndarray) -> None:
    """1 / (1 + exp(-x)), in place."""
    x *= -1  # NumPy 2.4's `negative` is wrong where input and output both have gaps of certain sizes
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)


def _room(x: ndarray, columns: int) -> ndarray:
    return np.empty((*x.shape[:-1], columns), x.dtype)


def _times(x: ndarray, w: ndarray, b: ndarray | None) -> ndarray:
    made = np.matmul(x, w.swapaxes(-1, -2))
    if b is not None:
        made += b[..., None, :]
    return made


def _shared(d: ndarray, h: ndarray, w: ndarray) -> tuple[ndarray, ndarray]:
    """Gradients of a weight and its bias, from those of the product and what was multiplied, over all steps."""
    if w.ndim > 2:
        d, h = (np.moveaxis(a, 0, -3).reshape(*a.shape[1:-2], -1, a.shape[-1]) for a in (d, h))
        return np.matmul(d.swapaxes(-1, -2), h), d.sum(axis=-2)
    flat, before = d.reshape(-1, d.shape[-1]), h.reshape(-1, h.shape[-1])
    return flat.T @ before, flat.sum(axis=0)


def _given(g: Any, shape: Any, like: ndarray) -> ndarray:
    return np.zeros(shape, like.dtype) if g is None else g.copy()


@cache
def _kernels() -> Any:
    """The native kernels, or None."""
    if not native():
        return None
    from ..native.kernels import recurrent

    return recurrent


def _many(x: ndarray, u: ndarray, sizes: Any) -> bool:
    return x.size * u.shape[-2] >= MANY * x.shape[-1] and (len(x) if sizes is None else len(sizes)) >= STEPS and native()


def _natively(mode: str, x: ndarray, u: ndarray, w: ndarray, bu: Any, bw: Any, h: Any, c: Any, reverse: bool, keep: bool, sizes: Any) -> Any:
    if sizes is not None and len(sizes) == 1 and w.ndim == 2 and (kernels := _kernels()) is not None:
        return kernels.step(mode, linear(x, u, bu), linear(h, w, bw), h, c, keep)
    if not _many(x, u, sizes):
        return NotImplemented
    return _kernels().layer(mode, x, u, w, bu, bw, h, c, reverse, keep, sizes)


def _gradients_natively(
    mode: str, g: Any, dh: Any, dc: Any, x: ndarray, u: ndarray, w: ndarray, state: Any, before: ndarray, cells: Any, gates: Any,
    last: ndarray, reverse: bool, sizes: Any, wanted: Any,
) -> Any:  # fmt: skip
    alone = sizes is not None and len(sizes) == 1 and w.ndim == 2 and _kernels() is not None
    if not alone and not _many(x, u, sizes):
        return NotImplemented
    g = np.zeros((*x.shape[:-1], w.shape[-1]), x.dtype) if g is None else g
    dh = np.zeros(state, x.dtype) if dh is None else dh
    dc = np.zeros(state, x.dtype) if dc is None and mode == "LSTM" else dc
    if alone:
        dz, dy, dbu, dbw, dh, dc = _kernels().step_gradients(mode, g, dh, dc, before, cells, gates, last)
        dx = linear_transpose(dz, u) if wanted[0] else None
        du, dw = (mm(d.T, a) if wants else None for d, a, wants in zip((dz, dy), (x, before), wanted[1:3]))
        if wanted[5]:
            past = linear_transpose(dy, w)
            dh = np.add(dh, past, out=past) if mode == "GRU" else past
        return [dx, du, dw, dbu, dbw, dh, dc]
    return _kernels().gradients(mode, g, dh, dc, x, u, w, before, cells, gates, last, reverse, sizes, wanted)


def lstm_layer(
    x: ndarray, u: ndarray, w: ndarray, bu: Any, bw: Any, h: ndarray, c: ndarray, reverse: bool, keep: bool, sizes: Any
) -> tuple[ndarray, ...]:
    """(outputs, last state and cell, states and cells before each step, gates, tanh of the cells)."""
    made = _natively("LSTM", x, u, w, bu, bw, h, c, reverse, keep, sizes)
    if made is not NotImplemented:
        return made
    n = w.shape[-1]
    gates = _times(x, u, bu)
    outputs, before, cells, squashed = (_room(gates, n) for _ in range(4))
    h, c = h.copy(), c.copy()
    for t, live in _order(gates, sizes, reverse):
        hs, cs = h[..., live, :], c[..., live, :]
        before[t], cells[t] = hs, cs
        z = gates[t]
        z += _times(hs, w, bw)
        _sigmoid(z[..., : 2 * n])
        np.tanh(z[..., 2 * n : 3 * n], out=z[..., 2 * n : 3 * n])
        _sigmoid(z[..., 3 * n :])
        cs *= z[..., n : 2 * n]
        cs += z[..., :n] * z[..., 2 * n : 3 * n]
        hs[...] = np.multiply(z[..., 3 * n :], np.tanh(cs, out=squashed[t]), out=outputs[t])
    return outputs, h, c, before, cells, gates, squashed


def lstm_layer_gradients(
    g_outputs: Any,
    dh: Any,
    dc: Any,
    x: ndarray,
    u: ndarray,
    w: ndarray,
    h: ndarray,
    before: ndarray,
    cells: ndarray,
    gates: ndarray,
    squashed: ndarray,
    reverse: bool,
    sizes: Any,
    wanted: Any,
) -> list[ndarray]:
    """Gradients of (x, its weight, the recurrent weight, their biases, first state, first cell), given those of the outputs, last state
    and last cell (None: zeros)."""
    made = _gradients_natively(
        "LSTM", g_outputs, dh, dc, x, u, w, h.shape, before, cells, gates, squashed, reverse, sizes, wanted
    )
    if made is not NotImplemented:
        return made
    n = w.shape[-1]
    dh, dc = _given(dh, h.shape, h), _given(dc, h.shape, h)
    split = gates.reshape(*gates.shape[:-1], 4, n)
    i, f, g, o = (split[..., k, :] for k in range(4))
    # d(pre-activation) is d(cell), or for the last gate d(output), times these; d(cell) takes d(output) times `into`.
    slopes = np.empty_like(split)
    slopes[..., 0, :] = g * i * (1 - i)
    slopes[..., 1, :] = cells * f * (1 - f)
    slopes[..., 2, :] = i * (1 - g * g)
    slopes[..., 3, :] = squashed * o * (1 - o)
    into = o * (1 - squashed * squashed)
    d = np.empty_like(split)
    dz = d.reshape(gates.shape)
    for t, live in _order(gates, sizes, not reverse):
        hs, cs = dh[..., live, :], dc[..., live, :]
        if g_outputs is not None:
            hs += g_outputs[t]
        cs += hs * into[t]
        np.multiply(cs[..., None, :], slopes[t][..., :3, :], out=d[t][..., :3, :])
        np.multiply(hs, slopes[t][..., 3, :], out=d[t][..., 3, :])
        cs *= f[t]
        hs[...] = dz[t] @ w
    dw, db = _shared(dz, before, w)
    return [dz @ u, _shared(dz, x, u)[0], dw, db, db.copy(), dh, dc]


def gru_layer(
    x: ndarray, u: ndarray, w: ndarray, bu: Any, bw: Any, h: ndarray, reverse: bool, keep: bool, sizes: Any
) -> tuple[ndarray, ...]:
    """(outputs, last state, states before each step, gates, the last gate's recurrent part)."""
    made = _natively("GRU", x, u, w, bu, bw, h, None, reverse, keep, sizes)
    if made is not NotImplemented:
        out, last, _, before, _, gates, hidden = made
        return out, last, before, gates, hidden
    n = w.shape[-1]
    gates = _times(x, u, bu)
    outputs, before, hidden = (_room(gates, n) for _ in range(3))
    h = h.copy()
    for t, live in _order(gates, sizes, reverse):
        hs = h[..., live, :]
        before[t] = hs
        y = _times(hs, w, bw)
        z = gates[t]
        z[..., : 2 * n] += y[..., : 2 * n]
        _sigmoid(z[..., : 2 * n])
        hidden[t] = y[..., 2 * n :]
        new = z[..., 2 * n :]
        new += z[..., :n] * hidden[t]
        np.tanh(new, out=new)
        out = outputs[t]
        np.subtract(hs, new, out=out)
        out *= z[..., n : 2 * n]
        out += new
        hs[...] = out
    return outputs, h, before, gates, hidden


def gru_layer_gradients(
    g_outputs: Any,
    dh: Any,
    x: ndarray,
    u: ndarray,
    w: ndarray,
    h: ndarray,
    before: ndarray,
    gates: ndarray,
    hidden: ndarray,
    reverse: bool,
    sizes: Any,
    wanted: Any,
) -> list[ndarray]:
    """Gradients of (x, its weight, the recurrent weight, their biases, first state), given those of the outputs and the last state
    (None: zeros)."""
    made = _gradients_natively(
        "GRU", g_outputs, dh, None, x, u, w, h.shape, before, None, gates, hidden, reverse, sizes, wanted
    )
    if made is not NotImplemented:
        return made[:-1]
    n = w.shape[-1]
    dh = _given(dh, h.shape, h)
    split = gates.reshape(*gates.shape[:-1], 3, n)
    r, z, new = (split[..., k, :] for k in range(3))
    # All three are d(output) times these.
    to_new = (1 - z) * (1 - new * new)
    slopes = np.empty_like(split)
    slopes[..., 0, :] = to_new * hidden * r * (1 - r)
    slopes[..., 1, :] = (before - new) * z * (1 - z)
    slopes[..., 2, :] = to_new * r  # of the recurrent part; the input's part lacks r
    d = np.empty_like(split)
    dy = d.reshape(gates.shape)
    dz_new = np.empty_like(hidden)
    for t, live in _order(gates, sizes, not reverse):
        hs = dh[..., live, :]
        if g_outputs is not None:
            hs += g_outputs[t]
        np.multiply(hs[..., None, :], slopes[t], out=d[t])
        np.multiply(hs, to_new[t], out=dz_new[t])
        hs *= z[t]
        hs += dy[t] @ w
    dw, dbw = _shared(dy, before, w)
    dz = dy.copy()
    dz[..., 2 * n :] = dz_new
    du, dbu = _shared(dz, x, u)
    return [dz @ u, du, dw, dbu, dbw, dh]


def _relu(z: ndarray, out: ndarray) -> ndarray:
    return np.maximum(z, 0, out=out)


def rnn_layer(
    x: ndarray, u: ndarray, w: ndarray, bu: Any, bw: Any, h: ndarray, reverse: bool, keep: bool, sizes: Any, relu: bool
) -> tuple[ndarray, ...]:
    """(outputs, last state, states before each step, states after it)."""
    made = _natively("RNN_RELU" if relu else "RNN_TANH", x, u, w, bu, bw, h, None, reverse, keep, sizes)
    if made is not NotImplemented:
        out, last, _, before, _, _, after = made
        return out, last, before, after
    after = _times(x, u, bu)
    before, h = np.empty_like(after), h.copy()
    squash: Callable[..., Any] = _relu if relu else np.tanh
    for t, live in _order(after, sizes, reverse):
        hs, z = h[..., live, :], after[t]
        before[t] = hs
        z += _times(hs, w, bw)
        hs[...] = squash(z, out=z)
    return after.copy(), h, before, after


def rnn_layer_gradients(
    g_outputs: Any,
    dh: Any,
    x: ndarray,
    u: ndarray,
    w: ndarray,
    h: ndarray,
    before: ndarray,
    after: ndarray,
    reverse: bool,
    sizes: Any,
    relu: bool,
    wanted: Any,
) -> list[ndarray]:
    """Gradients of (x, its weight, the recurrent weight, their biases, first state), given those of the outputs and the last state
    (None: zeros)."""
    mode = "RNN_RELU" if relu else "RNN_TANH"
    made = _gradients_natively(
        mode, g_outputs, dh, None, x, u, w, h.shape, before, None, None, after, reverse, sizes, wanted
    )
    if made is not NotImplemented:
        return made[:-1]
    dh = _given(dh, h.shape, h)
    slopes = (after > 0).astype(after.dtype) if relu else 1 - after * after
    d = np.empty_like(after)
    for t, live in _order(after, sizes, not reverse):
        hs = dh[..., live, :]
        if g_outputs is not None:
            hs += g_outputs[t]
        np.multiply(hs, slopes[t], out=d[t])
        hs[...] = d[t] @ w
    dw, db = _shared(d, before, w)
    return [d @ u, _shared(d, x, u)[0], dw, db, db.copy(), dh]
