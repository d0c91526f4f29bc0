"""The source documents' programs print, on bibun, what PyTorch prints (`examples/seeds`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bibun

SEEDS = Path(__file__).parents[1] / "examples" / "seeds"
ENV = {**os.environ, "PYTHONPATH": str(Path(bibun.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("program", sorted(p.name for p in SEEDS.glob("*.py")))
def test_prints_what_pytorch_prints(program: str) -> None:
    done = subprocess.run([sys.executable, "-m", "bibun", program], cwd=SEEDS, env=ENV, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", timeout=60)
    assert re.sub("0x[0-9a-f]+", "0x…", done.stdout) == (SEEDS / program).with_suffix(".out").read_text("utf-8")
    assert done.returncode == 0


def test_all_are_there() -> None:
    assert len(list(SEEDS.glob("*.py"))) == len(list(SEEDS.glob("*.out"))) == 8
