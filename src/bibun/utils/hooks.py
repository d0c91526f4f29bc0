"""Handles of registered hooks, and the hook that watches a module's backward pass.

In: the ordered dicts that modules, tensors and optimizers keep their hooks in. Out: `RemovableHandle` (of the autograd
floor), which takes one hook out again, and `BackwardHook`, which brackets a module's forward with two identity nodes so
that the gradients of its outputs and inputs pass through user functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..autograd.hooks import RemovableHandle

__all__ = ["BackwardHook", "RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


def unserializable_hook(f: Callable) -> Callable:
    """Mark a hook as one that is lost, with a warning, when its tensor is pickled."""
    f.__torch_unserializable__ = True  # type: ignore[attr-defined]
    return f


def warn_if_has_hooks(tensor: Any) -> None:
    """Warn of every backward hook of `tensor` that pickling would lose."""
    for hook in (getattr(tensor, "_backward_hooks", None) or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate the "
                "function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )


class BackwardHook:
    """Runs a module's backward hooks and pre-hooks for one call of the module.

    `setup_input_hook` and `setup_output_hook` pass the tensors that require grad through an identity node each; a hook
    on the output node sees grad_output (and may replace it), a hook on the input node sees grad_input, then both
    are handed to the user's hooks. Where no input requires grad, the hooks run as soon as grad_output is known.
    """

    def __init__(self, module: Any, user_hooks: Any, user_pre_hooks: Any) -> None:
        self.module = module
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.grad_outputs: tuple | None = None
        self.n_inputs = self.n_outputs = -1
        self.input_at: list[int] | None = None
        self.input_like: list[Any] = []
        self.output_at: list[int] | None = None

    @staticmethod
    def _spread(at: list[int] | None, values: Any, size: int) -> tuple:
        """`size` places, `values` at the places `at`, None elsewhere."""
        out: list[Any] = [None] * size
        for i, value in zip(at or (), values):
            out[i] = value
        return tuple(out)

    def _call_hooks(self, grad_inputs: tuple, grad_outputs: tuple | None) -> tuple:
        for hook in self.user_hooks:
            returned = hook(self.module, grad_inputs, grad_outputs)
            if returned is None:
                continue
            returned = returned if isinstance(returned, tuple) else (returned,)
            if len(returned) != len(grad_inputs):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(returned)}, but expected {len(grad_inputs)}"
                )
            grad_inputs = returned
        return grad_inputs

    def _on_grad_input(self, grad_input: tuple, _: Any) -> tuple:
        if self.grad_outputs is None:  # no gradient came by the module's output, as in a second derivative
            return grad_input
        # A tensor that no gradient is wanted for, or that got none, shows a gradient of zeros.
        from ..functions.creation import zeros

        shown = [
            zeros(shape, dtype=dtype) if g is None else g for g, (shape, dtype) in zip(grad_input, self.input_like)
        ]
        full = self._call_hooks(self._spread(self.input_at, shown, self.n_inputs), self.grad_outputs)
        self.grad_outputs = None
        return tuple(full[i] for i in self.input_at or ())

    def _on_grad_output(self, grad_output: tuple) -> tuple | None:
        full = self._spread(self.output_at, grad_output, self.n_outputs)
        for hook in self.user_pre_hooks:
            returned = hook(self.module, full)
            if returned is None:
                continue
            returned = returned if isinstance(returned, tuple) else (returned,)
            if len(returned) != len(full):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(returned)}, but expected {len(full)}"
                )
            full = returned
        self.grad_outputs = full
        at = self.output_at or []
        if self.input_at is None:  # no input requires grad: nothing further down will run the hooks
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module outputs since no "
                "inputs require gradients. See "
                "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
                "#torch.nn.Module.register_full_backward_hook for more details.",
                stacklevel=5,
            )
            for hook in self.user_hooks:
                returned = hook(self.module, (None,) * self.n_inputs, full)
                if returned is not None and not (isinstance(returned, tuple) and all(g is None for g in returned)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
            self.grad_outputs = None
        return tuple(full[i] for i in at)

    def _through_identity(self, values: tuple, at_output: bool) -> tuple[tuple, list[int] | None]:
        from ..autograd.modes import is_grad_enabled
        from ..nn.modules._functions import BackwardHookFunction
        from ..tensor import Tensor

        at = [i for i, v in enumerate(values) if isinstance(v, Tensor)]
        if not (is_grad_enabled() and any(values[i].requires_grad for i in at)):
            return values, None
        passed = BackwardHookFunction.apply(*(values[i] for i in at))
        nodes = {id(t.grad_fn): t.grad_fn for t in passed if t.grad_fn is not None}
        if not nodes:
            raise RuntimeError(
                "Error while setting up backward hooks. Please open an issue with code to reproduce this."
            )
        (node,) = nodes.values()
        if at_output:
            node.register_prehook(self._on_grad_output)
        else:
            node.register_hook(self._on_grad_input)
        out = list(values)
        for i, tensor in zip(at, passed):
            out[i] = tensor
        packed = type(values)(*out) if hasattr(values, "_fields") else tuple(out)
        return packed, at

    def setup_input_hook(self, args: tuple) -> tuple:
        """`args` with its tensors passed through the input node."""
        args, self.input_at = self._through_identity(args, False)
        self.input_like = [(args[i].shape, args[i].dtype) for i in self.input_at or ()]
        self.n_inputs = len(args)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        """The module's result (a tensor or tuple) with its tensors passed through the output node."""
        is_tuple = isinstance(result, tuple)
        values, self.output_at = self._through_identity(result if is_tuple else (result,), True)
        self.n_outputs = len(values)
        return values if is_tuple else values[0]
