"""Verification: a compiled call beside the function itself, from the same beginning."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..func.pytree import tree_flatten
from ..functions.random import get_rng_state, set_rng_state
from ..tensor import Tensor

__all__ = ["compare"]


def compare(compiled: Any, known: Any, leaves: list[Any], args: Any, kwargs: Any) -> Any:
    """Run the program, take everything back, run the function, and compare results, tensors and gradients.

    Raises:
        RuntimeError: something differs by more than rounding; the message says what.
    """
    tensors = {id(s[1]): s[1] for s in known.program.sources.values() if s[0] in ("tensor", "grad") and isinstance(s[1], Tensor)}
    for step in known.program.steps:
        if step.kind == "grad" and isinstance(step.what, Tensor):
            tensors[id(step.what)] = step.what
        owner = getattr(step.what, "__self__", None) if step.kind == "call" else None
        for group in getattr(owner, "param_groups", ()):
            for p in group["params"]:
                tensors[id(p)] = p
    held = list(tensors.values()) + [x for x in leaves if isinstance(x, Tensor)]
    owners = [o for s in known.program.steps if s.kind == "call" and (o := getattr(s.what, "__self__", None)) is not None and hasattr(o, "state_dict")]
    before = [(t, t._a.copy(), None if t._grad is None else (t._grad, t._grad._a.copy())) for t in held]
    import copy

    states = [(o, copy.deepcopy(o.state_dict())) for o in owners]
    drawn = get_rng_state()
    result = known.program.run(leaves)
    mine = [x.detach().clone() for x in tree_flatten(result)[0] if isinstance(x, Tensor)]
    after = [(t._a.copy(), None if t._grad is None else t._grad._a.copy()) for t in held]
    for t, a, g in before:
        np.copyto(t._a, a)
        t._grad = None
        if g is not None:
            np.copyto(g[0]._a, g[1])
            t._grad = g[0]
    for o, s in states:
        o.load_state_dict(s)
    set_rng_state(drawn)
    wanted = compiled.function(*args, **kwargs)
    theirs = [x for x in tree_flatten(wanted)[0] if isinstance(x, Tensor)]
    for k, (a, b) in enumerate(zip(mine, theirs)):
        _same(a._a, b._a, f"result {k}")
    for k, ((t, _, _), (a, g)) in enumerate(zip(before, after)):
        _same(a, t._a, f"tensor {k} of shape {tuple(t._a.shape)}")
        if (g is None) != (t._grad is None):
            raise RuntimeError(f"compile(verify=...): the gradient of tensor {k} is there in one and not in the other")
        if g is not None:
            _same(g, t._grad._a, f"the gradient of tensor {k} of shape {tuple(t._a.shape)}")
    return wanted


def _same(a: Any, b: Any, what: str) -> None:
    if a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise RuntimeError(f"compile(verify=...): {what} differs: {a.ravel()[:5]} compiled, {b.ravel()[:5]} as it is")
