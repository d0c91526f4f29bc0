"""From a list of samples to a batch: tensors are stacked, containers gone through."""

from __future__ import annotations

import collections.abc
import copy
from typing import Any

import numpy as np

from ...tensor import Tensor, wrap

FORMAT = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"


def default_convert(data: Any) -> Any:
    """Arrays in nested containers as tensors; nothing is batched."""
    kind = type(data)
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        if isinstance(data, np.ndarray) and data.dtype.kind in "SUO":
            return data
        import bibun

        return bibun.as_tensor(data)
    if isinstance(data, collections.abc.Mapping):
        return _rebuilt(data, {k: default_convert(v) for k, v in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return kind(*(default_convert(v) for v in data))
    if isinstance(data, tuple):
        return [default_convert(v) for v in data]
    if isinstance(data, collections.abc.Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt_list(data, [default_convert(v) for v in data])
    return data


def _rebuilt(like: Any, made: dict[Any, Any]) -> Any:
    try:
        if isinstance(like, collections.abc.MutableMapping):
            clone = copy.copy(like)
            clone.update(made)
            return clone
        return type(like)(made)
    except TypeError:
        return made


def _rebuilt_list(like: Any, made: list[Any]) -> Any:
    try:
        return made if type(like) is list else type(like)(made)
    except TypeError:
        return made


def default_collate(batch: Any) -> Any:
    """A batch of samples: tensors and arrays stacked, numbers as a tensor, strings as they are, containers gone through.

    >>> from bibun.utils.data import default_collate
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=torch.float64)]
    """
    first = batch[0]
    kind = type(first)
    if isinstance(first, Tensor):
        if kind is Tensor and all(type(x) is Tensor and x._node is None for x in batch):
            a = first._a
            if all(x._a.shape == a.shape and x._a.dtype is a.dtype for x in batch):
                return wrap(np.array([x._a for x in batch]))
        import bibun

        return bibun.stack(list(batch), 0)
    import bibun

    if isinstance(first, np.ndarray):
        if first.dtype.kind in "SUO":
            raise TypeError(FORMAT.format(first.dtype))
        return default_collate([bibun.as_tensor(b) for b in batch])
    if isinstance(first, np.generic):
        return bibun.as_tensor(np.array(batch))
    if isinstance(first, float):
        return bibun.tensor(batch, dtype=bibun.float64)
    if isinstance(first, int):
        return bibun.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, collections.abc.Mapping):
        return _rebuilt(first, {key: default_collate([d[key] for d in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*(default_collate(samples) for samples in zip(*batch)))
    if isinstance(first, collections.abc.Sequence):
        size = len(first)
        if not all(len(x) == size for x in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(samples) for samples in zip(*batch)]
        return columns if isinstance(first, tuple) else _rebuilt_list(first, columns)
    raise TypeError(FORMAT.format(kind))
