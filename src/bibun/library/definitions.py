"""Operators from schemas in text (`Library`, `define`, `impl`), and registration for any operator by its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..autograd.dispatch import user_frame
from .custom import keys_of
from .operators import SPACES, Operator, Space, enter, find, lookup
from .schema import Schema, parse

__all__ = [
    "Library", "define", "fallthrough_kernel", "get_ctx", "impl", "impl_abstract", "register_autocast", "register_autograd", "register_fake",
    "register_kernel", "register_torch_dispatch", "register_vmap",
]

#: Namespaces that a `Library` of kind DEF has taken, and where.
_taken: dict[str, str] = {"aten": "the library itself", "prim": "the library itself"}
_KEYS = {
    "": "default", "CPU": "cpu", "CompositeExplicitAutograd": "default", "CUDA": "cuda", "MPS": "mps", "XPU": "xpu", "Meta": "meta", "XLA": "xla",
    "cpu": "cpu", "cuda": "cuda", "mps": "mps", "xpu": "xpu", "default": "default", "types": "default",
}


def here() -> str:
    f = user_frame(2)
    return f"{f.f_code.co_filename}:{f.f_lineno}"


class Library:
    """Operators of a namespace: ``define`` their schemas, ``impl`` their kernels.

    Args:
        kind: "DEF" (the namespace is this library's alone), "FRAGMENT" or "IMPL".

    >>> import bibun as torch
    >>> lib = torch.library.Library("docs_lib", "FRAGMENT")
    >>> lib.define("twice(Tensor x) -> Tensor")
    'twice'
    >>> lib.impl("twice", lambda x: x * 2, "CPU")
    >>> torch.ops.docs_lib.twice(torch.ones(2))
    tensor([2., 2.])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if kind == "DEF":
            if ns in _taken:
                raise RuntimeError(
                    f"Only a single TORCH_LIBRARY can be used to register the namespace {ns}; please put all of your definitions in a single TORCH_LIBRARY block.  "
                    "If you really intended to define operators for a single namespace in a distributed way, you can use TORCH_LIBRARY_FRAGMENT to explicitly "
                    f"indicate this.  Previous registration of TORCH_LIBRARY was registered at {_taken[ns]}"
                )
            _taken[ns] = here()
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._defined: list[Operator] = []

    def __repr__(self) -> str:
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})>"

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Enter an operator by its schema; gives its name."""
        if alias_analysis not in ("", "FROM_SCHEMA", "CONSERVATIVE"):
            raise RuntimeError(f"Invalid alias_analysis type {alias_analysis}")
        parsed = parse(f"{self.ns}::{schema.strip()}")
        if exactly(parsed):
            raise RuntimeError(
                f"Tried to register an operator ({parsed}) with the same name and overload name multiple times. Each overload's schema should only be registered "
                "with a single call to def()."
            )
        self._defined.append(enter(Operator(parsed, opaque=False)))
        return self._defined[-1].name

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", *, with_keyset: bool = False, allow_override: bool = False) -> None:
        """Give a defined operator a kernel; the key says for which devices, or "CompositeImplicitAutograd"."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found type {type(fn)}")
        op = lookup(op_name if isinstance(op_name, Operator) else f"{self.ns}::{str(op_name).removeprefix(self.ns + '::')}")
        key = dispatch_key or self.dispatch_key or "CompositeImplicitAutograd"
        if key == "CompositeImplicitAutograd":
            op.composite = fn
        elif key in ("Autograd", "AutogradCPU"):
            op.composite = fn
        elif key in _KEYS:
            op.kernels[_KEYS[key]] = fn
        else:
            raise RuntimeError(f"could not parse dispatch key: {key}")

    def _destroy(self) -> None:
        for op in self._defined:
            space = SPACES.get(op.space)
            if space is not None and op.name in space._packets:
                space._packets[op.name]._overloads.pop(op.overload, None)
                if not space._packets[op.name]._overloads:
                    del space._packets[op.name]
        self._defined.clear()
        if self.kind == "DEF":
            _taken.pop(self.ns, None)


@contextlib.contextmanager
def _scoped_library(*args: Any, **kwargs: Any) -> Iterator[Library]:
    """A `Library` whose definitions go when the block ends."""
    made = Library(*args, **kwargs)
    try:
        yield made
    finally:
        made._destroy()


def exactly(schema: Schema) -> bool:
    """Whether there is an operator of that name and overload name."""
    space = SPACES.get(schema.name.partition("::")[0], Space(""))
    packet = space._packets.get(schema.name.partition("::")[2])
    return packet is not None and (schema.overload_name or "default") in packet._overloads


def define(qualname: Any, schema: Any = None, alias_analysis: str = "", *, lib: Any = None, tags: Any = ()) -> Any:
    """Enter the operator ``qualname`` (``"namespace::name"``) by its schema: ``"(Tensor x) -> Tensor"``."""
    if isinstance(qualname, Library):  # the older form: a decorator for the kernel
        library, text, key = qualname, schema, alias_analysis

        def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
            name = library.define(text)
            library.impl(name, function, key or "CompositeImplicitAutograd")
            return function

        return kernel
    if not isinstance(qualname, str):
        raise ValueError(f"define(qualname, schema): expected qualname to be instance of str, got {type(qualname)}")
    space, double, name = qualname.partition("::")
    if not double:
        raise ValueError(f"Expected `qualname` to be of the form 'namespace::name', got {qualname}")
    (lib if lib is not None else Library(space, "FRAGMENT")).define(f"{name}{schema}")
    return None


def impl(qualname: Any, types: Any, func: Any = None, *, lib: Any = None) -> Any:
    """Give the operator ``qualname`` a kernel for devices (``"default"``: all). Decorator. Older form: ``impl(lib, name, key)``."""
    if isinstance(qualname, Library):
        library, key = qualname, func or ""

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            library.impl(types, function, key)
            return function

        return wrap
    op = lookup(qualname)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for key in [types] if isinstance(types, str) else types:
            if key == "CompositeImplicitAutograd":
                op.composite = function
            elif key in _KEYS:
                op.kernels[_KEYS[key]] = function
            else:
                raise RuntimeError(f"could not parse dispatch key: {key}")
        return function

    return register if func is None else register(func)


def register_kernel(op: Any, device_types: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """Give an operator its kernel for devices (None: all). Decorator."""
    found = lookup(op)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for key in keys_of(device_types):
            found.kernels[key] = function
        return function

    return register if func is None else register(func)


def register_fake(op: Any, func: Any = None, /, *, lib: Any = None, _stacklevel: int = 1, allow_override: bool = False) -> Any:
    """Give an operator the function that makes outputs of the right shapes and dtypes without computing them. Decorator."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        found = find(op) if isinstance(op, str) else lookup(op)
        if found is not None:
            found.fake = function
        return function

    return register if func is None else register(func)


def impl_abstract(qualname: Any, func: Any = None, *, lib: Any = None, _stacklevel: int = 1) -> Any:
    """The older name of `register_fake`."""
    return register_fake(qualname, func)


def register_autograd(op: Any, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None, lib: Any = None) -> None:
    """Give an operator its backward and what that keeps; see `CustomOpDef.register_autograd`."""
    found = lookup(op)
    if found._schema.is_mutable:
        raise RuntimeError(
            f"Cannot register autograd formula for non-functional operator {found} with schema {found._schema}. Please create a functional operator and register "
            "an autograd formula for that."
        )
    found.backward, found.setup = backward, setup_context


def register_vmap(op: Any, func: Any = None, /, *, lib: Any = None) -> Any:
    """Give an operator its batched form, ``func(info, in_dims, *args)``. Decorator."""
    found = lookup(op)

    def register(function: Callable[..., Any]) -> None:
        found.vmap_rule = function

    return register if func is None else register(func)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Any = None) -> None:
    """Have an operator's floating-point tensors cast where autocast is on for the device."""
    lookup(op).autocast[device_type] = cast_inputs


def register_torch_dispatch(op: Any, torch_dispatch_class: Any, func: Any = None, /, *, lib: Any = None, allow_override: bool = False) -> Any:
    """Refused: there is no ``__torch_dispatch__`` here."""
    raise NotImplementedError("register_torch_dispatch: bibun has no __torch_dispatch__; give the class a __torch_function__")


def fallthrough_kernel() -> None:
    """A mark that PyTorch's dispatcher knows; never called."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


def get_ctx() -> Any:
    """Inside a function given to `register_fake`: what makes sizes that depend on values; None elsewhere."""
    from .checking import current

    return current[-1] if current else None
