"""Lending an optimizer other parameters and another state, for as long as a ``with`` block lasts.

In go the optimizer, the tensors to step on and a state as from ``state_dict``; on leaving, the optimizer has its own
again, whatever happened inside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]

_NAME = "swap_in_optimizer_params_and_state"


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Any], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Have the optimizer step on other parameters, with another state, inside the ``with`` block.

    Args:
        optimizer: one that has stepped.
        swapin_parameters: the tensors, by name, in the order of the optimizer's own.
        swapin_optim_state: as from ``state_dict``; its tensors are used, not copied.

    Raises:
        RuntimeError: where these do not fit the optimizer.

    >>> import bibun as torch
    >>> x, y = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    >>> optimizer = torch.optim.Adam([x], lr=0.5)
    >>> x.grad = y.grad = torch.ones(1)
    >>> optimizer.step()
    >>> with torch.optim.swap_in_optimizer_params_and_state(optimizer, {"x": y}, optimizer.state_dict()):
    ...     optimizer.step()
    >>> x, y
    (tensor([0.5000], requires_grad=True), tensor([-0.5000], requires_grad=True))
    """
    groups = optimizer.param_groups
    count = sum(len(group["params"]) for group in groups)
    if not optimizer.state:
        raise RuntimeError(f"{_NAME} requires initialized optimizer state.")
    tensors = list(swapin_parameters.values())
    if len(tensors) != count:
        raise RuntimeError(f"{_NAME} requires the explicit parameter state to match optimizer.param_groups ordering.")
    state, options = swapin_optim_state.get("state"), swapin_optim_state.get("param_groups")
    if not isinstance(state, dict):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be a dict mapping packed parameter ids to per-param "
            f"state dicts, got {type(state).__name__}."
        )
    if not isinstance(options, list):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['param_groups'] to be a list of param-group dicts, got "
            f"{type(options).__name__}."
        )
    if len(options) != len(groups):
        raise RuntimeError("swapin_optim_state has a different number of parameter groups than the live optimizer.")
    by_number: dict[Any, Any] = {}
    lent_groups, given = [], iter(tensors)
    for i, (group, new) in enumerate(zip(groups, options)):
        if len(new["params"]) != len(group["params"]):
            raise RuntimeError(
                f"swapin_optim_state param group {i} has a different number of params than the live optimizer param "
                "group."
            )
        lent = {**new, "params": [next(given) for _ in new["params"]]}
        by_number.update(zip(new["params"], lent["params"]))
        lent_groups.append(lent)
    extra = [number for number in state if number not in by_number]
    if extra:
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be keyed only by packed parameter ids from "
            f"param_groups[*]['params']; got extra keys {extra}."
        )
    own = optimizer.param_groups, optimizer.state
    optimizer.param_groups = lent_groups
    optimizer.state = defaultdict(dict, {by_number[number]: dict(kept) for number, kept in state.items()})
    try:
        yield
    finally:
        optimizer.param_groups, optimizer.state = own
