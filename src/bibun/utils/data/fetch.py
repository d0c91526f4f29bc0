"""From the indices of a batch to the batch: ask the dataset, then collate.

`map_fetcher` and `IterableFetcher` take a dataset and a collate function. Batches of a `TensorDataset` (or of subsets
of one) that are collated as usual are taken out of the tensors in one step, sample by sample being the same thing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ...tensor import Tensor, wrap
from .collate import default_collate
from .dataset import Subset, TensorDataset

__all__ = ["IterableFetcher", "map_fetcher"]


def _rows(dataset: Any) -> Callable[[Any], Any]:
    """Batches of a tensor dataset: rows of its tensors."""

    def fetch(indices: Any) -> Any:
        for i in indices:
            if i.__class__ is not int:
                return default_collate([dataset[i] for i in indices])
        batch = []
        for tensor in dataset.tensors:
            view = tensor._view
            if (
                tensor.__class__ is not Tensor
                or tensor._node is not None  # it is part of a graph, and so are its rows
                or (view is not None and view[0]._node is not None)
                or not tensor._a.ndim
            ):
                return default_collate([dataset[i] for i in indices])
            try:
                batch.append(wrap(tensor._a.take(indices, 0)))
            except IndexError:
                return default_collate([dataset[i] for i in indices])  # to say which
        return batch

    return fetch


def _rows_of(dataset: Any) -> Callable[[Any], Any] | None:
    kind = type(dataset)
    if kind is TensorDataset:
        return _rows(dataset)
    if kind is Subset:
        whole = _rows_of(dataset.dataset)
        if whole is not None:
            chosen = dataset.indices

            def fetch(indices: Any) -> Any:
                return whole([chosen[i] for i in indices])

            return fetch
    return None


def map_fetcher(dataset: Any, batched: bool, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """What fetches from a dataset with indices: ``fetch(indices)``, or ``fetch(index)`` where not `batched`."""
    if not batched:
        return lambda index: collate(dataset[index])
    if collate is default_collate:
        rows = _rows_of(dataset)
        if rows is not None:
            return rows

    def fetch(indices: Any) -> Any:
        several = getattr(dataset, "__getitems__", None)
        return collate(several(indices) if several else [dataset[i] for i in indices])

    return fetch


class IterableFetcher:
    """Fetches from a stream: called with a list, it gathers as many samples as the list is long.

    StopIteration ends it, also at a batch that stays short where `drop_last` is set.
    """

    def __init__(self, dataset: Any, batched: bool, collate: Callable[[Any], Any], drop_last: bool) -> None:
        self.iterator: Iterator[Any] = iter(dataset)
        self.batched = batched
        self.collate = collate
        self.drop_last = drop_last
        self.ended = False

    def __call__(self, indices: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.batched:
            return self.collate(next(self.iterator))
        samples = list(itertools.islice(self.iterator, len(indices)))
        if len(samples) < len(indices):
            self.ended = True
            if not samples or self.drop_last:
                raise StopIteration
        return self.collate(samples)

    def skip(self, count: int) -> None:
        """Pass over so many samples."""
        next(itertools.islice(self.iterator, count, count), None)
