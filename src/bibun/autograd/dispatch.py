"""From a primitive to a call on tensors: run the array function, wrap the result, record a node. Nothing else.

`apply` is the general call. `make_unary` and `make_binary` make, for elementwise primitives that are one array function,
a function whose common case (float32/float64 operands of one dtype) does just that in line and leaves everything else
(promotion, narrow floats, transforms in progress) to the general path. Each recorded node remembers the code object and
instruction of the user's line: the nearest frame outside the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

import numpy as np

from .. import dtypes
from ..backends import cpu
from ..backends.large import LARGE
from ..ops.primitive import Primitive
from .fp import IGNORE, quiet, restore
from .modes import state
from .node import LEAF, NarrowFix, Output, collect, make_node_class, plan_of
from .versions import tick
from .views import OneOfSeveral, like, unrecorded

ndarray = np.ndarray
new = object.__new__
frame_at = sys._getframe
F32, F64, I64, BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64), np.dtype(bool)
NARROW = cpu.NARROW
DIFFERENTIABLE = frozenset("fcV")  # kinds of dtypes that carry gradients (V: ml_dtypes' own)

#: The Tensor class and Parameter; set by `register`.
Tensor: Any = None
Parameter: Any = None
#: What may stand beside a tensor in an operator.
OPERANDS: tuple[Any, ...] = ()

#: Above 0 while function transforms, subclass overrides or recorders want to see every call; see `intercept`.
busy = [0]
#: How many `saved_tensors_hooks` are in force, in all threads (each also counts as busy).
saved_hooks = [0]
#: The recording in progress, if there is one (it counts as busy); see `bibun.compiler`.
recorder: list[Any] = [None]


def transformed() -> bool:
    """Whether function transforms or overrides want to see every call; a recording alone does not count."""
    return busy[0] > (recorder[0] is not None)


def recording() -> Any:
    """The recorder that notes what this thread does now, or None."""
    r = recorder[0]
    return r if r is not None and not r.paused and r.thread == get_ident() else None


intercept: Callable[..., Any] = lambda prim, arrays, static: NotImplemented
#: What a tensor made from nothing (or in the likeness of another) is while transforms are active; set with `intercept`.
created: Callable[..., Any] = lambda t, like=None: t
#: ``write(x, *values)`` on a tensor that a layer keeps, at the level it belongs to; set with `intercept`.
captured_write: Callable[..., Any] = lambda x, values, write: write(x, *values)
#: A function of tensors that gives nothing differentiable, run example by example; NotImplemented outside of transforms.
example_by_example: Callable[..., Any] = lambda function, args, kwargs: NotImplemented
created_sized: Callable[..., Any] = lambda like, shape, make: wrap(make(shape))
#: How many levels of forward mode the program has opened by hand, in all threads.
forward_levels = [0]
#: The state of anomaly detection (`bibun.autograd.anomaly`), which above 0 remembers the calls behind nodes, and at 2 looks at what primitives give.
anomaly = [0]
watch: Callable[..., Any] = lambda prim, arrays, outs: None
#: What the dispatch modes in force in this thread (``state.watchers``; each counts as busy) give for a primitive; see
#: `bibun.library.dispatching`.
#: How many classes of tensors with a ``__torch_dispatch__`` there are (each counts as busy).
dispatching_classes = [0]
select: Callable[..., Any] = lambda prim, arrays, static: NotImplemented
#: The same for registered operators, ``(operator, args, kwargs)``, and for tensors made from nothing, ``(name, tensor, args, kwargs)``.
select_operator: Callable[..., Any] = lambda operator, args, kwargs: NotImplemented
select_made: Callable[..., Any] = lambda name, made, args, kwargs: made
#: ``func(*args, **kwargs)`` where it is the call that the handler of a mode was shown; else NotImplemented.
run_below: Callable[..., Any] = lambda func, args, kwargs: NotImplemented
#: What an operator gives for an operand that is no tensor and has a ``__torch_function__``.
foreign: Callable[..., Any] = lambda operator, operands: NotImplemented
#: The same for functions that users wrote (`bibun.autograd.Function`).
intercept_function: Callable[..., Any] = lambda function, args: NotImplemented


class _Internal(dict[str, bool]):
    """File name -> is it part of this package (whose frames are never the user's line)?"""

    root = __file__[: -len("autograd/dispatch.py")]

    def __missing__(self, name: str) -> bool:
        inside = self[name] = name.startswith(self.root)
        return inside


internal = _Internal()
#: The code of the user's line that made the newest node: most nodes are made by the code that made the one before.
recent: list[Any] = [None]


def user_frame(depth: int) -> Any:
    """The nearest frame, from ``depth`` callers up, that is not the package's own."""
    f = frame_at(depth)
    while internal[f.f_code.co_filename]:
        back = f.f_back
        if back is None:
            break
        f = back
    return f


def wrap(a: Any) -> Any:
    """A tensor looking at the array ``a``: no copy, no graph."""
    if a.__class__ is not ndarray:
        a = np.asarray(a)
        if a.__class__ is not ndarray:
            a = a.view(ndarray)
    t = new(Tensor)
    t._a = a
    t._node = t._grad = t._view = t._story = None
    return t


class Cut:
    """Why a tensor has no gradient: what cut it off, and at which line. Tensors computed from it point to the same cut."""

    __slots__ = ("code", "kind", "lasti")

    def __init__(self, kind: str, depth: int = 2):
        f = user_frame(depth + 1)
        self.kind, self.code, self.lasti = kind, f.f_code, f.f_lasti


def cut_of(prim: Primitive, arrays: Any) -> Any:
    """The reason why a result that is not recorded has no gradient, if one of its operands once had one."""
    for a in arrays:
        if isinstance(a, Tensor):
            if a._node is not None:
                grad = state.grad
                return Cut(f"{prim.name}(), which has no derivative", 3) if grad else grad
            if a._story is not None:
                return a._story
    return None


class _Constants(dict[float, Any]):
    """Python numbers as 0-d arrays, which NumPy takes in half the time of a Python number. Not for zeros (their sign)."""

    def __init__(self, dtype: Any):
        self.dtype = dtype

    def __missing__(self, value: float) -> Any:
        a = np.array(value, self.dtype)
        a.flags.writeable = False
        if value and value == value:
            if len(self) > 4096:
                self.clear()
            self[value] = a
        return a


SINGLES, DOUBLES = _Constants(F32), _Constants(F64)
CONSTANTS = {F32: SINGLES, F64: DOUBLES}


# The general call


def apply(prim: Primitive, arrays: Any, static: tuple[Any, ...] = ()) -> Any:
    """Call a primitive on tensors (or numbers, or None) and record it; a tuple of tensors where it has several outputs."""
    watched = 0
    if busy[0]:
        done = intercept(prim, arrays, static)
        if done is not NotImplemented:
            return done
        watched = anomaly[0]
        if state.watchers or dispatching_classes[0]:
            done = select(prim, arrays, static)
            if done is not NotImplemented:
                if watched:
                    watch(prim, arrays, done if prim.several else (done,))
                return done
    fix: Any = None
    out: Any = NotImplemented
    big = False
    if prim.family == "elementwise":
        first = arrays[0]
        if first.__class__ is Tensor and first._a.size >= LARGE and first._a.dtype in NARROW and recorder[0] is None:
            narrow = large_narrow(prim, arrays, static, first._a.dtype)
        else:
            narrow = None
        if narrow is not None:
            raw, fix, out = narrow
            target = None
        else:
            raw, fix, target = promote(prim, arrays)
            big = raw[0].__class__ is ndarray and raw[0].size >= LARGE and not prim.variadic and target is None
    else:
        raw = [a._a if isinstance(a, Tensor) else a for a in arrays]
        target = None
    token = quiet(IGNORE)
    try:
        if big:
            out = large_forward(prim, raw, static)
        if out is NotImplemented:
            out = prim.run(cpu, raw, *static) if prim.variadic else prim.run(cpu, *raw, *static)
        if target is not None and out.dtype != target:
            out = out.astype(target)
    except (TypeError, ValueError) as error:
        from .complaints import refused

        raise refused(prim, raw, error) from None
    finally:
        restore(token)
    if prim.several:
        outs = [wrap(o) for o in out]
    else:
        # `wrap` in line: this is every operation's path.
        if out.__class__ is not ndarray:
            out = np.asarray(out)
        t = new(Tensor)
        t._a = out
        t._node = t._grad = t._view = t._story = None
        outs = [t]
    on = prim.derivatives and state.grad
    reached = False
    cut = None
    for a in arrays:
        if a.__class__ is Tensor or isinstance(a, Tensor):
            if on and a._view is not None:
                refresh(a)
            if a._node is not None:
                reached = True
            elif cut is None:
                cut = a._story
    if reached:
        if on and record_values(prim, arrays, raw, static, outs, [o._a for o in outs], fix) is not None:
            cut = None
        else:
            cut = cut_of(prim, arrays)
    if cut is not None:
        for t in outs:
            t._story = cut
    if prim.family == "view":
        note_view(prim, arrays[0], static, outs)
    if watched:
        watch(prim, arrays, outs)
    if recorder[0] is not None and (r := recording()) is not None:
        r.note(prim, arrays, raw, static, outs)
    return tuple(outs) if prim.several else outs[0]


def recording_of(prim: Primitive) -> Any:
    """(node class, a bit for each input that has a derivative, plans by the bits of the inputs that want a gradient), kept with the primitive."""
    cls = make_node_class(prim)
    made = prim.recording = cls, tuple([1 << i if name in prim.derivatives else 0 for i, name in enumerate(prim.arrays)]), cls.plans
    return made


def record(prim: Primitive, arrays: Any, raw: Any, static: Any, outs: list[Any], fix: Any) -> Any:
    """Make the node of a call and hang it on the outputs; None where no input wants a gradient."""
    return record_values(prim, arrays, raw, static, outs, [o._a for o in outs], fix)


def record_values(
    prim: Primitive, arrays: Any, raw: Any, static: Any, outs: list[Any], made: list[Any], fix: Any
) -> Any:
    """As `record`, told which values (arrays, or tensors of a lower level) the inputs and outputs stand for."""
    if not prim.several and outs[0]._a.dtype.kind not in DIFFERENTIABLE:
        return None
    cls, able, plans = prim.recording or recording_of(prim)
    targets = []
    if prim.variadic:
        for a in arrays:
            n = a._node if isinstance(a, Tensor) else None
            targets.append(a if n is LEAF else n)
        node = cls()
        node.plan = plan = plan_of(prim, ())
        node.saved = collect(plan, raw, static, made, True)
    else:
        wanted = 0
        for a, bit in zip(arrays, able):
            n = None
            if a.__class__ is Tensor or isinstance(a, Tensor):
                n = a._node
                if n is not None:
                    wanted |= bit
                    if n is LEAF:
                        n = a
            targets.append(n)
        if not wanted:
            return None
        plan = plans.get(wanted)
        if plan is None:
            plan = plans[wanted] = plan_of(prim, tuple([wanted & bit > 0 for bit in able]))
        node = cls()
        big = prim.family == "elementwise" and made[0].__class__ is ndarray and made[0].size >= LARGE and not prim.several
        if big:
            plan = plan_for_large(prim, plan.wanted)
        elif plan.grand is not None and prim.joint_suits(*raw):  # type: ignore[misc]
            plan = plan.grand
        node.plan = plan
        node.saved = collect(plan, raw, static, made, False)
    node.fix, node.hooks = fix, None
    node.next = tuple(targets)
    if saved_hooks[0]:
        from .graph import pack_saved

        pack_saved(node, arrays)
    f = frame_at(1)
    while internal[f.f_code.co_filename] and f.f_back is not None:  # `user_frame`, in line
        f = f.f_back
    node.code, node.lasti = f.f_code, f.f_lasti
    node._seq = tick()
    if prim.several:
        node.outs = [(tuple(a.shape), o._a.dtype) for a, o in zip(made, outs)]
        names = prim.outputs
        for i, o in enumerate(outs):
            if o._a.dtype.kind in DIFFERENTIABLE and (len(names) <= i or names[i] not in prim.nondiff):
                o._node = Output(node, i)
    else:
        outs[0]._node = node
        if fix is None and made[0].__class__ is ndarray and made[0].dtype in NARROW:
            node.fix = NarrowFix([((), None) if not isinstance(a, ndarray) else (a.shape, a.dtype) for a in raw])
    return node


# Promotion of elementwise operands


def common_dtype(operands: Any) -> Any:
    """PyTorch's result type of arrays and Python numbers, as a NumPy dtype."""
    ranked = []
    for x in operands:
        if isinstance(x, ndarray):
            ranked.append((dtypes.BY_NUMPY[x.dtype], dtypes.DIMENSIONED if x.ndim else dtypes.ZERO_DIM))
        elif x is not None:
            ranked.append(
                (
                    dtypes.number_dtype(bool if isinstance(x, bool) else int if isinstance(x, int) else type(x)),
                    dtypes.NUMBER,
                )
            )
    return dtypes.result_type(ranked).np


BOOLEAN_DIFFERENCE = (
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.",
    "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.",
)


def promote_usual(kind: Any, arrays: Any) -> Any:
    """`promote` where there is nothing to convert: tensors of one dtype (float32, float64 or int64) and numbers that fit it; else None."""
    choose = kind == "choose"
    raw: list[Any] = []
    d: Any = None
    shape: Any = None
    uneven = False
    for x in arrays:
        cls = x.__class__
        if cls is Tensor or cls is Parameter:
            a = x._a
            if choose and not raw:
                shape = a.shape
            elif d is None:
                d = a.dtype
                if (
                    d is not F32
                    and d is not F64
                    and (d is not I64 or kind == "float")
                    or kind == "integer"
                    and d is not I64
                    or kind == "logical"
                ):
                    return None
            elif a.dtype is not d:
                return None
            if shape is None:
                shape = a.shape
            elif a.shape != shape:
                uneven = True
            raw.append(a)
        elif d is None:
            return None
        elif cls is int and x.bit_length() < 64 or cls is float and d is not I64:
            raw.append(np.array(x, d))
        else:
            return None
    if d is None:
        return None
    if not uneven or kind == "compare" or kind == "order":
        return raw, None, None
    return raw, tuple([(a.shape, d) for a in raw]), None


def promote(prim: Primitive, arrays: Any) -> tuple[list[Any], Any, Any]:
    """(raw operands of one dtype, the fix their gradients need, the dtype of the result or None for as it comes)."""
    kind = prim.kind
    usual = promote_usual(kind, arrays)
    if usual is not None:
        return usual
    checked = []
    for position, x in enumerate(arrays):
        if isinstance(x, Tensor):
            checked.append(x._a)
        elif x is None or isinstance(x, (bool, int, float, complex, np.generic)):
            checked.append(x.item() if isinstance(x, np.generic) else x)
        elif isinstance(x, ndarray):
            checked.append(x)
        else:
            named = {"x": "input", "y": "other"}.get(prim.arrays[position], prim.arrays[position])
            raise TypeError(
                f"{prim.name}(): argument '{named}' (position {position + 1}) must be Tensor, not {type(x).__name__}"
            )
    if kind == "logical":
        raw = [x if isinstance(x, ndarray) or x is None else np.asarray(x) for x in checked]
        return raw, None, None
    common = common_dtype(checked[1:] if kind == "choose" else checked)
    if kind == "float" and common.kind in "biu":
        common = dtypes.default.np
    elif kind == "integer" and common.kind not in "biu":
        raise NotImplementedError(f"\"{prim.name}_cpu\" not implemented for '{dtypes.BY_NUMPY[common].scalar_name}'")
    elif kind == "order" and common.kind == "c":
        raise NotImplementedError(f"\"{prim.name}_cpu\" not implemented for '{dtypes.BY_NUMPY[common].scalar_name}'")
    elif kind == "difference" and any(
        x.dtype.kind == "b" if isinstance(x, ndarray) else isinstance(x, bool) for x in checked
    ):
        raise RuntimeError(
            BOOLEAN_DIFFERENCE[
                common.kind == "b" and len(checked) == 2 and all(isinstance(x, ndarray) for x in checked)
            ]
        )
    if common.kind in prim.refuses:
        raise NotImplementedError(f"\"{prim.name}_cpu\" not implemented for '{dtypes.BY_NUMPY[common].scalar_name}'")
    narrow = common in NARROW
    work = F32 if narrow else common
    raw, fix, shape = [], [], None
    uneven = narrow
    for x in checked:
        if isinstance(x, ndarray):
            d = x.dtype
            fix.append((x.shape, d))
            if shape is None:
                shape = x.shape
            elif shape != x.shape:
                uneven = True
            if kind == "choose" and not raw:
                raw.append(x)  # the condition takes no part
                continue
            if d != common:
                uneven = True
            raw.append(x if d == work else x.astype(common).astype(work) if narrow and d != common else x.astype(work))
        elif x is None:
            fix.append(((), None))
            raw.append(None)
        else:
            fix.append(((), None))
            raw.append(np.array(x).astype(common).astype(work) if common.kind in "iub" or narrow else np.array(x, work))
    if not uneven:
        return raw, None, None
    if kind == "compare" or kind == "order":
        return raw, None, None
    return raw, NarrowFix(fix) if narrow else tuple(fix), common if narrow else None


# Views


def note_view(prim: Primitive, source: Any, static: Any, outs: list[Any]) -> None:
    """Tell each output that it is a view: of which tensor, with which history, by which steps."""
    above = source._view
    for i, o in enumerate(outs):
        step = (prim, static, i if prim.several else None)
        if above is None:
            o._view = (source, source._node, (step,))
        else:
            o._view = (above[0], above[1], (*above[2], step))
        if not state.grad:
            o._view = unrecorded(o._view)
        elif prim.several:
            o._view = OneOfSeveral(o._view)
            o._view.output = i
        elif above is not None and above.__class__ is not tuple:
            o._view = like(above, o._view)


refresh: Callable[[Any], None] = lambda t: None  # set by `bibun.autograd.inplace`
refuse_stale: Callable[[Any], None] = lambda t: None  # the same


# Large arrays; see `bibun.autograd.large`, which is not loaded before there is one


def large_forward(prim: Primitive, arrays: Any, static: tuple[Any, ...] = ()) -> Any:
    """The result of a native loop; NotImplemented where there is none."""
    from .large import forward

    return forward(prim, arrays, static)


def large_narrow(prim: Primitive, arrays: Any, static: tuple[Any, ...], dtype: Any) -> Any:
    """(operands, fix, result) of a native loop on narrow floats; None where there is none."""
    from .large import forward_narrow

    return forward_narrow(prim, arrays, static, dtype)


def plan_for_large(prim: Primitive, wanted: tuple[bool, ...]) -> Any:
    """The plan whose rules run as native loops."""
    from .large import plan_for_large

    return plan_for_large(prim, wanted)


# Fast calls


def countable(prim: Primitive) -> frozenset[Any]:
    """The dtypes without gradients that an elementwise primitive takes as they are."""
    if prim.kind in ("float", "choose"):
        return frozenset()
    return frozenset([d for d in (I64, BOOL) if d.kind not in prim.refuses and (d is I64 or prim.kind != "difference")])


def make_unary(prim: Primitive, array_function: Any, noisy: bool) -> Callable[[Any], Any]:
    """The call of an elementwise primitive of one operand; ``noisy`` operations may raise floating-point warnings.

    Of one element NumPy makes a number, unless it is given ``out=...``, which costs an eighth of such a call.
    """
    cls = make_node_class(prim)
    plan: Any = plan_of(prim, (True,)) if prim.derivatives else None
    takes: Any = plan.takes[0] if plan else ()
    single = takes[0][0] if len(takes) == 1 else "" if not takes else "?"  # what the rule takes, in the common cases
    differentiable = plan is not None
    counted = countable(prim)

    def call(input: Any) -> Any:
        try:
            x = input._a
            d = x.dtype
        except AttributeError:
            if busy[0] or isinstance(input, Tensor):
                return apply(prim, (input,))
            raise TypeError(
                f"{call.__name__}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
            ) from None
        if (d is not F32 and d is not F64) or busy[0]:
            if d in counted and not busy[0] and x.size < LARGE:
                token = quiet(IGNORE)
                try:
                    t = wrap(array_function(x, out=...))
                except (TypeError, ValueError):  # which `apply` words
                    return apply(prim, (input,))
                finally:
                    restore(token)
                t._story = input._story
                return t
            return apply(prim, (input,))
        size = x.size
        big = size >= LARGE
        if big and (r := large_forward(prim, (x,))) is not NotImplemented:
            pass
        elif noisy:
            token = quiet(IGNORE)
            try:
                r = array_function(x) if size > 1 else array_function(x, out=...)
            finally:
                restore(token)
        else:
            try:
                r = array_function(x) if size > 1 else array_function(x, out=...)
            except (TypeError, RuntimeWarning, FloatingPointError):
                return apply(prim, (input,))
        t = new(Tensor)
        t._a = r
        t._grad = t._view = t._story = None
        if input._view is not None:
            refresh(input)
        n = input._node
        if n is None:
            t._node = None
            t._story = input._story
            return t
        grad = state.grad
        if not grad or not differentiable:
            t._node = None
            t._story = cut_of(prim, (input,)) if grad else grad
            return t
        node = cls()
        node.plan = plan_for_large(prim, (True,)) if big else plan
        node.fix = node.hooks = None
        node.next = (input if n is LEAF else n,)
        if single == "o":
            node.saved = ((r,),)
        elif single == "i":
            node.saved = ((x,),)
        elif single == "":
            node.saved = ((),)
        else:
            node.saved = collect(plan, (x,), (), (r,), False)
        f = frame_at(1)
        c = f.f_code
        if c is not recent[0]:
            while internal[c.co_filename]:
                if f.f_back is None:
                    break
                f = f.f_back
                c = f.f_code
            else:
                recent[0] = c
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    return call


def _code_of(takes: tuple[tuple[str, int], ...]) -> int:
    """0: nothing, 1: the first operand, 2: the second, 3: both, -1: something else."""
    return {(): 0, (("i", 0),): 1, (("i", 1),): 2, (("i", 0), ("i", 1)): 3}.get(takes, -1)


def make_binary(
    prim: Primitive, array_function: Any, noisy: bool, operator: bool = False, refuse: Any = None, numbers: bool = True
) -> Callable[[Any, Any], Any]:
    """The call of an elementwise primitive of two operands; the second may be a Python number if ``numbers`` says so.

    An ``operator`` gives NotImplemented for an operand that is neither tensor, number nor array. ``refuse(input, other)``
    raises where PyTorch takes no number.
    """
    cls = make_node_class(prim)
    names = prim.arrays
    plans: dict[Any, Any] = {}
    codes = [-1, -1]
    differentiable = bool(prim.derivatives)
    if differentiable:
        for wanted in ((True, False), (False, True), (True, True)):
            plans[wanted] = plan_of(prim, wanted)
        for i, name in enumerate(names):
            if name in prim.derivatives:
                one = plan_of(prim, (i == 0, i == 1))
                codes[i] = _code_of(one.takes[0])
    plan_a: Any
    plan_b: Any
    plan_ab: Any
    plan_a, plan_b, plan_ab = plans.get((True, False)), plans.get((False, True)), plans.get((True, True))
    code_a, code_b = codes
    direct = differentiable and len(prim.derivatives) == 2 and code_a >= 0 and code_b >= 0
    counted = countable(prim)

    def general(input: Any, other: Any) -> Any:
        if operator and not isinstance(other, OPERANDS):
            return foreign(call, (input, other)) if hasattr(other.__class__, "__torch_function__") else NotImplemented
        if refuse is not None:
            refuse(input, other)
        return apply(prim, (input, other))

    def call(input: Any, other: Any) -> Any:
        kind = other.__class__
        try:
            x = input._a
            d = x.dtype
        except AttributeError:
            return general(input, other)
        if (d is not F32 and d is not F64) or busy[0]:
            if d in counted and not busy[0] and x.size < LARGE:
                if kind is Tensor:
                    y = other._a
                elif kind is int and numbers and d is I64 and other.bit_length() < 64:
                    y = np.array(other, d)
                else:
                    return general(input, other)
                if y.dtype is d and (y.shape == x.shape or not y.shape):
                    token = quiet(IGNORE)
                    try:
                        t = wrap(array_function(x, y, out=...))
                    except (TypeError, ValueError):
                        return general(input, other)
                    finally:
                        restore(token)
                    t._story = input._story
                    return t
            return general(input, other)
        if kind is Tensor or kind is Parameter:
            y = other._a
            if y.dtype is not d:
                return general(input, other)
            if other._view is not None:
                refresh(other)
            nb = other._node
            size = x.size
            big = size >= LARGE or y.size >= LARGE
        elif (kind is float or kind is int) and numbers:
            y = (SINGLES if d is F32 else DOUBLES)[other] if other else np.array(other, d)
            nb = None
            size = x.size
            big = size >= LARGE
        else:
            return general(input, other)
        if big and (r := large_forward(prim, (x, y))) is not NotImplemented:
            pass
        elif noisy:
            token = quiet(IGNORE)
            try:
                r = array_function(x, y) if size > 1 else array_function(x, y, out=...)
            except (ValueError, TypeError):
                return shapes_apart(prim, input, other)
            finally:
                restore(token)
        else:
            try:
                r = array_function(x, y) if size > 1 else array_function(x, y, out=...)
            except (ValueError, TypeError):
                return shapes_apart(prim, input, other)
            except (RuntimeWarning, FloatingPointError):  # the user made NumPy's warnings errors: not ours
                return apply(prim, (input, other))
        t = new(Tensor)
        t._a = r
        t._grad = t._view = t._story = None
        if input._view is not None:
            refresh(input)
        na = input._node
        if na is None and nb is None:
            t._node = None
            story = input._story
            t._story = story if story is not None or kind is float or kind is int else other._story
            return t
        grad = state.grad
        if not grad or not differentiable:
            t._node = None
            t._story = cut_of(prim, (input, other)) if grad else grad
            return t
        node = cls()
        if nb is None:
            node.plan = plan_for_large(prim, (True, False)) if big else plan_a
            node.next = (input if na is LEAF else na, None)
            node.saved = (
                (((),) if code_a == 0 else ((y,),) if code_a == 2 else ((x,),) if code_a == 1 else ((x, y),))
                if direct
                else collect(plan_a, (x, y), (), (r,), False)
            )
            if y.ndim == 0:
                node.fix = None
            else:
                xs = x.shape
                node.fix = None if xs == y.shape else ((xs, None), (y.shape, None))
        elif na is None:
            node.plan = plan_for_large(prim, (False, True)) if big else plan_b
            node.next = (None, other if nb is LEAF else nb)
            node.saved = (
                (((),) if code_b == 0 else ((y,),) if code_b == 2 else ((x,),) if code_b == 1 else ((x, y),))
                if direct
                else collect(plan_b, (x, y), (), (r,), False)
            )
            xs = x.shape
            node.fix = None if xs == y.shape else ((xs, None), (y.shape, None))
        else:
            node.plan = plan_for_large(prim, (True, True)) if big else plan_ab
            node.next = (input if na is LEAF else na, other if nb is LEAF else nb)
            node.saved = (
                (
                    (() if code_a == 0 else (y,) if code_a == 2 else (x,) if code_a == 1 else (x, y)),
                    (() if code_b == 0 else (y,) if code_b == 2 else (x,) if code_b == 1 else (x, y)),
                )
                if direct
                else collect(plan_ab, (x, y), (), (r,), False)
            )
            xs = x.shape
            node.fix = None if xs == y.shape else ((xs, None), (y.shape, None))
        node.hooks = None
        f = frame_at(1)
        c = f.f_code
        if c is not recent[0]:
            while internal[c.co_filename]:
                if f.f_back is None:
                    break
                f = f.f_back
                c = f.f_code
            else:
                recent[0] = c
        node.code = c
        node.lasti = f.f_lasti
        node._seq = tick()
        t._node = node
        return t

    return call


def shapes_apart(prim: Primitive, a: Any, b: Any) -> Any:
    """Raise the error of operands whose shapes do not broadcast; anything else that failed fails again by itself."""
    from ..errors import broadcast_error

    sa, sb = a._a.shape, getattr(getattr(b, "_a", None), "shape", ())
    try:
        np.broadcast_shapes(sa, sb)
    except ValueError:
        raise broadcast_error(sa, sb) from None
    return apply(prim, (a, b))


def register(tensor: Any, parameter: Any = None) -> None:
    """Tell this floor the Tensor class (and Parameter, once there is one)."""
    global Tensor, Parameter, OPERANDS
    if tensor is not None:
        Tensor = tensor
        OPERANDS = (tensor, int, float, complex, np.generic, ndarray)
        if Parameter is None:
            Parameter = tensor
    if parameter is not None:
        Parameter = parameter
