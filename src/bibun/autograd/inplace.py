"""In-place writes: memory changes, versions count, history is rebased.

`assign(x, result)` makes ``x`` what a recorded out-of-place call computed: it copies the values into x's memory, notes the
write, and gives x the result's place in the graph. A view passes its new history on to its base (`CopySlices`), and every
other view of that base learns of it when it is next used (`refresh`): a view remembers the base's history it was made
under, and one comparison tells whether that still stands.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..backends import cpu
from ..backends.large import LARGE
from ..errors import cast_error
from ..ops.primitive import REGISTRY, Primitive
from . import dispatch
from .dispatch import busy, frame_at, internal, recent, user_frame, wrap
from .hooks import follow
from .large import copied, over
from .modes import inference_users, of_inference, state
from .node import LEAF, Output, make_node_class
from .versions import written
from .views import OfInference, is_stale, refusal

NOTHING: dict[str, Any] = {}


def look(xp: Any, base: Any, steps: Any) -> Any:
    """What a chain of view steps sees of ``base``."""
    for prim, static, index in steps:
        base = prim.run(xp, base, *static) if xp is cpu else getattr(xp, prim.name)(base, *static)
        if index is not None:
            base = base[index]
    return base


def _run_copy_slices(xp: Any, base: Any, value: Any, /, steps: Any) -> Any:
    out = np.array(base, order="C" if _pairs(steps) else "K")
    part = look(cpu, out, steps)
    part[...] = value
    return out


def _run_replay(xp: Any, base: Any, /, steps: Any) -> Any:
    return look(cpu, np.ascontiguousarray(base) if _pairs(steps) and base.strides[-1] != base.itemsize else base, steps)


def _pairs(steps: Any) -> bool:
    """Whether the view steps see pairs of numbers as complex ones, which must lie side by side; those of a gradient may not."""
    return any(step[0].name == "view_as_complex" for step in steps)


#: base with ``value`` in place of what the view steps see of it.
copy_slices = Primitive(_run_copy_slices, name="copy_slices", grad="CopySlices0", family="linear", tangent="linear")
copy_slices.grad_name = "CopySlices"
#: what the view steps see of base, as one node.
replay = Primitive(_run_replay, name="replay", grad="AsStrided", family="view", tangent="linear")
make_node_class(copy_slices).name = lambda node: "torch::autograd::CopySlices"
copy_slices.derivative(
    base=lambda xp, g, value_shape, value_dtype, steps: xp.copy_slices(g, xp.zeros(value_shape, dtype=value_dtype), steps),
    value=lambda xp, g, steps: xp.replay(g, steps))
replay.derivative(base=lambda xp, g, base_shape, base_dtype, steps: xp.copy_slices(
    xp.zeros(base_shape, dtype=base_dtype if base_dtype.kind == "c" or _pairs(steps) else g.dtype), g, steps))

for _made in (copy_slices, replay):
    REGISTRY[_made.name] = _made
cpu.copy_slices = lambda base, value, steps: _run_copy_slices(cpu, base, value, steps)  # type: ignore[attr-defined]
cpu.replay = lambda base, steps: _run_replay(cpu, base, steps)  # type: ignore[attr-defined]


def along(base: Any, steps: Any) -> Any:
    """The tensor that a chain of view steps sees of ``base``, recorded step by step."""
    for prim, static, index in steps:
        base = dispatch.apply(prim, (base,), static)
        if index is not None:
            base = base[index]
    return base


def of_other(t: Any, base: Any, checked: bool) -> Any:
    """What ``t``, a view, would be as a view of ``base``; None where it is none, or where ``base`` is not laid out as its own."""
    if not t._is_view():
        return None
    own = t._view[0]._a
    if checked and (base._a.shape != own.shape or base._a.strides != own.strides or base._a.dtype != own.dtype):
        return None
    return along(base, t._view[2])


def refresh(t: Any) -> None:
    """Bring a view's place in the graph up to date with its base."""
    base, seen, steps = t._view
    if base._node is seen:
        if seen is not None and t._view.__class__ is not tuple and state.grad is True:
            if t._view.__class__ is OfInference:
                if t._node is None:
                    t._node = LEAF  # made in inference mode of a tensor that requires grad: so does it, as a leaf of its own
            else:
                refuse_stale(t)
        return
    if t._view.__class__ is not tuple:
        if state.grad is True and base._node is not None and base._node is not LEAF:
            raise refusal(t, indirect=True)
        return
    t._view = (base, base._node, steps)
    if base._node is not None:  # else the base was taken out of its graph, and its views were not
        place_anew(t)


def refuse_stale(t: Any) -> None:
    """Raise where a guarded view is out of date."""
    if is_stale(t):
        raise refusal(t, indirect=True)


def place_anew(t: Any) -> None:
    """Give a view a new place in the graph, behind its base."""
    base, _, steps = t._view
    if state.replay:
        before, state.grad = state.grad, True
        try:
            made = along(base, steps)
        finally:
            state.grad = before
    else:
        made = wrap(t._a)
        dispatch.record(replay, (base,), [base._a], (steps,), [made], None)
    before, t._node = t._node, made._node
    follow(t, before)


dispatch.refresh, dispatch.refuse_stale = refresh, refuse_stale


INFERENCE_WRITE = ("Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal tensor before doing "
                   "inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details.")
INFERENCE_SAVED = ("Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation tracked by "
                   "autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead "
                   "of `torch.inference_mode()`.")


def check_of_inference(x: Any) -> None:
    """Raise where ``x`` is an inference tensor and this is not inference mode."""
    if inference_users[0] and not state.inference and of_inference(x._a):
        raise RuntimeError(INFERENCE_WRITE)


def check_saved(node: Any) -> None:
    """Raise where a new node keeps the memory of an inference tensor (what is read-only is a number, kept for all calls)."""
    for row in getattr(node.as_edge()[0] if node.__class__ is Output else node, "saved", ()):
        if any(a.__class__ is np.ndarray and a.flags.writeable and of_inference(a) for a in row):
            raise RuntimeError(INFERENCE_SAVED)


def check_writable(x: Any) -> None:
    """Raise where PyTorch refuses an in-place write under recording."""
    if inference_users[0] and not (x._node is LEAF and state.grad):
        check_of_inference(x)
    if x._view is not None:
        if state.grad and x._view.__class__ is not tuple and (x._node is not None or x._view[0]._node is not None):
            raise refusal(x)
        refresh(x)
        if state.grad and x._view[0]._node is LEAF:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
        n = x._node
        if state.grad and n is not None and n is not LEAF and n.as_edge()[0].hooks is not None and x._view[0]._node is not None:
            place_anew(x)  # the gradient of what is written over comes from the base, past the hooks on the view
    if x._node is LEAF and state.grad:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")


def check_fits(x: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Raise where a result of this shape and dtype cannot be written into ``x``."""
    if dtype != x._a.dtype and not dtypes.can_cast(dtypes.BY_NUMPY[dtype], x.dtype):
        raise cast_error(dtypes.BY_NUMPY[dtype], x.dtype)
    if shape != x._a.shape:
        raise RuntimeError(f"output with shape {list(x._a.shape)} doesn't match the broadcast shape {list(shape)}")


#: Set by the floor of function transforms: what to do where a wrapper is written, and what a wrapper is.
assign_wrapped: Any = None
become_wrapped: Any = None
Wrapper: Any = ()


def stand_in(x: Any) -> Any:
    """A tensor in ``x``'s place in the graph with a copy of its values: what an in-place call reads from."""
    if dispatch.busy[0] and isinstance(x, Wrapper):
        return x.clone()
    t = wrap(np.array(x._a, order="K"))
    t._node = x._node
    return t


def assign(x: Any, result: Any, checked: bool = True) -> Any:
    """Write ``result``'s values into ``x`` and give ``x`` its history; returns ``x``."""
    source = result._a
    if checked:
        check_fits(x, source.shape, source.dtype)
    if dispatch.busy[0] and (isinstance(x, Wrapper) or isinstance(result, Wrapper)):
        return assign_wrapped(x, result)
    if x._view is not None and x._view.__class__ is not tuple and state.grad and result._node is not None:
        raise refusal(x)
    a = x._a
    if inference_users[0] and state.grad and result._node is not None:
        check_saved(result._node)
    if not a.flags.writeable:
        raise RuntimeError("unsupported operation: this tensor looks at memory that must not be written (a read-only array, or an "
                           "expanded tensor). Please clone() it before writing in place.")
    if 0 in a.strides and a.size and any(step == 0 and n > 1 for step, n in zip(a.strides, a.shape)):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                           "Please clone() the tensor before performing the operation.")
    if a is not source and (a.size < LARGE or not copied(source, a)):
        np.copyto(a, source, casting="unsafe")
    if dispatch.recorder[0] is not None and (r := dispatch.recording()) is not None:
        r.note_write(a, source)
    f = user_frame(2)
    written(a, f.f_code, f.f_lasti)
    if state.grad:
        rebase(x, result)
    return x


def unwatched(x: Any, args: Any = (), kwargs: Any = NOTHING) -> bool:
    """Whether nobody needs to know of a write to ``x`` but the counts of its memory: no graph, transform, recorder or inference mode."""
    if busy[0] or inference_users[0]:
        return False
    if x._node is not None or x._view is not None:
        return not state.grad
    for t in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(t, dispatch.Tensor) and (t._node is not None or t._view is not None):
            return not state.grad
    return True


def written_by(a: Any, depth: int) -> None:
    """Note a write to ``a`` by the line of the user's ``depth`` callers up."""
    f = frame_at(depth + 1)
    c = f.f_code
    if c is not recent[0]:
        while internal[c.co_filename]:
            if f.f_back is None:
                break
            f = f.f_back
            c = f.f_code
        else:
            recent[0] = c
    written(a, c, f.f_lasti)


def written_over(prim: Primitive, x: Any, args: Any, kwargs: Any) -> bool:
    """Compute an elementwise primitive of large operands into the first of them; False, with nothing done, where that cannot be."""
    a = x._a
    if not a.flags.c_contiguous or kwargs or dispatch.busy[0] or inference_users[0] or state.grad and x._node is not None or x._view is not None or not a.flags.writeable:
        return False
    arrays = [a]
    for y in args:
        if y.__class__ is float or y.__class__ is int:
            arrays.append(np.array(y, a.dtype))
            continue
        b = getattr(y, "_a", None)
        if b is None or b.dtype is not a.dtype or y._node is not None or y._view is not None and state.grad:
            return False
        if b is not a and (b.shape != a.shape and b.ndim or np.may_share_memory(a, b)):
            return False
        arrays.append(b)
    if len(arrays) != len(prim.arrays) or not over(prim, arrays, a):
        return False
    written_by(a, 2)
    return True


def rebase(x: Any, result: Any) -> None:
    """Give ``x``, already written, the history of ``result``."""
    n = result._node
    if n is not None:
        if n is not LEAF and n.__class__ is not Output and result._a.dtype != x._a.dtype:
            cast_edge(x, result)
            n = result._node
    if x._view is None:
        if n is not None and n is not LEAF:
            before, x._node = x._node, n
            follow(x, before)
        return
    base, _, steps = x._view
    if n is None and base._node is None:
        return
    made = wrap(base._a)
    value = result if result._a.shape == x._a.shape else wrap(x._a)
    if dispatch.record(copy_slices, (base, value), [base._a, value._a], (steps,), [made], None) is not None:
        before, base._node = base._node, made._node
        follow(base, before)
        refresh(x)


def cast_edge(x: Any, result: Any) -> None:
    """Put a cast between a result of another dtype and the tensor it was written into."""
    prim = REGISTRY.get("astype")
    if prim is not None:
        made = wrap(x._a)
        dispatch.record(prim, (result,), [result._a], (x._a.dtype,), [made], None)
        result._node = made._node
