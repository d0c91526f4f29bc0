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
    axes = bool(prim.batch_axes)
    quick, tuples = quick_call(prim)

    def general(arrays: Any, static: tuple[Any, ...]) -> Any:
        if place >= 0:  # entries know NumPy's dtypes
            static = (*static[:place], _numpy_dtype(static[place]), *static[place + 1 :])
        if axes:
            static = from_front(prim, arrays, static)
        if quick is not None and not dispatch.busy[0] and all([a.__class__ in kinds for a in arrays]):
            return quick(arrays, static) if tuples else quick(*arrays, *static)
        return dispatch.apply(prim, arrays[0] if prim.variadic else arrays, static)

    kinds = {dispatch.Tensor, dispatch.Parameter, type(None)} if tuples else {dispatch.Tensor, dispatch.Parameter}
    # Python itself binds the arguments: the function is written out with the entry's own parameters.
    arrays = prim.arrays
    known = {"general": general, "quick": quick, "Tensor": dispatch.Tensor, "kinds": kinds, "busy": dispatch.busy}
    known.update({f"_{name}": value for name, value in prim.defaults.items()})
    parameters = [*arrays, *[f"{name}=_{name}" if name in prim.defaults else name for name in prim.static]]
    given, static = "".join([f"{name}, " for name in arrays]), "".join([f"{name}, " for name in prim.static])
    lines = [f"def {prim.name}({', '.join(parameters)}):"]
    if quick is not None and place < 0 and not axes:
        usual = " and ".join([f"({name}.__class__ is Tensor or {name}.__class__ in kinds)" for name in arrays])
        lines += [f"    if {usual} and not busy[0]:", f"        return quick(({given}), ({static}))" if tuples else f"        return quick({given}{static})"]
    lines.append(f"    return general(({given}), ({static}))")
    exec(compile("\n".join(lines), f"{__file__}: {prim.name}", "exec"), known)
    made: Callable[..., Any] = known[prim.name]
    return made


def _with_out(function: Any) -> Any:
    """An array function that takes ``out=...``, as NumPy's own do: what it gives is an array."""

    def call(*arrays: Any, out: Any = None) -> Any:
        made = function(*arrays)
        return made if made.__class__ is np.ndarray else np.asarray(made)

    return call


def quick_call(prim: Primitive) -> tuple[Any, bool]:
    """(what does the same as `dispatch.apply`, sooner, for tensors and None outside of transforms, or None; whether it takes two tuples)."""
    from .direct import make_many, make_one, make_two, make_view

    if prim.variadic or not prim.derivatives:
        return None, False
    flat: Any
    if prim.family == "view":
        try:
            flat = make_view(prim, functools.partial(prim.run, cpu))
        except TypeError:
            return None, False
    elif prim.family == "elementwise":
        if prim.static or len(prim.arrays) > 2 or prim.several or prim.kind not in ("same", "float"):
            return None, False
        on_arrays = getattr(cpu, prim.name)
        if on_arrays.__class__ is not np.ufunc:
            on_arrays = _with_out(on_arrays)
        flat = (dispatch.make_unary if len(prim.arrays) == 1 else dispatch.make_binary)(prim, on_arrays, True)
    elif len(prim.arrays) == 1 and prim.arrays[0] not in prim.derivatives:
        return None, False
    elif len(prim.arrays) == 1 and not prim.several:
        flat = make_one(prim, functools.partial(prim.run, cpu))
    elif len(prim.arrays) == 2 == len(prim.derivatives) and not prim.several:
        flat = make_two(prim, functools.partial(prim.run, cpu))
    else:
        return make_many(prim, functools.partial(prim.run, cpu)), True
    return flat, False


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
