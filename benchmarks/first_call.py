"""First calls of compiled steps with empty caches, against PyTorch's.

    python benchmarks/first_call.py [--only gpt] [--times 3] [--module bibun] [--steps FILE]

Seconds from the first call of the compiled step to the end of the third: two recordings, the program, all native code (for PyTorch: what
the compiler makes in the first). Each figure is of a new process whose caches are empty folders, the least of some; before the clock
starts the step has been built and `compile` has returned, so that imports do not count. The steps are those of `steps.py`, or of another
file: its ``STEPS`` or ``WORK``, names with what builds them, alone or in a tuple.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def steps_of(file: str) -> dict[str, Callable[[Any], Any]]:
    spec = importlib.util.spec_from_file_location("steps_of_a_file", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    held = getattr(module, "STEPS", None) or module.WORK
    found = {}
    for name, entry in held.items():
        if isinstance(entry, tuple):
            if any(isinstance(x, tuple) and "compiled" not in x for x in entry):
                continue  # the file says in which modes a step is to be run
            entry = next(x for x in entry if callable(x))
        found[name] = entry
    return found


def once(module: str, file: str, name: str) -> float:
    """Seconds of three first calls, in this process."""
    library: Any = importlib.import_module(module)
    step = library.compile(steps_of(file)[name](library))
    start = time.perf_counter()
    for _ in range(3):
        step()
    return time.perf_counter() - start


def measure(module: str, file: str, name: str) -> float | None:
    """The same in a new process with empty caches; None where it fails."""
    with tempfile.TemporaryDirectory() as empty:
        caches = {"BIBUN_CACHE": empty, "TORCHINDUCTOR_CACHE_DIR": empty, "TRITON_CACHE_DIR": empty}
        command = [sys.executable, __file__, "--once", name, "--module", module, "--steps", file]
        made = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **caches})
    return float(made.stdout.split()[-1]) if not made.returncode else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", help="steps whose names contain one of these")
    parser.add_argument("--times", type=int, default=3, help="processes a figure")
    parser.add_argument("--module", nargs="*", default=["bibun", "torch"])
    parser.add_argument("--steps", default=str(Path(__file__).with_name("steps.py")))
    parser.add_argument("--once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if options.once:
        print(once(options.module[0], options.steps, options.once))
        return
    print(f"{'seconds':32}" + "".join(f"{m:>10}" for m in options.module))
    for name in steps_of(options.steps):
        if options.only and not any(part in name for part in options.only):
            continue
        print(f"{name:32}", end="", flush=True)
        for module in options.module:
            found = [s for _ in range(options.times) if (s := measure(module, options.steps, name)) is not None]
            print(f"{min(found):10.2f}" if found else f"{'fails':>10}", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
