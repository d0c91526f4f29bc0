"""What the graph is made of: nodes, and the edges between them.

A `Node` is made when a primitive is recorded. It holds, for each array input, its *target* (where that input's gradient
goes: another node, an `Output` of a node with several outputs, or a leaf tensor itself; None where no gradient is
wanted), the values its derivative rules asked for, and the line of the user's program that made it. Leaf tensors stand in
the graph as themselves, so no cycle arises and reference counting alone frees everything; the `AccumulateGrad` node that
PyTorch shows for a leaf is made when somebody looks.
"""

from __future__ import annotations

from functools import cache
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import cpu
from ..ops.primitive import Primitive
from .modes import state

__all__ = ["LEAF", "NarrowFix", "Node", "Output", "Plan", "make_node_class", "plan_of"]


#: Whether a program has given nodes numbers of its own (`Node._set_sequence_nr`).
NUMBERED = [False]


class _Leaf:
    """What a leaf tensor that requires grad has in place of a node."""

    def __repr__(self) -> str:
        return "LEAF"

    def __reduce__(self) -> str:
        return "LEAF"


LEAF = _Leaf()


class Freed:
    """Stands in nodes whose saved values a backward has used up; knows the line that ran it."""

    __slots__ = ("code", "lasti")

    def __init__(self, code: Any, lasti: int):
        self.code, self.lasti = code, lasti


class NarrowFix(tuple):
    """The fix of a node on narrow floats (float16, bfloat16): its rules run in float32 and are rounded once, at the end."""

    __slots__ = ()


def widened(value: Any) -> Any:
    """``value``, a (nested) sequence of arrays among other things, with narrow floats as float32."""
    if value.__class__ in (tuple, list):
        return value.__class__([widened(v) for v in value])
    return (
        value.astype(np.float32) if isinstance(value, (np.ndarray, np.generic)) and value.dtype in cpu.NARROW else value
    )


def fit(g: Any, shape: tuple[int, ...], dtype: Any, xp: Any) -> Any:
    """``g`` brought to the shape (summed where broadcast) and dtype of the input it belongs to."""
    if g.shape != shape:
        extra = g.ndim - len(shape)
        axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
        if axes:
            g = xp.sum(g, axis=axes, keepdims=False)
        if g.shape != shape:
            g = (
                xp.reshape(g, shape)
                if g.size == 1 or axes and (0 not in shape or 0 in g.shape)
                else xp.broadcast_to(g, shape)
            )
    if dtype is not None:
        own = g.dtype if xp is cpu else g.dtype.np
        if own != dtype:
            if own.kind == "c" and dtype.kind != "c":
                g = xp.real(g)
            g = xp.astype(g, dtype)
    return g


def zero_kept(g: Any, r: Any, xp: Any, elementwise: bool) -> Any:
    """``r`` with zeros where the gradient ``g`` that it comes from is exactly zero."""
    if r is None or g.__class__ is list:
        return r
    if r.__class__ in (list, tuple):
        return [zero_kept(g, x, xp, elementwise) for x in r]
    if elementwise and r.shape == g.shape:
        return xp.where(g == 0, xp.zeros_like(r), r)
    values = getattr(g, "_a", g)
    return r if np.any(values) else xp.zeros_like(r)


class Node:
    """One recorded operation.

    Attributes:
        next: targets, one for each array input of the primitive.
        saved: for each needed rule of the plan, a tuple of what it takes; a `Freed` once used up; () where nothing is needed.
        plan: which inputs want a gradient, by which rules.
        fix: (shape, dtype) for each input, where gradients may come in another; None where they cannot.
        hooks: None, or a `bibun.autograd.hooks.Hooks`.
        code, lasti: the user's code object and the instruction in it.
        _seq: the time of recording; larger is later.
    """

    __slots__ = ("__dict__", "__weakref__", "_seq", "code", "fix", "hooks", "lasti", "next", "plan", "saved")
    _seq: int
    code: Any
    fix: Any
    hooks: Any
    lasti: int
    next: tuple[Any, ...]
    plan: Any
    saved: Any

    primitive: Any = None

    if TYPE_CHECKING:  # only there: a class with ``__getattr__`` has every read of an attribute slowed

        def __getattr__(self, name: str) -> Any: ...

    def apply(self, g: Any, xp: Any, create: bool, only: Any = None) -> Any:
        """The gradients of the inputs, given that of the output (a list where there are several outputs).

        With ``only``, a boolean for each input, no others than these are made. ``xp`` is what ``g`` and the saved values belong to; with ``create`` they are tensors and get recorded.
        """
        plan = self.plan
        prim = self.primitive
        saved = self.saved
        fix = self.fix
        if create:
            from .saved import as_tensors

            if plan.joint is not None and only is None:
                made = self.jointly(g, xp, True)
                if made is not NotImplemented:
                    return made
            saved = as_tensors(self, only)
        if g.__class__ is list:
            outs, needed = self.outs, plan.needed
            g = [
                xp.zeros(outs[i][0], dtype=outs[i][1]) if x is None and (needed is None or i in needed) else x
                for i, x in enumerate(g)
            ]
        if plan.large and xp is cpu and not state.strict:
            return plan.apply(g, saved, fix, len(self.next), only)
        if fix.__class__ is NarrowFix and not create:
            g, saved = widened(g), widened(saved)
        elif plan.joint is not None and not create:
            made = self.jointly(g, xp, False, only)
            if made is not NotImplemented:
                return made
        out: Any = [None] * len(self.next)
        for (i, rule, chosen), values in zip(plan.rules, saved):
            if only is not None and not only[i]:
                continue
            r = rule(xp, g, *values) if chosen is None else rule(xp, *[g[k] for k in chosen], *values)
            if state.strict:
                r = zero_kept(g, r, xp, prim.family == "elementwise")
            if prim.variadic:
                out = [None if t is None else x for x, t in zip(r, self.next)]
            else:
                out[i] = r
        if fix is not None:
            out = [None if x is None else fit(x, f[0], f[1], xp) for x, f in zip(out, fix)]
        return out

    def jointly(self, g: Any, xp: Any, create: bool, only: Any = None, more: Any = None) -> Any:
        """`apply` by the plan's rule for all inputs, NotImplemented where it does not apply; with ``more`` added to the first one's gradient."""
        plan, saved = self.plan, self.saved
        if create:
            from .saved import recorded_jointly

            return recorded_jointly(self, g, more)
        if xp is not cpu or state.strict or self.fix.__class__ is NarrowFix:
            return NotImplemented
        call, chosen, places = plan.joint
        given = [*([g[k] for k in chosen] or (g,)), *[saved[r][c] for r, c in places]]
        if more is not None:
            given.append(more)
        return call(xp, plan.wanted if only is None else only, *given)

    # what users see

    def name(self) -> str:
        """The node's name, as ``MulBackward0``."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """(node, output number) of where each input's gradient goes; (None, 0) where none is wanted."""
        return tuple((None, 0) if t is None else t.as_edge() for t in self.next)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes."""
        return self.__dict__.setdefault("_metadata", {})

    def __call__(self, *grads: Any) -> Any:
        """Run the node by itself: the gradients of its inputs, given those of its outputs."""
        from .namespace import xp

        several = getattr(self, "outs", None)
        count = 1 if several is None else len(several)
        if len(grads) != count:
            raise TypeError(f"expected {count} arguments, got {len(grads)} instead")
        if self.saved.__class__ is Freed:
            from .complaints import second_backward

            raise second_backward(self)
        made = self.apply(grads[0] if several is None else list(grads), xp, state.grad is True)
        return made[0] if len(made) == 1 else tuple(made)

    def _sequence_nr(self) -> int:
        return self.__dict__.get("_number", self._seq)

    def _set_sequence_nr(self, number: int) -> None:
        """Among nodes that are ready, backward takes those with the larger number first."""
        self.__dict__["_number"] = number
        NUMBERED[0] = True

    def as_edge(self) -> tuple[Any, int]:
        return self, 0

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"

    def register_hook(self, hook: Any) -> Any:
        """Have ``hook(grad_inputs, grad_outputs)`` called after the node ran; what it returns replaces grad_inputs."""
        from .hooks import add

        return add(self, "post", hook)

    def register_prehook(self, hook: Any) -> Any:
        """Have ``hook(grad_outputs)`` called before the node runs; what it returns replaces grad_outputs."""
        from .hooks import add

        return add(self, "pre", hook)


class Output:
    """The target of a gradient that belongs to one output of a node with several."""

    __slots__ = ("_seq", "index", "node")

    def __init__(self, node: Node, index: int):
        self.node, self.index, self._seq = node, index, node._seq

    def as_edge(self) -> tuple[Any, int]:
        return self.node, self.index


class Plan:
    """How a primitive is differentiated in a given set of its inputs.

    ``rules``: (input number, rule, indices of the output gradients it takes or None) for each wanted input; ``direct``:
    the same where one gradient goes in and one comes out of each, else None, as (input number, ``rule(g, *values)``, how many
    values it takes, ``places``) on arrays, and ``lifted`` on tensors, where ``places`` tells for each value whether it is an
    input (its number), the output (-1) or neither (-2), and is () where all are neither; ``single``: the one of ``direct`` where
    there is but one; ``joint``: see `Primitive.jointly`; ``adds``: whether that takes what has come before; ``grand``: the plan with the joint rule for calls that it suits, where it does not suit all;
    ``takes``: for each of them, (category, index) of every value it takes besides gradients. Categories: ``i`` an input,
    ``o`` an output, ``h`` an input's shape, ``d`` its dtype, ``s`` a static argument. ``needed``: the outputs whose gradients the
    rules take, None for all.
    """

    __slots__ = ("_lifted", "_plain", "adds", "direct", "grand", "joint", "keeps", "needed", "rules", "save", "single", "takes", "wanted")
    #: Whether the rules run as native loops; see `bibun.autograd.large`.
    large = False

    def __init__(self, prim: Primitive, wanted: tuple[bool, ...], grand: bool = False):
        self.wanted = wanted
        rules: list[Any] = []
        takes: list[Any] = []
        direct: list[Any] = []
        names = prim.arrays
        for i, name in enumerate(names):
            if (not prim.variadic and not wanted[i]) or name not in prim.derivatives:
                continue
            rule = prim.derivatives[name]
            grads = [n for n in rule.needs if n == "g" or n.startswith("g_")]
            chosen = tuple([prim.outputs.index(n[2:]) for n in grads]) if grads and grads[0] != "g" else None
            rules.append((i, rule.call, chosen))
            row = tuple([self._locate(prim, n) for n in rule.needs if n not in grads])
            places = tuple([k if category == "i" else -1 if category == "o" else -2 for category, k in row])
            direct.append((i, rule, len(row), () if all(p == -2 for p in places) else places))
            takes.append(row)
        self.rules, self.takes = tuple(rules), tuple(takes)
        several = prim.joint_rule is not None and len(rules) > 1
        self.joint = self._joint(prim) if several and (grand or prim.joint_suits is None) else None
        self.adds = self.joint is not None and prim.joint_adds
        self.grand = Plan(prim, wanted, True) if several and not grand and prim.joint_suits is not None else None
        self._plain = None if prim.variadic or prim.several or self.joint is not None else tuple(direct)
        self.direct = self._bound(cpu)
        self.single = self.direct[0] if self.direct is not None and len(self.direct) == 1 else None
        self._lifted: Any = None
        #: ``save(arrays, outputs, static)`` gives a node's ``saved``; None before `saver` has made it.
        self.save: Any = None
        self.needed = None if any(r[2] is None for r in rules) else frozenset(k for r in rules for k in r[2])
        self.keeps = any(category in "io" for values in takes for category, _ in values)

    def saver(self) -> Any:
        """What picks the values that the rules take, as one expression."""
        made = self.save = _expression(self.takes)
        return made

    def _bound(self, xp: Any) -> Any:
        if self._plain is None:
            return None
        return tuple([(i, MethodType(rule.plain, xp) if rule.takes_xp else rule.plain, n, places) for i, rule, n, places in self._plain])

    @property
    def lifted(self) -> Any:
        made = self._lifted
        if made is None:
            from .namespace import xp

            made = self._lifted = self._bound(xp)
        return made

    def _joint(self, prim: Primitive) -> Any:
        """(rule, indices of the output gradients, where in `takes` its values are) of a rule for all inputs; None where they are not."""
        assert prim.joint_rule is not None
        needs = prim.joint_rule.needs
        grads = [n for n in needs if n == "g" or n.startswith("g_")]
        where = {what: (r, c) for r, row in enumerate(self.takes) for c, what in enumerate(row)}
        places = [where.get(self._locate(prim, n)) for n in needs if n not in grads]
        if None in places:
            return None
        chosen = () if grads == ["g"] else tuple([prim.outputs.index(n[2:]) for n in grads])
        return prim.joint_rule.call, chosen, tuple(places)

    @staticmethod
    def _locate(prim: Primitive, name: str) -> tuple[str, int]:
        if name in prim.arrays:
            return "i", prim.arrays.index(name)
        if name in prim.outputs:
            return "o", prim.outputs.index(name)
        if name in prim.static:
            return "s", prim.static.index(name)
        array, _, what = name.rpartition("_")
        return ("h" if what == "shape" else "d"), prim.arrays.index(array)


@cache
def _expression(takes: tuple[tuple[tuple[str, int], ...], ...]) -> Any:
    """``takes`` as a function ``(arrays, outputs, static)``: ``((arrays[0], arrays[1].shape), (static[0],))`` and the like."""
    words = {"i": "a[{}]", "o": "r[{}]", "s": "s[{}]", "h": "getattr(a[{}], 'shape', ())", "d": "held(a[{}])"}
    rows = ["(" + "".join(words[category].format(k) + ", " for category, k in row) + "), " for row in takes]
    return eval(compile(f"lambda a, r, s: ({''.join(rows)})", __file__, "eval"), {"held": held})


def plan_of(prim: Primitive, wanted: tuple[bool, ...]) -> Plan:
    """The (remembered) plan for differentiating ``prim`` in the inputs that ``wanted`` marks."""
    plans = make_node_class(prim).plans
    made = plans.get(wanted)
    if made is None:
        made = plans[wanted] = Plan(prim, wanted)
    return made


#: PyTorch's names for saved values, and ours: operands, outputs, static arguments.
ALIASES = {
    "self": ("x", "input", "a"),
    "other": ("y", "other", "b"),
    "dim": ("axis", "axes", "dim"),
    "keepdim": ("keepdims",),
    "self_sym_sizes": ("x_sym_sizes", "input_sym_sizes"),
    "self_sizes": ("x_sym_sizes", "input_sym_sizes"),
    "self_scalar_type": ("x_scalar_type", "input_scalar_type"),
    "grad_output": ("g", "grad"),
    "input": ("x",),
    "indices": ("index", "i0"),
    "exponent": ("y", "exponent"),
    "result": ("out",),
    "mat1": ("x", "a"),
    "mat2": ("y", "b"),
}


@cache
def saved_property(name: str, raw: bool) -> property:
    """``node._saved_<name>``, or ``node._raw_saved_<name>``.

    Properties of each class rather than a ``__getattr__`` of all, which would make every read of an attribute slow.
    """

    def get(self: Any) -> Any:
        from .saved import raw_saved_attribute, saved_attribute

        return raw_saved_attribute(self, name) if raw else saved_attribute(self, name)

    return property(get)


def saved_properties(prim: Primitive) -> dict[str, property]:
    """The properties under which nodes of ``prim`` show what they have saved."""
    arrays = {*prim.arrays, *prim.outputs, "result"}
    names = {*arrays, *prim.static, *[n + end for n in prim.arrays for end in ("_sym_sizes", "_scalar_type")]}
    known = [alias for alias, own in ALIASES.items() if not names.isdisjoint(own)]
    found = {"_saved_" + n: saved_property(n, False) for n in (*names, *known)}
    found |= {"_raw_saved_" + n: saved_property(n, True) for n in (*arrays, *known) if n in arrays or not arrays.isdisjoint(ALIASES[n])}
    return found


def make_node_class(prim: Primitive) -> Any:
    """The subclass of `Node` that bears the primitive's name; made once."""
    made = prim.node_class
    if made is None:
        body = {"__slots__": (), "primitive": prim, "plans": {}, "__module__": "bibun"}
        made = prim.node_class = type(prim.grad_name, (Node,), body | saved_properties(prim))
    return made


def held(x: Any) -> Any:
    """The dtype of an array, or of the array that a tensor (of a lower level) stands for: rules know NumPy's."""
    return x.dtype if x.__class__ is np.ndarray else getattr(x, "_a", x).dtype


def collect(plan: Plan, raw: Any, static: Any, outs: Any, variadic: bool) -> tuple[tuple[Any, ...], ...]:
    """The values that the plan's rules take, out of what the forward had in hand."""
    if not variadic:
        made: tuple[tuple[Any, ...], ...] = (plan.save or plan.saver())(raw, outs, static)
        return made
    saved = []
    for takes in plan.takes:
        values: list[Any] = []
        for category, i in takes:
            if category == "i":
                values.append(tuple(raw))
            elif category == "o":
                values.append(outs[i])
            elif category == "s":
                values.append(static[i])
            else:
                values.append(tuple([a.shape for a in raw] if category == "h" else [held(a) for a in raw]))
        saved.append(tuple(values))
    return tuple(saved)
