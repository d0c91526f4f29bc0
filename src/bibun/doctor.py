"""``bibun doctor``: what bibun finds on this machine, what is missing, and the command that brings it.

In goes nothing; out comes a report on standard output, and exit status 1 where something bibun cannot do without is
wrong. Nothing heavy is imported: extras are looked up, not loaded.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

#: extra -> (its packages, what they are for)
EXTRAS = {
    "fast": (("llvmlite", "scipy-openblas64"), "native kernels, bibun.compile, the BLAS kernels of this processor"),
    "all": (("scipy", "safetensors", "tensorboard", "tqdm"), "rare functions, factorizations, file formats, logs"),
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    import numpy as np
    try:
        blas: Any = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return "unknown"


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} usable of {os.cpu_count()}"


def _row(name: str, value: str) -> None:
    print(f"  {name:18} {value}")


def main(arguments: list[str]) -> int:
    """Print the report; returns the exit status."""
    if arguments:
        print(f"bibun doctor takes no arguments, and was given {' '.join(arguments)}", file=sys.stderr)
        return 2
    from . import __file__ as home
    from .version import __version__, bibun
    print("bibun")
    _row("version", f"{bibun} (torch {__version__})")
    _row("folder", os.path.dirname(str(home)))
    print("\nmachine")
    _row("Python", f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})")
    _row("system", f"{platform.system()} {platform.machine()}")
    _row("cores", _cores())
    print("\nneeded")
    wrong = 0
    for package in ("numpy", "ml_dtypes"):
        found = _version(package)
        wrong += found is None
        _row(package, found or "missing: pip install bibun")
    _row("BLAS of NumPy", _blas())
    lacking = []
    for extra, (packages, purpose) in EXTRAS.items():
        print(f"\nbibun[{extra}]: {purpose}")
        for package in packages:
            found = _version(package)
            _row(package, found or "missing")
            if found is None and extra not in lacking:
                lacking.append(extra)
    torch = _version("torch")
    print("\nbeside bibun")
    _row("PyTorch", f"{torch}: plain `python` still runs it" if torch else "not installed, and not needed")
    if lacking:
        print("\nto install what is missing:")
        for extra in lacking:
            print(f"  pip install 'bibun[{extra}]'")
    else:
        print("\nnothing is missing")
    return 1 if wrong else 0
