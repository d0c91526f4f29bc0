"""Samples into a batch: `default_collate` stacks them, `default_convert` makes tensors of one sample's arrays.

In comes a list of samples (tensors, arrays, numbers, text, and any nesting of tuples, lists and mappings of such); out
comes the same nesting with a batch of tensors at each leaf.
"""

from __future__ import annotations

import collections
import collections.abc
import copy
import re
from typing import Any

import numpy as np

from ...dtypes import BY_NUMPY, float64
from ...functions.register import FUNCTIONS
from ...tensor import Tensor, wrap

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

_TEXT_TYPES = re.compile(r"[SaUO]")
_REFUSED = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
_FLOAT64, _INT64, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)


def stacked(batch: Any) -> Any:
    """``torch.stack`` of plain tensors of one shape and dtype that need no grad; None for all others."""
    dtype = batch[0]._a.dtype
    arrays = []
    for tensor in batch:
        if tensor.__class__ is not Tensor or tensor._node is not None:
            return None
        view = tensor._view
        if view is not None and view[0]._node is not None:
            return None
        a = tensor._a
        if a.dtype is not dtype and a.dtype != dtype:
            return None
        arrays.append(a)
    try:
        return wrap(np.array(arrays, dtype))
    except ValueError:  # several shapes
        return None


def collate_tensor_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Tensors along a new first dimension."""
    made = stacked(batch)
    return FUNCTIONS["stack"](list(batch), 0) if made is None else made


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Arrays along a new first dimension, as a tensor."""
    first = batch[0]
    if _TEXT_TYPES.search(first.dtype.str) is not None:
        raise TypeError(_REFUSED.format(first.dtype))
    return collate([FUNCTIONS["as_tensor"](each) for each in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """NumPy's scalars as a tensor of their dtype."""
    return FUNCTIONS["as_tensor"](np.array(batch) if batch[0].dtype in BY_NUMPY else batch)


def collate_float_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Floats as a float64 tensor."""
    for each in batch:
        if each.__class__ is not float:
            return FUNCTIONS["tensor"](list(batch), dtype=float64)
    return wrap(np.array(batch, _FLOAT64))


def collate_int_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Ints as an int64 tensor, bools as a bool one."""
    kind = batch[0].__class__
    if kind is int or kind is bool:
        for each in batch:
            if each.__class__ is not kind:
                break
        else:
            try:
                return wrap(np.array(batch, _INT64 if kind is int else _BOOL))
            except OverflowError:
                pass  # in PyTorch's words
    return FUNCTIONS["tensor"](list(batch))


def collate_str_fn(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """Text as it is."""
    return batch


default_collate_fn_map: dict[Any, Any] = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
"""What collates samples of a type: ``f(batch, *, collate_fn_map)``. Programs may add their own types."""


def collate(batch: Any, *, collate_fn_map: Any = None) -> Any:
    """A batch of the samples in the list `batch`, whose leaves `collate_fn_map` (type -> function) knows to join."""
    first = batch[0]
    kind = type(first)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
        for types, function in collate_fn_map.items():
            if isinstance(first, types):
                return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(first, collections.abc.Mapping):
        values = {key: collate([each[key] for each in batch], collate_fn_map=collate_fn_map) for key in first}
        if kind is dict:
            return values
        try:
            if isinstance(first, collections.abc.MutableMapping):
                clone = copy.copy(first)  # keeps what a subclass has besides, a default factory say
                clone.update(values)
                return clone
            return kind(values)  # type: ignore[call-arg]
        except TypeError:
            return values
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*(collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)))
    if isinstance(first, collections.abc.Sequence):
        size = len(first)
        for each in batch:
            if len(each) != size:
                raise RuntimeError("each element in list of batch should be of equal size")
        columns = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)]
        if isinstance(first, tuple) or kind is list:
            return columns
        try:
            if isinstance(first, collections.abc.MutableSequence):
                copied = copy.copy(first)
                for i, column in enumerate(columns):
                    copied[i] = column
                return copied
            return kind(columns)  # type: ignore[call-arg]
        except TypeError:
            return columns
    raise TypeError(_REFUSED.format(kind))


def default_collate(batch: Any) -> Any:
    """A batch of a list of samples: tensors and arrays are stacked along a new first dimension, numbers become
    tensors, text stays a list, and tuples, lists and mappings are gone into.

    >>> import bibun as torch
    >>> torch.utils.data.default_collate([(torch.ones(2), 0, "a"), (torch.zeros(2), 1, "b")])
    [tensor([[1., 1.],
            [0., 0.]]), tensor([0, 1]), ('a', 'b')]

    Raises:
        TypeError: for samples that are none of these.
        RuntimeError: for samples of different sizes.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def default_convert(data: Any) -> Any:
    """A sample with its arrays and NumPy scalars as tensors; what is none stays."""
    kind = type(data)
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        if _TEXT_TYPES.search(data.dtype.str) is not None:
            return data
        return FUNCTIONS["as_tensor"](data)
    if isinstance(data, collections.abc.Mapping):
        values = {key: default_convert(data[key]) for key in data}
        try:
            if isinstance(data, collections.abc.MutableMapping):
                clone = copy.copy(data)
                clone.update(values)
                return clone
            return kind(values)
        except TypeError:
            return values
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*(default_convert(each) for each in data))
    if isinstance(data, tuple):
        return [default_convert(each) for each in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        converted = [default_convert(each) for each in data]
        try:
            if isinstance(data, collections.abc.MutableSequence):
                copied = copy.copy(data)
                for i, each in enumerate(converted):
                    copied[i] = each
                return copied
            return kind(converted)  # type: ignore[call-arg]
        except TypeError:
            return converted
    return data
