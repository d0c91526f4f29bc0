"""Calls of whole recurrent layers: the layers of `bibun.nn` come here.

In: ((x, its weight, the recurrent weight, their biases or None, the first states...), direction, sizes of packed steps or None) of
tensors of one dtype, float32 or float64. Out: the outputs, the last states, and what the backward keeps.
"""

from __future__ import annotations

from typing import Any

from ..autograd.direct import make_many
from ..autograd.dispatch import busy, saved_hooks
from ..autograd.modes import state
from ..backends import cpu
from ..backends import recurrent as kernels
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
    call, static = _LAYERS[mode]
    keep = bool(busy[0] or saved_hooks[0] or state.grad and any([t is not None and t.requires_grad for t in arrays]))
    return call(arrays, (reverse, keep, sizes, *static))
