"""The backward in progress: which run it is, which node it is at, and what is to happen when it ends.

Nothing is written down while a backward runs: who asks (a hook, a user's backward) stands above the run on the stack, and
the answer is read from there. Callbacks queued for the end of a run wait here under the number of the run.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from .modes import state

#: Gives each run its number.
number_of_run = itertools.count(1).__next__
#: The code of the functions whose local ``number`` is that of a run; entered by `bibun.autograd.api`.
RUNS: dict[int, Any] = {}
#: The code of `bibun.autograd.engine.run`.
ENGINE: dict[int, Any] = {}
#: The code of the functions that add to the ``.grad`` of their local ``leaf``.
ACCUMULATING: dict[int, Any] = {}
#: Run number -> callbacks to make at its end. Looked at only where it is not empty.
pending: dict[int, list[Callable[[], Any]]] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def frame_of_run() -> tuple[Any, Any]:
    """(the frame of the run in progress in this thread, that of its engine): None where there is none."""
    f: Any = sys._getframe(1)
    engine = None
    while f is not None:
        if id(f.f_code) in RUNS:
            return f, engine
        if id(f.f_code) in ENGINE and engine is None:
            engine = f
        f = f.f_back
    return None, None


def run_number() -> int:
    """The number of the run in progress in this thread; -1 outside of one."""
    f, _ = frame_of_run()
    return -1 if f is None else f.f_locals["number"]


def current_node() -> Any:
    """The node that the run in progress is at, or None."""
    f: Any = sys._getframe(1)
    while f is not None and id(f.f_code) not in RUNS:
        if id(f.f_code) in ENGINE:
            return f.f_locals.get("node")
        if id(f.f_code) in ACCUMULATING:
            return f.f_locals["leaf"].as_edge()[0]
        f = f.f_back
    return None


def keeps_graph() -> bool:
    """Whether the run in progress was asked to retain the graph."""
    _, engine = frame_of_run()
    return True if engine is None else bool(engine.f_locals["retain"])


def _reached(start: list[Any], runs: Any) -> dict[int, Any]:
    """Sequence number -> node, of all nodes from ``start`` on (of those in ``runs`` where that is given)."""
    seen: dict[int, Any] = {}
    stack = [getattr(t, "node", t) for t in start if t is not None and t._seq]
    while stack:
        node = stack.pop()
        if node._seq in seen or runs is not None and node._seq not in runs:
            continue
        seen[node._seq] = node
        stack.extend(getattr(t, "node", t) for t in node.next if t is not None and t._seq)
    return seen


def _with_leaves(nodes: list[Any], wanted: Any) -> list[Any]:
    """The nodes, then the `AccumulateGrad` nodes of the leaves that they lead to."""
    leaves = dict.fromkeys(t for n in nodes for t in n.next if t is not None and not t._seq)
    return nodes + [t.as_edge()[0] for t in leaves if wanted is None or t in wanted.leaves]


def _wanted_runs(wanted: Any) -> Any:
    return None if wanted is None else wanted.runs | set(wanted.captures)


def execution_order() -> list[Any]:
    """The nodes that the run in progress has still to run, in that order."""
    f, engine = frame_of_run()
    if f is None:
        raise RuntimeError("_current_graph_task_execution_order should only be called during the backward pass")
    if state.multithreaded:
        raise RuntimeError("_current_graph_task_execution_order expects the current backward to be executed with multithreading disabled, e.g. by running: "
                           "with torch.autograd.set_multithreading_enabled(False): ...")
    if engine is None:
        return []
    here = engine.f_locals
    wanted = here["wanted"]
    start = [here["node"], here["waiting"], *[node for node, _ in here["ready"].values()]]
    found = _reached(start, _wanted_runs(wanted))
    return _with_leaves([found[k] for k in sorted(found, reverse=True)], wanted)


def will_execute(node: Any) -> bool:
    """Whether the run in progress runs ``node`` (or has run it)."""
    from .node import Node

    if not isinstance(node, Node):
        raise RuntimeError(f"_will_engine_execute_node expects an grad_fn, but got {type(node)}")
    f, engine = frame_of_run()
    if f is None or engine is None:
        raise RuntimeError("_will_engine_execute_node should only be called during the backward pass")
    here = engine.f_locals
    wanted = here["wanted"]
    if wanted is not None and wanted.leaves and not wanted.accumulates:
        raise RuntimeError("A leaf node was passed to _will_engine_execute_node but we are currently running autograd.grad(). This is currently not supported.")
    found = _reached([t for t, _ in here["roots"]], _wanted_runs(wanted))
    return any(n is node for n in _with_leaves(list(found.values()), wanted))


def queue_callback(callback: Callable[[], Any]) -> None:
    """Have ``callback()`` called when the run in progress has ended and gradients are in place."""
    number = run_number()
    if number < 0:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    with _lock:
        pending.setdefault(number, []).append(callback)


def finish(number: int) -> None:
    """Make the callbacks of a run that ended; those they queue are made as well."""
    while True:
        with _lock:
            queue = pending.get(number)
            if not queue:
                pending.pop(number, None)
                return
            callback = queue.pop(0)
        callback()


def drop(number: int) -> None:
    """Forget the callbacks of a run that failed."""
    pending.pop(number, None)


class ExecutionEngine:
    """``Variable._execution_engine``, as some programs use it."""

    @staticmethod
    def queue_callback(callback: Callable[[], Any]) -> None:
        queue_callback(callback)

    @staticmethod
    def run_backward(tensors: Any, grad_tensors: Any, keep_graph: bool, create_graph: bool, inputs: Any = (), allow_unreachable: bool = False,
                     accumulate_grad: bool = False) -> tuple[Any, ...]:
        """What `backward` and `grad` call in PyTorch."""
        from . import api

        if accumulate_grad or not inputs:
            api.backward(tensors, grad_tensors, keep_graph, create_graph, inputs=inputs or None)
            return ()
        return api.grad(tensors, inputs, grad_tensors, keep_graph, create_graph, allow_unused=allow_unreachable)

    @staticmethod
    def is_checkpoint_valid() -> bool:
        """Whether a reentrant checkpoint may run: not under `grad`, nor with ``inputs=``."""
        _, engine = frame_of_run()
        return engine is None or engine.f_locals["wanted"] is None


__all__ = ["ExecutionEngine", "current_node", "execution_order", "finish", "keeps_graph", "queue_callback", "run_number", "will_execute"]
