"""Compiled functions whose results keep a graph: one program forward, one program back, and one node between them.

In: a recording of a function that returns tensors with a graph, such as a module's forward. While it is still open, the gradients of the
results are computed once (`record_backward`), so that the steps of backward are recorded, too. Out: the steps are parted in two, and
what the second part reads of the first is what the node saves (`Joint`). The node's backward runs the second program; gradients that are
to be differentiated themselves come of the function as it is, called again.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..autograd import versions
from ..autograd.api import grad as gradients_of
from ..autograd.dispatch import user_frame, wrap
from ..autograd.function import KEEPS, FunctionCtx
from ..autograd.modes import state
from ..autograd.node import LEAF, Node, Output
from ..autograd.versions import tick
from ..backends import cpu
from ..func.pytree import tree_flatten
from ..tensor import Tensor
from .recorder import Recorder

__all__ = ["Joint", "record_backward"]


class Backward:
    """What has been recorded of a function's backward.

    Attributes:
        first: the place of its first step; outputs: the values whose gradients it is given; targets: where gradients go, as (what, which):
            ("leaf", tensor) or ("argument", k); gradients: their values, None where there is none; reached: for each output, the targets
            that its gradient goes to; wanted: the gradients that there are.
    """

    def __init__(self, first: int, outputs: list[int], targets: list[tuple[str, Any]], gradients: list[int | None], reached: list[set[int]]):
        self.first, self.outputs, self.targets, self.gradients, self.reached = first, outputs, targets, gradients, reached
        self.wanted = {n for n in gradients if n is not None}


def record_backward(recorder: Recorder, result: Any, leaves: list[Any]) -> None:
    """Have the backward of what a function has just returned recorded, where that can be done unnoticed."""
    if not state.grad or recorder.refused is not None or state.strict or state.inference:
        return
    made = list({id(x): x for x in tree_flatten(result)[0] if isinstance(x, Tensor) and x._node is not None and x._node is not LEAF and id(x) not in recorder.found}.values())
    known = [x for x in made if recorder.known.get(id(x._a)) is not None]
    if not made or len(known) != len(made) or len({id(x._a) for x in made}) != len(made):
        return
    nodes = [getattr(x._node, "node", x._node) for x in made]
    own = {step.node for step in recorder.steps if step.node}
    arguments = {id(x if x._node is LEAF else x._node): k for k, x in enumerate(leaves) if isinstance(x, Tensor) and x._node is not None}
    targets: list[tuple[str, Any]] = []
    inputs: list[Any] = []
    places: dict[int, int] = {}  # of targets
    reached: list[set[int]] = []
    for root in nodes:
        reached.append(set())
        seen: set[int] = set()
        stack = [root]
        while stack:
            n = stack.pop()
            if n._seq in seen:
                continue
            seen.add(n._seq)
            if n._seq not in own or n.hooks is not None or isinstance(n, FunctionCtx) or n._seq in recorder.used or n.saved.__class__ is not tuple:
                return  # more than rules would run, or ones of the user's
            for target in n.next:
                if target is None:
                    continue
                k = arguments.get(id(target))
                if k is None and target._seq:
                    stack.append(getattr(target, "node", target))
                    continue
                if k is None and (target._has_hooks or id(target) not in recorder.found):
                    return
                given_to = target if k is None else leaves[k]
                if id(given_to) not in places:
                    places[id(given_to)] = len(inputs)
                    inputs.append(given_to)
                    targets.append(("leaf", target) if k is None else ("argument", k))
                reached[-1].add(places[id(given_to)])
    if not inputs or any(x.dtype.is_complex for x in made):
        return
    first = len(recorder.steps)
    given = []
    for k, x in enumerate(made):
        g = np.ones(x._a.shape, x._a.dtype)
        recorder.add(g, ("gradient", k))
        given.append(wrap(g))
    try:
        found = gradients_of(made, inputs, given, retain_graph=True, allow_unused=True)
    except Exception:  # it is for the caller to meet, who may never ask for gradients
        del recorder.steps[first:]
        return
    values = [None if g is None else recorder.value(g._a, g) for g in found]
    recorder.backward = Backward(first, [recorder.known[id(x._a)] for x in made], targets, values, reached)


class CompiledFunctionBackward(Node):
    """The node of a compiled function's results."""

    __slots__ = ()
    plan = KEEPS  # type: ignore[assignment]
    fix = None  # type: ignore[assignment]
    joint: Any
    again: Any
    outs: Any

    def apply(self, g: Any, xp: Any, create: bool, only: Any = None) -> Any:
        joint = self.joint
        given = [g] if g.__class__ is not list else g
        if create or xp is not cpu:
            return self.differentiable(given, create)
        saved, sizes = self.saved
        seq = self._seq
        if versions.last_write[0] > seq:
            for a in saved:
                if a is not None and (write := versions.written_since(a, seq)) is not None:
                    from ..autograd.complaints import overwritten

                    raise overwritten(self, "i", 0, a, write)
        whole = [np.zeros(*self.outs[i]) if a is None else a for i, a in enumerate(given)]
        whole = [a if a.dtype is d and a.flags.c_contiguous else np.array(a, d, order="C") for a, d in zip(whole, joint.dtypes)]
        found = joint.backward.run((saved, whole, sizes))
        if not any([a is None for a in given]):
            return found
        reached = set().union(*[to for a, to in zip(given, joint.reached) if a is not None])
        return [x if k in reached else None for k, x in enumerate(found)]

    def differentiable(self, given: list[Any], create: bool) -> Any:
        """Gradients with a graph of their own."""
        if not self.joint.repeatable:
            raise RuntimeError(
                "torch.compile: the gradients of a compiled function that draws random numbers or writes to memory cannot be differentiated again. "
                "Call the function uncompiled where create_graph=True is needed."
            )
        function, spec, leaves = self.again
        args, kwargs = spec.build(iter(leaves)) if spec is not None else ((), {})
        before = state.grad
        state.grad = True
        try:
            result = function(*args, **kwargs)
            flat = tree_flatten(result)[0]
            made = [flat[i] for i in self.joint.places]
            inputs = [x if kind == "leaf" else leaves[x] for kind, x in self.joint.targets]
            kept = [(x, g) for x, g in zip(made, given) if g is not None]
            return list(gradients_of([x for x, _ in kept], inputs, [g if isinstance(g, Tensor) else wrap(g) for _, g in kept], create_graph=create, allow_unused=True))
        finally:
            state.grad = before


class Joint:
    """Two programs and what goes between them.

    Args:
        program: of the whole recording.
        backward: what has been recorded of its backward.
    """

    def __init__(self, program: Any, backward: Backward):
        self.targets, self.outputs, self.reached = backward.targets, backward.outputs, backward.reached
        self.dtypes = [program.layouts[n].dtype for n in self.outputs]
        from .program import MADE, needed, reads

        steps = program.recorder_steps
        back = needed(steps[backward.first :], backward.wanted)
        front_wanted = {i for kind, i, _ in program.outputs if kind in MADE}
        made = {n for s in back for n in s.gives}
        given = {n: s for n, s in program.given.items() if s[0] == "gradient"}
        wanted = {n for s in back for n in reads(s)} | backward.wanted
        self.saved = sorted(n for n in wanted if n not in made and n not in given)
        constants = {n: s for n, s in program.sources.items() if s[0] == "constant"}
        kept = [n for n in self.saved if n not in constants]
        front = needed(steps[: backward.first], front_wanted | set(kept))
        outside = {program.layouts[n].root for n in program.sources}
        self.repeatable = not any(s.kind in ("call", "grad") or s.kind == "write" and program.layouts[s.takes[0]].root in outside for s in front)
        self.forward = self.part(program, front, [i for kind, i, _ in program.outputs if kind in MADE] + kept, {})
        sources: dict[int, Any] = {n: ("passed", 0, k) for k, n in enumerate(kept)}
        sources |= {n: ("passed", 1, s[1]) for n, s in given.items()}
        sources |= {n: constants[n] for n in self.saved if n in constants}
        self.backward = self.part(program, back, backward.gradients, sources)
        self.backward.passed_sizes = True
        self.places = [i for i, (kind, _, _) in enumerate(program.outputs) if kind == "joint"]
        self.count = sum(kind in MADE for kind, _, _ in program.outputs)

    def part(self, program: Any, steps: list[Any], returns: list[Any], sources: dict[int, Any]) -> Any:
        """A program of some of the steps."""
        from .program import reads

        made = copy.copy(program)
        made.steps, made.returns, made.backward = steps, returns, None
        made.on_tensors, made.made_on_tensors = set(), set()
        made.wanted = {n for n in returns if n is not None}
        read = {n for s in steps for n in reads(s)} | made.wanted
        made.sources = {n: s for n, s in (sources or program.sources).items() if n in read}
        made.groups, made.segments = {}, {}
        return made

    def build(self, arrays: list[Any]) -> None:
        self.forward.build(arrays)
        self.backward.build(arrays)

    def runner(self, program: Any, function: Any, spec: Any) -> Any:
        """What is called in the function's stead."""
        forward, targets, count = self.forward.run, self.targets, self.count
        outputs, joined, build = program.outputs, self.outputs, program.spec.build if program.spec.kind is not None else None
        sizes = list(program.sizes.values())

        def run(leaves: list[Any]) -> Any:
            made = forward(leaves)
            node = CompiledFunctionBackward.__new__(CompiledFunctionBackward)
            node.hooks = None
            node.next = tuple([x if kind == "leaf" else n if (n := leaves[x]._node) is not LEAF else leaves[x] for kind, x in targets])
            node._seq = tick()
            frame = user_frame(2)
            node.code, node.lasti = frame.f_code, frame.f_lasti
            node.joint = self
            node.again = function, spec, leaves
            node.saved = made[count:], [leaves[k]._a.shape[d] for k, d in sizes]
            values = iter(made)
            results: list[Any] = []
            outs: list[Any] = [None] * len(joined)
            for kind, x, spent in outputs:
                if kind not in ("value", "joint"):
                    results.append(x if kind == "constant" else leaves[x] if kind == "argument" else results[x])
                    continue
                t = wrap(next(values))
                if kind == "joint":
                    at = joined.index(x)
                    outs[at] = (t._a.shape, t._a.dtype)
                    t._node = node if len(joined) == 1 else Output(node, at)
                elif spent is not None:
                    t._node = spent
                results.append(t)
            if len(joined) > 1:
                node.outs = outs
            return results[0] if build is None else build(iter(results))

        return run
