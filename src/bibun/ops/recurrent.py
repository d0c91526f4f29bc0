"""Whole recurrent layers over a sequence, each one entry: what the steps keep is kept in a few arrays for the backward.

In: the inputs (T, B, I), their weight (gates · H, I), the recurrent weight (gates · H, H), the biases of both or None, and the first
states (B, H); or packed inputs, the rows of all steps one below the other, with ``sizes`` saying how many sequences reach each step.
Out: the outputs (T, B, H), the last states (B, H), and, with ``keep``, what the backward on arrays wants: the states before all steps
and the gates. All arrays may have the same dimensions more, before their last two (the biases before their last one). Hochreiter and
Schmidhuber, "Long Short-Term Memory" (1997); Cho and others, "Learning Phrase Representations using RNN Encoder-Decoder" (2014), the
reset gate applied after the product.

The rules go back through time in differentiable steps where they are on tensors, and in one kernel where they are on arrays.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive
from .products import transposed

__all__ = ["gru_layer", "lstm_layer", "rnn_layer"]


def _pieces(xp: Any, x: Any, sizes: Any, reverse: bool) -> Any:
    """The steps of a sequence in the order of the run."""
    if sizes is None:
        found = list(xp.unbind(x, axis=0))
    else:
        found, begin = [], 0
        for n in sizes:
            found.append(x[begin : begin + n])
            begin += n
    return found[::-1] if reverse else found


def _live(h: Any, like: Any) -> Any:
    """The states of the sequences that reach a step."""
    return h if h.shape[-2] == like.shape[-2] else h[: like.shape[0]]


def _with_others(xp: Any, new: Any, h: Any) -> Any:
    """The states of all sequences after a step that gives those of the first."""
    return new if h.shape[-2] == new.shape[-2] else xp.concat([new, h[new.shape[0] :]], axis=0)


def _product(xp: Any, h: Any, w: Any, b: Any) -> Any:
    made = xp.matmul(h, transposed(xp, w))
    return made if b is None else made + xp.expand_dims(b, b.ndim - 1)


def _gates(xp: Any, z: Any, count: int) -> Any:
    z = xp.reshape(z, (*z.shape[:-1], count, z.shape[-1] // count))
    return xp.unbind(z, axis=z.ndim - 2)


def _joined(xp: Any, parts: Any) -> Any:
    return xp.concat(parts, axis=parts[0].ndim - 1)


def _collected(xp: Any, x: Any, u: Any, steps: Any, sizes: Any, reverse: bool, *first: Any) -> Any:
    """The gradients in the order of the inputs, from (those of the input's part, of the state's, the state) from the last step on."""
    dx: list[Any] = []
    sums: list[Any] = []
    for each, (dz, dy, h) in zip(_pieces(xp, x, sizes, not reverse), steps):
        dx.append(xp.matmul(dz, u))
        now = [*_shared(xp, dz, each), *_shared(xp, dy, h)]
        sums = [a + b for a, b in zip(sums, now)] if sums else now
    du, dbu, dw, dbw = sums
    dx = dx if reverse else dx[::-1]
    return [xp.stack(dx, axis=0) if sizes is None else xp.concat(dx, axis=0), du, dw, dbu, dbw, *first]


def _shared(xp: Any, d: Any, h: Any) -> Any:
    """(gradient of the weight, of the bias) from one step."""
    return xp.matmul(transposed(xp, d), h), xp.sum(d, axis=d.ndim - 2)


def _batched(apply: Any, size: int, arrays: Any, dims: Any, reverse: Any, keep: Any, sizes: Any, *static: Any) -> Any:
    """With one set of weights for all, the batch's dimension joins the one it already has; else it comes before. Packed sequences go
    one batch after the other."""
    if sizes is not None and len(sizes) > 1:
        return NotImplemented
    if sizes is not None:  # one step is a sequence of one
        x, d = arrays[0], dims[0]
        outs, ds = _batched(
            lambda *a: apply(*a, sizes=None), size, (x.unsqueeze(0), *arrays[1:]), (None if d is None else d % x.ndim + 1, *dims[1:]),
            reverse, keep, None, *static,
        )  # fmt: skip
        k = len(arrays) - 5
        return tuple([o if 1 <= i <= k else o.squeeze(0) for i, o in enumerate(outs)]), tuple([d if 1 <= i <= k else d - 1 for i, d in enumerate(ds)])
    x, u, w, bu, bw, *first = arrays
    if all(d is None for d in dims[1:5]):
        together = [
            (a.movedim(d, -3) if d is not None else a.unsqueeze(-3).expand((*a.shape[:-2], size, *a.shape[-2:]))).flatten(-3, -2)
            for a, d in zip((x, *first), (dims[0], *dims[5:]))
        ]
        outs = apply(together[0], u, w, bu, bw, *together[1:])
        return tuple([o.unflatten(-2, (size, -1)) for o in outs]), tuple([o.ndim - 2 for o in outs])
    x = x.movedim(dims[0], 1) if dims[0] is not None else x.unsqueeze(1).expand((x.shape[0], size, *x.shape[1:]))
    rest = [
        a if a is None else a.movedim(d, 0) if d is not None else a.expand((size, *a.shape))
        for a, d in zip(arrays[1:], dims[1:])
    ]
    outs = apply(x, *rest)
    count = len(first)
    return outs, tuple([0 if 1 <= k <= count else 1 for k in range(len(outs))])


# Long short-term memory


@primitive(
    grad="MkldnnRnnLayer",
    outputs="out last cell before cells gates squashed",
    nondiff="before cells gates squashed",
)
def lstm_layer(xp, x, u, w, bu, bw, h, c, /, reverse, keep, sizes):
    """c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c), with (i, f, g, o) = U x + W h + the biases."""
    return xp.lstm_layer(x, u, w, bu, bw, h, c, reverse, keep, sizes)


def _lstm_back(xp, g_out, g_last, g_cell, x, u, w, bu, bw, h, c, before, cells, gates, squashed, reverse, sizes):
    if hasattr(xp, "lstm_layer_gradients"):
        return xp.lstm_layer_gradients(
            g_out, g_last, g_cell, x, u, w, h, before, cells, gates, squashed, reverse, sizes, (True,) * 7
        )
    kept = []
    for z in _pieces(xp, _product(xp, x, u, bu), sizes, reverse):
        hs, cs = _live(h, z), _live(c, z)
        i, f, g, o = _gates(xp, z + _product(xp, hs, w, bw), 4)
        i, f, g, o = xp.sigmoid(i), xp.sigmoid(f), xp.tanh(g), xp.sigmoid(o)
        new = f * cs + i * g
        s = xp.tanh(new)
        kept.append((hs, cs, i, f, g, o, s))
        h, c = _with_others(xp, o * s, h), _with_others(xp, new, c)
    dh, dc = g_last, g_cell
    steps = []
    for given, (hs, cs, i, f, g, o, s) in zip(_pieces(xp, g_out, sizes, not reverse), kept[::-1]):
        in_h = _live(dh, given) + given
        in_c = _live(dc, given) + in_h * o * (1 - s * s)
        d = _joined(xp, [in_c * g * i * (1 - i), in_c * cs * f * (1 - f), in_c * i * (1 - g * g), in_h * s * o * (1 - o)])
        dh, dc = _with_others(xp, xp.matmul(d, w), dh), _with_others(xp, in_c * f, dc)
        steps.append((d, d, hs))
    return _collected(xp, x, u, steps, sizes, reverse, dh, dc)


def _lstm_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, g_cell, x, u, w, bu, bw, h, c, before, cells, gates, squashed, reverse, sizes):
        return _lstm_back(xp, g_out, g_last, g_cell, x, u, w, bu, bw, h, c, before, cells, gates, squashed, reverse, sizes)[k]

    return rule


lstm_layer.derivative(**{name: _lstm_rule(k) for k, name in enumerate(lstm_layer.arrays)})
lstm_layer.batching(_batched)


@lstm_layer.jointly
def _lstm_all(xp, wanted, g_out, g_last, g_cell, x, u, w, h, before, cells, gates, squashed, reverse, sizes):
    made = xp.lstm_layer_gradients(
        g_out, g_last, g_cell, x, u, w, h, before, cells, gates, squashed, reverse, sizes, wanted
    )
    return [r if wants else None for r, wants in zip(made, wanted)]


# The gated recurrent unit


@primitive(grad="Stack", outputs="out last before gates hidden", nondiff="before gates hidden")
def gru_layer(xp, x, u, w, bu, bw, h, /, reverse, keep, sizes):
    """h = n + z·(h - n), with n = tanh(U x + b + r·(W h + b')), and r and z = σ(U x + W h + the biases)."""
    return xp.gru_layer(x, u, w, bu, bw, h, reverse, keep, sizes)


def _gru_back(xp, g_out, g_last, x, u, w, bu, bw, h, before, gates, hidden, reverse, sizes):
    if hasattr(xp, "gru_layer_gradients"):
        return xp.gru_layer_gradients(
            g_out, g_last, x, u, w, h, before, gates, hidden, reverse, sizes, (True,) * 6
        )
    kept = []
    for given in _pieces(xp, _product(xp, x, u, bu), sizes, reverse):
        hs = _live(h, given)
        xr, xz, xn = _gates(xp, given, 3)
        hr, hz, hn = _gates(xp, _product(xp, hs, w, bw), 3)
        r, z = xp.sigmoid(xr + hr), xp.sigmoid(xz + hz)
        n = xp.tanh(xn + r * hn)
        kept.append((hs, r, z, n, hn))
        h = _with_others(xp, n + z * (hs - n), h)
    dh = g_last
    steps = []
    for given, (hs, r, z, n, hn) in zip(_pieces(xp, g_out, sizes, not reverse), kept[::-1]):
        in_h = _live(dh, given) + given
        dn = in_h * (1 - z) * (1 - n * n)
        dr = dn * hn * r * (1 - r)
        dz = in_h * (hs - n) * z * (1 - z)
        dy = _joined(xp, [dr, dz, dn * r])
        steps.append((_joined(xp, [dr, dz, dn]), dy, hs))
        dh = _with_others(xp, in_h * z + xp.matmul(dy, w), dh)
    return _collected(xp, x, u, steps, sizes, reverse, dh)


def _gru_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, x, u, w, bu, bw, h, before, gates, hidden, reverse, sizes):
        return _gru_back(xp, g_out, g_last, x, u, w, bu, bw, h, before, gates, hidden, reverse, sizes)[k]

    return rule


gru_layer.derivative(**{name: _gru_rule(k) for k, name in enumerate(gru_layer.arrays)})
gru_layer.batching(_batched)


@gru_layer.jointly
def _gru_all(xp, wanted, g_out, g_last, x, u, w, h, before, gates, hidden, reverse, sizes):
    made = xp.gru_layer_gradients(g_out, g_last, x, u, w, h, before, gates, hidden, reverse, sizes, wanted)
    return [r if wants else None for r, wants in zip(made, wanted)]


# The plain recurrence


@primitive(grad="Stack", outputs="out last before after", nondiff="before after")
def rnn_layer(xp, x, u, w, bu, bw, h, /, reverse, keep, sizes, relu):
    """h = tanh(U x + W h + the biases), or relu of it."""
    return xp.rnn_layer(x, u, w, bu, bw, h, reverse, keep, sizes, relu)


def _rnn_back(xp, g_out, g_last, x, u, w, bu, bw, h, before, after, reverse, sizes, relu):
    if hasattr(xp, "rnn_layer_gradients"):
        return xp.rnn_layer_gradients(g_out, g_last, x, u, w, h, before, after, reverse, sizes, relu, (True,) * 6)
    kept = []
    for z in _pieces(xp, _product(xp, x, u, bu), sizes, reverse):
        hs = _live(h, z)
        new = z + _product(xp, hs, w, bw)
        new = xp.relu(new) if relu else xp.tanh(new)
        kept.append((hs, new))
        h = _with_others(xp, new, h)
    dh = g_last
    steps = []
    for given, (hs, new) in zip(_pieces(xp, g_out, sizes, not reverse), kept[::-1]):
        in_h = _live(dh, given) + given
        d = xp.where(new > 0, in_h, xp.zeros_like(in_h)) if relu else in_h * (1 - new * new)
        steps.append((d, d, hs))
        dh = _with_others(xp, xp.matmul(d, w), dh)
    return _collected(xp, x, u, steps, sizes, reverse, dh)


def _rnn_rule(k: int) -> Any:
    def rule(xp, g_out, g_last, x, u, w, bu, bw, h, before, after, reverse, sizes, relu):
        return _rnn_back(xp, g_out, g_last, x, u, w, bu, bw, h, before, after, reverse, sizes, relu)[k]

    return rule


rnn_layer.derivative(**{name: _rnn_rule(k) for k, name in enumerate(rnn_layer.arrays)})
rnn_layer.batching(_batched)


@rnn_layer.jointly
def _rnn_all(xp, wanted, g_out, g_last, x, u, w, h, before, after, reverse, sizes, relu):
    made = xp.rnn_layer_gradients(g_out, g_last, x, u, w, h, before, after, reverse, sizes, relu, wanted)
    return [r if wants else None for r, wants in zip(made, wanted)]
