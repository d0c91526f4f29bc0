"""``torch._C._autograd``: saved tensors and version counters, by the names that programs know."""

from __future__ import annotations

from typing import Any

from ..autograd import versions
from ..autograd.graph import hooks_are_enabled as _saved_tensors_hooks_is_enabled
from ..autograd.running import keeps_graph as _get_current_graph_task_keep_graph
from ..autograd.saved import SavedTensor

__all__ = ["SavedTensor"]


def _unsafe_set_version_counter(tensors: Any, counts: Any) -> None:
    """Set the counts of in-place writes of some tensors."""
    for t, n in zip(tensors, counts):
        if n < 0:
            raise RuntimeError(f"Cannot set a version_counter to a value below 0: {n}")
        versions.set_version(t._a, n)


_NAMES = (_saved_tensors_hooks_is_enabled, _get_current_graph_task_keep_graph)
