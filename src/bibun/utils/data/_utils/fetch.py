"""``torch.utils.data._utils.fetch``."""

from ..fetch import IterableFetcher, map_fetcher

__all__ = ["IterableFetcher", "map_fetcher"]
