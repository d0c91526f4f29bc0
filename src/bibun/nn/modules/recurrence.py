"""The recurrences themselves: one step of each cell, and a layer's run over a sequence.

In: tensors of inputs, states and weights. Out: tensors of outputs and states. The input's part of every step is one
product for the whole sequence; only the state's part is done step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...functions.recurrent import run_whole
from .. import functional as F
from ..tensors import cat, stack

__all__ = ["GATES", "by_layer", "gru_step", "lstm_step", "relu_step", "run_cell", "run_layer", "run_layers", "tanh_step"]

#: How many blocks of rows the weights of each mode have.
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def tanh_step(x: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
    """h = tanh(x + W h + b), `x` being the input's part."""
    return ((x + F.linear(state[0], w_hh, b_hh)).tanh(),)


def relu_step(x: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
    """h = relu(x + W h + b)."""
    return ((x + F.linear(state[0], w_hh, b_hh)).relu(),)


def lstm_step(x: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any, w_hr: Any = None) -> tuple[Any, ...]:
    """(h, c) of the long short-term memory (Hochreiter & Schmidhuber, 1997); `w_hr` projects h."""
    h, c = state
    i, f, g, o = (x + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if w_hr is None else F.linear(h, w_hr)), c


def gru_step(x: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any) -> tuple[Any, ...]:
    """h of the gated recurrent unit (Cho et al., 2014), the reset gate applied after the product."""
    h = state[0]
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = F.linear(h, w_hh, b_hh).chunk(3, -1)
    r = (xr + hr).sigmoid()
    z = (xz + hz).sigmoid()
    n = (xn + r * hn).tanh()
    return (n + z * (h - n),)


STEPS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "RNN_TANH": tanh_step,
    "RNN_RELU": relu_step,
    "LSTM": lstm_step,
    "GRU": gru_step,
}


def _weights(flat: Any, has_biases: bool, projected: bool) -> tuple[Any, Any, Any, Any, tuple[Any, ...]]:
    """(W_ih, W_hh, b_ih, b_hh, what else the step takes) out of a layer's list."""
    rest = list(flat)
    w_ih, w_hh = rest[:2]
    b_ih, b_hh = rest[2:4] if has_biases else (None, None)
    return w_ih, w_hh, b_ih, b_hh, (rest[-1],) if projected else ()


def _whole(
    mode: str, x: Any, state: tuple[Any, ...], flat: Any, has_biases: bool, projected: bool, reverse: bool, sizes: Any
) -> Any:
    """The run of a layer in one go: its outputs and last state; None for what has to be done step by step."""
    if projected or not x.shape[0]:
        return None
    outputs = run_whole(mode, (x, *(flat if has_biases else (*flat, None, None)), *state), reverse, sizes)
    return None if outputs is None else (outputs[0], outputs[1 : 1 + len(state)])


def run_cell(
    mode: str, x: Any, state: tuple[Any, ...], w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
) -> tuple[Any, ...]:
    """One step over (B, features), whose sizes fit: the new state."""
    rows = x.shape[0]
    outputs = run_whole(mode, (x, w_ih, w_hh, b_ih, b_hh, *state), False, (rows,)) if rows else None
    if outputs is None:
        return STEPS[mode](F.linear(x, w_ih, b_ih), state, w_hh, b_hh)
    return (outputs[0], outputs[2]) if mode == "LSTM" else outputs[:1]


def run_layer(
    mode: str, x: Any, state: tuple[Any, ...], flat: Any, has_biases: bool, projected: bool, reverse: bool
) -> tuple[Any, tuple[Any, ...]]:
    """One layer, in one direction, over (T, B, features): the outputs (T, B, H) and the last state."""
    made = _whole(mode, x, state, flat, has_biases, projected, reverse, None)
    if made is not None:
        return made
    w_ih, w_hh, b_ih, b_hh, more = _weights(flat, has_biases, projected)
    return _steps(mode, F.linear(x, w_ih, b_ih), state, w_hh, b_hh, more, reverse)


def _steps(
    mode: str, x: Any, state: tuple[Any, ...], w_hh: Any, b_hh: Any, more: tuple[Any, ...], reverse: bool
) -> tuple[Any, tuple[Any, ...]]:
    """`run_layer` step by step, given the input's part."""
    step = STEPS[mode]
    steps = x.unbind(0)
    outputs = []
    for each in reversed(steps) if reverse else steps:
        state = step(each, state, w_hh, b_hh, *more)
        outputs.append(state[0])
    if reverse:
        outputs.reverse()
    return stack(outputs, 0), state


def run_packed_layer(
    mode: str,
    data: Any,
    batch_sizes: list[int],
    state: tuple[Any, ...],
    flat: Any,
    has_biases: bool,
    projected: bool,
    reverse: bool,
) -> tuple[Any, tuple[Any, ...]]:
    """`run_layer` over packed sequences: (total length, features), of which ``batch_sizes`` reach each time step."""
    made = _whole(mode, data, state, flat, has_biases, projected, reverse, tuple(batch_sizes))
    if made is not None:
        return made
    step = STEPS[mode]
    w_ih, w_hh, b_ih, b_hh, more = _weights(flat, has_biases, projected)
    steps = F.linear(data, w_ih, b_ih).split(batch_sizes, 0)
    outputs = []
    if reverse:  # the short sequences join on the way, each with its initial state
        first = state
        state = tuple(s[: batch_sizes[-1]] for s in first)
        for each, size in zip(reversed(steps), reversed(batch_sizes)):
            present = state[0].shape[0]
            if size > present:
                state = tuple(cat([s, f[present:size]], 0) for s, f in zip(state, first))
            state = step(each, state, w_hh, b_hh, *more)
            outputs.append(state[0])
        outputs.reverse()
        return cat(outputs, 0), state
    finished: list[tuple[Any, ...]] = []  # the short sequences leave on the way, with their last state
    for each, size in zip(steps, batch_sizes):
        if size < state[0].shape[0]:
            finished.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = step(each, state, w_hh, b_hh, *more)
        outputs.append(state[0])
    last = [state, *reversed(finished)]
    return cat(outputs, 0), tuple(cat(list(parts), 0) for parts in zip(*last))


def by_layer(states: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """States (layers · directions, B, H) by layer and direction."""
    return list(zip(*[s.unbind(0) for s in states]))


def run_layers(
    mode: str,
    input: Any,
    states: list[tuple[Any, ...]],
    weights: Any,
    sizes: list[int] | None,
    bidirectional: bool,
    has_biases: bool,
    projected: bool,
    dropout: float,
) -> tuple[Any, tuple[Any, ...]]:
    """All layers over (T, B, features), or over packed data of which ``sizes`` reach each step.

    ``states`` has those of each layer and direction, (B, H), ``weights`` a list for each; between layers elements are dropped with
    probability ``dropout``. The last states are (layers · directions, B, H).
    """
    directions = 2 if bidirectional else 1
    layers = len(weights) // directions
    lasts = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            rest = (states[k], weights[k], has_biases, projected, direction == 1)
            if sizes is None:
                output, last = run_layer(mode, input, *rest)
            else:
                output, last = run_packed_layer(mode, input, sizes, *rest)
            outputs.append(output)
            lasts.append(last)
        input = outputs[0] if directions == 1 else cat(outputs, -1)
        if dropout and layer < layers - 1:
            input = F.dropout(input, dropout, True)
    if len(lasts) == 1:
        return input, tuple([s.unsqueeze(0) for s in lasts[0]])
    return input, tuple([stack(list(parts), 0) for parts in zip(*lasts)])
