"""Recurrent layers and cells.

In: sequences (T, B, features), (B, T, features) with ``batch_first``, (T, features), or packed. Out: the last layer's
outputs and every layer's last state.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from .. import init
from ..parameter import Parameter
from ..tensors import empty, zeros
from ..utils.rnn import PackedSequence
from .module import Module
from .recurrence import GATES, by_layer, run_cell, run_layers

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]


def apply_permutation(tensor: Any, permutation: Any, dim: int = 1) -> Any:
    """`tensor` in another order along `dim`; deprecated."""
    warnings.warn(
        "apply_permutation is deprecated, please use tensor.index_select(dim, permutation) instead",
        FutureWarning,
        stacklevel=2,
    )
    return tensor.index_select(dim, permutation)


class RNNBase(Module):
    """Weights, checks and the run over layers and directions that all recurrent layers share.

    Args:
        num_layers: each takes the outputs of the one before. dropout: of the outputs between layers.
        bidirectional: a second set of weights runs from the end; the outputs of both are joined.
        proj_size: (LSTM) a projection of the hidden state to this size.
    """

    mode: str

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
            if size <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        directions = 2 if bidirectional else 1
        rows = GATES[mode] * hidden_size
        out = proj_size or hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, input_size if layer == 0 else out * directions),
                    "weight_hh": (rows, out),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = [f"{name}_l{layer}{suffix}" for name in shapes]
                for name, shape in zip(names, shapes.values()):
                    setattr(self, name, Parameter(empty(shape, device=device, dtype=dtype)))
                self._all_weights.append(names)
        self.reset_parameters()

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Any]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing: it orders memory for cuDNN, and there is none here."""

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # checks

    def check_input(self, input: Any, batch_sizes: Any) -> None:
        """Raise unless `input` fits the weights."""
        weight = getattr(self, self._all_weights[0][0])
        if input.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def _state_size(self, input: Any, batch_sizes: Any, features: int) -> tuple[int, int, int]:
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0) if self.batch_first else input.size(1)
        return self.num_layers * (2 if self.bidirectional else 1), batch, features

    def get_expected_hidden_size(self, input: Any, batch_sizes: Any) -> tuple[int, int, int]:
        """(layers · directions, batch, size of h)."""
        return self._state_size(input, batch_sizes, self.proj_size or self.hidden_size)

    def check_hidden_size(
        self, hx: Any, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raise unless a state has the size expected."""
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Any, hidden: Any, batch_sizes: Any) -> None:
        """Raise unless input and state fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Any) -> Any:
        """The state with its sequences in another order."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def extra_repr(self) -> str:
        said = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            said += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            said += f", num_layers={self.num_layers}"
        if self.bias is not True:
            said += f", bias={self.bias}"
        if self.batch_first is not False:
            said += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            said += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            said += f", bidirectional={self.bidirectional}"
        return said

    def __setstate__(self, state: dict[str, Any]) -> None:
        for derived in ("_flat_weights", "_flat_weights_names", "_flat_weight_refs", "all_weights"):
            state.pop(derived, None)
        super().__setstate__(state)
        self.__dict__.setdefault("proj_size", 0)

    # forward

    def _run(self, input: Any, states: list[tuple[Any, ...]], batch_sizes: Any) -> tuple[Any, tuple[Any, ...]]:
        """All layers over (T, B, features), or over packed data, with the states (B, H) of each."""
        return run_layers(
            self.mode,
            input,
            states,
            self.all_weights,
            None if batch_sizes is None else [int(n) for n in batch_sizes.tolist()],
            bool(self.bidirectional),
            bool(self.bias),
            self.proj_size > 0,
            self.dropout if self.training else 0,
        )

    _dim_name = "{}D"

    def _forward(self, input: Any, hx: Any) -> tuple[Any, Any]:
        is_lstm = self.mode == "LSTM"
        packed = input if isinstance(input, PackedSequence) else None
        batched = True
        sorted_indices = unsorted_indices = batch_sizes = None
        if packed is not None:
            input, batch_sizes, sorted_indices, unsorted_indices = packed
        else:
            if input.dim() not in (2, 3):
                got = self._dim_name.format(input.dim())
                raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {got} instead")
            batched = input.dim() == 3
            batch_dim = 0 if self.batch_first else 1
            if not batched:
                input = input.unsqueeze(batch_dim)
        if hx is None:
            self.check_input(input, batch_sizes)
            count, batch, size = self.get_expected_hidden_size(input, batch_sizes)
            h = zeros((batch, size), dtype=input.dtype)
            c = h if size == self.hidden_size else zeros((batch, self.hidden_size), dtype=input.dtype)
            states = [(h, c) if is_lstm else (h,)] * count
        else:
            given = self._given_state(hx, packed is None, batched)
            given = tuple(self.permute_hidden(s, sorted_indices) for s in given)
            self.check_forward_args(input, given if is_lstm else given[0], batch_sizes)
            states = by_layer(given)
        if packed is None and self.batch_first:
            input = input.transpose(0, 1)
        output, last = self._run(input, states, batch_sizes)
        if packed is not None:
            output = PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices)
        else:
            if self.batch_first:
                output = output.transpose(0, 1)
            if not batched:
                output = output.squeeze(batch_dim)
                last = tuple(s.squeeze(1) for s in last)
        last = tuple(self.permute_hidden(s, unsorted_indices) for s in last)
        return output, last if is_lstm else last[0]

    def _given_state(self, hx: Any, check: bool, batched: bool) -> tuple[Any, ...]:
        """The user's state as a tuple of (layers · directions, B, H)."""
        n = 3 if batched else 2
        if check and hx.dim() != n:
            how = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(f"For {how} input, hx should also be {n}-D but got {hx.dim()}-D tensor")
        return (hx if batched else hx.unsqueeze(1),)


class RNN(RNNBase):
    """Elman's network: ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, or with ``nonlinearity="relu"``.

    >>> import bibun as torch
    >>> output, h = torch.nn.RNN(10, 20, 2)(torch.randn(5, 3, 10))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    _dim_name = "{}D tensor"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        return self._forward(input, hx)


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997); the state is (h, c).

    >>> import bibun as torch
    >>> output, (h, c) = torch.nn.LSTM(10, 20, 2)(torch.randn(5, 3, 10))
    >>> output.shape, c.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: Any, batch_sizes: Any) -> tuple[int, int, int]:
        """(layers · directions, batch, size of c)."""
        return self._state_size(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: Any, hidden: Any, batch_sizes: Any) -> None:
        self.check_input(input, batch_sizes)
        self.check_hidden_size(
            hidden[0], self.get_expected_hidden_size(input, batch_sizes), "Expected hidden[0] size {}, got {}"
        )
        self.check_hidden_size(
            hidden[1], self.get_expected_cell_size(input, batch_sizes), "Expected hidden[1] size {}, got {}"
        )

    def _given_state(self, hx: Any, check: bool, batched: bool) -> tuple[Any, ...]:
        n = 3 if batched else 2
        if check and (hx[0].dim() != n or hx[1].dim() != n):
            how = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(
                f"For {how} input, hx and cx should also be {n}-D but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
            )
        return tuple(s if batched else s.unsqueeze(1) for s in hx)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        return self._forward(input, hx)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014).

    >>> import bibun as torch
    >>> output, h = torch.nn.GRU(10, 20, 2)(torch.randn(5, 3, 10))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        return self._forward(input, hx)


class RNNCellBase(Module):
    """Weights and checks that the cells share."""

    weight_ih: Any
    weight_hh: Any

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(empty((rows, hidden_size), device=device, dtype=dtype))
        if bias:
            self.bias_ih = Parameter(empty(rows, device=device, dtype=dtype))
            self.bias_hh = Parameter(empty(rows, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def extra_repr(self) -> str:
        said = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            said += f", bias={self.bias}"
        if "nonlinearity" in self.__dict__ and self.nonlinearity != "tanh":
            said += f", nonlinearity={self.nonlinearity}"
        return said

    def reset_parameters(self) -> None:
        """Draw all weights uniformly from ±1/√hidden_size."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, mode: str, input: Any, states: tuple[Any, ...] | None, number: int) -> tuple[Any, ...]:
        """One step on (B, features) or (features), from the states given or from `number` zeros."""
        name = type(self).__name__
        shape, x = input.shape, input
        if len(shape) not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {len(shape)}D instead")
        for state in states or ():
            if state.ndim not in (1, 2):
                raise ValueError(f"{name}: Expected hidden to be 1D or 2D, got {state.ndim}D instead")
        batched = len(shape) == 2
        if not batched:
            x = input.unsqueeze(0)
        rows, features = x.shape
        if features != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {features} expected {self.input_size}")
        if states is None:
            states = (zeros((rows, self.hidden_size), dtype=x.dtype),) * number
        else:
            if not batched:
                states = tuple(s.unsqueeze(0) if s.dim() == 1 else s for s in states)
            for i, state in enumerate(states):
                size = state.shape
                if not batched and size[0] != 1:
                    raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {size[0]}, expected {self.hidden_size}")
                if size[0] != rows:
                    raise RuntimeError(f"Input batch size {rows} doesn't match hidden{i} batch size {size[0]}")
                if len(size) == 1 or size[1] != self.hidden_size:
                    raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {size[-1]}, expected {self.hidden_size}")
        new = run_cell(mode, x, states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return new if batched else tuple(s.squeeze(0) for s in new)


class RNNCell(RNNCellBase):
    """One step of `RNN`: h from x (B, input_size) and h (B, hidden_size)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step("RNN_TANH" if self.nonlinearity == "tanh" else "RNN_RELU", input, None if hx is None else (hx,), 1)[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: (h, c) from x (B, input_size) and (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        h, c = self._step("LSTM", input, None if hx is None else tuple(hx), 2)
        return h, c


class GRUCell(RNNCellBase):
    """One step of `GRU`: h from x (B, input_size) and h (B, hidden_size)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step("GRU", input, None if hx is None else (hx,), 1)[0]
