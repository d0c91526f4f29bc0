"""The ``__torch_function__`` protocol: classes and modes that want to see the functions called on their objects.

In: a function of the library and the arguments of a call. Out: what the classes of the arguments (or a mode) say, in
PyTorch's order; the function's own result where none of them has a say.

A program that overrides nothing must not pay for this, so nothing in the functions asks. While overriding is possible (a
class of tensors was declared, a mode is on, an object with ``__torch_function__`` was met) the library is *armed*: the code
of every public function is exchanged for one that asks first (`Gate`). The function objects stay the same, so what a
program holds (``HANDLED[torch.sum]``) is what its handler is given; when the last mode ends and nothing else needs it the
code is put back.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import types
import warnings
from collections.abc import Iterable
from typing import Any

from .autograd import api, dispatch, inplace
from .functions import lazy
from .functions.register import FUNCTIONS
from .ops.shape import alias
from .tensor import Tensor, _disabled_torch_function_impl

__all__ = ["arm", "armed", "as_subclass", "disarm", "dispatched", "here", "overloaded", "overrides"]


class _Here(threading.local):
    """What is switched off in this thread, and its modes, innermost last."""

    subclasses_off = False
    all_off = False

    def __init__(self) -> None:
        self.modes: list[Any] = []


here = _Here()
lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
#: How many reasons there are to be armed: modes in force, and one for all classes met.
reasons = [0]
_classes_met = [False]
_gates: dict[int, Gate] = {}

#: Operators that say the name of the method they stand for.
METHOD_OF = {
    "__add__": "add", "__radd__": "add", "__mul__": "mul", "__rmul__": "mul", "__sub__": "sub", "__truediv__": "div", "__div__": "div",
    "__matmul__": "matmul", "__neg__": "neg", "__abs__": "abs", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge", "__ne__": "ne",
    "__mod__": "remainder", "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_", "__pos__": "positive", "__rdiv__": "__rtruediv__",
}
#: Methods that are about the object and not about its contents.
NO_METHODS = frozenset(
    "__new__ __init__ __init_subclass__ __getattr__ __hash__ __iter__ __torch_function__ __array_ufunc__ __array_function__ as_edge as_subclass "
    "_make_subclass _number index_at index_put_at has_names __reduce__ __class_getitem__".split()
)
#: Functions that have nothing to ask: they take no tensors, or only look at what they are given.
NO_FUNCTIONS = frozenset(
    "Generator are_deterministic_algorithms_enabled broadcast_shapes can_cast compiled_with_cxx11_abi from_dlpack from_numpy frombuffer "
    "get_default_device get_default_dtype get_float32_matmul_precision get_num_interop_threads get_num_threads get_rng_state initial_seed "
    "is_deterministic_algorithms_warn_only_enabled is_storage is_tensor manual_seed promote_types seed set_default_device "
    "set_default_dtype set_default_tensor_type set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_num_threads "
    "set_rng_state to_dlpack typename use_deterministic_algorithms".split()
)
#: Functions that make tensors from something else: modes see them, classes do not.
FOR_MODES = frozenset(
    "arange as_tensor asarray empty empty_permuted empty_strided eye full linspace logspace ones rand randint randn randperm range "
    "scalar_tensor tensor tril_indices triu_indices zeros".split()
)


# who overrides

_known: dict[type, bool] = {Tensor: False, int: False, float: False, bool: False, str: False, type(None): False, tuple: False, list: False}


def overrides(cls: type) -> bool:
    """Whether a class wants to see the functions called on its objects."""
    known = _known.get(cls)
    if known is None:
        handler = getattr(cls, "__torch_function__", None)
        known = handler is not None and handler is not _disabled_torch_function_impl and not (
            issubclass(cls, Tensor) and cls.__module__.partition(".")[0] == "bibun"
        )
        if len(_known) > 4096:  # classes made on the fly
            _known.clear()
        _known[cls] = known
    return known


def overloaded(values: Iterable[Any]) -> list[Any]:
    """The arguments that have a say, one of each class, subclasses before their bases and else from left to right."""
    found: list[Any] = []

    def look(x: Any) -> None:
        cls = type(x)
        if overrides(cls) and all(type(o) is not cls for o in found):
            at = next((i for i, o in enumerate(found) if issubclass(cls, type(o))), len(found))
            found.insert(at, x)

    for v in values:
        if v.__class__ is list or v.__class__ is tuple:
            for x in v:
                look(x)
        else:
            look(v)
    return found


# a call that somebody has a say in


def dispatched(public: Any, over: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any], operator: bool = False) -> Any:
    """Ask the innermost mode, then the arguments; an error (NotImplemented, for operators) where all decline."""
    kinds = tuple([type(o) for o in over])
    given = (args, kwargs) if kwargs else (args,)
    modes = here.modes
    asked: Any = None
    if modes and not here.all_off:
        asked = modes.pop()
        try:
            result = asked.__torch_function__(public, kinds, *given)
        finally:
            modes.append(asked)
        if result is not NotImplemented:
            return result
    if not here.subclasses_off:
        for o in over:
            result = o.__torch_function__(public, kinds, *given)
            if result is not NotImplemented:
                return result
    if operator:
        return NotImplemented
    who = "".join(f"  - tensor subclass {k}\n" for k in kinds) + (f"  - mode object {asked!r}\n" if asked is not None else "")
    raise TypeError(f"Multiple dispatch failed for '{name_of(public)}'; all __torch_function__ handlers returned NotImplemented:\n\n{who}")


def default(cls: type, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
    """What `Tensor.__torch_function__` does: the function itself, its results made tensors of the subclass."""
    if not is_ours(func) or not all(issubclass(cls, k) for k in kinds):
        return NotImplemented
    before, here.subclasses_off = here.subclasses_off, True
    try:
        result = func(*args, **(kwargs or {}))
    finally:
        here.subclasses_off = before
    return result if func in kept_plain() else converted(result, cls)


def is_ours(func: Any) -> bool:
    """Whether a function belongs to the library: real PyTorch may hand us its own."""
    home = getattr(func, "__module__", None) or type(getattr(func, "__self__", None)).__module__
    return home.partition(".")[0] in ("bibun", "builtins") or id(func) in _gates


def kept_plain() -> set[Any]:
    """Functions whose results are not made tensors of the subclass: they give what somebody else made."""
    made = Tensor.__dict__
    return {made["grad"].__get__, made["_base"].__get__}


def converted(result: Any, cls: type) -> Any:
    """A result, tensors in it made ones of ``cls``."""
    if cls is Tensor:
        return result
    if isinstance(result, Tensor):
        # (a function transform's own tensors stay what they are: their class is how the transform knows them)
        return result if isinstance(result, (cls, inplace.Wrapper)) else as_subclass(result, cls)
    if isinstance(result, (tuple, list)) and any(isinstance(r, (Tensor, tuple, list)) for r in result):
        parts = [converted(r, cls) for r in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def as_subclass(x: Any, cls: type) -> Any:
    """A tensor of class ``cls`` that looks at ``x`` and stands in its graph."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError("Creating a Tensor subclass from a class that does not inherit from Tensor is not possible. Make sure your class inherits from Tensor.")
    seen = dispatch.apply(alias, (x,))
    made = object.__new__(cls)
    made._a, made._node, made._view, made._story, made._grad = seen._a, seen._node, seen._view, seen._story, None
    return made


# the gates


_templates: dict[int, Any] = {}


def template(free: int) -> Any:
    """Code that calls a constant with its arguments, and has so many free variables as the code it stands in for."""
    made = _templates.get(free)
    if made is None:
        names = ", ".join(f"v{i}" for i in range(free))
        source = f"def outer({names}):\n def gate(*args, **kwargs):\n  return {MARK!r}(args, kwargs)\n  {names or 'pass'}\n return gate\n"
        space: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "str object is not callable": no str will be called
            exec(compile(source, __file__, "exec"), space)
        made = _templates[free] = space["outer"](*[None] * free).__code__
    return made


MARK = "the hook of a gate"


class Gate:
    """A public function, its own code, and the code that asks first."""

    __slots__ = ("asking", "function", "hook", "operator", "own", "plain", "public")

    def __init__(self, function: Any, public: Any, modes_only: bool, operator: bool):
        self.function, self.public, self.operator, self.own = function, public, operator, function.__code__
        plain = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
        plain.__kwdefaults__ = function.__kwdefaults__
        self.plain = plain

        def hook(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            h = here
            if h.all_off:
                return plain(*args, **kwargs)
            over = [] if h.subclasses_off or modes_only else overloaded((*args, *kwargs.values()) if kwargs else args)
            if not over and not h.modes:
                return plain(*args, **kwargs)
            return dispatched(public, over, args, kwargs, operator)

        self.hook = hook
        self.asking: Any = None

    def close(self) -> None:
        """Have the function ask first."""
        if self.asking is None:
            code = template(len(self.own.co_freevars))
            constants = tuple([self.hook if c == MARK else c for c in code.co_consts])
            self.asking = code.replace(co_consts=constants, co_name=self.function.__name__)
        self.function.__code__ = self.asking
        if not hasattr(self.function, "__wrapped__"):
            self.function.__wrapped__ = self.plain  # for `inspect.signature`

    def open(self) -> None:
        """Give the function its own code back."""
        self.function.__code__ = self.own
        if self.function.__dict__.get("__wrapped__") is self.plain:
            del self.function.__wrapped__


def gates() -> dict[int, Gate]:
    """The gates of all public functions, made when first asked for."""
    if _gates:
        return _gates
    made: dict[int, Gate] = {}

    def enter(f: Any, public: Any = None, modes_only: bool = False, operator: bool = False) -> None:
        if isinstance(f, types.FunctionType) and f.__module__.partition(".")[0] == "bibun" and id(f) not in made:
            made[id(f)] = Gate(f, f if public is None else public, modes_only, operator)

    for name, f in Tensor.__dict__.items():
        if name in NO_METHODS:
            continue
        if isinstance(f, property):
            for part, accessor in ((f.fget, f.__get__), (f.fset, f.__set__), (f.fdel, f.__delete__)):
                enter(part, accessor)
        elif isinstance(f, types.FunctionType):
            if id(f) not in made and f.__name__ != name and name not in METHOD_OF:
                f.__name__ = name  # handlers print it
            public = Tensor.__dict__[METHOD_OF[name]] if name in METHOD_OF else f
            enter(f, public, operator=name in OPERATORS)
    for name, home in lazy.HOMES.items():
        if home.startswith(("functions.", "nn.")) and name not in NO_FUNCTIONS:
            enter(getattr(importlib.import_module(f"bibun.{home}"), name, None), modes_only=name.endswith("_window"))
    for name, f in FUNCTIONS.items():
        if name not in NO_FUNCTIONS:
            enter(f, modes_only=name in FOR_MODES)
    for name in ("nn.functional", "nn.init", "linalg", "special", "fft"):
        module = importlib.import_module(f"bibun.{name}")
        for each in dir(module):
            if not each.startswith("_"):
                enter(getattr(module, each))
    for f in (api.grad, api.backward):
        enter(f)
    _gates.update(made)
    return _gates


OPERATORS = frozenset(
    f"__{p}{n}__" for n in "add sub mul truediv div floordiv mod pow matmul and or xor lshift rshift".split() for p in ("", "r", "i")
) | {"__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"}


def arm() -> None:
    """Have all public functions ask first, for one more reason."""
    with lock:
        reasons[0] += 1
        if reasons[0] == 1:
            for gate in gates().values():
                gate.close()


def disarm() -> None:
    """One reason less; with the last, the functions are as they were."""
    with lock:
        reasons[0] -= 1
        if not reasons[0]:
            for gate in gates().values():
                gate.open()


def armed() -> bool:
    """Whether public functions ask first."""
    return reasons[0] > 0


def met(cls: type) -> None:
    """A class that overrides was declared or met: from now on functions ask."""
    if not _classes_met[0]:
        _classes_met[0] = True
        arm()


def asked_late(public: Any, args: tuple[Any, ...], kwargs: dict[str, Any], caller: Any) -> Any:
    """A function failed that did not ask first: what an argument's class says; NotImplemented where none has a say.

    Objects that are no tensors are met in this way for the first time. They are asked about the outermost of nested
    functions, which is the one whose ``caller`` (a frame) is not the library's.
    """
    if armed() or dispatch.internal[caller.f_code.co_filename]:
        return NotImplemented
    over = overloaded((*args, *kwargs.values()))
    if not over:
        return NotImplemented
    met(type(over[0]))
    gate = gates().get(id(public))
    return dispatched(gate.public if gate else public, over, args, kwargs, gate is not None and gate.operator)


# names

_names: dict[Any, str] = {}


def name_of(function: Any) -> str | None:
    """The name under which a program finds a function: ``torch.add``, ``torch.Tensor.shape.__get__``."""
    if not _names:
        for name, f in Tensor.__dict__.items():
            if isinstance(f, property):
                for accessor, what in ((f.__get__, "__get__"), (f.__set__, "__set__"), (f.__delete__, "__delete__")):
                    _names.setdefault(accessor, f"torch.Tensor.{name}.{what}")
            elif isinstance(f, types.FunctionType):
                _names.setdefault(f, f"torch.Tensor.{name}")
        for name in ("nn.init", "nn.functional"):
            module = sys.modules.get(f"bibun.{name}")
            for each in dir(module) if module is not None else ():
                f = getattr(module, each)
                if isinstance(f, types.FunctionType) and not each.startswith("_"):
                    _names[f] = f"torch.{name}.{each}"
        for name, f in FUNCTIONS.items():
            if isinstance(f, types.FunctionType) and (f not in _names or _names[f].startswith("torch.Tensor.")):
                _names[f] = f"torch.{name}"
        _names[api.grad], _names[api.backward] = "torch.autograd.grad", "torch.autograd.backward"
    try:
        return _names.get(function)
    except TypeError:
        return None
