"""The words of the engine's errors: which operation, made at which line of the user's program, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy._core._exceptions import _UFuncNoLoopError as NoLoop

from . import versions


def place(code: Any, lasti: int) -> tuple[str, int, str]:
    """(file, line, source text) of an instruction of a code object."""
    import linecache

    if code is None:
        return "?", 0, ""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
            break
    return code.co_filename, line, linecache.getline(code.co_filename, line).strip()


def at(code: Any, lasti: int) -> str:
    """``file:line: source``, for messages."""
    file, line, text = place(code, lasti)
    return f"{file}:{line}" + (f": {text}" if text else "")


def second_backward(node: Any) -> RuntimeError:
    return RuntimeError(
        "Trying to backward through the graph a second time (or directly access saved tensors after they have already been freed). "
        "Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify retain_graph=True if "
        "you need to backward through the graph a second time or if you need to access saved tensors after calling backward.\n"
        f"The first backward ran at {at(node.saved.code, node.saved.lasti)}\n"
        f"and used up the values of {node.name()}, made at {at(node.code, node.lasti)}: both graphs pass through its result. "
        "If that is a state carried from one step to the next, detach() it there."
    )


def overwritten(node: Any, category: str, index: int, a: Any, write: Any) -> RuntimeError:
    from ..dtypes import BY_NUMPY

    kind = f"torch.{BY_NUMPY[a.dtype].scalar_name}Tensor"
    count = versions.version_of(a)
    before = count - sum(1 for entry in versions._records[id(versions.root_of(a))].log if entry[0] > node._seq)
    what = f"output {index} of {node.name()}" if category == "o" else f"an input of {node.name()}"
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{kind} {list(a.shape)}], which is {what}, is at version {count}; expected version {before} instead.\n"
        f"It was saved by {node.name()} at {at(node.code, node.lasti)}\n"
        f"and overwritten in place at {at(write[3], write[4])}.\n"
        "Hint: write to a copy (x = x + 1 in place of x += 1, or x.clone()), or do the in-place operation before the value is used."
    )


def locate(error: BaseException, node: Any) -> None:
    """Tell an error which forward line it comes from."""
    if not getattr(error, "_bibun_located", False):
        try:
            error._bibun_located = True  # type: ignore[attr-defined]
        except AttributeError:
            return
        from .anomaly import is_anomaly_enabled

        if is_anomaly_enabled():
            warn_of(node)
        error.add_note(f"This error arose in the backward of {node.name()}, made at {at(node.code, node.lasti)}")


def warn_of(node: Any) -> None:
    """Name the node that an error comes from, as anomaly detection does, and those whose backwards led to its making, in a warning each."""
    warn_or_print(f"Error detected in {node.name()}, made at {at(node.code, node.lasti)}. {calls_to(node, 'caused the error')}")
    seen = {id(node)}
    node = node.__dict__.get("_induced_by")
    while node is not None and id(node) not in seen:
        seen.add(id(node))
        warn_or_print(f"Previous calculation was induced by {node.name()}, made at {at(node.code, node.lasti)}. {calls_to(node, 'induced the previous calculation')}")
        node = node.__dict__.get("_induced_by")


def calls_to(node: Any, did: str) -> str:
    """The calls of the forward that made a node, where anomaly detection was on then."""
    calls = node.__dict__.get("_calls")
    if calls is None:
        return "No forward pass information available besides. Enable detect anomaly during forward pass for more information."
    lines = [f"Traceback of forward call that {did}:"]
    for code, lasti in calls:
        file, line, text = place(code, lasti)
        lines.append(f'  File "{file}", line {line}, in {code.co_name}' + (f"\n    {text}" if text else ""))
    return "\n".join(lines)


def warn_or_print(text: str) -> None:
    """Warn; print where warnings are errors, as another error is on its way."""
    import sys
    import warnings

    try:
        warnings.warn(text, UserWarning, stacklevel=2)
    except UserWarning:
        print(f"Warning: {text}", file=sys.stderr)


def no_grad_fn(t: Any, i: int | None) -> RuntimeError:
    return RuntimeError(f"element {i or 0} of tensors does not require grad and does not have a grad_fn\n{story_of(t)}")


def story_of(t: Any) -> str:
    """Why a tensor has no gradient, in a sentence with a line."""
    cut = t._story
    if cut is None:
        return (
            "Nothing that it was computed from requires grad. Make the inputs or parameters to differentiate in with requires_grad=True, or call "
            "requires_grad_() on them."
        )
    where = at(cut.code, cut.lasti) if getattr(cut, "code", None) is not None else "an unknown line"
    return f"It is cut off from what requires grad by {cut.kind}, at {where}"


def refused(prim: Any, raw: Any, error: Exception) -> Exception:
    """PyTorch's error for what NumPy refused: shapes that do not broadcast, dtypes that an operation has no meaning for."""
    from ..dtypes import BY_NUMPY
    from ..errors import broadcast_error

    if prim.variadic:
        return error
    if isinstance(error, ValueError):
        shapes = [a.shape for a in raw if isinstance(a, np.ndarray)]
        if prim.family == "elementwise":
            for i, a in enumerate(shapes):
                for b in shapes[i + 1 :]:
                    try:
                        np.broadcast_shapes(a, b)
                    except ValueError:
                        return broadcast_error(a, b)
        return error
    kinds = [a.dtype for a in raw if isinstance(a, np.ndarray)]
    if kinds and kinds[0].kind == "b" and prim.name == "negative":
        return RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
            "`logical_not()` operator instead."
        )
    if kinds and isinstance(error, NoLoop):
        return NotImplementedError(f"\"{prim.name}_cpu\" not implemented for '{BY_NUMPY[kinds[0]].scalar_name}'")
    return error
