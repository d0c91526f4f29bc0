"""DataLoader: batches of a dataset, in this process or in workers, in the order that a sampler gives.

The draws from the random stream are PyTorch's: one seed for each pass over the data, then the sampler's own.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ...autograd.modes import state
from ...tensor import Tensor, wrap
from . import worker
from .collate import default_collate, default_convert
from .dataset import IterableDataset, Subset, TensorDataset
from .sampler import BatchSampler, InfiniteSampler, RandomSampler, SequentialSampler, fresh_seed


def get_worker_info() -> Any:
    """What this worker process is (id, num_workers, seed, dataset); None in the main process."""
    return worker.current[0]


class MapFetch:
    """Samples by index, collated."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool) -> None:
        self.dataset, self.collate, self.batched = dataset, collate, batched
        self.tensors = None
        self.indices = None
        if batched and collate is default_collate:
            # Rows of plain tensors are taken at once: what stacking the samples would give.
            source = dataset
            if type(dataset) is Subset and type(dataset.dataset) is TensorDataset:
                source, self.indices = dataset.dataset, dataset.indices
            if type(source) is TensorDataset and all(type(t) is Tensor and not t.requires_grad for t in source.tensors):
                self.tensors = source.tensors

    def __call__(self, wanted: Any) -> Any:
        if self.tensors is not None:
            rows = wanted if self.indices is None else [self.indices[i] for i in wanted]
            return [wrap(t._a[rows]) for t in self.tensors]
        if not self.batched:
            return self.collate(self.dataset[wanted])
        get = getattr(self.dataset, "__getitems__", None)
        if callable(get):
            return self.collate(get(wanted))
        return self.collate([self.dataset[i] for i in wanted])


class StreamFetch:
    """The next samples of a stream, collated."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool, drop_last: bool) -> None:
        self.source = iter(dataset)
        self.collate, self.batched, self.drop_last = collate, batched, drop_last
        self.ended = False

    def __call__(self, wanted: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate(next(self.source))
        samples = list(itertools.islice(self.source, len(wanted)))
        if len(samples) < len(wanted):
            self.ended = True
            if not samples or self.drop_last:
                raise StopIteration
        return self.collate(samples)


class _Fetch:
    """Makes the fetcher of a loader; travels to workers."""

    def __init__(self, loader: DataLoader) -> None:
        self.stream, self.collate = loader._stream, loader.collate_fn
        self.batched, self.drop_last = loader._auto_collation, loader.drop_last

    def __call__(self, dataset: Any) -> Any:
        if self.stream:
            return StreamFetch(dataset, self.collate, self.batched, self.drop_last)
        return MapFetch(dataset, self.collate, self.batched)


class DataLoader:
    """Iterate over a dataset in batches.

    Args:
        batch_size: samples in a batch; None: samples one by one, as they are.
        shuffle: a random order for each pass. sampler, batch_sampler: an order of one's own.
        num_workers: processes that fetch ahead; 0: none. collate_fn: from a list of samples to a batch.
        drop_last: leave out a last batch that is not full. timeout: seconds to wait for a worker; 0: for ever.
        worker_init_fn: called with the worker's number in each. generator: the random stream of shuffles and seeds.
        prefetch_factor: batches that each worker fetches ahead. persistent_workers: keep workers between passes.
        in_order: give batches in the sampler's order also where a later one is ready first.

    >>> import bibun as torch
    >>> from bibun.utils.data import DataLoader
    >>> list(DataLoader(torch.arange(5), batch_size=2))
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    _initialized = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        elif prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        self.dataset, self.num_workers, self.prefetch_factor = dataset, num_workers, prefetch_factor
        self.pin_memory, self.pin_memory_device, self.timeout = pin_memory, pin_memory_device, timeout
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.in_order = in_order
        self._stream = isinstance(dataset, IterableDataset)
        if self._stream:
            if shuffle not in {False, None}:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
                )
            if sampler is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified sampler option, but got sampler={sampler}"
                )
            if batch_sampler is not None:
                raise ValueError(
                    "DataLoader with IterableDataset: expected unspecified batch_sampler option, but got "
                    f"batch_sampler={batch_sampler}"
                )
        else:
            shuffle = bool(shuffle)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
            drop_last = False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            if self._stream:
                sampler = InfiniteSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.sampler, self.batch_sampler = batch_size, drop_last, sampler, batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self._iterator: Any = None
        self._resume: int | None = None
        self._current: Any = None
        self._initialized = True
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in (
            "batch_size",
            "batch_sampler",
            "sampler",
            "drop_last",
            "dataset",
            "persistent_workers",
        ):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def check_worker_number_rationality(self) -> None:
        """Warn where more workers are asked for than the machine has processors."""
        if not self.num_workers:
            return
        try:
            limit = len(os.sched_getaffinity(0))
        except AttributeError:
            limit = os.cpu_count() or 1
        if self.num_workers > limit:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number of "
                f"worker in current system is {limit}, which is smaller than what this DataLoader is going to create. "
                "Please be aware that excessive worker creation might get DataLoader running slow or even freeze, lower "
                "the worker number to avoid potential slowness/freeze if necessary.",
                stacklevel=3,
            )

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            iterator: Any = _SingleProcess(self)
        elif self.persistent_workers and self._iterator is not None:
            iterator = self._iterator
            iterator.restart()
        else:
            iterator = _MultiProcess(self)
            if self.persistent_workers:
                self._iterator = iterator
        self._current = iterator
        if self._resume is not None:
            skip, self._resume = self._resume, None
            iterator.skip(skip)
        return iterator

    def __len__(self) -> int:
        if self._stream:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self._index_sampler)

    def state_dict(self) -> dict[str, Any]:
        """Where the current pass stands, so that `load_state_dict` can go on from there with the same order."""
        at = self._current
        if at is None or at.given >= len(self):
            return {"given": 0, "random": None}
        return {"given": at.given, "random": at.random}

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """Have the next pass be the one that was interrupted, from its next batch on."""
        if given["random"] is None:
            return
        import bibun

        (self.generator or bibun.default_generator).set_state(given["random"])
        self._resume = given["given"]


class _Pass:
    """One pass over the data."""

    def __init__(self, loader: DataLoader) -> None:
        import bibun

        self.loader = loader
        self.given = 0
        self.random = (loader.generator or bibun.default_generator).get_state()
        self.indices = iter(loader._index_sampler)
        self.base_seed = fresh_seed(loader.generator)

    def __iter__(self) -> Any:
        return self

    def __len__(self) -> int:
        return len(self.loader._index_sampler)

    def skip(self, n: int) -> None:
        """Leave out the first ``n`` batches, without fetching them where indices are enough."""
        for _ in range(n):
            next(self.indices)
        self.given = n


class _SingleProcess(_Pass):
    """A pass that fetches in this process."""

    def __init__(self, loader: DataLoader) -> None:
        if loader.timeout:
            raise ValueError("timeout needs num_workers > 0")
        super().__init__(loader)
        self.fetch = _Fetch(loader)(loader.dataset)

    def __next__(self) -> Any:
        before = state.grad
        wanted = next(self.indices)
        made = self.fetch(wanted)
        state.grad = before
        self.given += 1
        return made


class _MultiProcess(_Pass):
    """A pass whose batches worker processes fetch ahead."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        import multiprocessing

        context = loader.multiprocessing_context
        if context is None:
            context = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        if isinstance(context, str) or context is None:
            context = multiprocessing.get_context(context)
        self.context = context
        self.results = context.Queue()
        self.queues = []
        self.workers = []
        self.closed = False
        fetch = _Fetch(loader)
        for i in range(loader.num_workers):
            queue = context.Queue()
            queue.cancel_join_thread()
            process = context.Process(
                target=worker.work,
                daemon=True,
                args=(
                    loader.dataset,
                    queue,
                    self.results,
                    fetch,
                    self.base_seed,
                    i,
                    loader.num_workers,
                    loader.worker_init_fn,
                    os.getpid(),
                ),
            )
            process.start()
            self.queues.append(queue)
            self.workers.append(process)
        self.begin()

    def begin(self) -> None:
        """Start asking for batches."""
        self.sent = self.wanted = 0
        self.owners: dict[int, int] = {}
        self.ready: dict[int, Any] = {}
        self.ended = [False] * len(self.workers)
        self.turn = itertools.cycle(range(len(self.workers)))
        self.exhausted = False
        for _ in range((self.loader.prefetch_factor or 1) * len(self.workers)):
            self.ask()

    def restart(self) -> None:
        """A further pass with the same workers."""
        while self.owners:
            self.collect()
        self.given = 0          # (the seed was drawn once, for the workers' whole life)
        self.indices = iter(self.loader._index_sampler)
        for i, queue in enumerate(self.queues):
            queue.put((-1 - i, "resume"))
        waiting = len(self.queues)
        while waiting:
            number, value = self.receive()
            waiting -= number < 0 and value == "resumed"
        self.begin()

    def skip(self, n: int) -> None:
        for _ in range(n):
            next(self)

    def ask(self) -> None:
        """Give the next list of indices to the next worker that still has samples."""
        if self.exhausted:
            return
        try:
            wanted = next(self.indices)
        except StopIteration:
            self.exhausted = True
            return
        for _ in range(len(self.workers)):
            i = next(self.turn)
            if not self.ended[i]:
                break
        else:
            return
        self.queues[i].put((self.sent, wanted))
        self.owners[self.sent] = i
        self.sent += 1

    def receive(self) -> Any:
        """The next message of a worker; an error where one has died or time is up."""
        import queue
        import time

        start = time.monotonic()
        while True:
            try:
                return self.results.get(timeout=self.loader.timeout or 1.0)
            except queue.Empty:
                dead = [w for w in self.workers if not w.is_alive()]
                if dead:
                    pids = ", ".join(str(w.pid) for w in dead)
                    self.close()
                    raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly") from None
                if self.loader.timeout and time.monotonic() - start >= self.loader.timeout:
                    self.close()
                    raise RuntimeError(f"DataLoader timed out after {self.loader.timeout} seconds") from None

    def collect(self) -> None:
        """Take one result in."""
        number, value = self.receive()
        if number in self.owners:
            owner = self.owners.pop(number)
            if isinstance(value, worker.StreamEnded):
                self.ended[owner] = True
            self.ready[number] = value

    def __next__(self) -> Any:
        while True:
            if self.closed:
                raise StopIteration
            number = self.wanted
            if not self.loader.in_order and self.ready:
                number = next(iter(self.ready))
            if number in self.ready:
                value = self.ready.pop(number)
                if self.loader.in_order:
                    self.wanted += 1
                self.ask()
                if isinstance(value, worker.StreamEnded):
                    continue
                if isinstance(value, worker.Failure):
                    self.close()
                    raise value.again()
                self.given += 1
                return value
            if not self.owners:
                if not self.loader.persistent_workers:
                    self.close()
                raise StopIteration
            self.collect()

    def close(self) -> None:
        """Send the workers home."""
        if self.closed:
            return
        self.closed = True
        self.loader._iterator = None if self.loader._iterator is self else self.loader._iterator
        for queue in self.queues:
            try:
                queue.put(None)
                queue.close()
            except (OSError, ValueError):
                pass
        for process in self.workers:
            process.join(timeout=2)
            if process.is_alive():
                process.terminate()
                process.join(timeout=2)
        self.results.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass
