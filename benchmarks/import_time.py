"""How long an import takes, in fresh interpreters taking turns: bibun beside NumPy and PyTorch.

    python benchmarks/import_time.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys

from contest import report

#: What is measured: a name, and the statement whose time is taken.
STATEMENTS = {
    "numpy": "import numpy", "bibun": "import bibun", "nn and optim": "import bibun.nn, bibun.optim",
    "torch": "import torch",
}
#: Bytecode is written once and read from then on, as it is where a package is installed.
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
OF_TORCH = 0.15
ABOVE_NUMPY = 0.060  # seconds, on a machine where NumPy's own import takes NUMPY
NUMPY = 0.060


def seconds(statement: str) -> float:
    program = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", program], env=ENV, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    statements = {name: s for name, s in STATEMENTS.items() if name != "torch" or importlib.util.find_spec("torch")}
    for statement in statements.values():  # once to fill the disk cache and write bytecode
        seconds(statement)
    taken: dict[str, list[float]] = {name: [] for name in statements}
    for _ in range(rounds):
        for name, statement in statements.items():
            taken[name].append(seconds(statement))
    median = {name: statistics.median(times) for name, times in taken.items()}
    for name, time in median.items():
        print(f"{statements[name]:30} {time * 1e3:8.1f} ms")
    above = median["bibun"] - median["numpy"]
    held = report("above numpy", above / median["numpy"], ABOVE_NUMPY / NUMPY, f"{above * 1e3:8.1f} ms")
    if "torch" in median:
        held &= report("of torch", median["bibun"] / median["torch"], OF_TORCH, f"{median['bibun'] * 1e3:8.1f} ms")
    return not held


if __name__ == "__main__":
    sys.exit(main())
