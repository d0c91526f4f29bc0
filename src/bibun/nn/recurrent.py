"""``torch.lstm``, ``torch.gru`` and their kin: recurrent layers and cells as functions of their weights.

In: inputs (T, B, features), or packed data and batch sizes; states; the weights of all layers in one flat list. Out: the
outputs and the last states. `torch.nn.LSTM` and its kin are the same with weights of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import functional as F
from .modules.recurrence import GATES, STEPS, by_layer, run_cell, run_layers

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]


def _run(mode: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The layers of a call in either form: (input, hx, params, …, batch_first) or (data, batch_sizes, hx, params, …)."""
    common = ("hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")
    packed = "batch_sizes" in kwargs or len(args) > 3 and not isinstance(args[3], (bool, int))
    names = ("data", "batch_sizes", *common) if packed else ("input", *common, "batch_first")
    if len(args) > len(names) or set(kwargs) - set(names[len(args) :]):
        raise TypeError(f"{name}() received an invalid combination of arguments; it takes ({', '.join(names)})")
    given = {**dict(zip(names, args)), **kwargs}
    missing = [n for n in names if n not in given]
    if missing:
        raise TypeError(f"{name}() received an invalid combination of arguments: {', '.join(missing)} missing")
    hx, params = given["hx"], list(given["params"])
    states = tuple(hx) if mode == "LSTM" else (hx,)
    has_biases, bidirectional = bool(given["has_biases"]), bool(given["bidirectional"])
    count = given["num_layers"] * (2 if bidirectional else 1)
    projected = mode == "LSTM" and states[0].shape[-1] != states[1].shape[-1]
    each = 2 + 2 * has_biases + projected
    if len(params) != count * each:
        raise RuntimeError(f"{name}(): expected {count * each} weights, got {len(params)}")
    weights = [params[i : i + each] for i in range(0, len(params), each)]
    sizes = [int(n) for n in given["batch_sizes"].tolist()] if packed else None
    x = given["data"] if packed else given["input"]
    turned = not packed and given["batch_first"]
    if turned:
        x = x.transpose(0, 1)
    dropout = given["dropout"] if given["train"] else 0
    out, last = run_layers(mode, x, by_layer(states), weights, sizes, bidirectional, has_biases, projected, dropout)
    return (out.transpose(0, 1) if turned else out, *last)


def _layers(mode: str, name: str, what: str) -> Callable[..., tuple[Any, ...]]:
    def call(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return _run(mode, name, args, kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"""{what} over ``(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
    batch_first)``, or over packed ``(data, batch_sizes, hx, params, …)``: the outputs, then the last states."""
    return call


lstm = _layers("LSTM", "lstm", "Long short-term memory")
gru = _layers("GRU", "gru", "Gated recurrent units")
rnn_tanh = _layers("RNN_TANH", "rnn_tanh", "Elman's network with tanh")
rnn_relu = _layers("RNN_RELU", "rnn_relu", "Elman's network with relu")


def _cell(
    mode: str, x: Any, states: tuple[Any, ...], w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
) -> tuple[Any, ...]:
    rows, size = w_hh.shape
    fits = x.ndim == 2 and w_ih.shape == (rows, x.shape[1]) and all([s.shape == (x.shape[0], size) for s in states])
    if fits and rows == GATES[mode] * size:
        return run_cell(mode, x, states, w_ih, w_hh, b_ih, b_hh)
    return STEPS[mode](F.linear(x, w_ih, b_ih), states, w_hh, b_hh)


def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> tuple[Any, Any]:
    """One step of long short-term memory: (h, c) from x (B, features) and (h, c)."""
    h, c = _cell("LSTM", input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of gated recurrent units: h from x (B, features) and h."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of Elman's network with tanh."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of Elman's network with relu."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
