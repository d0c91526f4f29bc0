"""Calls of whole recurrent layers: the layers of `bibun.nn` come here.

In: ((x, its weight, the recurrent weight, their biases or None, the first states...), direction, sizes of packed steps or None) of
tensors of one dtype, float32 or float64. Out: the outputs, the last states, and what the backward keeps. One step alone is a packed sequence of one.
"""

from __future__ import annotations

from typing import Any

from ..autograd.direct import make_many
from ..autograd.dispatch import busy, saved_hooks
from ..autograd.modes import state
from ..backends import cpu
from ..backends import recurrent as kernels
from ..dtypes import float32, float64
from ..ops.recurrent import gru_layer, lstm_layer, rnn_layer

__all__ = ["run_whole"]

for _name in kernels.__all__:  # they join the array functions with this subject
    setattr(cpu, _name, getattr(kernels, _name))

_plain = make_many(rnn_layer, kernels.rnn_layer)
#: {mode: (the call, its static arguments after the others)}
_LAYERS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "LSTM": (make_many(lstm_layer, kernels.lstm_layer), ()),
    "GRU": (make_many(gru_layer, kernels.gru_layer), ()),
    "RNN_TANH": (_plain, (False,)),
    "RNN_RELU": (_plain, (True,)),
}


def run_whole(mode: str, arrays: tuple[Any, ...], reverse: bool, sizes: tuple[int, ...] | None) -> Any:
    """The outputs; None for dtypes that are done step by step."""
    d = arrays[0].dtype
    if d is not float32 and d is not float64:
        return None
    graph, keep = state.grad, busy[0] or saved_hooks[0]
    for t in arrays:
        if t is not None:
            if t.dtype is not d:
                return None
            if graph and t.requires_grad:
                keep = True
    call, static = _LAYERS[mode]
    return call(arrays, (reverse, bool(keep), sizes, *static))
