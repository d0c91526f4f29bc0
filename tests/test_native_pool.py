"""The pool of workers: many callers at once, forks, ends of processes, how many threads, and that idle workers sleep."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import bibun as torch
from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import pool

SAMPLE = str(Path(__file__).with_name("native_sample.py"))


@pytest.fixture
def threads():
    before = pool.threads()
    yield pool.set_threads
    pool.set_threads(before)


def child(program, **environment):
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout.strip()


def test_many_python_threads_at_once(threads):
    threads(3)
    x = torch.linspace(-3, 3, 120_000)
    wanted = torch.nn.functional.gelu(x).numpy().tobytes()
    wrong = []

    def call():
        for _ in range(60):
            if torch.nn.functional.gelu(x).numpy().tobytes() != wanted:
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(6)]
    for c in callers:
        c.start()
    for i in range(40):
        pool.set_threads(1 + i % 4)  # while they work
        time.sleep(0.002)
    for c in callers:
        c.join(30)
    assert not wrong
    assert not any(c.is_alive() for c in callers)


def test_each_item_once(threads):
    """Many small jobs one after the other: a worker that comes late does no work of the next one twice."""
    threads(4)
    x = torch.arange(40_000, dtype=torch.float32)
    wanted = (x + 1.0).numpy()
    for _ in range(1500):
        made = (x + 1.0).tanh().sum(), x + 1.0
        assert made[1].numpy()[-1] == wanted[-1]
    assert np.array_equal(made[1].numpy(), wanted)


FORK = """
import os, signal, sys, threading, warnings
import bibun as torch
warnings.simplefilter("ignore")
torch.set_num_threads(3)
x = torch.linspace(-3, 3, 200_000)
wanted = torch.tanh(x).sum().item()
going = True
def work():
    n = 0
    while going:
        torch.nn.functional.softmax(torch.tanh(x).reshape(100, 2000), -1)
        torch.exp(torch.ones(30_000 + n % 7))
        n += 1
busy = [threading.Thread(target=work) for _ in range(2)]
for t in busy: t.start()
for _ in range(8):
    child = os.fork()
    if not child:
        signal.alarm(20)  # a child that hangs ends with a signal
        torch.set_num_threads(2)
        good = torch.tanh(x).sum().item() == wanted and torch.special.erfcx is not None
        good = good and torch.log1p(torch.expm1(x * 0.01)).sum().isfinite().item()  # code that is new to the child
        os._exit(0 if good else 3)
    assert os.waitpid(child, 0)[1] == 0
going = False
for t in busy: t.join()
assert torch.tanh(x).sum().item() == wanted
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_forks_in_the_middle(tmp_path):
    child(FORK, BIBUN_CACHE=str(tmp_path))


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(0)", "import os; os._exit(0)", "import os, signal; signal.signal(signal.SIGTERM, lambda *a: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM)"])
def test_ends_while_workers_spin(end):
    child(f"import sys\nimport bibun as torch\ntorch.set_num_threads(4)\nx = torch.ones(300_000)\nfor _ in range(20): x.tanh()\n{end}")
    child(f"""
import sys, threading
import bibun as torch
torch.set_num_threads(4)
x = torch.ones(300_000)
def work():
    while True: x.tanh()
threading.Thread(target=work, daemon=True).start()
x.tanh()
{end}""")


def test_how_many_threads():
    said = "import bibun as torch; from bibun.native import pool; x = torch.ones(50_000).tanh(); print(torch.get_num_threads(), pool.threads(), len(pool._shared().threads))"
    assert child(said, OMP_NUM_THREADS="1") == "1 1 0"
    assert child(said, OMP_NUM_THREADS="3") == "3 3 2"
    assert child("import bibun as torch; torch.set_num_threads(5)\n" + said, OMP_NUM_THREADS="2") == "5 5 4"
    assert child(said + "\ntorch.set_num_threads(1); print(pool.threads())", OMP_NUM_THREADS="2").split("\n")[1] == "1"
    assert child("import sys, bibun as torch; torch.set_num_threads(2); print('llvmlite' in sys.modules, torch.get_num_threads())") == "False 2"


def test_idle_workers_sleep(threads):
    threads(4)
    torch.ones(300_000).tanh()
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - before < 0.05


def test_the_number_of_threads_changes_no_bit(tmp_path):
    made = []
    for n in "123":
        file = tmp_path / f"{n}.npz"
        subprocess.run([sys.executable, SAMPLE, str(file)], check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": n})
        made.append(np.load(file))
    for name in made[0]:
        assert made[0][name].tobytes() == made[1][name].tobytes() == made[2][name].tobytes(), name


def test_an_interrupt_comes_through():
    program = "import bibun as torch, os, signal, threading\nsignal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it\ntorch.set_num_threads(2)\nx = torch.ones(200_000)\nx.tanh().sum()\nthreading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\ntry:\n    while True: x.tanh()\nexcept KeyboardInterrupt:\n    print(x.tanh().sum().isfinite().item())"
    assert child(program) == "True"
