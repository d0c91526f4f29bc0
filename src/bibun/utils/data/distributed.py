"""`DistributedSampler`: each of several processes gets its share of a dataset, and all agree on the order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np

from ... import random as stream
from .sampler import Sampler

__all__ = ["DistributedSampler"]

T_co = TypeVar("T_co", covariant=True)


def _of_group(question: str) -> int:
    """``torch.distributed.get_rank`` or ``get_world_size``."""
    from importlib import import_module

    try:
        distributed = import_module("bibun.distributed")
    except ModuleNotFoundError:
        distributed = None  # type: ignore[assignment]
    if distributed is None or not distributed.is_available():
        raise RuntimeError("Requires distributed package to be available: give num_replicas and rank")
    if not distributed.is_initialized():
        raise ValueError(
            "Default process group has not been initialized, please make sure to call init_process_group."
        )
    return getattr(distributed, question)()


class DistributedSampler(Sampler[T_co]):
    """Every `num_replicas`-th index, from `rank` on, of an order that all processes share.

    The order depends on `seed` and on the epoch, which `set_epoch` tells before each pass. Unless `drop_last`, the
    first indices come twice where the number of samples is no multiple of `num_replicas`.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        num_replicas = _of_group("get_world_size") if num_replicas is None else num_replicas
        rank = _of_group("get_rank") if rank is None else rank
        if rank >= num_replicas or rank < 0:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        if drop_last and len(dataset) % num_replicas:
            self.num_samples = math.ceil((len(dataset) - num_replicas) / num_replicas)
        else:
            self.num_samples = math.ceil(len(dataset) / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        if self.shuffle:
            generator = stream.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = stream.randperm(generator, n, np.dtype(np.int64)).tolist()
        else:
            indices = list(range(n))
        if self.drop_last:
            indices = indices[: self.total_size]
        else:
            missing = self.total_size - len(indices)
            indices += (indices * math.ceil(missing / max(1, len(indices))))[:missing]
        if len(indices) != self.total_size:
            raise AssertionError(f"Number of indices ({len(indices)}) does not match total_size ({self.total_size})")
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch, before each pass: without it every pass has the same order."""
        self.epoch = epoch
