"""The order in which backward takes nodes where a program has numbered some of them itself (`Node._set_sequence_nr`).

In: the roots of a run. Out: what the engine keeps its ready nodes in, which gives them by falling number among those whose
consumers have all run. Without such numbers the engine goes by the time of recording, and this is not loaded.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

from .running import _reached

__all__ = ["Numbered"]


class Numbered(dict[int, Any]):
    """Sequence number -> ready node, in the order of the program's numbers."""

    def __init__(self, roots: Any):
        super().__init__()
        nodes = _reached([target for target, _ in roots], None)
        waits = dict.fromkeys(nodes, 0)
        for node in nodes.values():
            for t in node.next:
                if t is not None and t._seq:
                    waits[t._seq] += 1
        free = [(-nodes[k]._sequence_nr(), -k) for k, n in waits.items() if not n]
        heapify(free)
        self.rank: dict[int, int] = {}
        while free:
            k = -heappop(free)[1]
            self.rank[k] = len(self.rank)
            for t in nodes[k].next:
                if t is not None and t._seq:
                    waits[t._seq] -= 1
                    if not waits[t._seq]:
                        heappush(free, (-getattr(t, "node", t)._sequence_nr(), -t._seq))

    def pop(self, _: int) -> Any:  # type: ignore[override]
        return super().pop(min(self, key=self.rank.__getitem__))
