"""A pass over a loader whose batches are made by worker processes.

Requests (a number, indices) go to the workers in turn, `prefetch_factor` ahead for each; batches come back over a pipe
of each worker's own, so that one that dies breaks nothing for the others, and are given in the order of the requests
(`in_order`). The turn, and the moments at which the sampler is asked, are PyTorch's.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import weakref
from multiprocessing import connection as pipes
from typing import Any

from .dataloader import _BaseDataLoaderIter
from .errors import ExceptionWrapper
from .transfer import Receiver
from .worker import CHECK_INTERVAL, Job, Resumed, StreamEnded, worker_loop

__all__ = ["_MultiProcessingDataLoaderIter"]

_EXIT_PATIENCE = 5.0


def _context(loader: Any) -> Any:
    if loader.multiprocessing_context is not None:
        return loader.multiprocessing_context
    chosen = multiprocessing.get_start_method(allow_none=True)
    if chosen is None and sys.platform == "linux":
        chosen = "fork"  # also where Python's own default is another by now
    return multiprocessing.get_context(chosen)


#: The program's ends of all pipes to workers: a fork hands them down, and a worker that kept another's would keep it
#: from seeing the program go.
_ends: weakref.WeakSet[Any] = weakref.WeakSet()


class _Worker:
    """A worker process, as the program sees it."""

    def __init__(self, process: Any, connection: Any) -> None:
        self.process = process
        self.connection = connection
        self.receiver = Receiver(connection)
        self.serving = True  # its dataset has not come to its end, as far as the pass has come
        self.ended = False  # it has, as far as messages have come
        self.under_way = 0  # requests that will be answered

    def receive(self) -> tuple[int, Any]:
        """The next message, (number, data), and the books kept of it."""
        number, data = self.receiver.receive()
        if isinstance(data, StreamEnded):
            self.ended, self.under_way = True, 0
        elif number >= 0:
            self.under_way -= 1
        return number, data


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """A pass with workers; `_reset` begins another with the same ones."""

    def __init__(self, loader: Any) -> None:
        self._workers: list[_Worker] = []
        self._pid = os.getpid()
        super().__init__(loader)
        self._persistent = loader.persistent_workers
        self._in_order = loader.in_order
        self._timeout = loader.timeout
        self._window = loader.prefetch_factor * loader.num_workers
        try:
            self._start_workers(loader)
        except BaseException:
            self._shut_down()
            raise
        self._set_out()

    def _start_workers(self, loader: Any) -> None:
        context = _context(loader)
        forks = context.get_start_method() == "fork"
        resumes = (self._resume or {}).get("workers") or [None] * loader.num_workers
        for number in range(loader.num_workers):
            ours, theirs = context.Pipe(duplex=True)
            job = Job(
                iterable=self._iterable,
                dataset=self._dataset,
                batched=self._batched,
                collate=loader.collate_fn,
                drop_last=loader.drop_last,
                base_seed=self._base_seed,
                init=loader.worker_init_fn,
                worker_id=number,
                num_workers=loader.num_workers,
                window=loader.prefetch_factor,
                resume=resumes[number] if number < len(resumes) else None,
            )
            _ends.add(ours)
            handed_down = list(_ends) if forks else []
            process = context.Process(target=worker_loop, args=(job, theirs, self._pid, handed_down), daemon=True)
            try:
                process.start()
            except BaseException:
                ours.close()
                theirs.close()
                raise
            theirs.close()
            self._workers.append(_Worker(process, ours))

    def _set_out(self) -> None:
        """Begin to ask."""
        first = self._num_yielded if self._resume is not None else 0
        self._sent = self._received = first
        #: Requests under way: number -> [worker], and the batch if it came before its turn.
        self._tasks: dict[int, list[Any]] = {}
        self._turn = first % len(self._workers)
        if self._resume is not None and "turn" in self._resume:
            self._turn = self._resume["turn"]
            for worker, serving in zip(self._workers, self._resume["serving"]):
                worker.serving = serving
        self._resume = None
        for _ in range(self._window):
            self._ask()

    def _reset(self, loader: Any) -> None:
        """Begin another pass with the same workers."""
        self._drain()
        self._begin(loader)
        for i, worker in enumerate(self._workers):
            worker.serving, worker.ended, worker.under_way = True, False, 0
            self._tell(worker, ("resume",))
            while True:
                number, data = self._take(i)
                if number == -1 and isinstance(data, Resumed):
                    break
        self._set_out()

    # requests

    def _ask(self) -> None:
        """Ask the worker whose turn it is for the next batch."""
        if self._under_way() >= self._window:
            raise AssertionError("more requests under way than there may be")
        try:
            indices = next(self._sampler_iter)
        except StopIteration:
            return
        count = len(self._workers)
        most = self._window // max(1, sum(worker.serving for worker in self._workers))
        for _ in range(count):
            number = self._turn
            self._turn = (self._turn + 1) % count
            worker = self._workers[number]
            if worker.serving and (self._in_order or worker.under_way < most):
                break
        else:
            return  # all have come to their end
        self._tell(worker, ("fetch", self._sent, indices, worker.receiver.take_freed()))
        worker.under_way += not worker.ended
        self._tasks[self._sent] = [number]
        self._sent += 1

    def _under_way(self) -> int:
        return sum(worker.under_way for worker in self._workers)

    def _tell(self, worker: _Worker, message: tuple[Any, ...]) -> None:
        try:
            worker.connection.send(message)
        except (BrokenPipeError, ConnectionResetError, OSError):
            self._check_workers(gone=worker)

    # answers

    def _take(self, number: int) -> tuple[int, Any]:
        """The next message of a worker, however long that takes."""
        worker = self._workers[number]
        deadline = time.monotonic() + self._timeout if self._timeout else None
        while True:
            patience = CHECK_INTERVAL
            if deadline is not None:
                patience = min(patience, max(0.0, deadline - time.monotonic()))
            try:
                if worker.connection.poll(patience):
                    return worker.receive()
            except (EOFError, OSError):
                self._check_workers(gone=worker)
            if deadline is not None and time.monotonic() >= deadline:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            self._check_workers()

    def _take_any(self) -> tuple[int, int, Any]:
        """(worker, number, data): the first message of any worker that owes one."""
        owing = {w.connection: i for i, w in enumerate(self._workers) if w.under_way}
        deadline = time.monotonic() + self._timeout if self._timeout else None
        while True:
            patience = CHECK_INTERVAL
            if deadline is not None:
                patience = min(patience, max(0.0, deadline - time.monotonic()))
            for ready in pipes.wait(list(owing), patience):
                number = owing[ready]  # type: ignore[index]
                try:
                    return (number, *self._workers[number].receive())
                except (EOFError, OSError):
                    self._check_workers(gone=self._workers[number])
            if deadline is not None and time.monotonic() >= deadline:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            self._check_workers()

    def _check_workers(self, gone: _Worker | None = None) -> None:
        """Raise where a worker has died."""
        if gone is not None:
            gone.process.join(_EXIT_PATIENCE)
        dead = [w.process for w in self._workers if not w.process.is_alive()]
        if gone is not None and gone.process not in dead:
            dead.append(gone.process)
        if not dead:
            return
        pids = ", ".join(str(process.pid) for process in dead)
        reasons = {_reason(process.exitcode) for process in dead}
        self._persistent = False
        self._shut_down()
        raise RuntimeError(
            f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {', '.join(sorted(reasons))}. Run with "
            "num_workers=0 to see an error in the dataset or the collate function where it happens."
        )

    def _next_data(self) -> Any:
        while True:
            # requests to workers that have come to their end are not answered
            while self._received < self._sent:
                task = self._tasks.get(self._received)
                if task is not None:
                    if len(task) == 2 or self._workers[task[0]].serving:
                        break
                    del self._tasks[self._received]
                self._received += 1
            else:
                self._finished = True
                if not self._persistent:
                    self._shut_down()
                raise StopIteration
            task = self._tasks[self._received]
            if len(task) == 2:
                owner, number, data = task[0], self._received, task[1]
            elif self._in_order:
                owner = task[0]
                number, data = self._take(owner)
            else:
                owner, number, data = self._take_any()
            if isinstance(data, StreamEnded):
                worker = self._workers[owner]
                worker.serving = False
                del self._tasks[number]
                if not self._persistent:
                    self._let_go(worker)
                self._ask()
                continue
            if number != self._received and self._in_order:
                self._tasks[number].append(data)
                continue
            del self._tasks[number]
            if number == self._received:
                self._received += 1
            return self._given(data)

    def _given(self, data: Any) -> Any:
        self._ask()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        return data

    # where the pass stands

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        if not self._in_order:
            raise RuntimeError("a pass with in_order=False has no state that another could take up")
        if self._workers and all(w.process.is_alive() or not w.serving for w in self._workers):
            answers: list[Any] = []
            for i, worker in enumerate(self._workers):
                if not worker.serving:  # it has come to its end, and may be gone
                    answers.append({})
                    continue
                self._tell(worker, ("state", self._received))
                while True:
                    number, data = self._take(i)
                    if number == -2:
                        answers.append(data)
                        break
                    self._tasks[number].append(data)  # to be given in its turn
            state["workers"] = answers
        state["serving"] = [worker.serving for worker in self._workers]
        state["turn"] = self._next_turn()
        return state

    def _next_turn(self) -> int:
        for number in range(self._received, self._sent):
            task = self._tasks.get(number)
            if task is not None:
                return task[0]
        return self._turn

    # the end

    def _drain(self) -> None:
        """Take and forget what is under way."""
        for i, worker in enumerate(self._workers):
            while worker.under_way > 0:
                self._take(i)

    def _let_go(self, worker: _Worker) -> None:
        """Have a worker end when it has done what it is doing."""
        try:
            worker.connection.send(None)
        except OSError:
            pass

    def _shut_down(self) -> None:
        """End the workers."""
        if os.getpid() != self._pid:
            return  # a copy in a forked process: they are not its children
        workers, self._workers = self._workers, []
        for worker in workers:
            self._let_go(worker)
            worker.connection.close()
        deadline = time.monotonic() + _EXIT_PATIENCE
        for worker in workers:
            process = worker.process
            try:
                process.join(max(0.0, deadline - time.monotonic()))
                if process.is_alive():
                    process.terminate()
                    process.join(_EXIT_PATIENCE)
                if process.is_alive():
                    process.kill()
                    process.join()
            except (AssertionError, ValueError):
                pass

    def __del__(self) -> None:
        try:
            self._shut_down()
        except Exception:  # the interpreter is on its way out
            pass


def _reason(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    if code < 0:
        try:
            return f"killed by signal: {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"
