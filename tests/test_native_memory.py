"""Memory of large arrays, used again: by size, within a bound, by any thread, with zeros where zeros are asked for."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import bibun
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import memory

if not memory.install():
    pytest.skip("no allocator here", allow_module_level=True)

N = 1 << 20


@pytest.fixture(autouse=True)
def fresh():
    before = bibun.memory.limit()
    bibun.memory.set_limit(256 * N)
    gc.collect()
    bibun.memory.release()
    yield
    bibun.memory.set_limit(before)


def place(a):
    return a.__array_interface__["data"][0]


def kept():
    return bibun.memory.statistics()["kept"]


def child(program, **environment):
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.strip()


def test_blocks_are_used_again():
    before = bibun.memory.statistics()
    a = np.empty(N, np.float32)
    at = place(a)
    assert at % 64 == 0
    held = bibun.memory.statistics()
    assert held["in_use"] - before["in_use"] >= 4 * N
    assert held["peak"] >= held["in_use"]
    del a
    assert kept() >= 4 * N
    b = np.empty(N, np.int32)
    assert place(b) == at
    assert bibun.memory.statistics()["reused"] == before["reused"] + 1
    assert kept() == 0
    del b
    bibun.memory.release()
    assert kept() == 0


@pytest.mark.parametrize("size", [1, 100, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 50_001, N - 64, N - 63, N, 3 * N + 5, 17 * N])
def test_all_of_a_block_may_be_written(size):
    for _ in range(3):
        a = np.empty(size, np.uint8)
        b = np.zeros(size, np.uint8)
        assert not b.any()
        a[:] = 255
        b[:] = 7
        assert a.min() == 255
        if size >= 1 << 15:
            assert place(a) % 64 == 0


def test_zeros_are_zeros_in_used_blocks():
    a = np.full(N, 3.0, np.float32)
    at = place(a)
    del a
    b = np.zeros(N, np.float32)
    assert place(b) == at
    assert not b.any()


def test_the_bound_holds():
    bibun.memory.set_limit(10 * N)
    arrays = [np.empty(N * (1 + i % 3), np.uint8) for i in range(40)]
    del arrays
    assert 0 < kept() <= 10 * N
    bibun.memory.set_limit(2 * N)
    assert kept() <= 2 * N
    bibun.memory.set_limit(0)
    assert kept() == 0
    a = np.empty(N)
    del a
    assert kept() == 0


def test_arrays_that_grow_and_shrink():
    a = np.arange(100.0)
    for n in (50_000, 200_000, 7, 90_000, 0, 60_000):
        held = a[: min(n, a.size)].copy()
        a.resize(n, refcheck=False)
        assert np.array_equal(a[: held.size], held)
        assert not a[held.size :].any()
        a[held.size :] = np.arange(held.size, n)


def test_many_threads_and_blocks_freed_elsewhere():
    wrong, passed = [], []

    def work(seed):
        memory.install()
        rng = np.random.default_rng(seed)
        for _ in range(200):
            n = int(rng.integers(1 << 13, 1 << 17))
            a = np.full(n, seed, np.float64)
            passed.append((seed, a))
            if len(passed) > 8:
                try:
                    mark, b = passed.pop(0)
                except IndexError:
                    continue
                if not (b == mark).all():
                    wrong.append(mark)

    before = bibun.memory.statistics()["in_use"]
    workers = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    passed.clear()
    gc.collect()
    assert not wrong
    assert bibun.memory.statistics()["in_use"] == before
    assert kept() <= bibun.memory.limit()


def test_sizes_that_nobody_has():
    for n in (1 << 46, 1 << 60, (1 << 62) - 1, (1 << 63) - 1):
        with pytest.raises(MemoryError):
            np.empty(n, np.uint8)
        with pytest.raises((MemoryError, ValueError)):
            np.zeros(n, np.uint8)


FORK = """
import os, signal, threading, warnings
import numpy as np, bibun as torch
warnings.simplefilter("ignore")
torch.ones(50_000).tanh()
from bibun.native import memory
going = True
def work():
    memory.install()
    while going:
        for _ in range(40): np.empty(1 << 16)
        torch.memory.release()  # takes the lock for long, without the interpreter's
busy = [threading.Thread(target=work) for _ in range(2)]
for t in busy: t.start()
held = np.arange(1 << 17)
for _ in range(100):
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        for i in range(100):
            a = np.full(1 << 15, i); del a
        os._exit(int(held[-1] != (1 << 17) - 1))
    assert os.waitpid(pid, 0)[1] == 0
going = False
for t in busy: t.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_forks_while_threads_allocate():
    child(FORK)


def test_kept_memory_makes_room_for_other_sizes():
    pytest.importorskip("resource")
    if sys.platform != "linux":
        pytest.skip("limits and figures of Linux")
    child("""
import resource
import numpy as np, bibun as torch
torch.ones(50_000).tanh()
torch.memory.set_limit(1 << 40)
now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (400 << 20),) * 2)
for n in range(8):
    for make in (np.empty, np.zeros):
        a = make((200 + 12 * n) << 20, np.uint8); del a
""".replace("torch.memory", "torch.memory"))


def test_the_environment_says_the_limit():
    said = "import bibun as torch, numpy as np\nprint(torch.memory.limit())\nx = torch.ones(50_000).tanh()\ndel x\nprint(torch.memory.limit(), torch.memory.statistics()['kept'])"
    assert child(said, BIBUN_MEMORY_LIMIT="0").split() == ["0", "0", "0"]
    assert child(said, BIBUN_MEMORY_LIMIT="12345678").split()[:2] == ["12345678"] * 2
    assert int(child(said, BIBUN_MEMORY_LIMIT="some").split()[0]) > 0
    assert child(said, BIBUN_NATIVE="0").split()[2] == "0"
    asked = "import sys, bibun; bibun.memory.set_limit(5); print(bibun.memory.limit(), 'llvmlite' in sys.modules)\nx = bibun.ones(50_000).tanh(); print(bibun.memory.limit())"
    assert child(asked).split() == ["5", "False", "5"]


def test_limits_that_are_none():
    with pytest.raises(TypeError):
        bibun.memory.set_limit(1.5)
    with pytest.raises(ValueError, match="-1"):
        bibun.memory.set_limit(-1)


def test_as_documented():
    import doctest

    import bibun.memory

    assert doctest.testmod(bibun.memory).failed == 0
