"""``import torch`` as bibun: one and the same modules, in this process alone and in the children it starts."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import bibun
from bibun import alias
from bibun.version import TorchVersion

SRC = str(Path(bibun.__file__).parents[1])
ENV = {**os.environ, "PYTHONPATH": SRC, "PYTHONIOENCODING": "utf-8"}


def run(tmp_path: Path, program: str, *flags: str, name: str = "program.py") -> str:
    (tmp_path / name).write_text(program)
    done = subprocess.run([sys.executable, *(flags or ("-m", "bibun")), name], cwd=tmp_path, env=ENV, capture_output=True,
                          encoding="utf-8", timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def aliased(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The alias in this very process; a real torch that other tests imported steps aside meanwhile."""
    real = {name: module for name, module in sys.modules.items() if name == "torch" or name.startswith("torch.")}
    for name in real:
        del sys.modules[name]
    try:
        with alias.install(children=False) as torch:
            yield torch
    finally:
        alias.uninstall()
        sys.modules.update(real)


def test_the_modules_are_bibuns(aliased: types.ModuleType) -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn, optim
    from torch.optim.lr_scheduler import StepLR
    from torch.utils.data import DataLoader

    assert torch is bibun is aliased is sys.modules["torch"]
    assert sys.modules["torch.nn.functional"] is importlib.import_module("bibun.nn.functional") is F is nn.functional
    assert nn is bibun.nn and optim is bibun.optim
    assert DataLoader is bibun.utils.data.DataLoader and StepLR is bibun.optim.lr_scheduler.StepLR
    for name in ("torch", "torch.nn", "torch.nn.functional"):
        module = sys.modules[name]
        assert module.__name__ == module.__spec__.name == name.replace("torch", "bibun")


def test_uninstall_leaves_nothing(aliased: types.ModuleType) -> None:
    import torch.nn  # noqa: F401
    alias.uninstall()
    assert not alias.installed()
    assert not [n for n in sys.modules if n == "torch" or n.startswith("torch.")]
    assert not [f for f in sys.meta_path if type(f).__module__ == "bibun.alias"]
    alias.uninstall()  # once more does nothing


def test_nested_install(aliased: types.ModuleType) -> None:
    with alias.install():
        pass
    assert alias.installed()


def test_refuses_where_pytorch_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    path, meta = list(sys.path), list(sys.meta_path)
    with pytest.raises(RuntimeError, match="imported already.*python -m bibun"):
        alias.install()
    assert (sys.path, sys.meta_path) == (path, meta) and not alias.installed()


def test_missing_names_say_so(aliased: types.ModuleType) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'torch\.no_such'.*bibun") as caught:
        import torch.no_such  # noqa: F401
    assert caught.value.name == "torch.no_such"
    with pytest.raises(ModuleNotFoundError, match=r"torch\.nn\.no_such"):
        importlib.import_module("torch.nn.no_such")
    with pytest.raises(ImportError, match="no_such.*bibun"):
        from torch import no_such  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'no_such'.*bibun"):
        bibun.no_such
    assert importlib.util.find_spec("torch.no_such") is None
    assert importlib.util.find_spec("torch.nn") is not None


def test_a_function_keeps_its_name(aliased: types.ModuleType) -> None:
    """bibun.tensor is a module inside and a function outside: importing the module must not hide the function."""
    function = bibun.tensor
    importlib.import_module("torch.tensor")
    assert bibun.tensor is function and type(bibun) is types.ModuleType


def test_versions(aliased: types.ModuleType) -> None:
    import torch.version
    from packaging.version import Version
    assert torch.__version__ == torch.version.__version__ == f"2.13.0+bibun{bibun.version.bibun}"
    assert str(Version(torch.__version__)) == torch.__version__
    assert importlib.metadata.version("torch") == torch.__version__
    assert torch.version.cuda is None and torch.version.hip is None and torch.version.debug is False
    assert torch.__version__.split(".")[:2] == ["2", "13"]
    assert torch.__version__ >= (2, 1) and torch.__version__ > "1.9" and not torch.__version__ < "2.9"


def test_version_order() -> None:
    from packaging.version import Version
    order = ["1.9", "1.10.0", "2.0.0.dev1", "2.0.0a1", "2.0.0rc1", "2.0.0", "2.0.0+cpu", "2.0.1", "2.13.0+bibun0.1.0"]
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            assert (TorchVersion(a) < b, TorchVersion(a) == b, TorchVersion(a) >= Version(b)) == (i < j, i == j, i >= j)
    assert TorchVersion("2.0") == (2, 0, 0) and TorchVersion("2.0") != "x" and TorchVersion("2.0") != 2
    assert hash(TorchVersion("2.0")) == hash("2.0")
    with pytest.raises(TypeError):
        TorchVersion("2.0") < 2


def test_traceback_of_a_missing_module_has_the_users_line_alone(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("x = 1\nimport torch.no_such\n")
    done = subprocess.run([sys.executable, "-m", "bibun", "m.py"], cwd=tmp_path, env=ENV, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len([line for line in lines if line.startswith("  File")]) == 1 and "m.py\", line 2" in lines[1]
    assert lines[-1].startswith("ModuleNotFoundError: No module named 'torch.no_such'")


CHILDREN = """
import multiprocessing, subprocess, sys
import torch

def name(_):
    import torch, torch.nn
    return torch.__name__, torch.nn.__name__

class Point:
    pass

def back(point):
    return type(point) is Point

if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(name, [0]), pool.map(back, [Point()]))
    code = "import torch.nn.functional as F, torch; print(torch.__name__, F.__name__, 'torch' in __import__('sys').modules)"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout, end="")
    subprocess.run([sys.executable, "-c", "import sys; print([m for m in ('numpy', 'bibun', 'torch') if m in sys.modules])"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="start methods of POSIX")
def test_children_see_the_alias(tmp_path: Path) -> None:
    out = run(tmp_path, CHILDREN)
    assert sorted(out.splitlines()) == sorted([
        *(f"{method} [('bibun', 'bibun.nn')] [True]" for method in ("fork", "spawn", "forkserver")),
        "bibun bibun.nn.functional True",
        "[]",  # a child that imports no torch pays nothing
    ])


def test_children_left_alone(tmp_path: Path) -> None:
    out = run(tmp_path, "import os\nimport bibun.alias\nbefore = dict(os.environ)\n"
              "with bibun.alias.install(children=False):\n    import torch\n    assert os.environ == before\n"
              "with bibun.alias.install():\n    assert os.environ != before\nassert os.environ == before\nprint('ok')\n",
              "-W", "error")
    assert out == "ok\n"


def test_other_processes_keep_their_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("name = 'a torch of their own'\n")
    assert run(tmp_path, "import torch\nprint(torch.name)\n", "-s") == "a torch of their own\n"


def test_an_interpreter_without_bibun_keeps_its_torch(tmp_path: Path) -> None:
    """The stand-in, met by a Python that cannot import bibun, hands over to the torch found behind it."""
    (tmp_path / "torch.py").write_text("name = 'a torch of their own'\n")
    program = (f"import sys\nsys.path[:0] = [{alias.STAND_IN!r}]\nsys.modules['bibun'] = None\nimport torch\n"
               "import torch as again\nprint(torch.name, torch is again)\n")
    assert run(tmp_path, program, "-s") == "a torch of their own True\n"
