"""``torch.overrides``: for classes and modes that see the functions called on their objects.

`bibun.overriding` has the protocol itself; these are the public names for it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from . import overriding
from .autograd.modes import BELOW, state
from .functions.register import FUNCTIONS
from .overriding import dispatched, here, name_of, overloaded, overrides
from .tensor import Tensor

__all__ = [
    "BaseTorchFunctionMode", "TorchFunctionMode", "enable_reentrant_dispatch", "get_default_nowrap_functions", "get_ignored_functions",
    "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function", "has_torch_function_unary",
    "has_torch_function_variadic", "is_tensor_like", "is_tensor_method_or_property", "resolve_name", "wrap_torch_function",
]


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether a mode is on, or the class of one of the arguments wants to see the functions called on its objects.

    >>> import bibun as torch
    >>> torch.overrides.has_torch_function((torch.ones(1), 2))
    False
    """
    if here.all_off:
        return False
    return bool(here.modes) or not here.subclasses_off and any(overrides(type(a)) for a in relevant_args)


def has_torch_function_unary(argument: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((argument,))


def has_torch_function_variadic(*arguments: Any) -> bool:
    """`has_torch_function` of arguments given one by one."""
    return has_torch_function(arguments)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """Ask the mode that is on, then the classes of ``relevant_args``, what ``public_api(*args, **kwargs)`` gives.

    Raises:
        TypeError: all of them returned NotImplemented.

    >>> import bibun as torch
    >>> class Always:
    ...     @classmethod
    ...     def __torch_function__(cls, func, types, args=(), kwargs=None):
    ...         return f"{func.__name__} of {len(args)}"
    >>> def mine(x):
    ...     if torch.overrides.has_torch_function((x,)):
    ...         return torch.overrides.handle_torch_function(mine, (x,), x)
    ...     return x
    >>> mine(Always())
    'mine of 1'
    """
    over = [] if here.subclasses_off else overloaded(relevant_args)
    try:
        return dispatched(public_api, over, args, kwargs)
    except TypeError as error:
        if not str(error).startswith("Multiple dispatch failed"):
            raise
        name = f"{public_api.__module__}.{public_api.__name__}"
        raise TypeError(f"no implementation found for '{name}' on types that implement __torch_function__: {[type(o) for o in over]}") from None


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[[Any], Any]:
    """A decorator that makes a function overridable; ``dispatcher``, called as it, says which arguments have a say."""

    def inner(function: Any) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return inner


def is_tensor_like(inp: Any) -> bool:
    """Whether an object is a tensor, or of a class with ``__torch_function__``."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether a function seen by a handler is a method of Tensor, or what reads or sets an attribute of it."""
    return getattr(func, "__name__", "") in ("__get__", "__set__", "__delete__") or (name_of(func) or "").startswith("torch.Tensor.")


def resolve_name(f: Any) -> str | None:
    """The name under which a program finds a function that a handler was given, such as ``"torch.Tensor.add"``."""
    overriding.gates()
    return name_of(f)


@functools.cache
def get_overridable_functions() -> dict[Any, list[Callable[..., Any]]]:
    """The functions that classes and modes can see, by the module or class they belong to."""
    import bibun

    found: dict[Any, list[Callable[..., Any]]] = {}
    for gate in overriding.gates().values():
        name = name_of(gate.public)
        if name is None:
            continue
        space: Any = bibun
        for part in name.split(".")[1:-2] if name.startswith("torch.Tensor.") and name.count(".") == 3 else name.split(".")[1:-1]:
            space = getattr(space, part)
        listed = found.setdefault(space, [])
        if gate.public not in listed:
            listed.append(gate.public)
    return found


@functools.cache
def get_ignored_functions() -> set[Any]:
    """Functions that classes are not asked about: they take no tensors, or make them from something else."""
    return {f for name, f in FUNCTIONS.items() if name in overriding.NO_FUNCTIONS or name in overriding.FOR_MODES}


@functools.cache
def get_testing_overrides() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For each overridable function a function of the same signature that does nothing."""
    return {f: (lambda *args, **kwargs: -1) for functions in get_overridable_functions().values() for f in functions}


def get_default_nowrap_functions() -> set[Any]:
    """Functions whose results the default handler does not make tensors of the subclass."""
    return overriding.kept_plain()


class TorchFunctionMode:
    """A ``with`` block in which a handler sees every function of the library that is called.

    Inside its handler the mode is off, so that the handler can call functions itself.

    >>> import bibun as torch
    >>> class Named(torch.overrides.TorchFunctionMode):
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         print(torch.overrides.resolve_name(func))
    ...         return func(*args, **(kwargs or {}))
    >>> x = torch.ones(2)
    >>> with Named():
    ...     y = (x * 2).sum()
    torch.Tensor.mul
    torch.Tensor.sum
    """

    inner: TorchFunctionMode

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        overriding.arm()
        here.modes.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        here.modes.pop()
        overriding.disarm()

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """The older way to write ``Mode(...)`` in a with statement."""
        warnings.warn("`Mode.push()` is no longer necessary and can be replaced with just `with Mode()`", stacklevel=2)
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class enable_reentrant_dispatch:
    """A ``with`` block inside ``__torch_dispatch__`` in which operations are recorded again."""

    def __enter__(self) -> None:
        self.before = state.grad
        if state.grad is BELOW:
            state.grad = True

    def __exit__(self, *_: object) -> None:
        state.grad = self.before


class DisableTorchFunctionSubclass:
    """A ``with`` block in which classes are not asked; modes are."""

    def __enter__(self) -> None:
        self.before = here.subclasses_off
        here.subclasses_off = True

    def __exit__(self, *_: object) -> None:
        here.subclasses_off = self.before


class DisableTorchFunction:
    """A ``with`` block in which neither classes nor modes are asked."""

    def __enter__(self) -> None:
        self.before = here.all_off
        here.all_off = True

    def __exit__(self, *_: object) -> None:
        here.all_off = self.before


def _get_current_function_mode() -> Any:
    return here.modes[-1] if here.modes else None


def _get_current_function_mode_stack() -> list[Any]:
    return list(here.modes)


def _is_torch_function_mode_enabled() -> bool:
    return bool(here.modes)
