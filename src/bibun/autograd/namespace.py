"""The tensor namespace: the ``xp`` under which derivative rules run on tensors, and are themselves recorded.

Every primitive answers here under its own name and with its own signature; the creation functions give tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import cpu
from ..ops.primitive import REGISTRY, Primitive
from . import dispatch


def from_front(prim: Primitive, arrays: Any, static: Any) -> Any:
    """Static arguments with their axes counted from the front, as batching wants them; rules of users count from the back too."""
    ndim = (arrays[0][0] if prim.variadic else arrays[0]).ndim + (prim.name in ("expand_dims", "stack"))
    made = []
    for name, s in zip(prim.static, static):
        if name in prim.batch_axes:
            if s.__class__ is int:
                s = s % ndim if s < 0 else s
            elif s.__class__ is tuple:
                s = tuple([a % ndim if a < 0 else a for a in s])
        made.append(s)
    return tuple(made)


def caller(prim: Primitive) -> Callable[..., Any]:
    """The primitive as a function of tensors, with the signature it has on arrays."""

    place = prim.static.index("dtype") if "dtype" in prim.static else -1
    axes = prim.batch_axes
    count = len(prim.arrays)
    full = count + len(prim.static)
    kinds = {dispatch.Tensor, dispatch.Parameter, type(None)}
    quick = quick_call(prim)

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != full or prim.variadic:
            arrays, static = prim.bind(args, kwargs)
        else:
            arrays, static = args[:count], args[count:]
        if place >= 0:  # entries know NumPy's dtypes
            static = (*static[:place], _numpy_dtype(static[place]), *static[place + 1 :])
        if axes:
            static = from_front(prim, arrays, static)
        if quick is not None and not dispatch.busy[0] and arrays[0] is not None:
            for a in arrays:
                if a.__class__ not in kinds:
                    break
            else:
                return quick(*arrays, *static)
        return dispatch.apply(prim, arrays[0] if prim.variadic else arrays, static)

    call.__name__ = prim.name
    return call


def quick_call(prim: Primitive) -> Any:
    """What does the same as `dispatch.apply`, sooner, for tensors and None outside of transforms; None where nothing does."""
    from .direct import direct, make_view

    if prim.variadic or not prim.derivatives:
        return None
    if prim.family == "view":
        try:
            return make_view(prim, functools.partial(prim.run, cpu))
        except TypeError:
            return None
    if prim.family == "elementwise":
        if prim.static or len(prim.arrays) > 2 or prim.several or prim.kind not in ("same", "float"):
            return None
        run = prim.run

        def on_arrays(*arrays: Any, out: Any = None) -> Any:
            made = run(cpu, *arrays)
            return made if made.__class__ is np.ndarray else np.asarray(made)

        return (dispatch.make_unary if len(prim.arrays) == 1 else dispatch.make_binary)(prim, on_arrays, True)
    if len(prim.arrays) == 1 and prim.arrays[0] not in prim.derivatives:
        return None
    return direct(prim)


def _numpy_dtype(x: Any) -> Any:
    return getattr(x, "np", x)


class TensorNamespace:
    """``xp`` on tensors."""

    def __getattr__(self, name: str) -> Any:
        prim = REGISTRY.get(name)
        if prim is not None:
            made = caller(prim)
        elif isinstance(getattr(cpu, name, None), np.dtype):
            made = getattr(cpu, name)
        else:
            raise AttributeError(f"derivative rules may use primitives only; {name!r} is none")
        self.__dict__[name] = made
        return made

    def reshape(self, x: Any, shape: Any) -> Any:
        """``x`` itself where it has the shape: the gradient of a view of the same shape needs no node."""
        return x if x.shape == shape else self._reshape(x, shape)

    @functools.cached_property
    def _reshape(self) -> Any:
        return caller(REGISTRY["reshape"])

    @staticmethod
    def zeros(shape: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.zeros(shape, _numpy_dtype(dtype)))

    @staticmethod
    def ones(shape: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.ones(shape, _numpy_dtype(dtype)))

    @staticmethod
    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.full(shape, value, _numpy_dtype(dtype)))

    @staticmethod
    def arange(*args: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.arange(*args, dtype=_numpy_dtype(dtype)))

    @staticmethod
    def eye(n: int, m: int | None = None, dtype: Any = None) -> Any:
        return dispatch.wrap(np.eye(n, m, dtype=_numpy_dtype(dtype)))

    @staticmethod
    def zeros_like(x: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.zeros_like(x._a, dtype=_numpy_dtype(dtype)))

    @staticmethod
    def ones_like(x: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.ones_like(x._a, dtype=_numpy_dtype(dtype)))

    @staticmethod
    def full_like(x: Any, value: Any, dtype: Any = None) -> Any:
        return dispatch.wrap(np.full_like(x._a, value, dtype=_numpy_dtype(dtype)))

    @staticmethod
    def asarray(x: Any, dtype: Any = None) -> Any:
        return x if isinstance(x, dispatch.Tensor) else dispatch.wrap(np.asarray(x, dtype=_numpy_dtype(dtype)))


xp = TensorNamespace()


def _array_function(name: str) -> Any:
    """``xp.<name>`` on arrays for a primitive that the backend has no function of that name for: the primitive's own run."""
    prim = REGISTRY.get(name)
    if prim is None:
        raise AttributeError(
            f"module 'bibun.backends.cpu' has no attribute {name!r}, nor is there a primitive of that name"
        )
    run = functools.partial(prim.run, cpu)
    setattr(cpu, name, run)
    return run


cpu.__getattr__ = _array_function  # type: ignore[method-assign]
