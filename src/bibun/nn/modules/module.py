"""`Module`, what every layer and model is: named parameters, buffers and submodules with a forward function.

In: tensors and modules assigned as attributes. Out: the tree of them, to walk (`tree`), convert, save (`state`),
hook (`hooks`) and call. Reading a member is reading a plain attribute: see `members`.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ... import dtypes
from ...autograd.modes import no_grad
from ...tensor import Tensor
from ..parameter import Parameter
from . import hooks as _hooks
from .conversion import parse_to
from .hooks import (
    Hooked,
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_buffer_registration_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    _has_any_global_hook,
    _WrappedHook,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from .members import Members
from .state import _EXTRA_STATE_KEY_SUFFIX, Stateful, _IncompatibleKeys
from .tree import Tree

__all__ = [
    "_EXTRA_STATE_KEY_SUFFIX",
    "Module",
    "_IncompatibleKeys",
    "_WrappedHook",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
    "_global_buffer_registration_hooks",
    "_global_forward_hooks",
    "_global_forward_hooks_always_called",
    "_global_forward_hooks_with_kwargs",
    "_global_forward_pre_hooks",
    "_global_module_registration_hooks",
    "_global_parameter_registration_hooks",
    "_has_any_global_hook",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

M = TypeVar("M", bound="Module")

_new_dict = dict.__new__
#: Types whose values are no members, whatever happens: most of what is assigned.
_PLAIN = frozenset((int, float, bool, str, type(None), list, tuple))

_MEMBER_DICTS = ("_parameters", "_buffers", "_modules")

#: Every dict that a module's pickle holds beside its own attributes, as PyTorch's does.
_HOOK_DICTS = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_CALL_HOOK_DICTS = frozenset(("_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_pre_hooks"))

_COMPLEX_WARNING = (
    "Complex modules are a new feature under active development whose design may change, and some modules might not "
    "work as expected when using complex tensors as parameters or buffers."
)


class _NoHooks(OrderedDict[int, Any]):
    """Stands in a module's state for a dict of hooks that was never touched; pickled, it is an empty ordered dict."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _NoHooks:
        return self

    def __reduce__(self) -> Any:
        return OrderedDict, ()


_NO_HOOKS = _NoHooks()


def _addindent(text: str, spaces: int) -> str:
    """`text` with every line but the first moved right."""
    return text.replace("\n", "\n" + " " * spaces)


def _typename(value: Any) -> str:
    """The name of a value's type as PyTorch's messages have it."""
    if isinstance(value, Tensor):
        return value.type()
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
    if "." in name:
        raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
    if name == "":
        raise KeyError(f'{kind} name can\'t be empty string ""')


def _run_registration_hooks(hooks: Any, module: Any, name: str, value: Any) -> Any:
    for hook in hooks.values():
        replaced = hook(module, name, value)
        if replaced is not None:
            value = replaced
    return value


def _forward_unimplemented(self: Any, *input: Any) -> None:
    """Compute the module's output from its inputs; every subclass defines it."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


def _sync(module: Any) -> None:
    """After the module's ``__dict__`` was filled from outside: have its members appear as attributes."""
    attributes = module.__dict__
    if "_parameters" not in attributes:
        return
    for name in _MEMBER_DICTS:
        members = attributes.get(name)
        if type(members) is Members:
            members.adopt(module)
        else:
            attributes[name] = Members(members or (), module)
    attributes.setdefault("_non_persistent_buffers_set", set())
    for name in _HOOK_DICTS:
        if name in attributes and not attributes[name]:
            del attributes[name]  # made again, and noticed, when touched
    attributes["_hooked"] = not _CALL_HOOK_DICTS.isdisjoint(attributes) or "_compiled_call_impl" in attributes


def _synced(user: Callable[..., Any]) -> Callable[..., Any]:
    """A subclass's own ``__setstate__``, followed by `_sync`."""

    @functools.wraps(user)
    def __setstate__(self: Any, state: Any) -> None:
        user(self, state)
        _sync(self)

    return __setstate__


def _getattr(self: Any, name: str) -> Any:
    """``Module.__getattr__``, once a subclass with a ``__getattr__`` of its own may ask for it.

    Ordinary reads never fail, so the class goes without until then: a class with ``__getattr__`` has every attribute
    read and every method call of its instances take the interpreter's slow road.
    """
    attributes = self.__dict__
    for members in _MEMBER_DICTS:
        found = attributes.get(members)
        if found is not None and name in found:
            return found[name]
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Module(Tree, Hooked, Stateful):
    """Base class of all layers and models.

    Assign parameters, tensors and modules as attributes in ``__init__`` (after ``super().__init__()``), define
    ``forward``, and call the module.

    >>> import bibun as torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = torch.nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(torch.tensor(3.0)).item()
    6.0
    >>> [name for name, _ in model.named_parameters()]
    ['factor']
    """

    dump_patches: bool = False
    training: bool
    call_super_init: bool = False

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument {next(iter(kwargs))!r}"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        attributes = self.__dict__
        attributes["training"] = True
        owners = (weakref.ref(self),)
        for name in _MEMBER_DICTS:
            members = attributes[name] = _new_dict(Members)
            members._owners = owners
        attributes["_non_persistent_buffers_set"] = set()
        attributes["_hooked"] = False
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__getattr__" not in Module.__dict__ and hasattr(cls, "__getattr__"):
            Module.__getattr__ = _getattr  # type: ignore[method-assign]
        own = cls.__dict__.get("__setstate__")
        if own is not None:
            cls.__setstate__ = _synced(own)  # type: ignore[method-assign]

    forward: Callable[..., Any] = _forward_unimplemented

    # members

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but not trained; without `persistent`, not of ``state_dict``."""
        attributes = self.__dict__
        if "_buffers" not in attributes:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        _check_name("buffer", name)
        if hasattr(self, name) and name not in self._buffers:
            raise KeyError(f"attribute {name!r} already exists")
        if tensor is not None and not isinstance(tensor, Tensor) and not hasattr(type(tensor), "__torch_function__"):
            raise TypeError(
                f"cannot assign {_typename(tensor)!r} object to buffer {name!r} (torch Tensor or None required)"
            )
        tensor = _run_registration_hooks(_global_buffer_registration_hooks, self, name, tensor)
        self._buffers[name] = attributes[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or a place for one (None)."""
        attributes = self.__dict__
        if "_parameters" not in attributes:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        _check_name("parameter", name)
        if hasattr(self, name) and name not in self._parameters:
            raise KeyError(f"attribute {name!r} already exists")
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign {_typename(param)!r} object to parameter {name!r} "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    f"explicitly. To express '{name}' as a function of another Tensor, compute the value in the "
                    "forward() method."
                )
            if _global_parameter_registration_hooks:
                param = _run_registration_hooks(_global_parameter_registration_hooks, self, name, param)
        self._parameters[name] = attributes[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule, or a place for one (None)."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        if not isinstance(name, str):
            raise TypeError(f"module name should be a string. Got {_typename(name)}")
        if hasattr(self, name) and name not in self._modules:
            raise KeyError(f"attribute {name!r} already exists")
        _check_name("module", name)
        self._put_module(name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """`add_module` under another name."""
        self.add_module(name, module)

    def _put_module(self, name: str, module: Any) -> None:
        module = _run_registration_hooks(_global_module_registration_hooks, self, name, module)
        self._modules[name] = self.__dict__[name] = module

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        params = attributes.get("_parameters")
        kind = value.__class__
        if kind is Tensor:
            special = value._is_buffer
        else:
            special = kind not in _PLAIN and isinstance(value, (Tensor, Module, dict))
        if (
            special
            or params is None
            or name in params
            or name in attributes["_modules"]
            or name in attributes["_buffers"]
        ):
            self._set_member(name, value, attributes, params)
        else:
            super().__setattr__(name, value)

    def _set_member(self, name: str, value: Any, attributes: dict[str, Any], params: Any) -> None:
        """`__setattr__` where the value, or what bears the name now, may be a member."""
        if isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._drop(name, "_parameters")
            self.register_parameter(name, value)
            return
        if params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign {_typename(value)!r} as parameter {name!r} (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
            return
        modules = attributes.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._drop(name, "_modules")
            self._put_module(name, value)
            return
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign {_typename(value)!r} as child module {name!r} (torch.nn.Module or None expected)"
                )
            self._put_module(name, None)
            return
        buffers = attributes.get("_buffers")
        given: Any = value
        marked = isinstance(given, Tensor) and given._is_buffer
        if marked or (buffers is not None and name in buffers):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign {_typename(value)!r} as buffer {name!r} "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            if buffers is None:
                raise AttributeError("cannot assign buffer before Module.__init__() call")
            persistent = given.persistent if marked else name not in self._non_persistent_buffers_set
            if name not in buffers:
                self._drop(name, "_buffers")
                self.register_buffer(name, value, persistent)
                return
            value = _run_registration_hooks(_global_buffer_registration_hooks, self, name, value)
            buffers[name] = attributes[name] = value
            if marked:
                (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)
            return
        if name in _MEMBER_DICTS:
            old = attributes.get(name)
            if type(old) is Members and old is not value:
                old.disown(self)
            attributes[name] = Members(value, self)
            return
        super().__setattr__(name, value)
        if name == "__dict__":
            _sync(self)

    def _drop(self, name: str, kept: str) -> None:
        """Take `name` out of the attributes and of the member dicts other than `kept`."""
        attributes = self.__dict__
        for members in _MEMBER_DICTS:
            if members != kept and name in attributes[members]:
                del attributes[members][name]
        if name not in attributes[kept]:
            attributes.pop(name, None)
        attributes["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        attributes = self.__dict__
        for members in _MEMBER_DICTS:
            found = attributes.get(members)
            if found is not None and name in found:
                del found[name]
                attributes.pop(name, None)
                if members == "_buffers":
                    self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted(name for name in {*dir(type(self)), *self.__dict__} if not name[0].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: PyTorch's own layout, without the repeated names and the mark."""
        attributes = self.__dict__
        if "_parameters" not in attributes:
            return dict(attributes)
        state = {"training": attributes["training"]} if "training" in attributes else {}
        for name in ("_parameters", "_buffers", "_non_persistent_buffers_set", *_HOOK_DICTS[:2]):
            state[name] = attributes.get(name, _NO_HOOKS)
        state["_is_full_backward_hook"] = self._is_full_backward_hook
        for name in (*_HOOK_DICTS[2:], "_modules"):
            state[name] = attributes.get(name, _NO_HOOKS)
        members = [attributes[name] for name in _MEMBER_DICTS]
        for name, value in attributes.items():
            if name not in state and name != "_hooked" and not any(name in m and m[name] is value for m in members):
                state[name] = value
        state.pop("_compiled_call_impl", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _sync(self)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn(module)`` on every submodule, then on the module itself; returns the module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Set training mode (or evaluation) here and below, for `Dropout`, `BatchNorm` and their like."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Have the parameters' gradients computed, or not."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the parameters' gradients, or with ``set_to_none=False`` set them to zero."""
        if "_is_replica" in self.__dict__:
            warnings.warn(
                "Calling .zero_grad() from a module created with nn.DataParallel() has no effect. The parameters are "
                "copied (in a differentiable manner) from the original module. This means they are not leaf nodes in "
                "autograd and so don't accumulate gradients. If you need gradients in your forward method, consider "
                "using autograd.grad instead.",
                stacklevel=2,
            )
        for param in self.parameters():
            grad = param._grad
            if grad is None:
                continue
            if set_to_none:
                param._grad = None
            else:
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    # conversion

    def _apply(self: M, fn: Callable[[Any], Any], recurse: bool = True) -> M:
        """Replace what every parameter (in place) and every buffer holds by what ``fn`` gives for it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is None:
                continue
            with no_grad():
                converted = fn(param)
            if converted is not param:
                param.data = converted
            grad = param._grad if isinstance(param, Tensor) else None
            if grad is not None:
                with no_grad():
                    converted = fn(grad)
                if converted is not grad:
                    grad.data = converted
        for name, buffer in list(self._buffers.items()):
            if buffer is not None:
                self._buffers[name] = self.__dict__[name] = fn(buffer)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move or convert: ``to(device)``, ``to(dtype)``, ``to(tensor)``, ``to(memory_format=...)``, or several.

        Only floating and complex tensors change dtype. The module itself is changed, and returned.
        """
        device, dtype, non_blocking, memory_format = parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(_COMPLEX_WARNING, stacklevel=2)

        def convert(t: Any) -> Any:
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            if memory_format is not None and t.dim() in (4, 5):
                return t.to(device, wanted, non_blocking, memory_format=memory_format)
            return t.to(device, wanted, non_blocking)

        return self._apply(convert)

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Give every parameter and buffer fresh memory on `device`, its contents not kept."""
        from ..tensors import empty_like

        return self._apply(lambda t: empty_like(t, device=device), recurse=recurse)

    def cuda(self: M, device: Any = None) -> M:
        """Move to a CUDA device: where there are tensors to move, the error of `Tensor.cuda`."""
        return self._apply(lambda t: t.cuda(device))

    def ipu(self: M, device: Any = None) -> M:
        return self._apply(lambda t: t.ipu(device))

    def xpu(self: M, device: Any = None) -> M:
        return self._apply(lambda t: t.xpu(device))

    def mtia(self: M, device: Any = None) -> M:
        return self._apply(lambda t: t.mtia(device))

    def cpu(self: M) -> M:
        """Move to main memory."""
        return self._apply(lambda t: t.cpu())

    def type(self: M, dst_type: Any) -> M:
        """Convert every parameter and buffer to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def _floating_to(self: M, dtype: Any) -> M:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self: M) -> M:
        """Convert floating parameters and buffers to float32."""
        return self._floating_to(dtypes.float32)

    def double(self: M) -> M:
        """Convert floating parameters and buffers to float64."""
        return self._floating_to(dtypes.float64)

    def half(self: M) -> M:
        """Convert floating parameters and buffers to float16."""
        return self._floating_to(dtypes.float16)

    def bfloat16(self: M) -> M:
        """Convert floating parameters and buffers to bfloat16."""
        return self._floating_to(dtypes.bfloat16)

    def share_memory(self: M) -> M:
        """Move all parameters and buffers to memory that other processes see."""
        return self._apply(lambda t: t.share_memory_())

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile this module's call, hooks included; the arguments are those of ``compile``."""
        import bibun

        self._compiled_call_impl = bibun.compile(self._call_impl, *args, **kwargs)
        self._hooked = True

    # printing

    def _get_name(self) -> str:
        return self.__class__.__name__

    def extra_repr(self) -> str:
        """What to print between the parentheses beside the submodules; one line, or several."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        inside = "\n  ".join([*lines, *children])
        return f"{self._get_name()}(\n  {inside}\n)" if inside else f"{self._get_name()}()"

    def _replicate_for_data_parallel(self) -> Module:
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        replica._parameters = {}
        replica._buffers = self._buffers.copy()
        replica._modules = self._modules.copy()
        replica._is_replica = True
        return replica


_PROPERTY_OF_HOOKS = "_global_is_full_backward_hook"


def __getattr__(name: str) -> Any:
    if name == _PROPERTY_OF_HOOKS:
        return getattr(_hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
