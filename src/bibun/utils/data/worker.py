"""What runs in a worker process: requests in, batches out.

`worker_loop` seeds the streams, makes the fetcher and serves requests until the program says that it is enough or is
gone. A thread of its own reads requests, so that the program never waits to hand one over, and so that a worker whose
program died notices.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import random as stream
from .errors import ExceptionWrapper
from .fetch import IterableFetcher, map_fetcher
from .transfer import Sender

__all__ = ["WorkerInfo", "get_worker_info", "worker_loop"]

CHECK_INTERVAL = 5.0  # seconds


@dataclass(frozen=True)
class WorkerInfo:
    """Who a worker is: its number, how many there are, its seed, its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any
    rng: Any = None
    worker_method: str = "multiprocessing"


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a `DataLoader`, which worker this is; None elsewhere.

    An `IterableDataset` asks, to give each worker a part of its own.
    """
    return _info


@dataclass(frozen=True)
class StreamEnded:
    """Sent in a batch's place: the worker's iterable dataset has no more."""

    worker_id: int


@dataclass(frozen=True)
class Resumed:
    """Sent when a worker that is kept has begun another pass."""

    seed: Any = None


@dataclass
class Job:
    """All that a worker needs to know, made by the program."""

    iterable: bool
    dataset: Any
    batched: bool
    collate: Any
    drop_last: bool
    base_seed: int
    init: Any
    worker_id: int
    num_workers: int
    window: int  # how many requests may be under way
    resume: dict[str, Any] | None = None


# ----------------------------------------------------------------------------------------------------------- streams


def seed_streams(base_seed: int, worker_id: int) -> int:
    """Seed Python's, NumPy's and our own random streams as PyTorch seeds a worker's; gives the seed."""
    seed = base_seed + worker_id
    random.seed(seed)
    stream.default_generator.manual_seed(seed)
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32 & 0xFFFFFFFF, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))
    return seed


def capture_streams() -> tuple[Any, ...]:
    """The states of the three streams, as they are."""
    return bytes(stream.default_generator.state_bytes()), random.getstate(), np.random.get_state()


def plain_streams(captured: tuple[Any, ...]) -> dict[str, Any]:
    """Captured states as plain values, which a checkpoint can hold."""
    (version, words, gauss), (name, keys, position, has_gauss, cached) = captured[1:]
    return {
        "torch": captured[0],
        "python": [version, list(words), gauss],
        "numpy": [name, [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
    }


def set_streams_state(state: dict[str, Any]) -> None:
    """Put the three streams into the states that `plain_streams` gave."""
    stream.default_generator.set_state_bytes(np.frombuffer(bytes(state["torch"]), np.uint8))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))


# -------------------------------------------------------------------------------------------------------------- the loop


def worker_loop(job: Job, connection: Any, parent_pid: int, close: list[Any]) -> None:
    """Serve requests from `connection`. `close` are ends of other workers' pipes that a fork handed down."""
    for each in close:
        each.close()
    try:
        _Worker(job, connection, parent_pid).run()
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the program raises the interrupt too, or is gone


class _Worker:
    def __init__(self, job: Job, connection: Any, parent_pid: int) -> None:
        self.job = job
        self.connection = connection
        self.parent_pid = parent_pid
        self.sender = Sender(connection, parent_pid, job.window + 2)
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.failed: ExceptionWrapper | None = None
        self.fetch: Any = None
        self.ended = False
        self.served = 0
        self.history: deque[tuple[int, int, Any, Any]] = deque(maxlen=job.window + 2)

    def run(self) -> None:
        global _info
        job = self.job
        _info = WorkerInfo(
            job.worker_id, job.num_workers, seed_streams(job.base_seed, job.worker_id), job.dataset
        )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            if job.init is not None:
                job.init(job.worker_id)
            self._open(job.resume)
        except Exception:
            self.failed = ExceptionWrapper(where=f"in DataLoader worker process {job.worker_id}")
        while True:
            request = self.requests.get()
            if request is None:
                return
            kind, *arguments = request
            if kind == "fetch":
                self._serve(*arguments)
            elif kind == "resume":
                self.ended, self.served = False, 0
                self.history.clear()
                try:
                    self._open(None)
                except Exception:
                    self.failed = ExceptionWrapper(where=f"in DataLoader worker process {job.worker_id}")
                self.sender.send((-1, Resumed()))
            elif kind == "state":
                self.sender.send((-2, self._state(*arguments)))

    def _read(self) -> None:
        """The reading thread: requests into the queue, None when the program is gone."""
        try:
            while True:
                while not self.connection.poll(CHECK_INTERVAL):
                    if os.getppid() != self.parent_pid:
                        os._exit(1)  # it cannot even close the pipe, as somebody else holds its end
                request = self.connection.recv()
                self.requests.put(request)
                if request is None:
                    break
        except (EOFError, OSError):
            self.requests.put(None)
        while os.getppid() == self.parent_pid:  # it waits for us to end, and has its ways
            time.sleep(0.2)
        os._exit(1)

    def _open(self, resume: dict[str, Any] | None) -> None:
        """A fetcher at the dataset's start, or where `resume` says."""
        job = self.job
        resume = resume or {}
        state = resume.get("dataset")
        if state is not None:
            job.dataset.load_state_dict(state)
        if job.iterable:
            self.fetch = IterableFetcher(job.dataset, job.batched, job.collate, job.drop_last)
            self.served = resume.get("samples", 0)
            if state is None:
                self.fetch.skip(self.served)
        else:
            self.fetch = map_fetcher(job.dataset, job.batched, job.collate)
        if resume.get("streams"):
            set_streams_state(resume["streams"])
        self._remember(-1)

    def _remember(self, number: int) -> None:
        keep = getattr(self.job.dataset, "state_dict", None)
        state = keep() if callable(keep) and hasattr(self.job.dataset, "load_state_dict") else None
        self.history.append((number, self.served, capture_streams(), state))

    def _state(self, before: int) -> dict[str, Any]:
        """Where the worker stood after the last request numbered below `before`."""
        found = None
        for entry in self.history:
            if entry[0] < before:
                found = entry
        if found is None:
            return {}
        _, served, streams, dataset = found
        return {"samples": served, "streams": plain_streams(streams), "dataset": dataset}

    def _serve(self, number: int, indices: Any, freed: list[int]) -> None:
        self.sender.freed(freed)
        if self.ended:
            return  # requests made before the program knew
        worker_id = self.job.worker_id
        data: Any
        if self.failed is not None:
            data, self.failed = self.failed, None
        else:
            try:
                data = self.fetch(indices)
                self.served += len(indices) if self.job.batched else 1
            except Exception as error:
                if self.job.iterable and isinstance(error, StopIteration):
                    data = StreamEnded(worker_id)
                    self.ended = True
                else:
                    data = ExceptionWrapper(where=f"in DataLoader worker process {worker_id}")
        self._remember(number)
        try:
            self.sender.send((number, data))
        except OSError:
            raise
        except Exception:  # it cannot be pickled
            wrapper = ExceptionWrapper(where=f"in DataLoader worker process {worker_id}, sending a batch")
            if isinstance(data, ExceptionWrapper):  # a class of the error's that only this process knows
                wrapper.exc_type, wrapper.exc_msg = RuntimeError, data.exc_msg
            elif not issubclass(wrapper.exc_type or Exception, (TypeError, AttributeError, RuntimeError)):
                wrapper.exc_type = RuntimeError
            self.sender.send((number, wrapper))
