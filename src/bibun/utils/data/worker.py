"""What runs in a loader's worker process, and how batches travel back.

In: index lists through a queue. Out: (number, batch) through another; tensors travel as arrays, errors as text that is
raised again in the loader's process.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from typing import Any

import numpy as np

from ...tensor import Tensor, wrap


class WorkerInfo:
    """What `get_worker_info` gives inside a worker: ``id``, ``num_workers``, ``seed``, ``dataset``."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"WorkerInfo({', '.join(f'{k}={v}' for k, v in self.__dict__.items())})"


current: list[WorkerInfo | None] = [None]


class Failure:
    """An error of a worker, with its traceback as text."""

    def __init__(self, where: str) -> None:
        kind, value, _ = sys.exc_info()
        self.kind, self.text, self.where = kind, traceback.format_exc(), where
        self.message = str(value)

    def again(self) -> BaseException:
        """The error as it is raised in the loader's process."""
        text = f"Caught {self.kind.__name__ if self.kind else 'an error'} {self.where}.\nOriginal {self.text}"
        kind = self.kind or RuntimeError
        if kind is KeyError:
            return KeyError(_Text(text))
        try:
            return kind(text)
        except Exception:
            return RuntimeError(text)


class _Text(str):
    def __repr__(self) -> str:
        return str(self)


class _Sent:
    """A tensor on its way between processes."""

    __slots__ = ("array", "wants")

    def __init__(self, t: Tensor) -> None:
        self.array, self.wants = t._a, t.requires_grad and t.is_leaf

    def __reduce__(self) -> Any:
        return _arrived, (np.ascontiguousarray(self.array) if self.array.ndim else self.array, self.wants)


def _arrived(array: np.ndarray, wants: bool) -> Tensor:
    t = wrap(array)
    return t.requires_grad_() if wants else t


def packed(x: Any) -> Any:
    """``x`` with the tensors in its containers made ready to travel."""
    if isinstance(x, Tensor):
        return _Sent(x) if type(x) is Tensor else x
    if type(x) in (list, tuple):
        return type(x)(packed(v) for v in x)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(packed, x))
    if type(x) is dict:
        return {k: packed(v) for k, v in x.items()}
    return x


class StreamEnded:
    """An iterable dataset has no more samples in this worker."""


def work(
    dataset: Any,
    indices: Any,
    results: Any,
    fetch: Any,
    base_seed: int,
    worker_id: int,
    num_workers: int,
    init: Any,
    parent: int,
) -> None:
    """A worker's life: seed, initialise, fetch until None comes."""
    import queue

    import bibun

    seed = base_seed + worker_id
    random.seed(seed)
    bibun.manual_seed(seed)
    words = np.random.SeedSequence([worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]).generate_state(4)
    np.random.seed(words)
    current[0] = WorkerInfo(id=worker_id, num_workers=num_workers, seed=seed, dataset=dataset)
    failed = None
    fetcher = None
    try:
        if init is not None:
            init(worker_id)
        fetcher = fetch(dataset)
    except Exception:
        failed = Failure(f"in DataLoader worker process {worker_id}")
    try:
        while True:
            try:
                job = indices.get(timeout=5)
            except queue.Empty:
                if os.getppid() != parent:
                    return
                continue
            if job is None:
                return
            number, wanted = job
            if wanted == "resume":
                fetcher = fetch(dataset)
                results.put((number, "resumed"))
                continue
            if failed is not None:
                results.put((number, failed))
                failed = None
                continue
            try:
                assert fetcher is not None
                results.put((number, packed(fetcher(wanted))))
            except StopIteration:
                results.put((number, StreamEnded()))
            except Exception:
                results.put((number, Failure(f"in DataLoader worker process {worker_id}")))
    except KeyboardInterrupt:
        return
