"""Hooks of modules: registration, for one module and for all, and the call that runs them.

In: user functions to run before or after a module's forward, in its backward pass, or at registration of its members.
Out: `Hooked`, the part of `Module` that keeps and calls them. A module without hooks never comes here:
`Hooked.__call__` goes straight to ``forward``.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...tensor import Tensor
from ...utils.hooks import BackwardHook, RemovableHandle
from .members import LazyHooks

__all__ = [
    "Hooked",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_Hooks = OrderedDict[int, Callable[..., Any]]

_global_buffer_registration_hooks: _Hooks = OrderedDict()
_global_module_registration_hooks: _Hooks = OrderedDict()
_global_parameter_registration_hooks: _Hooks = OrderedDict()
_global_backward_pre_hooks: _Hooks = OrderedDict()
_global_backward_hooks: _Hooks = OrderedDict()
_global_is_full_backward_hook: bool | None = None
_global_forward_pre_hooks: _Hooks = OrderedDict()
_global_forward_hooks: _Hooks = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()

#: Whether there may be call hooks for all modules: then every call goes the careful way, which looks again.
_any_global = False

_ABSENT: Any = object()

_MIXED = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only one of them."
)
_MIXED_GLOBAL = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
    "Please use only one of them."
)


def _enter(hooks: Any, hook: Callable[..., Any], prepend: bool = False, *marks: Any) -> RemovableHandle:
    """Add `hook` to the dict `hooks`, and its id to the `marks` dicts that are not None."""
    marked = [d for d in marks if d is not None]
    handle = RemovableHandle(hooks, extra_dict=marked)
    hooks[handle.id] = hook
    for mark in marked:
        mark[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
        for mark in marked:
            mark.move_to_end(handle.id, last=False)
    return handle


def _enter_global(hooks: Any, hook: Callable[..., Any], *marks: Any) -> RemovableHandle:
    global _any_global
    _any_global = True
    return _enter(hooks, hook, False, *marks)


def _has_any_global_hook() -> Any:
    return (
        _global_backward_pre_hooks
        or _global_backward_hooks
        or _global_forward_pre_hooks
        or _global_forward_hooks
        or _global_forward_hooks_always_called
        or _global_forward_hooks_with_kwargs
    )


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, name, buffer)`` called when any module registers a buffer; what it gives replaces it."""
    return _enter(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, name, submodule)`` called whenever any module registers a submodule."""
    return _enter(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, name, param)`` called whenever any module registers a parameter."""
    return _enter(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, args)`` called before the forward of every module."""
    return _enter_global(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Have ``hook(module, args, output)`` called after the forward of every module."""
    return _enter_global(
        _global_forward_hooks,
        hook,
        _global_forward_hooks_with_kwargs if with_kwargs else None,
        _global_forward_hooks_always_called if always_call else None,
    )


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, grad_input, grad_output)`` called at the node of every module's output.

    Use `register_module_full_backward_hook`, which sees the gradients of the module's own inputs.
    """
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is True:
        raise RuntimeError(_MIXED_GLOBAL)
    _global_is_full_backward_hook = False
    return _enter_global(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, grad_output)`` called before the backward of every module."""
    return _enter_global(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, grad_input, grad_output)`` called in the backward of every module."""
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is False:
        raise RuntimeError(_MIXED_GLOBAL)
    _global_is_full_backward_hook = True
    return _enter_global(_global_backward_hooks, hook)


class _WrappedHook:
    """A hook on a graph node, or in a state-dict pass, that hands the module (held weakly) to the user's function."""

    def __init__(self, hook: Callable[..., Any], module: Any = None):
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if self.with_module:
            self.module: Any = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook = state["hook"]
        self.with_module = state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class Hooked:
    """Calling a module, with its hooks."""

    _backward_pre_hooks: Any = LazyHooks(calls=True)
    _backward_hooks: Any = LazyHooks(calls=True)
    _forward_hooks: Any = LazyHooks(calls=True)
    _forward_pre_hooks: Any = LazyHooks(calls=True)
    _forward_hooks_with_kwargs: Any = LazyHooks()
    _forward_hooks_always_called: Any = LazyHooks()
    _forward_pre_hooks_with_kwargs: Any = LazyHooks()
    _is_full_backward_hook: bool | None = None
    _compiled_call_impl: Any = None

    #: Whether the call must look for hooks. True for what did not go through ``Module.__init__``, to be complained of.
    _hooked = True

    forward: Callable[..., Any]

    def __call__(self, x: Any = _ABSENT, /, *args: Any, **kwargs: Any) -> Any:
        # One positional argument is nearly every call, and passing it on by name spares building argument tuples.
        if self._hooked or _any_global:
            return self._wrapped_call_impl(*(() if x is _ABSENT else (x, *args)), **kwargs)
        if args or kwargs or x is _ABSENT:
            return self.forward(**kwargs) if x is _ABSENT else self.forward(x, *args, **kwargs)
        return self.forward(x)

    def _wrapped_call_impl(self, *args: Any, **kwargs: Any) -> Any:
        compiled = self._compiled_call_impl
        return self._call_impl(*args, **kwargs) if compiled is None else compiled(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        global _any_global
        _any_global = bool(_any_global and _has_any_global_hook())
        if not (
            _any_global
            or self._backward_hooks
            or self._backward_pre_hooks
            or self._forward_hooks
            or self._forward_pre_hooks
        ):
            return self.forward(*args, **kwargs)
        call = _HookedCall(self, args, kwargs)
        try:
            return call.run()
        except Exception:
            call.run_always_called()
            raise

    _slow_forward = _call_impl

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, grad_output)`` called when the gradients of the outputs are known.

        What it returns (a tuple, or None) replaces grad_output.
        """
        return _enter(self._backward_pre_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called at the node that made the output.

        Deprecated: for a module of several operations grad_input is that of the last operation only.
        """
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = False
        return _enter(self._backward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called when the gradients of the module's inputs are known.

        Both are tuples over the positional inputs and the outputs, None where there is no gradient; what the hook
        returns (a tuple, or None) replaces grad_input.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = True
        return _enter(self._backward_hooks, hook, prepend)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, args)`` called before forward; what it returns (a tuple or one value) replaces args.

        With `with_kwargs`, ``hook(module, args, kwargs)``, which returns None or ``(args, kwargs)``.
        """
        return _enter(
            self._forward_pre_hooks, hook, prepend, self._forward_pre_hooks_with_kwargs if with_kwargs else None
        )

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Have ``hook(module, args, output)`` called after forward; what it returns replaces the output.

        With `with_kwargs`, ``hook(module, args, kwargs, output)``; with `always_call`, even where forward raised.
        """
        return _enter(
            self._forward_hooks,
            hook,
            prepend,
            self._forward_hooks_with_kwargs if with_kwargs else None,
            self._forward_hooks_always_called if always_call else None,
        )

    def _get_backward_hooks(self) -> tuple[list[Callable[..., Any]], list[Callable[..., Any]]]:
        """(full backward hooks, old-style ones), global ones first."""
        full: list[Callable[..., Any]] = []
        plain: list[Callable[..., Any]] = []
        for kind, hooks in (
            (_global_is_full_backward_hook, _global_backward_hooks),
            (self._is_full_backward_hook, self._backward_hooks),
        ):
            if kind is not None:
                (full if kind else plain).extend(hooks.values())
        return full, plain

    def _get_backward_pre_hooks(self) -> list[Callable[..., Any]]:
        return [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]

    def _maybe_warn_non_full_backward_hook(self, inputs: Any, result: Any, grad_fn: Any) -> None:
        """Warn where an old-style backward hook will see other gradients than its name promises."""

        def all_tensors(values: Any) -> bool:
            return isinstance(values, tuple) and all(isinstance(v, Tensor) for v in values)

        outputs = (result,) if isinstance(result, Tensor) else result
        ins = (inputs,) if isinstance(inputs, Tensor) else inputs
        wrong = None
        if not all_tensors(outputs):
            wrong = "return a single Tensor or a tuple of Tensors", "grad_output"
        elif not all_tensors(ins):
            wrong = "take as input a single Tensor or a tuple of Tensors", "grad_input"
        if wrong is not None:
            warnings.warn(
                f"Using non-full backward hooks on a Module that does not {wrong[0]} is deprecated and will be removed "
                f"in future versions. This hook will be missing some of the {wrong[1]}. Please use "
                "register_full_backward_hook to get the documented behavior.",
                FutureWarning,
                stacklevel=2,
            )
            return
        if any(out.grad_fn is not grad_fn for out in outputs):
            cause, missing = "outputs are generated by different autograd Nodes", "grad_output"
        else:
            expected = {t.grad_fn for t in ins if t.grad_fn is not None}
            found = {edge[0] for edge in grad_fn.next_functions if edge[0] is not None}
            if expected == found or expected == {n for n in found if type(n).__name__ != "AccumulateGrad"}:
                return
            cause, missing = "the forward contains multiple autograd Nodes", "grad_input"
        warnings.warn(
            f"Using a non-full backward hook when {cause} is deprecated and will be removed in future versions. This "
            f"hook will be missing some {missing}. Please use register_full_backward_hook to get the documented "
            "behavior.",
            FutureWarning,
            stacklevel=2,
        )


class _HookedCall:
    """One call of a module that has hooks: what was run, for the hooks that must run even after an error."""

    def __init__(self, module: Any, args: tuple, kwargs: dict[str, Any]):
        self.module = module
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.done: set[int] = set()

    def run(self) -> Any:
        module = self.module
        full, plain = module._get_backward_hooks()
        before_backward = module._get_backward_pre_hooks()
        self._before()
        watch = None
        if full or before_backward:
            watch = BackwardHook(module, full, before_backward)
            self.args = watch.setup_input_hook(self.args)
        self.result = module.forward(*self.args, **self.kwargs)
        for hook_id, hook, with_kwargs, always in self._after_hooks():
            if always:
                self.done.add(hook_id)
            given = (self.args, self.kwargs) if with_kwargs else (self.args,)
            replaced = hook(module, *given, self.result)
            if replaced is not None:
                self.result = replaced
        if watch is not None:
            if not isinstance(self.result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                    f"but received {type(self.result)}",
                    stacklevel=4,
                )
            self.result = watch.setup_output_hook(self.result)
        if plain:
            self._hang_plain(plain)
        return self.result

    def _before(self) -> None:
        """Run the forward pre-hooks, which may replace the arguments."""
        module = self.module
        for hook_id, hook in (*_global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()):
            if hook_id in module._forward_pre_hooks_with_kwargs:
                changed = hook(module, self.args, self.kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                            f"but got {changed}."
                        )
                    self.args, self.kwargs = changed
            else:
                changed = hook(module, self.args)
                if changed is not None:
                    self.args = changed if isinstance(changed, tuple) else (changed,)

    def _after_hooks(self) -> list[tuple[int, Callable[..., Any], bool, bool]]:
        """(id, hook, takes kwargs, always called) of the forward hooks, global ones first."""
        module = self.module
        found = [
            (i, hook, i in _global_forward_hooks_with_kwargs, i in _global_forward_hooks_always_called)
            for i, hook in _global_forward_hooks.items()
        ]
        if module._forward_hooks:
            with_kwargs, always = module._forward_hooks_with_kwargs, module._forward_hooks_always_called
            found += [(i, hook, i in with_kwargs, i in always) for i, hook in module._forward_hooks.items()]
        return found

    def _hang_plain(self, hooks: list[Callable[..., Any]]) -> None:
        """Hang old-style backward hooks on the node of the (first) output tensor."""
        found = self.result
        while not isinstance(found, Tensor):
            found = next(v for v in found.values() if isinstance(v, Tensor)) if isinstance(found, dict) else found[0]
        node = found.grad_fn
        if node is not None:
            for hook in hooks:
                node.register_hook(_WrappedHook(hook, self.module))
            self.module._maybe_warn_non_full_backward_hook(self.args, self.result, node)

    def run_always_called(self) -> None:
        """After an error: the ``always_call`` hooks that have not run yet; their own errors become warnings."""
        for hook_id, hook, with_kwargs, always in self._after_hooks():
            if not always or hook_id in self.done:
                continue
            try:
                replaced = hook(self.module, *((self.args, self.kwargs) if with_kwargs else (self.args,)), self.result)
                if replaced is not None:
                    self.result = replaced
            except Exception as error:
                whose = "global module" if hook_id in _global_forward_hooks else "module"
                warnings.warn(
                    f"{whose} forward hook with ``always_call=True`` raised an exception that was silenced as another "
                    f"error was raised in forward: {error}",
                    stacklevel=4,
                )
