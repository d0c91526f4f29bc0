"""`coverage`: which rules every primitive has, as a table made from the entries themselves."""

from __future__ import annotations

from ..ops.primitive import REGISTRY, Primitive

__all__ = ["coverage"]


def row(prim: Primitive) -> tuple[str, str, str, str]:
    """(name, derivative in, forward mode, batching)."""
    differentiable = ", ".join(prim.derivatives) or "-"
    forward = {"derived": "from the derivative", "rule": "rule"}.get(prim.tangent_kind, prim.tangent_kind)
    if not prim.derivatives and prim.tangent_kind == "derived":
        forward = "-"
    batching = (
        "rule"
        if prim.batch_rule is not None
        else "elementwise"
        if prim.family == "elementwise"
        else "axes"
        if prim.batch_axes or prim.batch_shapes
        else "loop"
    )
    return prim.name, differentiable, forward, batching


def coverage() -> str:
    """A table of all primitives: the inputs they are differentiable in, and how forward mode and batching come about.

    Derivatives are written in primitives, so every one is differentiable again.
    """
    rows = [("primitive", "derivative in", "forward mode", "batching"), *(row(p) for p in REGISTRY.values())]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(r, widths)).rstrip() for r in rows)
