"""``BIBUN_DEBUG=bounds``: kernels that leave their arrays raise, and none of the library's does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bibun.backends.large import native

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

SAMPLE = str(Path(__file__).with_name("native_sample.py"))

FAULTY = '''
import numpy as np
from bibun.backends.large import native
from bibun.native.kernel import kernel
from bibun.native.lang import Ptr, f32, i64, void

assert native()

@kernel
def shift(x: Ptr[f32], out: Ptr[f32], by: i64, begin: i64, end: i64) -> void:
    for i in range(begin, end):
        out[i] = x[i + by]

x, out = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
call = shift()
call(x[1:], out[:999], 0, 999, 100)
assert np.array_equal(out[:999], x[1:])
call(x[::-1], out, -999, 1000, 1000)
for given in ((x, out, 1, 1000, 100), (x, out, -1, 1000, 100), (x, out[:500], 0, 501, 100), (x, out, 1 << 45, 3, 3)):
    try:
        call(*given)
    except IndexError as error:
        assert "shift" in str(error)
    else:
        raise SystemExit("nothing was said")
'''


RUNS = """
import numpy as np
import bibun as torch
from bibun.nn import functional as F

torch.manual_seed(0)
table, layer = torch.nn.Embedding(7, 6), torch.nn.Linear(6, 5)
parameters = [*table.parameters(), *layer.parameters()]
optimizer = torch.optim.Adam(parameters)
x, y = torch.arange(9) % 7, torch.arange(9) % 5

@torch.compile
def step():
    optimizer.zero_grad()
    h = F.layer_norm(layer(table(x)), (5,)).gather(1, torch.arange(45).reshape(9, 5) % 5)
    loss = F.cross_entropy(h, y) + h.softmax(1).square().sum() + (h @ h.T).tanh().mean()
    loss.backward()
    optimizer.step()
    return loss

for _ in range(5):
    step()
(known,) = step._compiled.signatures.values()
runs = list(known.program.segments.values())
assert runs
for run in runs:
    given = []
    for kind, *n in run.order:
        a = None if kind == "scratch" else run.layouts[n[0]]
        given.append(run.room(run.size) if a is None else np.zeros(a.size, a.dtype) if len(given) else np.zeros(a.size // 2, a.dtype))
    try:
        run.call(*given, run.flag)
    except IndexError as error:
        assert "segment" in str(error)
        break
else:
    raise SystemExit("nothing was said")
"""


def child(*command):
    made = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "BIBUN_DEBUG": "bounds"})
    assert made.returncode == 0, made.stderr[-3000:]


def test_a_kernel_that_leaves_its_arrays_raises(tmp_path):
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY)
    child(str(file))


def test_runs_of_compiled_programs_are_watched(tmp_path):
    file = tmp_path / "runs.py"
    file.write_text(RUNS)
    child(str(file))


def test_every_kernel_stays_inside(tmp_path):
    child(SAMPLE, str(tmp_path / "made.npz"))
    made = np.load(tmp_path / "made.npz")
    subprocess.run([sys.executable, SAMPLE, str(tmp_path / "plain.npz")], check=True, timeout=120)
    plain = np.load(tmp_path / "plain.npz")
    for name in plain:
        np.testing.assert_allclose(made[name], plain[name], rtol=1e-4, atol=1e-4 * np.abs(plain[name]).max())
