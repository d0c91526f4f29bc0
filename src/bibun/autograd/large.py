"""Large arrays: the same computation in native loops, made from the entries' own formulas.

In: an elementwise primitive (or its derivative rules) and arrays of many elements. Out: what NumPy would give, in one pass and by all
processors; NotImplemented, or the rule's own result on arrays, where there is no native form. A gradient that was broadcast is summed
in the same pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends import cpu
from ..backends.large import LARGE, kernels_of, native
from ..ops.primitive import Primitive
from . import dispatch
from .node import NarrowFix, Plan, fit, make_node_class, widened

__all__ = ["LARGE", "LargePlan", "forward", "forward_narrow", "plan_for_large", "together"]

_BOOLEAN = frozenset(("compare", "order", "logical"))
_NARROW_KINDS = frozenset(("same", "float", "stable", "difference", "compare", "order"))


def forward_narrow(prim: Primitive, arrays: Any, static: tuple[Any, ...], dtype: Any) -> Any:
    """(operands, fix, result) of a primitive on tensors of one narrow dtype and numbers: each element is read as float32, and the result
    rounded once. None where there is no native loop."""
    if prim.kind not in _NARROW_KINDS or prim.several or prim.variadic or "f" in prim.refuses:
        return None
    raw, fix = [], []
    for x in arrays:
        if isinstance(x, dispatch.Tensor):
            a = x._a
            if a.dtype is not dtype:
                return None
            fix.append((a.shape, dtype))
        elif x.__class__ is int or x.__class__ is float:
            a = np.array(x).astype(dtype)
            fix.append(((), None))
        else:
            return None
        raw.append(a)
    made = forward(prim, raw, static, dtype)
    return None if made is NotImplemented else (raw, NarrowFix(fix), made)


def forward(prim: Primitive, arrays: Any, static: tuple[Any, ...] = (), dtype: Any = None) -> Any:
    """The primitive's result for arrays of one dtype; NotImplemented where it has no native loop."""
    if not native():
        return NotImplemented
    fuse = kernels_of("fuse")
    try:
        shape = arrays[0].shape
        for a in arrays:
            if a.shape != shape:
                shape = cpu.broadcast_shapes(*[a.shape for a in arrays])
                break
        form = prim.native_form or prim.run
        return fuse.evaluate(
            ("run", prim.name, static), lambda xp, *values: form(xp, *values, *static), arrays, shape, "", cpu.bool_ if prim.kind in _BOOLEAN else dtype
        )
    except (ValueError, TypeError):  # shapes apart, or a static that has no hash: the plain path says what is wrong
        return NotImplemented


def together(a: Any, b: Any) -> Any:
    """The sum of two gradients, the first a large array."""
    if native() and b.__class__ is np.ndarray and a.shape == b.shape and a.dtype is b.dtype:
        fuse = kernels_of("fuse")
        made = fuse.evaluate(("run", "add", ()), lambda xp, x, y: x + y, (a, b), a.shape, "", a.dtype)
        if made is not NotImplemented:
            return made
    return a + b


def over(prim: Primitive, arrays: Any, out: Any) -> bool:
    """Compute the primitive into ``out``, of the shape and dtype of its result; False where there is no native loop."""
    if prim.kind in _BOOLEAN or out.dtype.kind != "f" or not native():
        return False
    fuse = kernels_of("fuse")
    form = prim.native_form or prim.run
    try:
        return fuse.evaluate(("run", prim.name, ()), lambda xp, *values: form(xp, *values), arrays, out.shape, "", out.dtype, out=out) is not NotImplemented
    except (ValueError, TypeError):
        return False


def copied(source: Any, out: Any) -> bool:
    """Copy into an array of the same shape and dtype, which does not overlap; False where there is no native loop."""
    if source.dtype != out.dtype or source.shape != out.shape or not native():
        return False
    fuse = kernels_of("fuse")
    if np.may_share_memory(source, out):
        return False
    return fuse.evaluate("copy", _same, (source,), out.shape, "", out.dtype, out=out) is not NotImplemented


def _same(xp: Any, x: Any) -> Any:
    return x


def _fused(prim: Primitive, name: str, takes: tuple[tuple[str, int], ...]) -> Any:
    """The derivative rule of an input as ``call(g, values, shape)``: fitted to ``shape``, or NotImplemented."""
    rule = prim.derivatives[name]
    mark = object()
    same = rule.needs == ("g",) and not rule.takes_xp and _identity(rule.plain, mark)
    is_array = tuple([category in "io" for category, _ in takes])
    key = ("rule", prim.name, name)

    def call(g: Any, values: tuple[Any, ...], shape: tuple[int, ...] | None, dtype: Any = None) -> Any:
        if not native():
            return NotImplemented
        whole = g.shape
        found = ("", None) if shape is None or shape == whole else reduction(whole, shape)
        if same and (found is None or not found[0]):
            return NotImplemented
        reduce, cut = found or ("", None)
        fuse = kernels_of("fuse")
        arrays = [g, *[v for v, a in zip(values, is_array) if a]]
        static = tuple([v for v, a in zip(values, is_array) if not a])

        def expression(xp: Any, first: Any, *rest: Any) -> Any:
            given, at = iter(rest), iter(static)
            return rule.call(xp, first, *[next(given) if a else next(at) for a in is_array])

        try:
            made = fuse.evaluate((*key, static), expression, arrays, whole, reduce, None if reduce else dtype, cut)
        except TypeError:
            return NotImplemented
        if found is None and made is not NotImplemented:
            return fit(made, shape, None, cpu)  # type: ignore[arg-type]
        return made if made is NotImplemented or not reduce else made.reshape(shape)

    return call


def _identity(rule: Any, mark: Any) -> bool:
    try:
        return rule(mark) is mark
    except Exception:
        return False


def reduction(whole: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """How an array of shape ``whole`` is summed for one of ``shape``: (all, leading or trailing dimensions, where they end); None: otherwise."""
    full = (1,) * (len(whole) - len(shape)) + shape
    kept = [i for i, n in enumerate(full) if n != 1]
    if not kept:
        return "all", None
    first, last = kept[0], kept[-1] + 1
    if full[first:] == whole[first:]:
        return "leading", first
    if full[:last] == whole[:last]:
        return "trailing", last
    return None


class LargePlan(Plan):
    """A plan whose rules run as native loops where they can."""

    __slots__ = ("fused",)
    large = True

    def __init__(self, prim: Primitive, wanted: tuple[bool, ...]):
        super().__init__(prim, wanted)
        self.fused = tuple([_fused(prim, prim.arrays[i], takes) for (i, _, _), takes in zip(self.rules, self.takes)])
        assert self.direct is not None
        self.direct = tuple([(i, _direct(fused, rule), n, places) for (i, rule, n, places), fused in zip(self.direct, self.fused)])
        self.single = self.direct[0] if len(self.direct) == 1 else None

    def apply(self, g: Any, saved: Any, fix: Any, count: int, only: Any = None) -> list[Any]:
        """The gradients of all inputs, brought to their shapes, on arrays."""
        out: list[Any] = [None] * count
        narrow = fix.__class__ is NarrowFix
        for (i, rule, _), fused, values in zip(self.rules, self.fused, saved):
            if only is not None and not only[i]:
                continue
            shape, dtype = fix[i] if fix is not None else (None, None)
            r = fused(g, values, shape, dtype if narrow else None)
            if r is NotImplemented:
                r = rule(cpu, widened(g), *widened(values)) if narrow else rule(cpu, g, *values)
            out[i] = r if shape is None else fit(r, shape, dtype, cpu)
        return out


def _direct(fused: Any, rule: Any) -> Any:
    def call(g: Any, *values: Any) -> Any:
        made = fused(g, values, None)
        return rule(g, *values) if made is NotImplemented else made

    return call


def plan_for_large(prim: Primitive, wanted: tuple[bool, ...]) -> Any:
    """`plan_of` for a call on large arrays."""
    plans = make_node_class(prim).plans
    made = plans.get((wanted, "large"))
    if made is None:
        made = plans[wanted, "large"] = LargePlan(prim, wanted)
    return made
