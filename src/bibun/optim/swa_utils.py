"""Averaging the weights of a model along its training: PyTorch's ``torch.optim.swa_utils``.

Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, "Averaging Weights Leads to Wider Optima and Better Generalization"
(2018); exponential averages: Polyak and Juditsky (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Literal

import numpy as np

from .. import nn
from ..autograd.modes import no_grad
from ..tensor import wrap
from .lr_scheduler.base import LRScheduler, per_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Sequence[Any], Sequence[Any], Any], None]:
    """A function that moves a list of averages towards a list of parameters by 1 − ``decay``."""
    _check_decay(decay)

    @no_grad()
    def update(averages: Sequence[Any], current: Sequence[Any], _: Any) -> None:
        for average, p in zip(averages, current):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(p, 1 - decay)
            else:
                average.copy_(average * decay + p * (1 - decay))

    return update


def get_swa_multi_avg_fn() -> Callable[[Sequence[Any], Sequence[Any], Any], None]:
    """A function that takes one more list of parameters into a list of plain averages."""

    @no_grad()
    def update(averages: Sequence[Any], current: Sequence[Any], num_averaged: Any) -> None:
        n = float(num_averaged) + 1
        for average, p in zip(averages, current):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(p, 1 / n)
            else:
                average.copy_(average + (p - average) / n)

    return update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Any, Any, Any], Any]:
    """A function of average and parameter: ``decay``·average + (1 − ``decay``)·parameter."""
    _check_decay(decay)

    @no_grad()
    def update(average: Any, p: Any, _: Any) -> Any:
        return decay * average + (1 - decay) * p

    return update


def get_swa_avg_fn() -> Callable[[Any, Any, Any], Any]:
    """A function of average, parameter and count: the average with one more value in it."""

    @no_grad()
    def update(average: Any, p: Any, num_averaged: Any) -> Any:
        return average + (p - average) / (num_averaged + 1)

    return update


class AveragedModel(nn.Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: what is averaged; it is copied.
        device: where the copy lives.
        avg_fn: (average, parameter, count) → new average; the plain average by default.
        multi_avg_fn: the same in place, for lists.
        use_buffers: average buffers too; otherwise they are copied.

    >>> import bibun as torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> averaged = torch.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 3.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight.item()
    2.0
    """

    n_averaged: Any

    def __init__(
        self,
        model: Any,
        device: Any = None,
        avg_fn: Callable[[Any, Any, Any], Any] | None = None,
        multi_avg_fn: Callable[[Any, Any, Any], None] | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", wrap(np.array(0, np.int64)))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model computes."""
        return self.module(*args, **kwargs)

    def _averaged(self, model: Any) -> list[Any]:
        tensors = chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()
        return [t.detach() for t in tensors]

    def update_parameters(self, model: Any) -> None:
        """Take the parameters of ``model`` into the averages."""
        averages, current = self._averaged(self.module), self._averaged(model)
        if self.n_averaged == 0:
            for average, p in zip(averages, current):
                average.copy_(p)
        elif self.avg_fn is None:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averages, current, self.n_averaged)
        else:
            for average, p in zip(averages, current):
                average.copy_(self.avg_fn(average, p, self.n_averaged))
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers()):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Any, device: Any = None) -> None:
    """Compute the running statistics of a model's batch normalisations anew, over all that ``loader`` gives.

    Args:
        loader: gives inputs, or lists and tuples that begin with one.
        model: called with each input.
        device: where inputs are moved before.
    """
    momenta = {}
    for module in model.modules():
        if any(kind.__name__ == "_BatchNorm" for kind in type(module).__mro__):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    training = model.training
    model.train()
    for module in momenta:
        module.momentum = None
    for batch in loader:
        given = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(given if device is None else given.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(training)


class SWALR(LRScheduler):
    """The rate annealed from what it is to ``swa_lr`` in ``anneal_epochs`` epochs, then kept.

    Args:
        optimizer: whose rates are scheduled.
        swa_lr: the last rate, a number or a list of one for each group.
        anneal_epochs: epochs on the way.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        last_epoch: the epoch to resume after; -1 to start.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ):
        for rate, group in zip(per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How far the rate has come at a part ``t`` of the way."""
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

    def _way(self, step: int) -> float:
        """How much of the way to ``swa_lr`` is done."""
        return self.anneal_func(max(0, min(1, step / max(1, self.anneal_epochs))))

    def get_lr(self) -> list[Any]:
        """The rates before, moved along the way."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._way(step - 1), self._way(step)
        rates = []
        for group in self.optimizer.param_groups:
            last = group["swa_lr"]
            first = last if before == 1 else (group["lr"] - before * last) / (1 - before)
            rates.append(last * now + first * (1 - now))
        return rates
