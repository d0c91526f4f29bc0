"""NumPy's protocols: ``np.sin(t)``, ``ndarray * t`` and ``np.concatenate([t, u])`` give tracked tensors.

In goes the NumPy function and its arguments; where the package has the function, it runs that; else, if nothing requires
grad, NumPy itself on the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import wrap
from .register import FUNCTIONS

#: NumPy's names where they differ from ours.
UFUNCS = {
    "multiply": "mul",
    "subtract": "sub",
    "true_divide": "div",
    "divide": "div",
    "power": "pow",
    "float_power": "float_power",
    "absolute": "abs",
    "negative": "neg",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "conjugate": "conj",
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
    "fabs": "abs",
    "degrees": "rad2deg",
    "radians": "deg2rad",
}
REDUCTIONS = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "amax",
    "minimum": "amin",
    "logical_and": "all",
    "logical_or": "any",
}
NUMPY_FUNCTIONS = {"concatenate": "cat", "absolute": "abs", "expand_dims": "unsqueeze", "matmul": "matmul"}
RENAMED = {"axis": "dim", "keepdims": "keepdim", "ddof": "correction"}


def tensors(x: Any) -> Any:
    """Arrays in an argument as tensors."""
    if isinstance(x, np.ndarray):
        return wrap(x)
    if isinstance(x, np.generic):
        return x.item()
    if x.__class__ in (list, tuple):
        return x.__class__(tensors(v) for v in x)
    return x


def arrays(x: Any) -> Any:
    """Tensors in an argument as arrays; refused where they require grad."""
    if isinstance(x, dispatch.Tensor):
        return x.numpy()
    if x.__class__ in (list, tuple):
        return x.__class__(arrays(v) for v in x)
    return x


def array_ufunc(ufunc: Any, method: str, inputs: Any, kwargs: Any) -> Any:
    """``Tensor.__array_ufunc__``."""
    out = kwargs.pop("out", None)
    name = UFUNCS.get(ufunc.__name__, ufunc.__name__)
    if method == "__call__" and not kwargs:
        f = FUNCTIONS.get(name)
        if f is not None:
            result = f(*map(tensors, inputs))
            return _into(out, result)
    if method == "reduce" and ufunc.__name__ in REDUCTIONS and not {"initial", "where"} & set(kwargs):
        axis = kwargs.pop("axis", 0)
        keepdim = kwargs.pop("keepdims", False)
        dtype = kwargs.pop("dtype", None)
        result = FUNCTIONS[REDUCTIONS[ufunc.__name__]](
            tensors(inputs[0]), *([] if axis is None else [axis]), **({"keepdim": True} if keepdim else {})
        )
        return _into(out, result if dtype is None else result.to(dtype))
    result = getattr(ufunc, method)(*map(arrays, inputs), **{k: arrays(v) for k, v in kwargs.items()})
    return _into(out, tuple(map(wrap, result)) if isinstance(result, tuple) else wrap(result))


def _into(out: Any, result: Any) -> Any:
    if out is None or out == (None,):
        return result
    (o,) = out
    if isinstance(o, dispatch.Tensor):
        return o.copy_(result)
    np.copyto(o, result.numpy())
    return o


def array_function(function: Any, args: Any, kwargs: Any) -> Any:
    """``Tensor.__array_function__``."""
    name = function.__name__
    if name in ("shape", "ndim", "size"):
        return getattr(arrays_loosely(args[0]), name)
    f = FUNCTIONS.get(NUMPY_FUNCTIONS.get(name, UFUNCS.get(name, name)))
    if f is not None:
        try:
            return f(*map(tensors, args), **{RENAMED.get(k, k): tensors(v) for k, v in kwargs.items()})
        except TypeError:
            pass
    result = function(*map(arrays, args), **{k: arrays(v) for k, v in kwargs.items()})
    return wrap(result) if isinstance(result, np.ndarray) else result


def arrays_loosely(x: Any) -> Any:
    return x._a if isinstance(x, dispatch.Tensor) else np.asarray(x)
