"""Views that must not be written in place: why not, and in which words that is refused.

A view's ``_view`` is (base, the base's history when the view was made, steps), a plain tuple for most. The tuples here are
those of views whose place in the graph cannot be made anew after a write: made while nothing was recorded, one of several,
or given back by a user's function.
"""

from __future__ import annotations

from sys import maxsize
from typing import Any

from .modes import inference_users, state
from .node import LEAF
from .versions import last_write, version_time

FORBIDDEN = (" Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the inplace either "
             "both inside the {0} block (if you don't want the inplace to be tracked) or both outside (if you want the inplace to be tracked).")


class Guarded(tuple[Any, ...]):
    """The ``_view`` of a view that in-place writes must not touch; ``output`` and ``of`` name it where no node does.

    ``time`` is that of the newest write when the view was made, where its base has a history: after another, it is out of date.
    """

    output, of = 0, ""
    time = maxsize
    mode = ""
    why = ""


class Unrecorded(Guarded):
    """Made under `no_grad`."""

    mode = "no_grad"
    why = FORBIDDEN.format("no_grad")


class OfInference(Guarded):
    """Made under `inference_mode`."""

    mode = "inference"
    why = FORBIDDEN.format("inference_mode")


class OneOfSeveral(Guarded):
    """One of several views made at once."""

    why = (" This view is the output of a function that returns multiple views. Such functions do not allow the output views to be modified inplace. You should "
           "replace the inplace operation by an out-of-place one.")


class OfFunction(Guarded):
    """Given back by the forward of a user's `Function`."""

    why = (" This view was created inside a custom Function (or because an input was returned as-is) and the autograd logic to handle view+inplace would override "
           "the custom backward associated with the custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix this by cloning "
           "the output of the custom Function.")


def unrecorded(view: Any) -> Guarded:
    """``view`` as that of a tensor made while nothing is recorded."""
    if inference_users[0] and state.inference:
        return OfInference(view)
    made = Unrecorded(view)
    if view[1] is not None:
        made.time = last_write[0]
    return made


def is_stale(x: Any) -> bool:
    """Whether ``x``, a guarded view made under `no_grad`, looks at memory that was written since: what became of its gradient is unknown."""
    guard = x._view
    return guard.time < last_write[0] and guard[0]._node is not None and version_time(x._a) > guard.time


def like(guarded: Any, view: Any) -> Any:
    """``view`` guarded as ``guarded`` is."""
    made = guarded.__class__(view)
    if guarded.__class__ is not tuple:
        made.output, made.of = guarded.output, guarded.of
        if guarded.time != maxsize:
            made.time = last_write[0]
    return made


def refusal(x: Any, indirect: bool = False) -> RuntimeError:
    """The error of writing to ``x``, a view that is guarded; ``indirect``: of using it after its base was written."""
    guard = x._view
    n = x._node
    output, name = guard.output, guard.of
    if n is not None and n is not LEAF:
        node, output = n.as_edge()
        name = name or node.name().removesuffix("Backward0")
    done = "its base or another view of its base has been" if indirect else "is being"
    if guard.mode or not name:
        kind = guard.mode or "no_grad"
        start = f"Output {output} of {name} is a view of a view which was created in" if name else "A view was created in"
        text = f"{start} {kind} mode and {done} modified inplace" + (" in normal mode." if kind == "inference" else " with grad mode enabled.")
    else:
        text = f"Output {output} of {name} is a view and {done} modified inplace."
    return RuntimeError(text + guard.why)


__all__ = ["Guarded", "OfFunction", "OfInference", "OneOfSeveral", "Unrecorded", "is_stale", "like", "refusal", "unrecorded"]
