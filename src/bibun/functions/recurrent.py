"""Calls of whole recurrent layers: the layers of `bibun.nn` come here with the input's part of every step.

In: ((x, recurrent weight, its bias or None, the first states...), static arguments) of tensors of one dtype, float32 or
float64. Out: the outputs, the last states, and what the backward keeps.
"""

from __future__ import annotations

from ..autograd.direct import make_many
from ..backends import cpu
from ..backends import recurrent as kernels
from ..ops.recurrent import gru_layer, lstm_layer, rnn_layer

__all__ = ["LAYERS"]

for _name in kernels.__all__:  # they join the array functions with this subject
    setattr(cpu, _name, getattr(kernels, _name))

_plain = make_many(rnn_layer, kernels.rnn_layer)
#: {mode: (the call, its static arguments after the direction)}
LAYERS = {
    "LSTM": (make_many(lstm_layer, kernels.lstm_layer), ()),
    "GRU": (make_many(gru_layer, kernels.gru_layer), ()),
    "RNN_TANH": (_plain, (False,)),
    "RNN_RELU": (_plain, (True,)),
}
