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


def child(*command):
    made = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "BIBUN_DEBUG": "bounds"})
    assert made.returncode == 0, made.stderr[-3000:]


def test_a_kernel_that_leaves_its_arrays_raises(tmp_path):
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY)
    child(str(file))


def test_every_kernel_stays_inside(tmp_path):
    child(SAMPLE, str(tmp_path / "made.npz"))
    made = np.load(tmp_path / "made.npz")
    subprocess.run([sys.executable, SAMPLE, str(tmp_path / "plain.npz")], check=True, timeout=120)
    plain = np.load(tmp_path / "plain.npz")
    for name in plain:
        np.testing.assert_allclose(made[name], plain[name], rtol=1e-4, atol=1e-4 * np.abs(plain[name]).max())
