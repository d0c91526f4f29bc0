"""Where native code is kept and made: what may go wrong with disks, processors, memory and missing parts, and does no harm."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import build
from bibun.native.ir import Function, Module

SAMPLE = str(Path(__file__).with_name("native_sample.py"))
SHORT = """
import numpy as np, bibun as torch
x = torch.linspace(-3, 3, 50_000)
y = torch.nn.functional.softmax(x.tanh().reshape(50, 1000), -1)
assert abs(y.sum().item() - 50) < 1e-3
"""


def child(*command, **environment):
    """A Python process of its own; gives what it printed."""
    made = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.strip()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "directory", lambda: str(tmp_path))
    return tmp_path


def answer(value):
    """A writer of code that gives a number, and a count of how often it was asked."""
    asked = []

    def write(module: Module) -> None:
        asked.append(value)
        f = Function(module, f"answer_{value}", "i64", [])
        f.give(f.const(value))

    return write, f"answer_{value}", asked


def ask(key, value):
    import ctypes

    write, name, asked = answer(value)
    (at,) = build.load(key, write, [name])
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(at)() == value
    return len(asked)


def test_code_is_made_once_and_found_again(place):
    assert ask("once", 1000) == 1
    assert [p.suffix for p in place.iterdir()] == [".o"]
    assert ask("once", 1000) == 0
    assert ask("another", 1001) == 1


def test_functions_that_kernels_share_are_found_again_and_made_anew_where_they_are_gone(tmp_path):
    product = """
import numpy as np
from bibun.backends.large import native
from bibun.native import build
assert native()
from bibun.native.kernels import gemm, tiles
made = []
compiled = build.compile_text
build.compile_text = lambda *given: made.append(given[0]) or compiled(*given)
a, b = np.ones((30, 40), np.float32), np.ones((40, 50), np.float32)
for turned in (False, True):
    out = np.empty((30, 50), np.float32)
    y = np.ascontiguousarray(b.T) if turned else b
    gemm.multiply(gemm.made(False, turned), a, y, out, None, (30, 50, 40, 40, 40 if turned else 50, 50, 0, 30, 50, 1, 0, 0, 0, 0), 1)
    assert (out == 40).all()
print(len(made))
"""
    first = int(child("-c", product, BIBUN_CACHE=str(tmp_path)))
    assert first > 4
    assert child("-c", product, BIBUN_CACHE=str(tmp_path)) == "0"
    held = {p: p.read_bytes() for p in tmp_path.iterdir()}
    gone = [p for p, data in held.items() if b"bibun.shared.tile." in data and b"bibun.shared.turn_columns." not in data and b"product_" not in data]
    for p in gone:
        p.unlink()
    assert len(gone) < int(child("-c", product, BIBUN_CACHE=str(tmp_path))) < first
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == held


@pytest.mark.parametrize("harm", ["empty", "short", "flipped", "foreign", "sealed"])
def test_damaged_files_are_made_anew(place, harm):
    value = 2000 + len(harm)
    assert ask(harm, value) == 1
    (file,) = place.iterdir()
    whole = file.read_bytes()
    body = b"no object code at all" * 20
    import hashlib

    file.write_bytes({
        "empty": b"", "short": whole[: len(whole) // 2], "flipped": whole[:70] + bytes([whole[70] ^ 1]) + whole[71:],
        "foreign": os.urandom(5000), "sealed": body + hashlib.sha256(body).digest(),
    }[harm])  # fmt: skip
    assert ask(harm, value) == 1
    assert file.read_bytes() == whole


def test_a_full_disk_costs_only_the_keeping(place, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert ask("full", 3000) == 1
    monkeypatch.undo()
    monkeypatch.setattr(build, "directory", lambda: str(place))
    monkeypatch.setattr(build.tempfile, "mkstemp", full)
    assert ask("full", 3000) == 1
    assert list(place.iterdir()) == []


def test_a_file_of_the_disk_that_fills_while_written(place, monkeypatch):
    opened = os.fdopen

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *said):
            self.file.close()

        def write(self, data):
            self.file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda *given: Full(opened(*given)))
    assert ask("filling", 3100) == 1
    assert list(place.iterdir()) == []


def test_the_oldest_go_where_there_is_too_much(place, monkeypatch):
    for i in range(10):
        file = place / f"{i}.o"
        file.write_bytes(bytes(1000))
        os.utime(file, (i, i))
    monkeypatch.setattr(build, "BOUND", 4500)
    monkeypatch.setattr(os, "urandom", lambda n: b"\0" * n)
    build._write("new", b"x" * 400, [])
    assert sorted(p.name for p in place.iterdir()) == ["6.o", "7.o", "8.o", "9.o", "new.o"]


def test_a_directory_that_may_not_be_written(tmp_path):
    held = tmp_path / "held"
    held.write_text("a file where the directory should be")
    child("-c", SHORT, BIBUN_CACHE=str(held / "below"))
    child("-c", SHORT, BIBUN_CACHE="")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    child("-c", SHORT, BIBUN_CACHE=str(closed))


def test_several_processes_at_once(tmp_path):
    place = tmp_path / "shared"
    started = [
        subprocess.Popen([sys.executable, "-c", SHORT], env={**os.environ, "BIBUN_CACHE": str(place)}, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for p in started:
        said = p.communicate(timeout=120)[1]
        assert p.returncode == 0, said
    files = list(place.iterdir())
    assert files
    assert {p.suffix for p in files} == {".o"}
    before = {p: p.stat().st_mtime_ns for p in files}
    child("-c", SHORT, BIBUN_CACHE=str(place))
    assert {p: p.stat().st_mtime_ns for p in place.iterdir()} == before  # a second run compiles nothing


@pytest.fixture(scope="module")
def on_numpy(tmp_path_factory):
    file = tmp_path_factory.mktemp("sample") / "numpy.npz"
    child(SAMPLE, str(file), BIBUN_NATIVE="0")
    return np.load(file)


def near(file, wanted):
    made = np.load(file)
    assert set(made) == set(wanted)
    for name in made:
        scale = np.abs(wanted[name]).max() + 1e-9
        assert np.abs(made[name] - wanted[name]).max() <= 1e-5 * scale, name


@pytest.mark.parametrize("processor", ["", "haswell", *["x86-64"] * bool(os.environ.get("BIBUN_EXPLORE"))])
def test_every_kernel_on_other_processors(processor, tmp_path, on_numpy):
    import platform

    if processor and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("processors of another family")
    environment = {"BIBUN_CPU": processor} if processor else {}
    left_out = child(SAMPLE, str(tmp_path / "made.npz"), "say", **environment)
    near(tmp_path / "made.npz", on_numpy)
    assert left_out == ""  # the sample is of every kernel


def test_without_llvm(tmp_path, on_numpy):
    (tmp_path / "llvmlite").mkdir()
    (tmp_path / "llvmlite" / "__init__.py").write_text("raise ImportError('none here')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    child(SAMPLE, str(tmp_path / "made.npz"), PYTHONPATH=path)
    made = np.load(tmp_path / "made.npz")
    assert all(np.array_equal(made[k], on_numpy[k], equal_nan=True) for k in made)


def test_what_is_wrong_raises_and_never_runs():
    with pytest.raises(RuntimeError):
        build.compile_text("define i64 @f() { ret i32 0 }")
    with pytest.raises(RuntimeError):  # well formed, but used before it is made
        build.compile_text("define i64 @f() {\n %b = add i64 %a, 1\n %a = add i64 1, 1\n ret i64 %b\n}")


def test_a_function_that_nobody_has_raises(place):
    def write(module: Module) -> None:
        f = Function(module, "calls_nobody", "void", [])
        f.call("bibun_nobody_has_this", "void")
        f.give()

    if sys.platform == "linux":
        with pytest.raises(RuntimeError, match="bibun_nobody_has_this"):
            build.load("nobody", write, ["calls_nobody"])


LITTLE = """
import resource, sys
import numpy as np, bibun as torch
torch.tanh(torch.zeros(20_000))
room = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (room + int(sys.argv[1]),) * 2)
held, refused = [], 0
for n in range(40):
    try:
        held.append(torch.softmax(torch.ones(1000, 1000 + n), -1).exp() * torch.ones(1000, 1000 + n))
        torch.nn.functional.gelu(held[-1]).sum(n % 2)
    except MemoryError:
        refused += 1
        held.clear()
print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits and figures of Linux")
@pytest.mark.parametrize("more", [1 << 20, 30 << 20, 100 << 20, 300 << 20])
def test_little_memory_is_an_exception(more, tmp_path):
    refused = int(child("-W", "ignore", "-c", LITTLE, str(more), BIBUN_CACHE=str(tmp_path)))
    assert refused or more >= 300 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="limits and figures of Linux")
@pytest.mark.parametrize("most", [4 << 30, 1200 << 20, 700 << 20])
def test_under_a_limit_from_the_beginning(most, tmp_path):
    program = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({most},) * 2)\ntry:\n    import numpy, bibun\nexcept (MemoryError, ImportError):\n    raise SystemExit\nexec({SHORT!r})"
    child("-W", "ignore", "-c", program, BIBUN_CACHE=str(tmp_path), OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="1")
