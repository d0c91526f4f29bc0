"""Whole recurrent layers over a sequence, each one entry: what the steps keep is kept in a few arrays for the backward.

In: the input's part of every step (T, B, gates · H), the recurrent weight (gates · H, H), its bias or None, and the first
states (B, H). Out: the outputs (T, B, H), the last states (B, H), and what the backward on arrays wants: the states
before and after all steps, (T + 1, B, H), and the gates. All arrays may have the same dimensions more, before their last two (the
bias before its last one). Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997); Cho and others, "Learning Phrase
Representations using RNN Encoder-Decoder" (2014), the reset gate applied after the product.

The rules go back through time in differentiable steps where they are on tensors, and in one kernel where they are on arrays.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .products import transposed


def _steps(xp: Any, x: Any, reverse: bool) -> Any:
    """The steps of a sequence in the order of the run."""
    found = list(xp.unbind(x, axis=0))
    return found[::-1] if reverse else found


def _recurrent(xp: Any, h: Any, w: Any, b: Any) -> Any:
    made = xp.matmul(h, transposed(xp, w))
    return made if b is None else made + xp.expand_dims(b, b.ndim - 1)


def _gates(xp: Any, z: Any, count: int) -> Any:
    z = xp.reshape(z, (*z.shape[:-1], count, z.shape[-1] // count))
    return xp.unbind(z, axis=z.ndim - 2)


def _joined(xp: Any, parts: Any) -> Any:
    return xp.concat(parts, axis=parts[0].ndim - 1)


def _collected(xp: Any, dx: Any, dw: Any, d_bias: Any, reverse: bool, *first: Any) -> Any:
    """The gradients in the order of the inputs, those of the steps having been gathered from the last step on."""
    dx = xp.stack(dx if reverse else dx[::-1], axis=0)
    return [dx, _sum(dw), _sum(d_bias), *first]


def _sum(parts: Any) -> Any:
    made = parts[0]
    for each in parts[1:]:
        made = made + each
    return made


def _shared(xp: Any, d: Any, h: Any) -> Any:
    """(gradient of the weight, of the bias) from one step."""
    return xp.matmul(transposed(xp, d), h), xp.sum(d, axis=d.ndim - 2)


def _batched(apply: Any, size: int, arrays: Any, dims: Any, reverse: Any, *static: Any) -> Any:
    """With one weight for all, the batch's dimension joins the one it already has; else it comes before."""
    x, w, b, *first = arrays
    if dims[1] is None and dims[2] is None:
        together = [
            (a.movedim(d, -3) if d is not None else a.unsqueeze(-3).expand((*a.shape[:-2], size, *a.shape[-2:]))).flatten(-3, -2)
            for a, d in zip((x, *first), (dims[0], *dims[3:]))
        ]
        outs = apply(together[0], w, b, *together[1:])
        return tuple([o.unflatten(-2, (size, -1)) for o in outs]), tuple([o.ndim - 2 for o in outs])
    x = x.movedim(dims[0], 1) if dims[0] is not None else x.unsqueeze(1).expand((x.shape[0], size, *x.shape[1:]))
    rest = [
        a if a is None else a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))
        for a, d in zip((w, b, *first), dims[1:])
    ]
    outs = apply(x, *rest)
    count = len(first)
    return outs, tuple([0 if 1 <= k <= count else 1 for k in range(len(outs))])


# Long short-term memory


@primitive(
    grad="MkldnnRnnLayer",
    outputs="out last cell states cells gates squashed",
    nondiff="states cells gates squashed",
)
def lstm_layer(xp, x, w, b, h, c, /, reverse):
    """c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c), with (i, f, g, o) = x + W h + b."""
    return xp.lstm_layer(x, w, b, h, c, reverse)


def _lstm_back(xp, g_out, g_last, g_cell, x, w, b, h, c, states, cells, gates, squashed, reverse):
    if hasattr(xp, "lstm_layer_gradients"):
        return xp.lstm_layer_gradients(g_out, g_last, g_cell, w, states, cells, gates, squashed, reverse)
    kept = []
    for z in _steps(xp, x, reverse):
        i, f, g, o = _gates(xp, z + _recurrent(xp, h, w, b), 4)
        i, f, g, o = xp.sigmoid(i), xp.sigmoid(f), xp.tanh(g), xp.sigmoid(o)
        before = h, c
        c = f * c + i * g
        s = xp.tanh(c)
        h = o * s
        kept.append((*before, i, f, g, o, s))
    dh, dc = g_last, g_cell
    dx, dw, db = [], [], []
    for given, (h, c, i, f, g, o, s) in zip(_steps(xp, g_out, not reverse), kept[::-1]):
        dh = dh + given
        dc = dc + dh * o * (1 - s * s)
        d = _joined(xp, [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * s * o * (1 - o)])
        dc = dc * f
        dh = xp.matmul(d, w)
        dx.append(d)
        in_weight, in_bias = _shared(xp, d, h)
        dw.append(in_weight)
        db.append(in_bias)
    return _collected(xp, dx, dw, db, reverse, dh, dc)


def _lstm_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, g_cell, x, w, b, h, c, states, cells, gates, squashed, reverse):
        return _lstm_back(xp, g_out, g_last, g_cell, x, w, b, h, c, states, cells, gates, squashed, reverse)[k]

    return rule


lstm_layer.derivative(x=_lstm_rule(0), w=_lstm_rule(1), b=_lstm_rule(2), h=_lstm_rule(3), c=_lstm_rule(4))
lstm_layer.batching(_batched)


@lstm_layer.jointly
def _lstm_all(xp, wanted, g_out, g_last, g_cell, x, w, b, h, c, states, cells, gates, squashed, reverse):
    made = xp.lstm_layer_gradients(g_out, g_last, g_cell, w, states, cells, gates, squashed, reverse)
    return [r if wants else None for r, wants in zip(made, wanted)]


# The gated recurrent unit


@primitive(grad="Stack", outputs="out last states gates hidden", nondiff="states gates hidden")
def gru_layer(xp, x, w, b, h, /, reverse):
    """h = n + z·(h - n), with n = tanh(x + r·(W h + b)), and r and z = σ(x + W h + b)."""
    return xp.gru_layer(x, w, b, h, reverse)


def _gru_back(xp, g_out, g_last, x, w, b, h, states, gates, hidden, reverse):
    if hasattr(xp, "gru_layer_gradients"):
        return xp.gru_layer_gradients(g_out, g_last, w, states, gates, hidden, reverse)
    kept = []
    for given in _steps(xp, x, reverse):
        xr, xz, xn = _gates(xp, given, 3)
        hr, hz, hn = _gates(xp, _recurrent(xp, h, w, b), 3)
        r, z = xp.sigmoid(xr + hr), xp.sigmoid(xz + hz)
        n = xp.tanh(xn + r * hn)
        kept.append((h, r, z, n, hn))
        h = n + z * (h - n)
    dh = g_last
    dx, dw, db = [], [], []
    for given, (h, r, z, n, hn) in zip(_steps(xp, g_out, not reverse), kept[::-1]):
        dh = dh + given
        dn = dh * (1 - z) * (1 - n * n)
        dr = dn * hn * r * (1 - r)
        dz = dh * (h - n) * z * (1 - z)
        d = _joined(xp, [dr, dz, dn * r])
        dx.append(_joined(xp, [dr, dz, dn]))
        dh = dh * z + xp.matmul(d, w)
        in_weight, in_bias = _shared(xp, d, h)
        dw.append(in_weight)
        db.append(in_bias)
    return _collected(xp, dx, dw, db, reverse, dh)


def _gru_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, x, w, b, h, states, gates, hidden, reverse):
        return _gru_back(xp, g_out, g_last, x, w, b, h, states, gates, hidden, reverse)[k]

    return rule


gru_layer.derivative(x=_gru_rule(0), w=_gru_rule(1), b=_gru_rule(2), h=_gru_rule(3))
gru_layer.batching(_batched)


@gru_layer.jointly
def _gru_all(xp, wanted, g_out, g_last, x, w, b, h, states, gates, hidden, reverse):
    made = xp.gru_layer_gradients(g_out, g_last, w, states, gates, hidden, reverse)
    return [r if wants else None for r, wants in zip(made, wanted)]


# The plain recurrence


@primitive(grad="Stack", outputs="out last states", nondiff="states")
def rnn_layer(xp, x, w, b, h, /, reverse, relu):
    """h = tanh(x + W h + b), or relu of it."""
    return xp.rnn_layer(x, w, b, h, reverse, relu)


def _rnn_back(xp, g_out, g_last, x, w, b, h, states, reverse, relu):
    if hasattr(xp, "rnn_layer_gradients"):
        return xp.rnn_layer_gradients(g_out, g_last, w, states, reverse, relu)
    kept = []
    for z in _steps(xp, x, reverse):
        before = h
        h = z + _recurrent(xp, h, w, b)
        h = xp.relu(h) if relu else xp.tanh(h)
        kept.append((before, h))
    dh = g_last
    dx, dw, db = [], [], []
    for given, (before, h) in zip(_steps(xp, g_out, not reverse), kept[::-1]):
        dh = dh + given
        d = xp.where(h > 0, dh, xp.zeros_like(dh)) if relu else dh * (1 - h * h)
        dh = xp.matmul(d, w)
        dx.append(d)
        in_weight, in_bias = _shared(xp, d, before)
        dw.append(in_weight)
        db.append(in_bias)
    return _collected(xp, dx, dw, db, reverse, dh)


def _rnn_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, x, w, b, h, states, reverse, relu):
        return _rnn_back(xp, g_out, g_last, x, w, b, h, states, reverse, relu)[k]

    return rule


rnn_layer.derivative(x=_rnn_rule(0), w=_rnn_rule(1), b=_rnn_rule(2), h=_rnn_rule(3))
rnn_layer.batching(_batched)


@rnn_layer.jointly
def _rnn_all(xp, wanted, g_out, g_last, x, w, b, h, states, reverse, relu):
    made = xp.rnn_layer_gradients(g_out, g_last, w, states, reverse, relu)
    return [r if wants else None for r, wants in zip(made, wanted)]

