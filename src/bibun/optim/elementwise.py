"""`Elementwise`: the step of every optimizer whose rule treats each element for itself.

A subclass says what it remembers of a parameter (`_start`), which of it the rule works on (`_layout`), which scalars a
step needs (`_scalars`), and the rule itself, a function in the vocabulary of `arithmetic`. Here parameters are walked,
steps counted, the vocabulary for each array found, and the graph told that parameters changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.dispatch import user_frame
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.modes import state as mode
from ..autograd.versions import written
from ..backends.large import native
from ..tensor import Tensor, wrap
from .arithmetic import TENSORS
from .optimizer import Optimizer, global_post_hooks, global_pre_hooks, run_closure
from .scratch import Scratch, finish

__all__ = [
    "Elementwise",
    "at_least_zero",
    "check_betas",
    "check_implementation",
    "check_lr",
    "check_lr_named",
    "counter",
    "zeros_like",
]

F64 = np.dtype(np.float64)
#: After so many steps the next are made ready; the second, where native code is not in use already and costs a twentieth of a second.
STEPS, STEPS_OF_SMALL = 4, 256


def counter(value: float = 0.0) -> Tensor:
    """A 0-d float tensor that counts steps: float32, or float64 where that is the default dtype."""
    return wrap(np.array(value, F64 if dtypes.default_np == F64 else np.float32))


def zeros_like(p: Tensor) -> Tensor:
    """Zeros in the layout of ``p``, out of the graph."""
    return wrap(np.zeros_like(p._a))


def at_least_zero(what: str, value: Any) -> None:
    """Raise where an option is negative."""
    if not 0.0 <= value:
        raise ValueError(f"Invalid {what}: {value}")


def check_lr(lr: Any) -> None:
    """Raise where a learning rate is negative, or a tensor of several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    at_least_zero("learning rate", lr)


def check_lr_named(lr: Any) -> None:
    """`check_lr` in the words of the newer optimizers."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= lr:
        raise ValueError(f"Learning rate should be >= 0 but is: {lr}")


def check_betas(betas: Any) -> None:
    """Raise where one of two coefficients is not in [0, 1)."""
    for i in (0, 1):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")


def check_implementation(foreach: bool | None, fused: bool | None, differentiable: bool) -> None:
    """Raise where PyTorch's choices of implementation contradict each other."""
    if fused:
        if differentiable:
            raise RuntimeError("`fused` does not support `differentiable`")
        if foreach:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


class Elementwise(Optimizer):
    """An optimizer that applies one rule to the elements of each parameter, its gradient and its state."""

    #: What the error about ``capturable=True`` lists, since no such device is here.
    _capturable = ("params and state_steps", "'cuda', 'xpu', 'hpu', 'privateuseone', 'xla'")
    #: Options that older checkpoints lack, with the values that stand for their absence.
    _later: dict[str, Any] = {}
    _scratch: Any = None
    _vocabularies: Any = None
    #: How many steps were looked up, and the step made ready (`prepared`) once there were some.
    _looked_up = 0
    _ready: Any = None

    # what a subclass says

    def _start(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        """The names of the state tensors that the rule works on, and what else it wants to know of the group."""
        raise NotImplementedError

    def _scalars(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> tuple[Any, ...]:
        """The numbers for step ``n``, which `_rule` gets as its own vocabulary's."""
        raise NotImplementedError

    #: ``_rule(x, flags, numbers, parameter, gradient, *state)``
    _rule: Any

    #: Whether the scalars depend on more of a parameter's state than its step, and whether steps are counted at all.
    _own_scalars = False
    _counted = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._later.items():
                group.setdefault(name, value)
        for kept in self.state.values():
            if isinstance(kept, dict):
                for name in ("step", "eta", "mu", "mu_product"):
                    if name in kept and not isinstance(kept[name], Tensor):
                        kept[name] = counter(float(kept[name]))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; options that are missing take the optimizer's defaults."""
        super().add_param_group(param_group)
        self._vocabularies = None  # how large all parameters are together decides what runs the rules

    # the step

    def _prepare(self) -> None:
        self._scratch = Scratch(True, sum(p._a.size for group in self.param_groups for p in group["params"]))
        self._vocabularies = {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients.

        Args:
            closure: computes the loss anew, with its gradients; its result is returned.
        """
        ready = self._ready
        stale = False
        if ready is not None and closure is None and ready.lock.acquire(False):
            try:
                frame = user_frame(2)
                if frame.f_code is ready.line[0] and frame.f_lasti == ready.line[1]:
                    if ready.take():
                        return None
                    stale = True
            finally:
                ready.lock.release()
        if (
            self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or global_pre_hooks or global_post_hooks
        ) and not self._inside:
            return self.step_with_hooks(type(self).step, (self,) if closure is None else (self, closure), {})
        self._opt_called = True
        loss = None if closure is None else run_closure(closure)
        if self.defaults["differentiable"]:
            before = mode.grad
            mode.grad = True
            try:
                for group in self.param_groups:
                    self._step_tensors(group)
            finally:
                mode.grad = before
            return loss
        frame = user_frame(2)
        line = frame.f_code, frame.f_lasti
        token = quiet(IGNORE)
        try:
            for group in self.param_groups:
                self._step_group(group, line)
            scratch = self._scratch
            if scratch is not None and (scratch.updates or scratch.jobs):
                finish(scratch)
        finally:
            restore(token)
            scratch = self._scratch
            if scratch is not None:  # of a step that failed
                scratch.updates.clear()
                scratch.jobs.clear()
        if stale:
            with ready.lock:
                ready.find()
        elif ready is None and self._looked_up < STEPS_OF_SMALL:
            self._looked_up += 1
            if self._looked_up == STEPS_OF_SMALL or self._looked_up == STEPS and scratch is not None and scratch.native:
                self._make_ready(line)
        return loss

    def _make_ready(self, line: tuple[Any, int]) -> None:
        """Have the steps to come taken as the last one was, as long as everything is as it was."""
        from .prepared import PreparedStep, preparable

        if preparable(self) and native():
            self._looked_up = STEPS_OF_SMALL
            self._ready = PreparedStep(self, line)

    step.hooked = True  # type: ignore[attr-defined]
    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]

    def _vocabulary(self, p: Tensor, a: Any) -> Any:
        """How rules are run on the array of ``p``; remembered with that array."""
        known = self._vocabularies
        if known is None:
            self._prepare()
            known = self._vocabularies
        if len(known) > 64 + 2 * sum(len(g["params"]) for g in self.param_groups):
            known.clear()  # parameters come and go
        words = self._scratch.for_array(a)
        known[p] = (a, words)
        return words

    def _check_capturable(self, group: dict[str, Any]) -> None:
        if group.get("capturable"):
            what, devices = self._capturable
            raise AssertionError(f"If capturable=True, {what} must be on supported devices: [{devices}].")

    def _numbers(self, group: dict[str, Any], n: float, state: dict[str, Any]) -> list[float]:
        """The step's scalars as Python floats, computed in tensors where the group's options are tensors."""
        before = mode.grad
        mode.grad = False
        try:
            return [float(v) for v in self._scalars(group, n, state)]
        finally:
            mode.grad = before

    def _step_group(self, group: dict[str, Any], line: tuple[Any, int]) -> None:
        names, flags = self._layout(group)
        self._check_capturable(group)
        rule, states, own = self._rule, self.state, self._own_scalars
        known = self._vocabularies or {}
        last: Any = None
        values: Any = ()
        numbers: Any = ()
        kind: Any = None
        for p in group["params"]:
            g = p._grad
            if g is None:
                continue
            state = states[p]
            if not state:
                state = states[p] = self._start(p, group)
            count = state["step"]._a
            count.fill(count.item() + 1.0)
            n = count.item()
            a = p._a
            found = known.get(p)
            words = found[1] if found is not None and found[0] is a else self._vocabulary(p, a)
            if n != last or own:
                last, kind = n, None
                values = self._numbers(group, n, state)
            if words.kind is not kind:
                kind = words.kind
                numbers = words.numbers(values)
            words.run(rule, flags, numbers, a, g._a, *[state[name]._a for name in names])
            written(a, *line)

    def _step_tensors(self, group: dict[str, Any]) -> None:
        """The same step through Tensors, recorded."""
        names, flags = self._layout(group)
        self._check_capturable(group)
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = self.state[p]
            if not state:
                state = self.state[p] = self._start(p, group)
            count = state["step"]._a
            count.fill(count.item() + 1.0)
            values = self._scalars(group, count.item(), state)
            self._rule(TENSORS, flags, values, p, g, *[state[name] for name in names])
