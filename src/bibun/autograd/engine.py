"""The engine: from gradients of roots to gradients of leaves, newest node first.

In go (target, gradient) pairs; out comes {leaf: gradient}, and what was asked for on the way. Nodes are taken by falling
sequence number from a heap, so every consumer of a value has run before the node that made it, nothing recurses, and
only that part of a graph is walked to which gradients flow. All state of a run is local to it: any number of threads may
run backward at once. The engine knows no operation: it asks each node to apply its own rules.

A run works on raw arrays (``xp`` is the backend's namespace) or, where the gradients must themselves be differentiable,
on tensors (``xp`` is the tensor namespace, which records).
"""

from __future__ import annotations

import itertools
import threading
from heapq import heappop, heappush
from typing import Any

import numpy as np

from ..backends import cpu
from . import anomaly, inplace, running, versions
from .complaints import warn_of
from .dispatch import frame_at, internal
from .fp import IGNORE, quiet, restore
from .large import LARGE, together
from .modes import state, strict_users
from .node import NUMBERED, Freed, Output, fit
from .saved import placed
from .versions import last_write

#: How many hooks on several gradients there are: only then are runs told apart.
multi_hooks = [0]


class _Runs(threading.local):
    def __init__(self) -> None:
        self.stack: list[Run] = []


_runs = _Runs()
_numbers = itertools.count(1)


class Run:
    """A backward in progress, told apart from others while there are hooks on several gradients."""

    def __init__(self, roots: Any, inputs: Any):
        self.roots, self.inputs, self.number = roots, inputs, next(_numbers)

    def __enter__(self) -> None:
        _runs.stack.append(self)

    def __exit__(self, *_: object) -> None:
        _runs.stack.pop()


def current_run() -> int:
    """A number for the run in progress in this thread."""
    return _runs.stack[-1].number if _runs.stack else 0


def reaches(tensor: Any) -> bool:
    """Whether the run in progress leads to ``tensor``."""
    if not _runs.stack:
        return False
    here = _runs.stack[-1]
    n = tensor._node
    leaf = n is not None and not getattr(n, "_seq", 0)
    if leaf and here.inputs is not None and not any(x is tensor for x in here.inputs):
        return False
    goal = tensor if leaf else getattr(n, "node", n)
    seen: set[int] = set()
    stack = [x if not getattr(x._node, "_seq", 0) else x._node for x in here.roots]
    while stack:
        t = stack.pop()
        if t is goal:
            return True
        if t is None or not t._seq:
            continue
        t = getattr(t, "node", t)
        if t is goal:
            return True
        if t._seq in seen:
            continue
        seen.add(t._seq)
        stack.extend(t.next)
    return False


class Wanted:
    """What a run with given inputs is after; with ``run_inputs`` the inputs' own nodes run too, as `backward` has it.

    Attributes:
        captures: sequence number -> [(output number or None, place)] of the inputs that are not leaves.
        leaves: the inputs that are leaves.
        accumulates: whether the run is `backward`'s.
        reach: sequence numbers of nodes that are inputs or lead to one; 0 stands for leaves.
        runs: sequence numbers of nodes that lead to an input, and so must run.
        found: place -> gradient.
    """

    __slots__ = ("accumulates", "captures", "found", "leaves", "reach", "runs")

    def __init__(self, roots: list[Any], inputs: list[Any], run_inputs: bool = False):
        self.captures: dict[int, list[tuple[int | None, int]]] = {}
        self.found: dict[int, Any] = {}
        self.accumulates = run_inputs
        leaves: set[Any] = set()
        self.leaves = leaves
        for place, target in enumerate(inputs):
            if target is None:
                continue
            if target._seq:
                index = target.index if target.__class__ is Output else None
                self.captures.setdefault(target._seq, []).append((index, place))
            else:
                leaves.add(target)
        self.reach: set[int] = set(self.captures)
        self.runs: set[int] = set(self.captures) if run_inputs else set()
        if leaves:
            self.reach.add(0)
        nodes: dict[int, Any] = {}
        stack = [t.node if t.__class__ is Output else t for t in roots if t is not None and t._seq]
        while stack:
            node = stack.pop()
            seq = node._seq
            if seq not in nodes:
                nodes[seq] = node
                for t in node.next:
                    if t is not None and (seq := t._seq) and seq not in nodes:
                        stack.append(t.node if t.__class__ is Output else t)
        reach, runs = self.reach, self.runs
        for seq in sorted(nodes):
            for t in nodes[seq].next:
                if t is not None and (t._seq in reach if t._seq else t in leaves):
                    runs.add(seq)
                    reach.add(seq)
                    break


def run(roots: Any, xp: Any, retain: bool, create: bool, wanted: Wanted | None = None) -> dict[Any, Any]:
    """Walk the graph from ``roots``, (target, gradient) pairs; gives {leaf: gradient}.

    With ``retain`` saved values are kept for another run. With ``create`` gradients are tensors and their computation is
    recorded. With ``wanted`` only what leads to the wanted inputs runs.
    """
    heap: list[int] = []
    ready: dict[int, Any] = {}
    numbered = NUMBERED[0]
    if numbered:
        from .order import Numbered

        ready = Numbered(roots)
    leaves: dict[Any, Any] = {}
    reach: Any = None
    runs: Any = None
    captures: Any = ()
    goals: Any = ()
    found: Any = None
    if wanted is not None:
        reach, runs, captures, goals, found = wanted.reach, wanted.runs, wanted.captures, wanted.leaves, wanted.found
    # The newest of the nodes that are ready waits here and not in the heap: chains run without the heap.
    node: Any = None
    g: Any = None
    waiting: Any = None
    waiting_g: Any = None
    freed = None
    if not retain:
        f = frame_at(2)  # the caller is one of ours
        while internal[f.f_code.co_filename] and f.f_back is not None:  # `user_frame`, in line
            f = f.f_back
        freed = Freed(f.f_code, f.f_lasti)
    strict = strict_users[0] and state.strict
    checking = anomaly.mode[0] == 2
    if checking:
        anomaly.begin()
    raw = xp is cpu
    plain = raw and reach is None and not create and not strict and not checking
    unpacked_nodes: list[tuple[Any, Any]] = []
    token = quiet(IGNORE)
    try:
        for target, r in roots:
            _deliver(target, r, heap, ready, leaves, reach)
        while True:
            if waiting is not None:
                node = waiting
                g = waiting_g
                waiting = waiting_g = None
            elif heap:
                node, g = ready.pop(-heappop(heap))
            else:
                break
            hooks = node.hooks
            saved = node.saved
            plan = node.plan
            fix = node.fix
            k = node._seq
            if plain and hooks is None and fix is None and g is not None and (single := plan.single) is not None and saved.__class__ is tuple:
                # The shortest way: one rule, and nobody looks on.
                if plan.keeps:
                    if last_write[0] > k:
                        check_saved(node)
                    if not retain:
                        node.saved = freed
                i, rule, count, _ = single
                try:
                    r = rule(g, saved[0][0]) if count == 1 else rule(g, *saved[0]) if count else rule(g)
                except Exception as error:
                    node.saved = saved
                    from .complaints import locate

                    locate(error, node)
                    raise
                target = node.next[i]
                seq = target._seq
                if r is None:
                    _deliver_nothing(target, heap, ready)
                elif not seq:
                    leaves[target] = leaves[target] + r if target in leaves else r
                elif (not heap or seq > -heap[0] and not numbered) and target.__class__ is not Output:
                    waiting = target
                    waiting_g = r
                else:
                    _deliver(target, r, heap, ready, leaves, None)
                continue
            if (
                not strict
                and hooks is None
                and g is not None
                and saved.__class__ is tuple
                and plan.direct is not None
                and (fix is None or fix.__class__ is tuple and not plan.large)
            ):
                # Most nodes: each rule takes the gradient and gives that of one input.
                if runs is not None:
                    if k in captures:
                        for _, place in captures[k]:
                            found[place] = g
                    if k not in runs:
                        continue
                if plan.keeps:
                    if last_write[0] > k:
                        check_saved(node)
                    if not retain:
                        node.saved = freed
                nexts = node.next
                direct = plan.direct if raw else plan.lifted
                try:
                    for (i, rule, count, places), values in zip(direct, saved):
                        target = nexts[i]
                        seq = target._seq
                        if reach is not None and (seq not in reach if seq else target not in goals):
                            continue
                        if create and places:
                            values = placed(node, places, values)
                        if count == 1:
                            r = rule(g, values[0])
                        elif count:
                            r = rule(g, *values)
                        else:
                            r = rule(g)
                        if r is None:
                            if waiting is not None:
                                _deliver(waiting, waiting_g, heap, ready, leaves, None)
                                waiting = waiting_g = None
                            _deliver_nothing(target, heap, ready)
                            continue
                        if fix is not None:
                            shape, dtype = fix[i]
                            if dtype is not None or r.shape != shape:
                                r = fit(r, shape, dtype, xp)
                        if checking:
                            anomaly.check(node, g, i, r, saved)
                        if not seq:
                            leaves[target] = leaves[target] + r if target in leaves else r
                        elif target is waiting:
                            waiting_g = waiting_g + r
                        elif waiting is None and (not heap or seq > -heap[0] and not numbered) and target.__class__ is not Output:
                            waiting = target
                            waiting_g = r
                        else:
                            if waiting is not None and (numbered or seq > waiting._seq):
                                _deliver(waiting, waiting_g, heap, ready, leaves, None)
                                waiting = waiting_g = None
                            _deliver(target, r, heap, ready, leaves, None)
                except Exception as error:
                    node.saved = saved
                    from .complaints import locate

                    locate(error, node)
                    raise
                continue
            if hooks is not None:
                g = hooks.seen(node, g, xp)
            if runs is not None:
                if k in captures:
                    for index, place in captures[k]:
                        found[place] = g if index is None else g[index]
                if k not in runs:
                    continue
            if hooks is not None and hooks.pre:
                g = hooks.before(node, g, xp)
            if (g is None or g.__class__ is list and not any(x is not None for x in g)) and node.primitive is not None:
                for target in node.next:
                    if target is not None and (reach is None or target._seq in reach):
                        _deliver_nothing(target, heap, ready)
                continue
            if saved.__class__ is Freed:
                from .complaints import second_backward

                raise second_backward(node)
            keeps = plan.keeps
            if keeps and last_write[0] > k:
                check_saved(node)
            only = None
            if wanted is not None and node.primitive is not None and len(plan.rules) > 1 and not node.primitive.variadic and hooks is None and not checking:
                only = tuple([t is not None and (t._seq in reach if t._seq else t in goals) for t in node.next])
            if (
                saved.__class__ is not tuple
                and hasattr(saved, "unpack")
                and (not create if hasattr(saved, "packed") else plan.direct is not None and only is None)
            ):
                packed, saved = saved, saved.unpack(node)
                node.saved = saved
                if retain:
                    unpacked_nodes.append((node, packed))
            try:
                grads: Any = NotImplemented
                joined = None
                if only is None and hooks is None and plan.adds and not (numbered or checking):
                    # What has come to the first input's target already is added by the rule.
                    joined = node.next[0]
                    there = None if joined is None or joined.__class__ is Output else ready.get(joined._seq)
                    if there is None or there[1] is None:
                        joined = None
                    else:
                        grads = node.jointly(g, xp, create, None, there[1])
                if grads is NotImplemented:
                    joined = None
                    grads = node.apply(g, xp, create) if only is None else node.apply(g, xp, create, only)
                if not retain and keeps:
                    node.saved = freed
            except Exception as error:
                node.saved = saved
                from .complaints import locate

                locate(error, node)
                raise
            if checking:
                for i, r in enumerate(grads):
                    anomaly.check(node, g, i, r, saved)
            if hooks is not None and hooks.post:
                grads = hooks.after(node, grads, g, xp)
            if joined is not None:
                ready[joined._seq] = (joined, grads[0])
                grads[0] = None
            for target, r in zip(node.next, grads):
                if target is None or target is joined and r is None:
                    continue
                seq = target._seq
                if reach is not None and seq not in reach:
                    continue
                if r is None:
                    if waiting is not None:
                        _deliver(waiting, waiting_g, heap, ready, leaves, None)
                        waiting = waiting_g = None
                    _deliver_nothing(target, heap, ready)
                    continue
                if not seq:
                    leaves[target] = leaves[target] + r if target in leaves else r
                elif target is waiting:
                    waiting_g = waiting_g + r
                elif waiting is None and (not heap or seq > -heap[0] and not numbered) and target.__class__ is not Output:
                    waiting, waiting_g = target, r
                else:
                    if waiting is not None and (numbered or seq > waiting._seq):
                        _deliver(waiting, waiting_g, heap, ready, leaves, None)
                        waiting = waiting_g = None
                    _deliver(target, r, heap, ready, leaves, None)
    finally:
        restore(token)
        for node, packed in unpacked_nodes:
            node.saved = packed
    return leaves


def _deliver(
    target: Any, g: Any, heap: list[int], ready: dict[int, Any], leaves: dict[Any, Any], reach: set[int] | None
) -> None:
    """Bring a gradient to its target."""
    seq = target._seq
    if g is None or reach is not None and seq not in reach:
        return
    if not seq:
        if target in leaves:
            there = leaves[target]
            g = together(there, g) if there.__class__ is np.ndarray and there.size >= LARGE else there + g
        leaves[target] = g
    elif target.__class__ is Output:
        node = target.node
        if seq not in ready:
            ready[seq] = (node, [None] * len(node.outs))
            heappush(heap, -seq)
        slots = ready[seq][1]
        at = target.index
        slots[at] = g if slots[at] is None else slots[at] + g
    elif seq in ready:
        there = ready[seq][1]
        if there is not None:
            g = together(there, g) if there.__class__ is np.ndarray and there.size >= LARGE else there + g
        ready[seq] = (target, g)
    else:
        ready[seq] = (target, g)
        heappush(heap, -seq)


def _deliver_nothing(target: Any, heap: list[int], ready: dict[int, Any]) -> None:
    """Let a target know that no gradient comes this way: it runs all the same, as PyTorch's do, and its hooks see None."""
    seq = target._seq
    if seq and seq not in ready:
        node = target.node if target.__class__ is Output else target
        ready[seq] = (node, [None] * len(node.outs) if target.__class__ is Output else None)
        heappush(heap, -seq)


def arrived(error: Exception) -> dict[Any, Any]:
    """{leaf: gradient} of a run that failed, read from its frame: of the leaves that no node still to run leads to.

    PyTorch has added these gradients, and called their hooks, when the run fails later on.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not run.__code__:
        trace = trace.tb_next
    if trace is None:
        return {}
    f = trace.tb_frame.f_locals
    leaves = f.get("leaves")
    if not leaves:
        return {}
    missing: set[Any] = set()
    seen: set[int] = set()
    stack = [f["node"], f["waiting"], *[node for node, _ in f["ready"].values()]]
    while stack:
        t = stack.pop()
        if t is None:
            continue
        if not t._seq:
            missing.add(t)
        elif t._seq not in seen:
            seen.add(t._seq)
            stack.extend(getattr(t, "node", t).next)
    found = {leaf: g for leaf, g in leaves.items() if leaf not in missing}
    leaves.clear()
    return found


def check_saved(node: Any) -> None:
    """Raise if memory that the node saved was overwritten since."""
    try:
        _check_saved(node)
    except RuntimeError:
        if anomaly.mode[0]:
            warn_of(node)
        raise


def _check_saved(node: Any) -> None:
    detached = versions.any_detached[0]
    for takes, values in zip(node.plan.takes, node.saved):
        for (category, index), value in zip(takes, values):
            if category in "io":
                if detached and category == "i" and any(map(versions.was_detached, node.next if value.__class__ is tuple else node.next[index : index + 1])):
                    raise RuntimeError("Trying to use a saved tensor that has been detached in-place, i.e. with .detach_(). This is not supported, please use "
                                       "out-of-place `.detach()` instead")
                for a in value if value.__class__ is tuple else (value,):
                    while isinstance(a, inplace.Wrapper):  # a function transform saves tensors of the levels below
                        a = a.value
                    a = getattr(a, "_a", a)
                    if a.__class__ is np.ndarray:
                        write = versions.written_since(a, node._seq)
                        if write is not None:
                            from .complaints import overwritten

                            raise overwritten(node, category, index, a, write)


running.ENGINE[id(run.__code__)] = run.__code__
__all__ = ["Wanted", "arrived", "check_saved", "fit", "run"]
