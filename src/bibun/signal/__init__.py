"""``torch.signal``: windows; loads when first touched."""

from . import windows

__all__ = ["windows"]
