"""`grad` with a batch of cotangents at once (``is_grads_batched``): the engine run once, under vmap."""

from __future__ import annotations

import importlib
from typing import Any


def batched_grad(outputs: Any, inputs: Any, grad_outputs: Any, retain: Any, create: bool, allow_unused: Any, materialize: bool) -> tuple[Any, ...]:
    """One gradient for each slice of ``grad_outputs`` along their first dimension, stacked."""
    from . import api
    vmap = importlib.import_module("bibun.func").vmap       # a floor above: reached by name, where it is asked for
    given = (grad_outputs,) if not isinstance(grad_outputs, (tuple, list)) else tuple(grad_outputs)
    for i, (g, o) in enumerate(zip(given, outputs)):
        if g is not None and tuple(g._a.shape[1:]) != tuple(o._a.shape):
            raise RuntimeError("If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch dimension. The sizes of the "
                               "remaining dimensions are expected to match the shape of corresponding output, but a mismatch was detected: "
                               f"grad_output[{i}] has a shape of {g[0].shape if g._a.ndim and g._a.shape[0] else g.shape[1:]} and output[{i}] has a shape of "
                               f"{o.shape}. If you only want some tensors in `grad_output` to be considered batched, consider using vmap.")
    missing: list[int] = []

    def one(*cotangents: Any) -> Any:
        grads = api.grad(outputs, inputs, cotangents, retain_graph=True, create_graph=create, allow_unused=allow_unused, materialize_grads=materialize)
        missing[:] = [i for i, g in enumerate(grads) if g is None]
        found = tuple(g for g in grads if g is not None)
        return found or cotangents  # vmap wants something to batch
    found = iter(vmap(one)(*given))
    return tuple(None if i in missing else next(found) for i in range(len(inputs)))
