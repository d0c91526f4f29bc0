"""Stochastic gradient descent, with momentum and Nesterov's variant of it.

Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning" (2013), in the
form v ← μ·v + (1−dampening)·g, p ← p − lr·v, whose velocity does not change with the learning rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.versions import written
from ..tensor import Tensor, wrap
from .arithmetic import TENSORS
from .elementwise import Elementwise, check_implementation
from .optimizer import ParamsT

__all__ = ["SGD"]

F32 = np.dtype(np.float32)


def _sgd(x: Any, flags: Any, numbers: Any, p: Any, g: Any, velocity: Any = None) -> None:
    """One step; ``velocity`` is the momentum so far, and holds the first gradient where there is none yet."""
    maximize, decay, first, dampened, nesterov = flags
    rate, decay_by, momentum, gain = numbers
    if maximize:
        g = x.neg(g, x.u)
    if decay:
        g = x.add(g, p, decay_by, x.u)
    if velocity is not None:
        if first:
            x.copy_(velocity, g)
        else:
            x.mul_(velocity, momentum)
            x.add_(velocity, g, gain if dampened else None)
        g = x.add(g, velocity, momentum, x.u) if nesterov else velocity
    x.add_(p, g, rate)


class SGD(Elementwise):
    """Stochastic gradient descent.

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: learning rate, a number or a tensor of one element.
        momentum: how much of the velocity a step keeps.
        dampening: how much of the gradient the velocity leaves out.
        weight_decay: multiple of the parameter added to its gradient.
        nesterov: step along the gradient plus the velocity to come.
        maximize: go up the gradient.
        differentiable: have the step recorded, so that it can be differentiated.
        foreach, fused: PyTorch's choices of implementation; there is one here.

    >>> import bibun as torch
    >>> x = torch.tensor([1.0, -1.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x
    tensor([ 0.5000, -0.5000], requires_grad=True)
    """

    _rule = staticmethod(_sgd)
    _counted = False
    _later = {"nesterov": False, "maximize": False, "foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        checked: tuple[tuple[str, Any], ...] = (
            ("learning rate", lr),
            ("momentum value", momentum),
            ("weight_decay value", weight_decay),
        )
        for what, value in checked:
            if value < 0.0:
                raise ValueError(f"Invalid {what}: {value}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_implementation(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        self._rates: dict[float, float] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._rates = {}

    def _layout(self, group: dict[str, Any]) -> tuple[tuple[str, ...], Any]:
        """Flags are those of parameters with velocity."""
        names = ("momentum_buffer",) if group["momentum"] != 0 else ()
        return names, (group["maximize"], group["weight_decay"] != 0, False, group["dampening"] != 0, group["nesterov"])

    def _scalars(self, group: dict[str, Any], n: float = 0.0, state: Any = None) -> tuple[Any, ...]:
        return -group["lr"], group["weight_decay"], group["momentum"], 1 - group["dampening"]

    def _step_group(self, group: dict[str, Any], line: tuple[Any, int]) -> None:
        lr = group["lr"]
        if lr.__class__ is not float:
            lr = float(lr)
        if group["momentum"] != 0 or group["weight_decay"] != 0 or group["maximize"]:
            self._step_with_options(group, line)
            return
        # Plain descent: the loop of small programs, where every call is felt.
        rate = self._rates.get(lr)
        if rate is None:
            self._rates.clear()
            rate = self._rates[lr] = float(np.float32(-lr))
        for p in group["params"]:
            g = p._grad
            if g is not None:
                a = p._a
                if a.size == 1 and a.dtype is F32:
                    a.fill(a.item() + rate * g._a.item())
                else:
                    words = self._words(p, a)
                    words.run(_sgd, PLAIN, words.numbers((-lr, 0.0, 0.0, 0.0)), a, g._a)
                written(a, *line)

    def _words(self, p: Tensor, a: Any) -> Any:
        known = self._vocabularies
        if known is not None:
            found = known.get(p)
            if found is not None and found[0] is a:
                return found[1]
        return self._vocabulary(p, a)

    def _step_with_options(self, group: dict[str, Any], line: tuple[Any, int]) -> None:
        flags = self._layout(group)[1]
        values = [float(v) for v in self._scalars(group)]
        first = (flags[0], flags[1], True, *flags[3:])
        moving = group["momentum"] != 0
        states, kind, numbers = self.state, None, None
        for p in group["params"]:
            g = p._grad
            if g is None:
                continue
            a = p._a
            words = self._words(p, a)
            if words.kind is not kind:
                kind, numbers = words.kind, words.numbers(values)
            if moving:
                state = states[p]
                velocity = state.get("momentum_buffer")
                if velocity is None:
                    velocity = state["momentum_buffer"] = wrap(np.empty_like(a))
                    words.run(_sgd, first, numbers, a, g._a, velocity._a)
                else:
                    words.run(_sgd, flags, numbers, a, g._a, velocity._a)
            else:
                words.run(_sgd, flags, numbers, a, g._a)
            written(a, *line)

    def _step_tensors(self, group: dict[str, Any]) -> None:
        flags, values = self._layout(group)[1], self._scalars(group)
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            if not group["momentum"]:
                _sgd(TENSORS, flags, values, p, g)
                continue
            state = self.state[p]
            velocity = state.get("momentum_buffer")
            known = velocity is not None
            if not known:
                velocity = state["momentum_buffer"] = p.detach().clone()
            _sgd(TENSORS, (flags[0], flags[1], not known, *flags[3:]), values, p, g, velocity)


PLAIN = (False, False, False, False, False)
