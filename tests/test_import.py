"""What ``import bibun`` loads: NumPy, ml_dtypes and bibun's core, and nothing that a program may never need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bibun

ENV = {**os.environ, "PYTHONPATH": str(Path(bibun.__file__).parents[1])}


def loaded(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=ENV, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def core() -> set[str]:
    return loaded("import bibun")


@pytest.mark.parametrize("heavy", ["torch", "scipy", "llvmlite", "safetensors", "tensorboard", "tqdm", "multiprocessing", "asyncio"])
def test_nothing_heavy(core: set[str], heavy: str) -> None:
    assert heavy not in core


def test_submodules_wait_until_they_are_touched(core: set[str]) -> None:
    for name in ("nn", "optim", "func", "utils.data", "cuda", "alias", "cli", "hub", "amp", "serialization"):
        assert f"bibun.{name}" not in core, name


def test_nn_and_optim_load_nothing_heavy_either() -> None:
    names = loaded("import bibun.nn, bibun.optim, bibun.func")
    assert {"bibun.nn", "bibun.optim", "bibun.func"} <= names
    assert not {"torch", "scipy", "llvmlite", "safetensors", "tensorboard", "tqdm"} & names


def test_every_submodule_is_reachable_as_an_attribute() -> None:
    program = "import bibun\nprint(bibun.nn.functional.__name__, bibun.optim.__name__, bibun.cuda.is_available(), bibun.version.cuda)"
    done = subprocess.run([sys.executable, "-c", program], env=ENV, capture_output=True, text=True)
    assert done.stdout == "bibun.nn.functional bibun.optim False None\n", done.stderr


def test_the_runner_adds_little(core: set[str]) -> None:
    more = loaded("import bibun.cli, bibun.runner, bibun.alias\nbibun.alias.install()\nimport torch")
    assert {name for name in more - core if name.startswith("bibun")} == {"bibun.cli", "bibun.runner", "bibun.alias"}
    assert not {"argparse", "runpy"} & (more - core)
