"""The installed distribution ``torch`` that ``importlib.metadata`` sees under the alias: a name and a version."""

from __future__ import annotations

from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from .version import __version__


class _Torch(Distribution):
    def read_text(self, filename: str) -> str | None:
        if filename in ("METADATA", "PKG-INFO"):
            return f"Metadata-Version: 2.1\nName: torch\nVersion: {__version__}\nSummary: bibun, as torch\n"
        return None

    def locate_file(self, path: Any) -> Any:
        return Path(__file__).parent / path


def distribution() -> Distribution:
    return _Torch()
