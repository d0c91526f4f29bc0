"""`custom_op`: a function on tensors as an operator of its own, with what is registered for it afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .operators import Operator, enter
from .schema import infer_schema, parse

__all__ = ["CustomOpDef", "custom_op"]


def custom_op(
    name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: Any, device_types: Any = None, schema: str | None = None, tags: Any = None
) -> Any:
    """Wrap a function on tensors into an operator called ``name`` (``"namespace::name"``).

    Args:
        mutates_args: names of the arguments that the function writes to, or ``"unknown"``.
        device_types: the devices that the function is for; None: all.
        schema: what goes in and comes out, where the function's annotations do not say it.

    >>> import bibun as torch
    >>> import numpy as np
    >>> @torch.library.custom_op("docs::sine", mutates_args=())
    ... def sine(x: torch.Tensor) -> torch.Tensor:
    ...     return torch.from_numpy(np.sin(x.numpy(force=True)))
    >>> def setup_context(ctx, inputs, output):
    ...     ctx.save_for_backward(*inputs)
    >>> def backward(ctx, grad):
    ...     x, = ctx.saved_tensors
    ...     return grad * x.cos()
    >>> sine.register_autograd(backward, setup_context=setup_context)
    >>> x = torch.zeros(2, requires_grad=True)
    >>> torch.ops.docs.sine(x).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """

    def make(function: Callable[..., Any]) -> CustomOpDef:
        space, double, own = name.partition("::")
        if not double or not space or not own or "::" in own:
            raise ValueError(f"Expected `name` to be in the form `namespace::name`, got {name}. Please add a namespace: every operator belongs to one.")
        if "." in own:
            raise ValueError(f"custom_op(name={name}): expected name to not have an overload, that is, no `.` in it")
        if isinstance(mutates_args, str) and mutates_args != "unknown":
            raise ValueError("mutates_args must either be a sequence of the names of the arguments that are mutated or the string 'unknown'. ")
        text = infer_schema(function, mutates_args=mutates_args) if schema is None else schema
        parsed = parse(f"{name}{text}")
        if schema is not None and mutates_args != "unknown":
            written = {a.name for a in parsed.arguments if a.is_write}
            if written != set(mutates_args):
                raise ValueError(
                    f"Attempted to create a custom op with `mutates_args={mutates_args}` and `schema={schema}. The schema suggests that the op mutates {written} "
                    "which is different from what was provided to us in `mutates_args`. Please make these consistent."
                )
        op = Operator(parsed, opaque=True)
        made = CustomOpDef(name, text, function, op)
        made.register_kernel(device_types)(function)
        enter(op)
        return made

    return make if fn is None else make(fn)


class CustomOpDef:
    """An operator made with `custom_op`: call it, and register for it what it needs."""

    def __init__(self, name: str, schema: str, function: Callable[..., Any], op: Operator):
        self._namespace, self._name = name.split("::")
        self._qualname, self._schema, self._init_fn = name, schema, function
        self._made = op
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    @property
    def _opoverload(self) -> Operator:
        from .operators import find

        return find(self._qualname) or self._made

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._opoverload(*args, **kwargs)

    def register_kernel(self, device_types: Any, fn: Any = None, /) -> Any:
        """Give the function that computes the operator on the devices named (None: all). Decorator."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            for key in keys_of(device_types):
                self._made.kernels[key] = function
            return function

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Give a function that makes outputs of the right shapes and dtypes without computing them; `opcheck` holds it to the operator."""
        self._made.fake = fn
        return fn

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None) -> None:
        """Give the backward, ``backward(ctx, *grads)``, and what it keeps, ``setup_context(ctx, inputs, output)``."""
        if self._made._schema.is_mutable:
            raise RuntimeError(
                f"Cannot register autograd formula for non-functional operator {self!r} with schema {self._made._schema}. Please create a functional operator "
                "and register an autograd formula for that."
            )
        self._made.backward, self._made.setup = backward, setup_context

    def register_vmap(self, func: Any = None) -> Any:
        """Give the batched operator, ``func(info, in_dims, *args)``, which gives (output, out_dims). Decorator."""

        def register(function: Callable[..., Any]) -> None:
            self._made.vmap_rule = function

        return register if func is None else register(func)

    def register_torch_dispatch(self, torch_dispatch_class: Any, fn: Any = None, /) -> Any:
        """Refused: there is no ``__torch_dispatch__`` here."""
        raise NotImplementedError("register_torch_dispatch: bibun has no __torch_dispatch__; give the class a __torch_function__")

    def register_autocast(self, device_type: str, cast_inputs: Any) -> None:
        """Have floating-point tensors cast to ``cast_inputs`` where autocast is on for the device."""
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if device_type not in ("cpu", "cuda"):
            raise ValueError(f"Unknown device type: {device_type}")
        self._made.autocast[device_type] = cast_inputs

    @contextlib.contextmanager
    def set_kernel_enabled(self, device_type: str, enabled: bool = True) -> Iterator[None]:
        """A ``with`` block in which the kernel for a device is used, or is not."""
        disabled = self._made.disabled
        before = device_type in disabled
        (disabled.discard if enabled else disabled.add)(device_type)
        try:
            yield
        finally:
            (disabled.add if before else disabled.discard)(device_type)


def keys_of(device_types: Any) -> list[str]:
    """The names under which kernels for the devices are kept."""
    if device_types is None:
        return ["default"]
    return [device_types] if isinstance(device_types, str) else list(device_types)
