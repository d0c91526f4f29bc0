"""The examples run as their users run them, and PyTorch, where installed, runs the very same files."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bibun

EXAMPLES = Path(__file__).parents[1] / "examples"
ENV = {**os.environ, "PYTHONPATH": str(Path(bibun.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


def digits(folder: Path, *how: str, epochs: int = 30) -> list[str]:
    out = folder / f"{'bibun' if how else 'torch'}.png"
    done = subprocess.run([sys.executable, *how, str(EXAMPLES / "digits.py"), "--epochs", str(epochs), "--out", str(out)],
                          env=ENV, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # the progress bar is for terminals
    return done.stdout.splitlines()


def test_digits(tmp_path: Path) -> None:
    lines = digits(tmp_path, "-m", "bibun")
    accuracy = re.match(r"test accuracy (\S+)% with torch 2.13.0\+bibun", lines[-1])
    assert accuracy and float(accuracy[1]) > 97.0
    picture = pytest.importorskip("PIL.Image").open(tmp_path / "bibun.png")
    picture.load()
    assert picture.mode == "RGB" and min(picture.size) > 500
    blue = sum(count for count, (r, _, b) in picture.getcolors(1 << 20) if b > r + 60)
    assert blue > 0.03 * picture.size[0] * picture.size[1]  # a strong diagonal


def test_digits_are_the_same_under_pytorch(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    ours, theirs = digits(tmp_path, "-m", "bibun", epochs=3), digits(tmp_path, epochs=3)
    # Same seed, same digits: where 1,437 images were learned from, one of 360 on the edge may still fall either way.
    assert [line.split("test accuracy")[0] for line in ours[:2]] == [line.split("test accuracy")[0] for line in theirs[:2]]
    for a, b in zip(ours[1:-1], theirs[1:-1], strict=True):
        (a_loss, *a_shares), (b_loss, *b_shares) = ([float(x) for x in re.findall(r"\d+\.\d+", line)] for line in (a, b))
        assert a_loss == pytest.approx(b_loss, abs=0.002)
        assert a_shares == pytest.approx(b_shares, abs=0.6)  # in per cent: an image or two near the border may tip over


def test_progress_bar(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "bibun", str(EXAMPLES / "digits.py"), "--epochs", "1"], env=ENV, cwd=tmp_path,
                          stdout=subprocess.DEVNULL, stderr=slave) as process:
        os.close(slave)
        said = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
    os.close(master)
    assert process.returncode == 0 and "epoch  1 │████████████████████████│ 23/23" in said.decode()


def test_the_data_are_the_published_ones() -> None:
    import gzip
    import hashlib
    stored = (EXAMPLES / "data" / "digits.csv.gz").read_bytes()
    assert hashlib.sha256(stored).hexdigest() in (EXAMPLES / "data" / "README.md").read_text()
    assert len(gzip.decompress(stored).splitlines()) == 1797
