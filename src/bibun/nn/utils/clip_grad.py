"""Clipping of gradients, by their norm or element by element, in place.

In: parameters whose gradients are set. Out: the gradients' total norm; the gradients, scaled or cut. Works on the
arrays themselves: clipping is part of every step of many trainings, and never of a graph.
"""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...autograd.dispatch import wrap
from ...autograd.versions import written
from ...tensor import Tensor

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]

_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)


def _norm(a: Any, p: float) -> Any:
    """The p-norm of all elements of an array, as a number of its (real) dtype, half floats reckoned in single."""
    if a.dtype.kind == "c":
        a = np.abs(a)
    wide = a if a.dtype in (_F32, _F64) else a.astype(np.float32)
    flat = wide.ravel(order="K")
    with np.errstate(all="ignore"):
        if p == 2.0:
            total = np.sqrt(np.dot(flat, flat))
        elif p == math.inf:
            total = np.abs(flat).max() if flat.size else wide.dtype.type(0)
        elif p == -math.inf:
            total = np.abs(flat).min() if flat.size else wide.dtype.type(math.inf)
        elif p == 0.0:
            total = np.count_nonzero(flat)
        elif p == 1.0:
            total = np.abs(flat).sum()
        else:
            total = (np.abs(flat) ** p).sum() ** (1.0 / p)
    return a.dtype.type(total)


def _as_list(given: Any) -> list[Any]:
    return [given] if isinstance(given, Tensor) else list(given)


def _gradients(parameters: Any, warn: bool = False) -> list[Any]:
    is_generator = isinstance(parameters, types.GeneratorType)
    found = _as_list(parameters)
    if warn and is_generator and not found:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", UserWarning, stacklevel=3)
    return [p._grad for p in found if p._grad is not None]


def _total(grads: list[Any], norm_type: float, error_if_nonfinite: bool) -> Any:
    """The norm of the gradients' norms, as a NumPy number."""
    if not grads:
        return np.float32(0.0)
    norms = [_norm(g._a, norm_type) for g in grads]
    total = norms[0] if len(norms) == 1 and norm_type != 0.0 else _norm(np.array(norms), norm_type)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def _scale(grads: list[Any], max_norm: float, total: Any) -> None:
    kind = type(total)
    with np.errstate(all="ignore"):
        coefficient = kind(max_norm) * (kind(1) / (total + kind(1e-6)))
        if coefficient >= 1:
            return  # nothing would change
        for g in grads:
            a = g._a
            np.multiply(a, a.dtype.type(coefficient), out=a, casting="unsafe")
            written(a)


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The norm of all elements of the tensors together, as a 0-d tensor.

    Raises:
        RuntimeError: it is infinite or NaN, with `error_if_nonfinite`.
    """
    return wrap(np.asarray(_total(_as_list(tensors), float(norm_type), error_if_nonfinite)))


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale the gradients by ``max_norm / total_norm`` where that is below 1."""
    _scale(_gradients(parameters), float(max_norm), total_norm._a[()])


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """Scale the gradients down, all by one factor, so that their total norm is at most `max_norm`.

    Returns:
        The total norm before, as a 0-d tensor.

    >>> import bibun as torch
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> torch.nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    """
    grads = _gradients(parameters, warn=True)
    total = _total(grads, float(norm_type), error_if_nonfinite)
    if grads:
        _scale(grads, float(max_norm), total)
    return wrap(np.asarray(total))


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """`clip_grad_norm_` under an old name."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Cut every element of the gradients to [-clip_value, clip_value]."""
    bound = float(clip_value)
    for g in _gradients(parameters):
        a = g._a
        np.clip(a, a.dtype.type(-bound), a.dtype.type(bound), out=a)
        written(a)
