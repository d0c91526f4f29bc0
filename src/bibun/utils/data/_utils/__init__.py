"""``torch.utils.data._utils``: where programs find PyTorch's collate and worker functions."""

from __future__ import annotations

from . import collate, fetch, worker

__all__ = ["collate", "fetch", "worker"]
