"""`Optimizer`: parameter groups, state, hooks and saving, for every optimizer of this package and of its users.

In go parameters (tensors, named tensors, or dicts of them with options); a subclass adds ``step``. The grouping, the
layout of ``state_dict`` and the wording of errors are PyTorch's, so that checkpoints and subclasses move between the
two. Nothing here touches an array.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from types import MappingProxyType
from typing import Any, TypeAlias

from ..autograd.modes import enable_grad
from ..autograd.modes import state as mode
from ..tensor import Tensor
from ..utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

#: Hooks of every optimizer's step.
global_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
global_post_hooks: OrderedDict[int, Callable] = OrderedDict()


class _RequiredParameter:
    """Stands, among defaults, for an option that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


def _register(hooks: OrderedDict[int, Callable], hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called before every optimizer's step; it may return new (args, kwargs)."""
    return _register(global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Have ``hook(optimizer, args, kwargs)`` called after every optimizer's step."""
    return _register(global_post_hooks, hook)


def hooked(step: Callable) -> Callable:
    """``step`` with the hooks around it; the outermost of nested steps calls them."""
    if hasattr(step, "hooked"):
        return step

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        self._opt_called = True
        if self._inside or not self.has_step_hooks():
            return step(*args, **kwargs)
        return self.step_with_hooks(step, args, kwargs)

    wrapper.hooked = True  # type: ignore[attr-defined]
    wrapper._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    return wrapper


def _typename(x: Any) -> str:
    """The name of a value's type, a tensor's with its dtype."""
    if isinstance(x, Tensor):
        name = {
            "int64": "Long",
            "int32": "Int",
            "int16": "Short",
            "int8": "Char",
            "uint8": "Byte",
            "float32": "Float",
            "float64": "Double",
            "float16": "Half",
            "bfloat16": "BFloat16",
        }.get(str(x.dtype).split(".")[-1])
        return f"torch.{name or str(x.dtype).split('.')[-1].title()}Tensor"
    kind = type(x)
    return kind.__qualname__ if kind.__module__ in ("builtins", None) else f"{kind.__module__}.{kind.__qualname__}"


class Optimizer:
    """The base of all optimizers: what they step over, and what they remember of it.

    Args:
        params: tensors, (name, tensor) pairs, or dicts with tensors under ``"params"`` and options of the group.
        defaults: options for groups that do not give them.

    Raises:
        TypeError, ValueError: where ``params`` is a single tensor, empty, or holds something else than leaf tensors.

    >>> import bibun as torch
    >>> class Descent(torch.optim.Optimizer):
    ...     def __init__(self, params, lr):
    ...         super().__init__(params, {"lr": lr})
    ...     @torch.no_grad()
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p -= group["lr"] * p.grad
    >>> x = torch.tensor([3.0], requires_grad=True)
    >>> optimizer = Descent([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([0.], requires_grad=True)
    """

    OptimizerPreHook: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], tuple[tuple, dict] | None]
    OptimizerPostHook: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], None]

    # None of its own has an optimizer that wraps another and does not call __init__.
    _optimizer_step_pre_hooks: Any = MappingProxyType({})
    _optimizer_step_post_hooks: Any = MappingProxyType({})
    _optimizer_state_dict_pre_hooks: OrderedDict[int, Callable]
    _optimizer_state_dict_post_hooks: OrderedDict[int, Callable]
    _optimizer_load_state_dict_pre_hooks: OrderedDict[int, Callable]
    _optimizer_load_state_dict_post_hooks: OrderedDict[int, Callable]

    #: Whether a step with hooks is under way, and whether there was a step since a scheduler began to watch.
    _inside = False
    _opt_called = False

    def __init__(self, params: ParamsT, defaults: dict[str, Any]):
        self.defaults = defaults
        self._make_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + _typename(params)
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        self._warned_capturable_if_run_uncaptured = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and callable(step):
            cls.step = hooked(step)  # type: ignore[method-assign]

    def _make_hooks(self) -> None:
        for moment in (
            "step_pre",
            "step_post",
            "state_dict_pre",
            "state_dict_post",
            "load_state_dict_pre",
            "load_state_dict_post",
        ):
            self.__dict__.setdefault(f"_optimizer_{moment}_hooks", OrderedDict())

    # saved and copied: options, state and groups; hooks stay behind

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_hooks()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines += ["\n"] if i else []
            lines += [f"\nParameter Group {i}"]
            lines += [f"\n    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "".join([*lines, "\n)"])

    # the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; ``closure`` computes the loss anew and returns it."""
        raise NotImplementedError

    def has_step_hooks(self) -> bool:
        """Whether somebody wants to be called around the step."""
        return bool(
            self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or global_pre_hooks or global_post_hooks
        )

    def step_with_hooks(self, step: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call ``step(*args, **kwargs)`` between the hooks, which may change the arguments."""
        self._inside = True
        try:
            for hook in [*global_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()]:
                result = hook(self, args, kwargs)
                if result is not None:
                    if not isinstance(result, tuple) or len(result) != 2:
                        raise RuntimeError(
                            f"<function {type(self).__name__}.step> must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {result}."
                        )
                    args, kwargs = result
            out = step(*args, **kwargs)
            for hook in [*self._optimizer_step_post_hooks.values(), *global_post_hooks.values()]:
                hook(self, args, kwargs)
            return out
        finally:
            self._inside = False

    profile_hook_step = staticmethod(hooked)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with ``set_to_none=False`` overwrite them with zeros."""
        if set_to_none:
            for group in self.param_groups:
                for p in group["params"]:
                    p._grad = None
            return
        for group in self.param_groups:
            for p in group["params"]:
                g = p._grad
                if g is not None:
                    if g.grad_fn is not None:
                        g.detach_()
                    else:
                        g.requires_grad_(False)
                    g.zero_()

    # hooks

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called before each step; it may return new (args, kwargs)."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Have ``hook(optimizer, args, kwargs)`` called after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer)`` called before `state_dict`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called after `state_dict`; what it returns replaces the result."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer, state_dict)`` called before `load_state_dict`; what it returns is loaded instead."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Have ``hook(optimizer)`` called after `load_state_dict`."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Options and state, with parameters replaced by their numbers in order; tensors are shared, not copied."""
        for pre in self._optimizer_state_dict_pre_hooks.values():
            pre(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {(numbers[id(k)] if isinstance(k, Tensor) else k): v for k, v in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for post in self._optimizer_state_dict_post_hooks.values():
            replaced = post(self, result)
            if replaced is not None:
                result = replaced
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state of a `state_dict`, state tensors copied and cast to their parameter's dtype.

        Parameters are matched by order. Names of parameters, where this optimizer has them, stay.

        Raises:
            ValueError: where groups differ in number or size.
        """
        state_dict = state_dict.copy()
        for pre in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = pre(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        by_number: dict[Any, Any] = {}
        for group, new in zip(groups, saved):
            by_number.update(zip(new["params"], group["params"]))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            if number in by_number:
                param = by_number[number]
                state[param] = self._cast(param, value, number, saved)
            else:
                state[number] = value
        for group, new in zip(groups, saved):
            new["params"] = group["params"]
            if "param_names" in group and "param_names" not in new:
                new["param_names"] = group["param_names"]
        self.__setstate__({"state": state, "param_groups": saved})
        for post in self._optimizer_load_state_dict_post_hooks.values():
            post(self)

    def _cast(self, param: Tensor, value: Any, number: Any, groups: list[dict[str, Any]], key: Any = None) -> Any:
        """A saved value of any nesting, its tensors made fit for ``param``."""
        if isinstance(value, Tensor):
            return self._process_value_according_to_param_policy(param, value, number, groups, key)
        if isinstance(value, dict):
            return {k: self._cast(param, v, number, groups, k) for k, v in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*[self._cast(param, v, number, groups) for v in value])
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(self._cast(param, v, number, groups) for v in value)
        return value

    @staticmethod
    def _process_value_according_to_param_policy(
        param: Any, value: Any, param_id: Any, param_groups: list[dict[str, Any]], key: Any = None
    ) -> Any:
        """A saved state tensor as the parameter's optimizer wants it: counters as they are, the rest in its dtype."""
        value = value.detach().clone()
        if key != "step" and param.is_floating_point() and value.dtype != param.dtype:
            value = value.to(param.dtype)
        return value

    # groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; options that are missing take the optimizer's defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        given = list(params)
        tensors = [x[1] if isinstance(x, tuple) else x for x in given]
        names = [x[0] for x in given if isinstance(x, tuple)]
        if names and len(names) != len(given):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for p in tensors:
            if not isinstance(p, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + _typename(p))
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
        if len(set(tensors)) != len(tensors):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if not set(tensors).isdisjoint(group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
            if ("param_names" in group) != bool(names):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if names else 'without'} names to the optimizer"
                )
        param_group["params"] = tensors
        if names:
            param_group["param_names"] = names
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        self.param_groups.append(param_group)


def run_closure(closure: Callable[[], Any]) -> Any:
    """What the closure returns, computed with recording on."""
    with enable_grad():
        return closure()


# What subclasses written for PyTorch import from here.


def _use_grad_for_differentiable(step: Callable) -> Callable:
    """``step`` with recording switched off, or on for an optimizer that says ``differentiable``."""

    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = mode.grad
        mode.grad = bool(args[0].defaults["differentiable"])
        try:
            return step(*args, **kwargs)
        finally:
            mode.grad = before

    return wrapper


def _get_value(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) else x


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    return False, False


def _view_as_real(params: list[Any], *state_and_grads: list[Any]) -> None:
    for i, p in enumerate(params):
        if p.is_complex():
            for tensors in (params, *state_and_grads):
                tensors[i] = tensors[i].view_as_real()
