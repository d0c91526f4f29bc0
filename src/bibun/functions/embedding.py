"""Embeddings: rows of a table by number, bags of them, and one-hot vectors, with PyTorch's signatures.

In: row numbers (int64 or int32) and a table (n, d). Out: the rows, with the numbers' shape and d beyond it.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from ..autograd.direct import make_many
from ..autograd.dispatch import apply, busy, wrap
from ..autograd.versions import written
from ..backends import cpu
from ..backends.embedding import counts as embedding_counts
from ..ops import embedding as ops
from .register import FUNCTIONS
from .shape import values_of

_embedding = make_many(ops.embedding, cpu.embedding)


def _numbers(index: Any, name: str) -> Any:
    """Row numbers as int64."""
    char = index._a.dtype.char
    if char == "l":
        return index
    if char == "i":
        return index.long()
    raise RuntimeError(
        "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
        f"torch.{index.dtype.scalar_name}Tensor instead (while checking arguments for {name})"
    )


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """The rows of ``weight`` that ``input`` names.

    Shape: input (*) of row numbers, weight (n, d); output (*, d). Rows longer than ``max_norm`` are shortened in place
    first; the row ``padding_idx`` gets no gradient. Gradients are dense, also with ``sparse``.

    >>> import bibun as torch
    >>> torch.nn.functional.embedding(torch.tensor([1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.]])
    """
    padding = -1
    if padding_idx is not None:
        n = weight._a.shape[0]
        if padding_idx >= n or padding_idx < -n:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx % n
    if max_norm is not None:
        embedding_renorm_(weight, input, max_norm, norm_type)
    return _look_up(weight, input, padding, scale_grad_by_freq)


def _look_up(weight: Any, index: Any, padding: int, scale: bool) -> Any:
    if weight._a.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if index._a.dtype.char != "l":
        index = _numbers(index, "embedding")
    return _embedding((weight, index), (padding, scale))


def _public_embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Any:
    """The rows of ``weight`` that ``indices`` names."""
    return _look_up(weight, indices, padding_idx, scale_grad_by_freq)


def embedding_renorm_(weight: Any, indices: Any, max_norm: float, norm_type: float = 2.0) -> Any:
    """Shorten, in place, the named rows that are longer than ``max_norm``."""
    a, rows = weight._a, np.unique(_numbers(indices, "embedding_renorm_")._a)
    if rows.size and (rows[0] < 0 or rows[-1] >= a.shape[0]):
        raise IndexError("index out of range in self")
    chosen = a[rows].astype(np.float32) if a.dtype in cpu.NARROW else a[rows]
    if norm_type == math.inf:
        size = np.abs(chosen).max(1)
    else:
        size = (np.abs(chosen) ** norm_type).sum(1) ** (1 / norm_type)
    long = size > max_norm
    if long.any():
        a[rows[long]] = chosen[long] * (max_norm / (size[long] + 1e-7))[:, None]
        f = sys._getframe(2)
        written(a, f.f_code, f.f_lasti)
    return weight


# Bags


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Sums, means or maxima of bags of a table's rows.

    Shape: input (B, N) for B bags of N, or (N,) with ``offsets`` (B,) saying where each bag begins; output (B, d).
    """
    if weight._a.dtype.char == "l" and input._a.dtype.kind == "f":
        input, weight = weight, input
    i = input._a
    if per_sample_weights is not None and per_sample_weights._a.shape != i.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.size()}) is not None, then it must have the "
            "same shape as the input "
            f"({input.size()})"
        )
    if not weight._a.ndim == 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight._a.ndim}")
    if i.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                "sequences. However, found "
                f"offsets of type {type(offsets)}"
            )
        offsets = wrap(np.arange(0, i.size, i.shape[1]) if i.shape[1] else np.zeros(i.shape[0], np.int64))
        include_last_offset_here = False
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    elif i.ndim == 1:
        if offsets is None or not hasattr(offsets, "_a"):
            raise ValueError(f"offsets has to be a 1D Tensor but got {None if offsets is None else type(offsets)}")
        if offsets._a.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        include_last_offset_here = include_last_offset
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {i.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if max_norm is not None:
        embedding_renorm_(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )
    return _bags(
        weight, input, offsets, scale_grad_by_freq, mode, per_sample_weights, include_last_offset_here, padding_idx
    )[0]


def _bags(
    weight: Any, input: Any, offsets: Any, scale: bool, mode: str, samples: Any, last: bool, padding_idx: int | None
) -> Any:
    """(out, bag of each row number, size of each bag, for maxima the rows they come from)."""
    input, starts = _numbers(input, "embedding_bag"), _numbers(offsets, "embedding_bag")._a
    index, n = input._a, weight._a.shape[0]
    if last:
        if not starts.size:
            raise RuntimeError("include_last_offset: number of offset should be at least 1")
        starts = starts[:-1]
    if starts.size and starts[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
            "However, got "
            f"{starts[0]}"
        )
    if starts.size and starts[-1] > index.size:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {index.size} but got offsets[-1] of {starts[-1]}"
        )
    known = values_of(input) is not None
    if index.size and known and (index.min() < 0 or index.max() >= n):
        raise RuntimeError(
            "Expected i < index_size to be true, but got false.  (Could this error message be improved?  If so, "
            "please report an "
            "enhancement request to PyTorch.)"
        )
    padding = -1
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, -{n} through {n - 1}, but got {padding_idx}"
            )
        padding = padding_idx % n
    sizes = np.diff(starts, append=index.size)
    bag = np.repeat(np.arange(starts.size), sizes)
    if not known:
        return _bags_of_batch(weight, input[: bag.size], wrap(bag), starts.size, padding, scale, mode, samples)
    index = index[: bag.size]
    keep = index != padding
    counts = np.bincount(bag[keep], minlength=starts.size)
    if index.size != input._a.size:
        input = input[: index.size]
        samples = None if samples is None else samples[: index.size]
    if mode == "max":
        out, where = apply(ops.embedding_bag_max, (weight, input, wrap(bag)), (starts.size, padding))
        return out, bag, counts, where
    factor = scaling = None
    d = weight._a.dtype
    if mode == "mean" or not keep.all():
        factor = keep.astype(d)
        if mode == "mean":
            factor = (keep / np.maximum(counts, 1)[bag]).astype(d)
        factor = wrap(factor[:, None])
    if scale:
        scaling = wrap((1 / embedding_counts(index, n)).astype(d)[:, None])
    if samples is not None and samples._a.dtype != d:
        raise RuntimeError(f"expected scalar type {weight.dtype.scalar_name} but found {samples.dtype.scalar_name}")
    out = apply(ops.embedding_bag, (weight, samples, input, wrap(bag), factor, scaling), (starts.size,))
    return out, bag, counts, wrap(np.empty(0, np.int64))


def _bags_of_batch(
    weight: Any, index: Any, bag: Any, bags: int, padding: int, scale: bool, mode: str, samples: Any
) -> Any:
    """`_bags` inside vmap, where row numbers cannot be looked at."""
    if scale:
        raise NotImplementedError("embedding_bag: scale_grad_by_freq is not available for batched row numbers inside vmap")
    if mode == "max":
        out, where = apply(ops.embedding_bag_max, (weight, index, bag), (bags, padding))
        return out, bag, None, where
    factor = (index != padding).to(weight.dtype)
    counts = wrap(np.zeros(bags, weight._a.dtype)).index_add(0, bag, factor)
    if mode == "mean":
        factor = factor / counts.clamp(min=1).index_select(0, bag)
    samples = None if samples is None else samples[: bag._a.size]
    out = apply(ops.embedding_bag, (weight, samples, index, bag, factor.unsqueeze(1), None), (bags,))
    return out, bag, counts.long(), wrap(np.empty(0, np.int64))


def _public_embedding_bag(
    weight: Any,
    indices: Any,
    offsets: Any,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """(bags, the bag of each number, the bags' sizes, the rows of maxima); mode 0: sum, 1: mean, 2: max."""
    out, bag, counts, where = _bags(
        weight,
        indices,
        offsets,
        scale_grad_by_freq,
        ("sum", "mean", "max")[mode],
        per_sample_weights,
        include_last_offset,
        padding_idx,
    )
    return out, wrap(bag), wrap(counts), where


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """1 at each class number, 0 elsewhere, along a new last dimension.

    >>> import bibun as torch
    >>> torch.nn.functional.one_hot(torch.tensor([2, 0]))
    tensor([[0, 0, 1],
            [1, 0, 0]])
    """
    a = tensor._a
    if a.dtype.char != "l":
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if busy[0]:
        if num_classes < 0:
            raise RuntimeError("one_hot under a function transform needs num_classes")
        return (tensor.unsqueeze(-1) == FUNCTIONS["arange"](num_classes)).long()
    if not a.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return wrap(np.zeros((*a.shape, num_classes), np.int64))
    if a.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(a.max()) + 1
    elif num_classes < 1 or a.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    out = np.zeros((a.size, num_classes), np.int64)
    out[np.arange(a.size), a.reshape(-1)] = 1
    return wrap(out.reshape(*a.shape, num_classes))


FUNCTIONS["embedding"], FUNCTIONS["embedding_bag"], FUNCTIONS["embedding_renorm_"] = (
    _public_embedding,
    _public_embedding_bag,
    embedding_renorm_,
)
