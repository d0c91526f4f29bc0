"""Peak memory of `examples/digits.py`, under bibun and under PyTorch.

    python benchmarks/memory_digits.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from contest import report

DIGITS = Path(__file__).parents[1] / "examples" / "digits.py"
BOUND = 0.50


def peak(*how: str) -> float:
    """Peak resident memory of the program, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *how, str(DIGITS), "--epochs", "5", "--out", os.path.join(folder, "confusion.png")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> int:
    ours, theirs = peak("-m", "bibun"), peak()
    return not report("digits.py", ours / theirs, BOUND, f"{ours:7.1f} MiB   PyTorch {theirs:7.1f} MiB")


if __name__ == "__main__":
    sys.exit(main())
