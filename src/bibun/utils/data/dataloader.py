"""`DataLoader`: batches of a dataset, in the order of a sampler, made here or by worker processes.

In come a dataset and how to go through it; out comes an iterable of batches. What it draws from the random stream, and
when, is PyTorch's. `state_dict` and `load_state_dict`, which PyTorch has not, take up a pass where it was left.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from ... import random as stream
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import IterableFetcher, map_fetcher
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, drawn_seed
from .worker import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)


def __getattr__(name: str) -> Any:
    if name == "_MultiProcessingDataLoaderIter":
        from .multiprocess import _MultiProcessingDataLoaderIter

        return _MultiProcessingDataLoaderIter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _DatasetKind:
    """The two ways of a dataset, by PyTorch's numbers."""

    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler[None]):
    """Asks an iterable dataset for one more, for ever."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class DataLoader(Generic[T_co]):
    """Batches of a dataset: ``for batch in DataLoader(dataset, batch_size=32, shuffle=True)``.

    Args:
        dataset: a `Dataset` (anything with ``__getitem__`` and ``__len__``) or an `IterableDataset`.
        batch_size: samples in a batch; None gives samples one by one, unbatched.
        shuffle: a new random order in every pass.
        sampler: an order of your own instead: an iterable of indices.
        batch_sampler: batches of your own: an iterable of lists of indices.
        num_workers: processes that make batches; 0 makes them here.
        collate_fn: makes a batch of a list of samples; `default_collate` by default.
        pin_memory, pin_memory_device: accepted; there is no accelerator to pin for.
        drop_last: leave out a last batch that is short.
        timeout: seconds to wait for a worker's batch; 0 waits on.
        worker_init_fn: called in each worker with its number.
        multiprocessing_context: how to start workers; "fork" by default where there is that.
        generator: what to draw orders and the workers' seeds from; the global stream by default.
        prefetch_factor: batches each worker makes ahead; 2 by default.
        persistent_workers: keep the workers after a pass.
        in_order: give batches in the order of the sampler, not as they come.

    >>> import bibun as torch
    >>> data = torch.utils.data.TensorDataset(torch.arange(5))
    >>> [batch[0].tolist() for batch in torch.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    dataset: Any
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Any
    prefetch_factor: int | None
    _iterator: Any = None
    __initialized = False
    __multiprocessing_context: Any = None

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
        worker_init_fn: Callable[[int], Any] | None = None,
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

        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order

        if isinstance(dataset, IterableDataset):
            self._dataset_kind = _DatasetKind.Iterable
            for name, given, unset in (
                ("shuffle", shuffle, shuffle in (False, None)),
                ("sampler", sampler, sampler is None),
                ("batch_sampler", batch_sampler, batch_sampler is None),
            ):
                if not unset:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={given}"
                    )
        else:
            shuffle = bool(shuffle)
            self._dataset_kind = _DatasetKind.Map
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None:
            if self._dataset_kind == _DatasetKind.Iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)
            else:
                sampler = SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)

        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._IterableDataset_len_called: int | None = None
        self._iterator = None
        self._latest: Any = None  # a weak reference to the newest iterator
        self._resume: dict[str, Any] | None = None
        self.check_worker_number_rationality()

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in (
            "batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers",
        ):  # fmt: skip
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, given: Any) -> None:
        if given is not None:
            if self.num_workers <= 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                    f"num_workers={self.num_workers}"
                )
            if isinstance(given, str):
                known = multiprocessing.get_all_start_methods()
                if given not in known:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {known!r}, but got "
                        f"multiprocessing_context={given!r}"
                    )
                given = multiprocessing.get_context(given)
            if not isinstance(given, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={given}"
                )
        self.__multiprocessing_context = given

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def _get_iterator(self) -> Any:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        from .multiprocess import _MultiProcessingDataLoaderIter

        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> Any:
        if self.persistent_workers and self.num_workers > 0:
            if self._iterator is None:
                self._iterator = self._get_iterator()
            elif self._resume is not None:
                self._iterator._shut_down()
                self._iterator = self._get_iterator()
            else:
                self._iterator._reset(self)
            iterator = self._iterator
        else:
            iterator = self._get_iterator()
        self._latest = weakref.ref(iterator)
        return iterator

    def __len__(self) -> int:
        """The number of batches; of an iterable dataset with a length, an estimate."""
        if self._dataset_kind == _DatasetKind.Iterable:
            length = self._IterableDataset_len_called = len(self.dataset)
            if self.batch_size is not None:
                length = length // self.batch_size if self.drop_last else -(-length // self.batch_size)
            return length
        return len(self._index_sampler)

    def check_worker_number_rationality(self) -> None:
        """Warn where there are more workers than processors."""
        if not self.num_workers:
            return
        try:
            processors: int | None = len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            processors = os.cpu_count()
        text = f"This DataLoader will create {self.num_workers} worker processes in total. "
        end = (
            "Please be aware that excessive worker creation might get DataLoader running slow or even freeze, lower "
            "the worker number to avoid potential slowness/freeze if necessary."
        )
        if processors is None:
            warnings.warn(f"{text}DataLoader is not able to compute a suggested max number of worker. {end}")
        elif self.num_workers > processors:
            warnings.warn(
                f"{text}Our suggested max number of worker in current system is {processors}, which is smaller than "
                f"what this DataLoader is going to create. {end}"
            )

    # where a pass stands

    def state_dict(self) -> dict[str, Any]:
        """Where the newest pass over the loader stands, for `load_state_dict`; plain values, which `save` can keep.

        The state is that after the batch given last. It holds the order of the samples, and with workers their random
        streams; the global stream, from which other parts of the program draw too, is for the program to keep
        (`get_rng_state`). An iterable dataset is asked for its own ``state_dict`` if it has one; otherwise the next
        pass goes over the samples seen and throws them away.
        """
        if self._resume is not None:
            return dict(self._resume)
        iterator = self._latest() if self._latest is not None else None
        if iterator is None or iterator._finished:
            return {"version": 1, "yielded": 0}
        return iterator._state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Have the next pass take up where `state_dict` was called.

        >>> import bibun as torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(6))
        >>> loader = torch.utils.data.DataLoader(data, batch_size=2)
        >>> passing = iter(loader)
        >>> next(passing)
        [tensor([0, 1])]
        >>> state = loader.state_dict()
        >>> again = torch.utils.data.DataLoader(data, batch_size=2)
        >>> again.load_state_dict(state)
        >>> list(again)
        [[tensor([2, 3])], [tensor([4, 5])]]

        Raises:
            ValueError: for what `state_dict` did not give, and for an iterable dataset with another number of workers.
        """
        if not isinstance(state_dict, dict) or state_dict.get("version") != 1 or "yielded" not in state_dict:
            raise ValueError("load_state_dict expects what DataLoader.state_dict gave")
        workers = state_dict.get("num_workers", self.num_workers)
        if state_dict["yielded"] and workers != self.num_workers:
            if self._dataset_kind == _DatasetKind.Iterable:
                raise ValueError(
                    f"the state is that of an iterable dataset with num_workers={workers}, and this loader has "
                    f"num_workers={self.num_workers}: the samples would be dealt out otherwise"
                )
            warnings.warn(
                f"the state was taken with num_workers={workers}, and this loader has num_workers={self.num_workers}: "
                "random numbers that workers draw will differ"
            )
        self._resume = dict(state_dict) if state_dict["yielded"] else None


class _BaseDataLoaderIter:
    """One pass over a loader: what passes with and without workers have in common.

    The samplers' order and the seed of the workers are settled here, in the order in which PyTorch draws them.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._dataset = loader.dataset
        self._iterable = loader._dataset_kind == _DatasetKind.Iterable
        self._batched = loader._auto_collation
        self._resume, loader._resume = loader._resume, None
        if loader.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=4,
            )
        self._begin(loader)
        self._base_seed = drawn_seed(loader.generator)
        self._skip()

    def _begin(self, loader: DataLoader[Any]) -> None:
        """Set out on a pass."""
        self._finished = False
        self._num_yielded = 0
        self._length_told = loader._IterableDataset_len_called
        generator = loader.generator or stream.default_generator
        self._now = None
        if self._resume is not None:
            self._now = generator.state_bytes()
            generator.set_state_bytes(np.frombuffer(bytes(self._resume["generator"]), np.uint8))
        self._start = bytes(generator.state_bytes())
        self._sampler_iter: Iterator[Any] = iter(loader._index_sampler)

    def _skip(self) -> None:
        """Pass over the batches that were given before the state was taken."""
        if self._resume is None:
            return
        self._num_yielded = self._resume["yielded"]
        for _ in range(self._num_yielded):
            if next(self._sampler_iter, self) is self:
                break
        if self._loader.generator is None and self._now is not None:
            stream.default_generator.set_state_bytes(self._now)  # the program's own

    def __iter__(self) -> Any:
        return self

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        told = self._length_told
        if told is not None and self._iterable and self._num_yielded > told:
            self._warn_of_length(told)
        return data

    def __len__(self) -> int:
        return len(self._loader._index_sampler)

    def _warn_of_length(self, told: int) -> None:
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {told}(when accessing len(dataloader)), but "
            f"{self._num_yielded} samples have been fetched. "
        )
        if self._loader.num_workers > 0:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the IterableDataset"
                " replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warnings.warn(text, stacklevel=3)

    def _state(self) -> dict[str, Any]:
        return {
            "version": 1,
            "yielded": self._num_yielded,
            "generator": self._start,
            "num_workers": self._loader.num_workers,
        }


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """A pass that makes its batches here."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._fetch: Any
        resume = self._resume
        if not self._iterable:
            self._fetch = map_fetcher(self._dataset, self._batched, loader.collate_fn)
            return
        state = None if resume is None else resume.get("dataset")
        if state is not None:
            self._dataset.load_state_dict(state)
        self._fetch = IterableFetcher(self._dataset, self._batched, loader.collate_fn, loader.drop_last)
        if resume is not None and state is None:
            self._fetch.skip(resume["yielded"] * (loader.batch_size or 1))
            if self._now is not None and loader.generator is None:
                stream.default_generator.set_state_bytes(self._now)

    def __next__(self) -> Any:
        try:
            data = self._fetch(next(self._sampler_iter))
        except StopIteration:
            self._finished = True
            raise
        self._num_yielded += 1
        told = self._length_told
        if told is not None and self._iterable and self._num_yielded > told:
            self._warn_of_length(told)
        return data

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        keep = getattr(self._dataset, "state_dict", None)
        if self._iterable and callable(keep) and hasattr(self._dataset, "load_state_dict"):
            state["dataset"] = keep()
        return state
