"""Grad mode: whether operations are recorded, per thread.

``state.grad`` is what recording asks. The classes are PyTorch's context managers; each also decorates functions and
generator functions (whose body runs under the mode, and whose caller does not).
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
    "set_multithreading_enabled",
]

F = TypeVar("F", bound=Callable[..., Any])
GENERATOR = 0x20  # the code flag of generator functions (inspect.CO_GENERATOR, without importing inspect)


class Off(tuple[()]):
    """Recording is off, as a falsy value of ``state.grad`` that knows where it was switched off."""

    kind = "recording switched off"
    code: Any
    lasti: int


def off(depth: int = 2) -> Off:
    """Recording off from the line ``depth`` frames up on."""
    made = Off()
    f = sys._getframe(depth)
    while f.f_code.co_filename == __file__ and f.f_back is not None:  # a decorated function's wrapper
        f = f.f_back
    made.code, made.lasti = f.f_code, f.f_lasti
    return made


#: Recording is off in the handlers of dispatch modes and classes.
BELOW = Off()
BELOW.kind, BELOW.code, BELOW.lasti = "running inside __torch_dispatch__", None, 0


#: How many `strict_zero` blocks are open, in all threads: the engine asks its own thread only where there are any.
strict_users = [0]


#: Whether the program has been in inference mode at all: nobody needs to look for tensors made there before.
inference_users = [False]


class _State(threading.local):
    grad: Any = True
    inference = False
    multithreaded = True
    #: The dispatch modes in force (`bibun.library.dispatching`), the innermost last.
    watchers: tuple[Any, ...] = ()
    #: Whether zero gradients stay zero through infinite derivatives (`bibun.autograd.strict_zero`).
    strict = False
    #: Whether views get their place in the graph back step by step after a write (`_force_original_view_tracking`).
    replay = False


state = _State()


class ModeDecorator:
    """A context manager that decorates: ``@mode()`` or, for the argumentless ones, ``@mode``."""

    def clone(self) -> ModeDecorator:
        return type(self)()

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def __call__(self, function: F) -> F:
        code = getattr(function, "__code__", None)
        if isinstance(function, type):
            import warnings

            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You should only decorate "
                f"functions or methods. To preserve the current behavior of class decoration, decorate the `__init__` "
                f"method of {function.__name__}.",
                FutureWarning,
                stacklevel=2,
            )
            function.__init__ = self(function.__init__)  # type: ignore[misc]
            return function
        if code is not None and code.co_flags & GENERATOR:
            return self._wrap_generator(function)
        clone = self.clone

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with clone():
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    def _wrap_generator(self, function: F) -> F:
        clone = self.clone

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            try:
                with clone():
                    response = generator.send(None)
                while True:
                    try:
                        request = yield response
                    except GeneratorExit:
                        with clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        with clone():
                            response = generator.throw(error)
                    else:
                        with clone():
                            response = generator.send(request)
            except StopIteration as stop:
                return stop.value

        return wrapper  # type: ignore[return-value]


class no_grad(ModeDecorator):
    """Switch recording off: results inside do not require grad.

    >>> import bibun as torch
    >>> x = torch.tensor(1.0, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, function: Any = None) -> Any:
        made = object.__new__(cls)
        return made if function is None else made(function)

    def __init__(self, function: Any = None):
        self.before = True

    def __enter__(self) -> None:
        self.before = state.grad
        state.grad = off()

    def __exit__(self, *_: object) -> None:
        state.grad = self.before


class enable_grad(no_grad):
    """Switch recording on, inside `no_grad` too."""

    def __enter__(self) -> None:
        self.before = state.grad
        state.grad = True


class set_grad_enabled(ModeDecorator):
    """Switch recording on or off, at once or for a ``with`` block."""

    def __init__(self, mode: bool):
        self.before = state.grad
        self.mode = mode
        state.grad = True if mode else off()

    def __call__(self, function: F) -> F:
        state.grad = self.before
        return super().__call__(function)

    def __enter__(self) -> None:
        state.grad = True if self.mode else off()

    def __exit__(self, *_: object) -> None:
        state.grad = self.before

    def clone(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(mode={self.mode})"


class inference_mode(ModeDecorator):
    """Like `no_grad`, and tensors made inside stay out of every graph afterwards.

    What makes a tensor one of these is its memory (`bibun.native.marking`), so views are what their base is, in the mode and after it.

    >>> import bibun as torch
    >>> with torch.inference_mode():
    ...     x = torch.ones(2)
    >>> x.is_inference(), x[0].is_inference(), (x + 1).is_inference()
    (True, True, False)
    """

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.mode = True
        return made(mode)

    def __init__(self, mode: Any = True):
        self.mode = mode if isinstance(mode, bool) else True

    def __enter__(self) -> None:
        self.before = state.grad, state.inference
        self._switch(self.mode)
        state.grad = off() if self.mode else True

    def __exit__(self, *_: object) -> None:
        state.grad, inference = self.before
        self._switch(inference)

    @staticmethod
    def _switch(on: bool) -> None:
        if state.inference is not on:
            from ..native import marking

            inference_users[0] = True
            state.inference = on
            (marking.mark if on else marking.unmark)()

    def clone(self) -> inference_mode:
        return type(self)(self.mode)


class set_multithreading_enabled(ModeDecorator):
    """Kept for `is_multithreading_enabled` to tell: backward runs in the thread that calls it, whatever is set here."""

    def __init__(self, mode: bool):
        self.mode, self.before = mode, state.multithreaded
        state.multithreaded = mode

    def __call__(self, function: F) -> F:
        state.multithreaded = self.before
        return super().__call__(function)

    def __enter__(self) -> None:
        state.multithreaded = self.mode

    def __exit__(self, *_: object) -> None:
        state.multithreaded = self.before

    def clone(self) -> set_multithreading_enabled:
        return type(self)(self.mode)


class _force_original_view_tracking(ModeDecorator):
    """Whether a view whose base was written in place is reached from it by the operations that made the view, or by one node.

    Takes effect at once, and for a ``with`` block.
    """

    def __init__(self, mode: bool):
        if not isinstance(mode, bool):
            raise TypeError(f"set_view_replay_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}")
        self.mode, self.before = mode, state.replay
        state.replay = mode

    def __call__(self, function: F) -> F:
        state.replay = self.before
        return super().__call__(function)

    def __enter__(self) -> None:
        state.replay = self.mode

    def __exit__(self, *_: object) -> None:
        state.replay = self.before

    def clone(self) -> _force_original_view_tracking:
        return type(self)(self.mode)


def is_view_replay_enabled() -> bool:
    """What `_force_original_view_tracking` set."""
    return state.replay


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return state.grad is True


def is_multithreading_enabled() -> bool:
    """What `set_multithreading_enabled` set."""
    return state.multithreaded


def of_inference(a: Any) -> bool:
    """Whether the memory of the array ``a`` was allocated in inference mode: such a tensor is an inference tensor."""
    if not inference_users[0]:
        return False
    from ..native.marking import is_marked

    return is_marked(a)


def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on in this thread."""
    return state.inference
