"""Levels: how function transforms nest.

Each active `grad`, `jvp` or `vmap` is a level. Tensors inside it are *wrappers*: a `Graded` tensor has a place in that
level's own graph, a `Dual` one carries a tangent, a `Batched` one has a dimension that the program does not see. What they
wrap are tensors of lower levels. When a primitive is called (`intercept`, asked by the dispatcher while any transform is
active), the highest level among its arguments deals with it by calling primitives on what it unwraps; so any transforms
compose, in any order and depth, and neither primitives nor the engine know of them.

A wrapper's ``_a`` has the shape and dtype that the program sees. For a `Batched` tensor it is a `Lane`, an array without
contents that refuses to be read, so that nothing can silently use one example's values for all.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..autograd import dispatch, inplace
from ..autograd.dispatch import wrap
from ..autograd.modes import state
from ..autograd.namespace import xp as tensor_xp
from ..dtypes import contiguous_format
from ..ops.primitive import Primitive
from ..tensor import Tensor


class Level:
    """One active transform: ``kind`` is "grad", "jvp" or "vmap"; ``size`` and ``randomness`` belong to vmap."""

    __slots__ = ("by_hand", "depth", "kind", "members", "outer", "randomness", "saved", "size", "wraps")

    def __init__(self, kind: str, size: int = 0, randomness: str = "error", by_hand: bool = False):
        self.kind, self.size, self.randomness = kind, size, randomness
        #: Whether what is computed inside from nothing of the level is still the level's, and so may be written in place.
        self.wraps = kind != "vmap" and not by_hand
        #: Whether the program opened the level itself (`forward_ad`), and so may hold its tensors after it has ended.
        self.by_hand = by_hand
        #: Of such a level: weak references to its tensors, and (node, what it had saved) of nodes that save them.
        self.members: list[Any] = []
        self.saved: list[Any] = []
        self.outer: Any = True

    def __enter__(self) -> Level:
        self.depth = len(stack.levels) + 1
        self.outer = state.grad         # recording on the levels below goes by this
        stack.levels.append(self)
        dispatch.busy[0] += 1
        return self

    def __exit__(self, *_: object) -> None:
        assert stack.levels.pop() is self
        dispatch.busy[0] -= 1


@contextlib.contextmanager
def below(level: Level) -> Iterator[None]:
    """A ``with`` block in which only the levels below ``level`` are active."""
    levels = stack.levels
    at = levels.index(level)
    above = levels[at:]
    del levels[at:]
    try:
        yield
    finally:
        levels += above


class _Stack(threading.local):
    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.forward = True     # whether forward mode is on


stack = _Stack()


_LIKE = frozenset((np.zeros_like, np.ones_like, np.full_like, np.empty_like))


class Lane(np.ndarray):
    """The shape and dtype of one example of a batch, without values."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("vmap: this needs the values of a batched tensor one by one (as .item(), bool(), indexing by it or .numpy() do), which are "
                           "not available inside vmap (use torch.where for branches on values), nor of one that has escaped from a vmap that ended.")

    __array_ufunc__ = _refuse  # type: ignore[assignment]
    __getitem__ = __setitem__ = __iter__ = __bool__ = __float__ = __int__ = __index__ = __complex__ = __contains__ = _refuse  # type: ignore[assignment]
    item = tolist = tobytes = tofile = dump = dumps = astype = copy = byteswap = _refuse  # type: ignore[assignment]
    any = all = sum = prod = cumsum = cumprod = mean = var = std = max = min = argmax = argmin = sort = argsort = partition = _refuse  # type: ignore[assignment]
    argpartition = searchsorted = clip = round = dot = choose = compress = take = put = fill = trace = conj = conjugate = repeat = _refuse  # type: ignore[assignment]

    def nonzero(self) -> Any:
        raise RuntimeError("vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::nonzero, which indexing "
                           "with a mask needs: use torch.where.")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _LIKE:       # these want its shape and dtype only
            return function(args[0].view(np.ndarray), *args[1:], **kwargs)
        return self._refuse()


#: Memory for lanes to look at: as long as the largest element.
_NOTHING = np.zeros(8, np.complex128)
_STILL = [(0,) * n for n in range(65)]


def lane(shape: tuple[int, ...], dtype: Any) -> Lane:
    """A `Lane` of that shape and dtype."""
    return Lane(shape, dtype, _NOTHING, 0, _STILL[len(shape)])


class Wrapper(Tensor):
    """A tensor of a level."""

    __slots__ = ()      # so that a tensor can become one where it stands
    value: Any
    level: Level

    def detach(self) -> Any:
        return rewrapped(self, self.value.detach())

    def _array(self) -> Any:
        """An array of this one's layout."""
        return self.value._array() if isinstance(self.value, Wrapper) else self.value._a

    def stride(self, dim: int | None = None) -> Any:
        return wrap(self._array()).stride(dim)

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        return self.value.is_contiguous(memory_format)

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        self.value.data = unwrapped(self.level, value)
        self._a = self.value._a

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        names = {"grad": "GradTrackingTensor", "vmap": "BatchedTensor", "jvp": "GradTrackingTensor"}
        where = f", bdim={self.bdim}" if isinstance(self, Batched) else ""
        return f"{names[self.level.kind]}(lvl={self.level.depth}{where}, value=\n    " + repr(self.value).replace("\n", "\n    ") + "\n)"

    @property
    def requires_grad(self) -> bool:
        return self._node is not None or self.value.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        raise RuntimeError("You are attempting to call Tensor.requires_grad_() (or perhaps using torch.autograd.functional.* APIs) inside of a function being "
                           "transformed by a functorch transform. This is unsupported, please attempt to use the functorch transforms (e.g. grad, vjp, jacrev, "
                           "jacfwd, hessian) or call requires_grad_() outside of a function being transformed instead.")

    def retain_grad(self) -> None:
        raise RuntimeError("You are attempting to call Tensor.retain_grad() inside of a function being transformed by a functorch transform. This is "
                           "unsupported, please attempt to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call retain_grad() "
                           "outside of a function being transformed instead.")

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        raise RuntimeError("backward() called inside a functorch transform. This is not supported, please use functorch.grad or functorch.vjp instead or call "
                           "backward() outside of functorch transforms.")


class Graded(Wrapper):
    """A tensor in the graph of a grad level."""

    __slots__ = ()


class Dual(Wrapper):
    """A tensor (``value``) with a tangent.

    What the level's program makes from nothing of the level has the tangent None, for zero, until something is written
    into it; such a tensor's views remember it (``_view``) and find the tangent there.
    """

    __slots__ = ()
    _tangent: Any
    _owned = False      # whether nothing else but views holds the tangent, so that it may be written

    @property
    def tangent(self) -> Any:
        t = self._tangent
        if t is None and self._view is not None:
            base, _, steps = self._view
            if base.tangent is not None:
                with below(self.level) if self.level in stack.levels else contextlib.nullcontext():
                    t = self._tangent = inplace.look(tensor_xp, base.tangent, steps)
                self._owned = True
        return t

    def own(self) -> None:
        """Make the tangent, where it is not zero, one that nothing else holds."""
        t = self._tangent
        if not self._owned and t is not None:
            self._tangent = t.clone()
            self._owned = True

    def detach_(self) -> Any:
        if not self.level.by_hand:
            return super().detach_()
        self._tangent, self.value = None, self.value.detach()
        return self

    def detach(self) -> Any:
        return wrapped_fresh(self.level, self.value.detach())

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        if not self.level.by_hand:
            return super().__repr__(tensor_contents=tensor_contents)  # type: ignore[call-arg]
        from ..printing import format_tensor
        return format_tensor(self.value, tangent=self.tangent)

    __str__ = __repr__

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        if not self.level.by_hand:
            return super().requires_grad_(requires_grad)
        self.value.requires_grad_(requires_grad)
        return self

    def retain_grad(self) -> None:
        return self.value.retain_grad() if self.level.by_hand else super().retain_grad()  # type: ignore[return-value]

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        if not self.level.by_hand:
            return super().backward()
        self.value.backward(gradient, retain_graph, create_graph, inputs)

    @property
    def grad_fn(self) -> Any:
        return self.value.grad_fn if self.level.by_hand else None

    @property
    def is_leaf(self) -> bool:
        return self.value.is_leaf if self.level.by_hand else True


class Batched(Wrapper):
    """A tensor with a batch dimension ``bdim`` in ``value``."""

    __slots__ = ()
    bdim: int

    def item(self) -> Any:
        raise RuntimeError("vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, please try to "
                           "rewrite what you're doing with other operations.")

    def _item(self, *_: Any) -> Any:
        return self.item()

    __float__ = __int__ = __complex__ = __index__ = _item  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that: use torch.where "
                           "for branches on values.")

    def numpy(self, *, force: bool = False) -> Any:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage: inside vmap the values of a tensor are not available one by one")

    def tolist(self) -> Any:
        return self.numpy()

    def _array(self) -> Any:
        a = super()._array()
        return a.take([0], self.bdim)[(slice(None),) * self.bdim + (0,)] if not a.shape[self.bdim] else a[(slice(None),) * self.bdim + (0,)]

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        if memory_format is not contiguous_format:
            raise RuntimeError("NYI: querying is_contiguous inside of vmap for memory_format other than torch.contiguous_format")
        return wrap(self._array()).is_contiguous()

    @property
    def data(self) -> Any:
        raise RuntimeError("accessing `data` under vmap transform is not allowed")

    @data.setter
    def data(self, value: Any) -> None:
        raise RuntimeError("mutating directly with `.data` under vmap transform is not allowed.")


def _bare(cls: Any, level: Level, value: Any, a: Any) -> Any:
    t = object.__new__(cls)
    t._a = a
    t._node = t._grad = t._view = t._story = None
    t.level, t.value = level, value
    return t


def graded(level: Level, value: Any) -> Graded:
    """``value`` as a tensor of a grad level, outside its graph so far."""
    return _bare(Graded, level, value, value._a)


def dual(level: Level, value: Any, tangent: Any) -> Any:
    """``value`` with a tangent; ``value`` itself where there is none."""
    return value if tangent is None else wrapped_dual(level, value, tangent)


def wrapped_dual(level: Level, value: Any, tangent: Any) -> Dual:
    """``value`` with a tangent, which may be None."""
    t: Dual = _bare(Dual, level, value, value._a)
    t._tangent = tangent
    if level.by_hand:
        level.members.append(weakref.ref(t))
    return t


def wrapped_fresh(level: Level, value: Any) -> Any:
    """A new tensor as one of a grad or jvp level, so that it can take part in in-place writes there."""
    if level.kind == "grad":
        return graded(level, value)
    if level.by_hand or level.kind == "vmap" or value._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        return value
    return wrapped_dual(level, value, None)


def zeros_as(x: Any, t: Any = None) -> Any:
    """New zeros in the shape and dtype of ``x``, with the batch dimensions of ``x`` and of ``t``, as the active levels have them."""
    found: list[Level] = []
    for w in (x, t):
        while isinstance(w, Wrapper):
            if isinstance(w, Batched):
                found.append(w.level)
            w = w.value
    levels = [level for level in stack.levels if level in found]
    z = wrap(np.zeros((*[level.size for level in levels], *x._a.shape), x._a.dtype))
    for level in stack.levels:
        z = batched(level, z, 0) if level in levels else wrapped_fresh(level, z)
    return z


def bottom(x: Any) -> Any:
    """What a tensor wraps, all the way down."""
    while isinstance(x, Wrapper):
        x = x.value
    return x


def created(t: Any, like: Any = None) -> Any:
    """A new tensor as the active levels have it; batched where ``like`` is."""
    found: dict[int, Any] = {}
    while isinstance(like, Wrapper):
        found[id(like.level)] = like
        like = like.value
    for level in stack.levels:
        if level.kind == "vmap":
            if id(level) in found:
                t = batched(level, t, found[id(level)].bdim)
        else:
            t = wrapped_fresh(level, t)
    return t


def created_sized(like: Any, shape: tuple[int, ...], make: Any) -> Any:
    """A new tensor of one example's ``shape``, batched where ``like`` is; ``make(shape)`` gives the array of all."""
    sizes = []
    levels = []
    x = like
    while isinstance(x, Wrapper):
        if isinstance(x, Batched):
            levels.append(x.level)
            sizes.append(x.level.size)
        x = x.value
    t = wrap(make((*reversed(sizes), *shape)))
    for level in stack.levels:
        t = batched(level, t, 0) if level in levels else wrapped_fresh(level, t)
    return t


dispatch.created = created
dispatch.created_sized = created_sized


def batched(level: Level, value: Any, bdim: int) -> Batched:
    """``value`` with its dimension ``bdim`` hidden."""
    shape = value._a.shape
    t = _bare(Batched, level, value, lane(shape[:bdim] + shape[bdim + 1:], value._a.dtype))
    t.bdim = bdim
    return t


def rewrapped(like: Any, value: Any) -> Any:
    """``value`` in a wrapper as ``like``'s."""
    if isinstance(like, Batched):
        return batched(like.level, value, like.bdim)
    return graded(like.level, value)


def highest(arrays: Any) -> Level | None:
    """The deepest active level among the wrappers in ``arrays``."""
    best = None
    for x in arrays:
        if isinstance(x, Wrapper) and (best is None or x.level.depth > best.depth):
            best = x.level
    return best


def ended(level: Level, arrays: Any) -> Any:
    """``arrays`` without the wrappers of a level that has ended; an error where it is a vmap."""
    if level.kind == "vmap":
        raise RuntimeError("a tensor of a vmap was used after the vmap ended: it has escaped from inside the function that was vmapped")
    return [x.value if isinstance(x, Wrapper) and x.level is level else x for x in arrays]


def intercept(prim: Primitive, arrays: Any, static: Any) -> Any:
    """A primitive called while transforms are active: the highest level's way of running it.

    What comes out belongs to the levels above, too, where these may want to write it in place.
    """
    level = None
    depth = 0
    for x in arrays:
        if isinstance(x, Wrapper) and x.level.depth > depth:
            level = x.level
            depth = level.depth
    levels = stack.levels
    if level is None:
        for above in levels:
            if above.wraps:
                break
        else:
            if dispatch.forward_levels[0]:
                return intercept_by_hand(prim, arrays, static)
            return NotImplemented
        if prim.family == "view":
            return NotImplemented
        cut = levels[:]
        levels.clear()
        try:
            out = dispatch.apply(prim, arrays, static)
        finally:
            levels += cut
        return fresh_above(cut, out)
    if depth > len(levels) or levels[depth - 1] is not level:
        return dispatch.apply(prim, ended(level, arrays), static)
    cut = levels[depth - 1:]
    del levels[depth - 1:]
    try:
        if level.kind == "grad":
            out = run_graded(level, prim, arrays, static)
        elif level.kind == "jvp":
            out = run_dual(level, prim, arrays, static)
        else:
            out = run_batched(level, prim, arrays, static)
    finally:
        levels += cut
    if len(cut) > 1 and prim.family != "view":
        return fresh_above(cut[1:], out)
    return out


#: The ways of the other kinds of levels; set by `forward` and `batching`.
run_dual: Any = None
run_batched: Any = None
assign_batched: Any = None


def fresh_above(levels: list[Level], out: Any) -> Any:
    """What was computed below these levels, as theirs."""
    for level in levels:
        if level.wraps:
            out = tuple([wrapped_fresh(level, o) for o in out]) if out.__class__ is tuple else wrapped_fresh(level, out)
    return out


def intercept_by_hand(prim: Primitive, arrays: Any, static: Any) -> Any:
    """A primitive on plain tensors while a level of forward mode is open by hand: views of what is dual by now are dual, too."""
    found = False
    for x in arrays:
        if isinstance(x, Tensor) and view_of_dual(x):
            found = True
    return dispatch.apply(prim, arrays, static) if found else NotImplemented


def view_of_dual(x: Any) -> bool:
    """Whether a plain tensor is a view of one that became dual after it was made; it then becomes dual, too."""
    if x._view is None or isinstance(x, Wrapper):
        return False
    base = x._view[0]
    if not isinstance(base, Dual) or base.level not in stack.levels:
        return False
    become_dual(base.level, x)
    return True


def captured_write(x: Any, values: tuple[Any, ...], write: Any) -> Any:
    """``write(x, *values)`` at the level of ``x``, a tensor that a layer keeps (running statistics), with ``values`` as they are there."""
    level = highest((x,))
    depth = 0 if level is None else level.depth
    lower = []
    for v in values:
        while isinstance(v, Wrapper) and v.level.depth > depth:
            if v.level.kind == "vmap":
                raise RuntimeError("Batch norm got a batched tensor as input while the running_mean or running_var, which will be updated in place, were not "
                                   "batched.\nIf you are using a module and do not need eval mode, please set `track_running_stats` to be False. Else see the "
                                   "guide on batch normalisation under torch.func (replace_all_batch_norm_modules_).")
            v = v.value
        lower.append(v)
    levels = stack.levels
    cut = levels[depth:]
    del levels[depth:]
    try:
        return write(x, *lower)
    finally:
        levels += cut


dispatch.captured_write = captured_write


def intercept_function(function: Any, args: Any) -> Any:
    """A user-written function called while transforms are active."""
    from .custom import run_function
    return run_function(function, args)


dispatch.intercept = intercept
dispatch.intercept_function = intercept_function


def run_graded(level: Level, prim: Primitive, arrays: Any, static: Any) -> Any:
    """Compute below, and record the node at this level."""
    lower = [x.value if isinstance(x, Wrapper) and x.level is level else x for x in arrays]
    if level.outer is True:
        out = dispatch.apply(prim, lower, static)
    else:
        before, state.grad = state.grad, level.outer
        try:
            out = dispatch.apply(prim, lower, static)
        finally:
            state.grad = before
    lowers = list(out) if prim.several else [out]
    outs = [graded(level, o) for o in lowers]
    if prim.derivatives and state.grad and any(isinstance(x, Graded) and x.level is level and place_of(x) is not None for x in arrays):
        record(level, prim, arrays, lower, static, outs)
    if prim.family == "view" and isinstance(arrays[0], Graded) and arrays[0].level is level:
        dispatch.note_view(prim, arrays[0], static, outs)
    return tuple(outs) if prim.several else outs[0]


def place_of(x: Any) -> Any:
    """The wrapper's place in its level's graph, brought up to date where it is a view."""
    if x._view is not None:
        refresh(x)
    return x._node


def record(level: Level, prim: Primitive, arrays: Any, lower: list[Any], static: Any, outs: list[Any]) -> None:
    """Record a node of a grad level: as the dispatcher does, with lower tensors for values."""
    like = next(o for o in outs)
    values = []
    fix = []
    for x in lower:
        if isinstance(x, Tensor):
            values.append(x)
            fix.append((tuple(x._a.shape), x._a.dtype))
        elif isinstance(x, (bool, int, float, complex, np.generic)):
            d = like._a.dtype if like._a.dtype.kind in "fcV" else None
            values.append(wrap(np.asarray(x, d)))
            fix.append(((), None))
        else:
            values.append(x)
            fix.append(((), None))
    view = [x if isinstance(x, Graded) and x.level is level else _Ungraded for x in arrays]
    dispatch.record_values(prim, view, values, static, outs, [o.value for o in outs],
                           tuple(fix) if prim.family == "elementwise" or prim.name in ("copy_into", "copy_slices") else None)


class _Ungraded:
    """Stands for an argument without a place in this level's graph."""

    _node = None


def refresh(t: Any) -> None:
    """As `bibun.autograd.inplace.refresh`, on a grad level."""
    base, seen, steps = t._view
    if base._node is seen:
        return
    t._view = (base, base._node, steps)
    if base._node is None:
        t._node = None
        return
    made = graded(t.level, t.value)
    record(t.level, inplace.replay, (base,), [base.value], (steps,), [made])
    t._node = made._node


def assign_wrapped(x: Any, result: Any) -> Any:
    """An in-place write of ``result`` to ``x``, at least one of them a wrapper."""
    level = highest((x, result))
    assert level is not None
    inside = isinstance(x, Wrapper) and x.level is level
    mine = isinstance(result, Wrapper) and result.level is level
    if level not in stack.levels:
        return inplace.assign(*ended(level, (x, result)))
    with below(level):
        return assign_at(level, x, result, inside, mine)


def assign_at(level: Level, x: Any, result: Any, inside: bool, mine: bool) -> Any:
    """`assign_wrapped` at its level, with the levels below active."""
    if level.kind == "vmap":
        return assign_batched(level, x, result)
    if not inside and level.by_hand:
        if isinstance(result, Dual) and result.tangent is None:
            return inplace.assign(x, result.value)
        become_dual(level, x, result.tangent if mine else None)
    elif not inside:
        raise RuntimeError("During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place operation that would mutate a captured "
                           "Tensor. This is not supported; please rewrite the function being transformed to explicitly accept the mutated Tensor(s) as inputs.")
    lower = result.value if mine else result
    if level.kind == "jvp":
        t = result.tangent if mine else None
        inplace.assign(x.value, lower)
        if t is not None:
            tangent_to_write(x, t)
            inplace.assign(x.tangent, t)
        elif x.tangent is not None:
            x.own()
            x.tangent.zero_()
        return x
    inplace.assign(x.value, lower)
    if state.grad:
        n = result._node if mine else None
        if x._view is None:
            x._node = n
        else:
            base, _, steps = x._view
            if n is not None or base._node is not None:
                made = graded(level, base.value)
                record(level, inplace.copy_slices, (base, result if mine else _Ungraded), [base.value, lower], (steps,), [made])
                base._node = made._node
                refresh(x)
    return x


def tangent_to_write(x: Any, t: Any) -> None:
    """See to it that ``x`` has a tangent of its own into which ``t`` can be written."""
    if x.tangent is not None:
        x.own()
    elif x._view is not None and isinstance(x._view[0], Dual):
        base = x._view[0]
        if base.tangent is None:
            base._tangent = zeros_as(base.value, t)
            base._owned = True
        else:
            base.own()
        x._tangent = inplace.look(tensor_xp, base._tangent, x._view[2])
        x._owned = True
    else:
        x._tangent = zeros_as(x.value, t)
        x._owned = True


def sees_all(view: Any, base: Any) -> bool:
    """Whether a view is its base's equal, so that the two share one tangent: sizes, strides and place are the same."""
    a, b = view._a, base._a
    same = a.__class__ is np.ndarray and b.__class__ is np.ndarray and a.shape == b.shape and a.strides == b.strides and a.dtype == b.dtype
    return same and a.__array_interface__["data"] == b.__array_interface__["data"]


def become_dual(level: Level, x: Any, like: Any = None) -> None:
    """Make a plain tensor, and the one that it is a view of, dual where it stands, with a tangent of zeros.

    The tangent has the batch dimensions of ``like``, which is to be written into it.
    """
    value = wrap(x._a)
    value._node, value._view, value._story = x._node, x._view, x._story
    if x._view is None:
        t = zeros_as(value, like) if isinstance(like, Wrapper) else tensor_xp.zeros_like(value)
    else:
        base, _, steps = x._view
        if not isinstance(base, Dual):
            become_dual(level, base, like)
        base.own()
        if sees_all(value, base):
            t = base.tangent
        else:
            with below(level) if level in stack.levels else contextlib.nullcontext():
                t = inplace.look(tensor_xp, base.tangent, steps)
    x.level, x.value = level, value
    x.__class__ = Dual
    x._tangent, x._owned = t, True
    level.members.append(weakref.ref(x))


def end_by_hand(level: Level) -> None:
    """Take the tangents from all tensors of a level that was opened by hand: they are ordinary tensors again."""
    for node, saved in level.saved:
        if node.saved.__class__ is tuple:
            node.saved = saved
    level.saved.clear()
    for ref in level.members:
        t = ref()
        if t is not None and isinstance(t, Dual):
            value = t.value
            t.__class__ = Tensor  # type: ignore[assignment]
            t._node, t._view, t._story = value._node, value._view, value._story
            for name in ("level", "value", "_tangent", "_owned"):
                t.__dict__.pop(name, None)
    level.members.clear()


def become_wrapped(x: Any, made: Any) -> None:
    """Have a wrapper itself look at memory as ``made``, a view of it, does."""
    if x.__class__ is not made.__class__ or x.level is not made.level:
        raise RuntimeError("this tensor belongs to another level of function transforms than its view: its shape cannot be changed in place here")
    x.value = made.value
    if isinstance(x, Batched):
        x.bdim = made.bdim
    elif isinstance(x, Dual):
        x._tangent, x._owned = made._tangent, made._owned


inplace.assign_wrapped = assign_wrapped
inplace.become_wrapped = become_wrapped
inplace.Wrapper = Wrapper


def unwrapped(level: Level, x: Any) -> Any:
    """What stands below a tensor of this level; any other value itself."""
    return x.value if isinstance(x, Wrapper) and x.level is level else x


def debug_unwrap(tensor: Any, *, recurse: bool = True) -> Any:
    """What a tensor inside transforms wraps, of all levels or (``recurse`` False) of the highest: for looking at values, not for computing.

    >>> import bibun as torch
    >>> def f(x):
    ...     print(torch.func.debug_unwrap(x))
    ...     return x
    >>> out = torch.vmap(f)(torch.arange(3))
    tensor([0, 1, 2])
    """
    if not isinstance(tensor, Wrapper):
        return tensor
    return bottom(tensor) if recurse else tensor.value


__all__ = ["Batched", "Dual", "Graded", "Level", "Wrapper", "batched", "dual", "graded", "highest", "stack", "tensor_xp", "unwrapped"]
