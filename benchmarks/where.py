"""What it costs that errors say where: eager steps with and without the recording of lines, and with anomaly detection.

    python benchmarks/where.py [--only mlp]

The side without lines is bibun with those pieces of its source cut out, as it is imported, that look up the program's line
for nodes, for writes, for the backward that uses up a graph and for what switches recording off. Bounds: 1.10 for lines;
1.50 for anomaly detection, on a training step of a small network.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import re
import statistics
import sys
from typing import Any

import contest
import eager

#: file -> (what is cut out, what stands there instead). Each must be found.
CUTS: dict[str, list[tuple[str, str]]] = {
    "autograd/dispatch.py": [
        (
            r"( +)f = frame_at\(1\)\n +c = f\.f_code\n +if c is not recent\[0\]:\n(?: +.*\n){7} +node\.code = c\n +node\.lasti = f\.f_lasti\n",
            r"\1node.code = None\n\1node.lasti = 0\n",
        ),
        (
            r"( +)f = frame_at\(1\)\n +while internal[^\n]*\n +f = f\.f_back\n +node\.code, node\.lasti = f\.f_code, f\.f_lasti\n",
            r"\1node.code, node.lasti = None, 0\n",
        ),
        (
            r"(def user_frame\(depth: int\) -> Any:\n)",
            "class Nowhere:\n    f_code = f_back = None\n    f_lasti = f_lineno = 0\n\n\n\\1    return Nowhere\n",
        ),
    ],
    "autograd/engine.py": [
        (
            r"( +)f = frame_at\(2\)[^\n]*\n +while internal[^\n]*\n +f = f\.f_back\n +freed = Freed\(f\.f_code, f\.f_lasti\)\n",
            r"\1freed = Freed(None, 0)\n",
        )
    ],
    "autograd/modes.py": [(r"(    made = Off\(\)\n)    f = sys", r"\1    made.code, made.lasti = None, 0\n    return made\n    f = sys")],
}
CUTS["autograd/direct.py"] = CUTS["autograd/dispatch.py"][:1]


class Cutter(importlib.abc.MetaPathFinder):
    """Imports bibun's modules with the cuts made."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if not name.startswith("bibun."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        file = (spec and spec.origin or "").replace("\\", "/").rpartition("/bibun/")[2]
        if spec is not None and file in CUTS:
            spec.loader = CutLoader(name, spec.origin, CUTS[file])
        return spec


class CutLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: Any, cuts: list[tuple[str, str]]):
        super().__init__(name, path)
        self.cuts = cuts

    def get_code(self, name: str) -> Any:
        text = self.get_data(self.path).decode()
        for pattern, instead in self.cuts:
            text, found = re.subn(pattern, instead, text)
            if not found:
                raise SystemExit(f"{self.path} no longer has the piece that this benchmark cuts out: {pattern}")
        return compile(text, self.path, "exec")


def _mlp(t: Any, batch: int) -> contest.Step:
    t.manual_seed(0)
    model = t.nn.Sequential(t.nn.Linear(784, 128), t.nn.ReLU(), t.nn.Linear(128, 10))
    x, y = t.randn(batch, 784), t.randint(0, 10, (batch,))
    optimizer, criterion = t.optim.Adam(model.parameters(), lr=1e-3), t.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def mlp_train_b64(t: Any) -> contest.Step:
    """A training step of a 784-128-10 network with Adam, 64 images."""
    return _mlp(t, 64)


def mlp_train_b256(t: Any) -> contest.Step:
    """The same, 256 images."""
    return _mlp(t, 256)


LINES = {f.__name__: f for f in (eager.scalar_wx_b, eager.scalar_nograd, eager.seed_loop, eager.chain_64, eager.mlp_train_b1, mlp_train_b64)}
ANOMALY = {f.__name__: f for f in (eager.seed_loop, eager.mlp_train_b1, mlp_train_b64, mlp_train_b256)}
WORKLOADS = LINES | ANOMALY
BOUND_LINES, BOUND_ANOMALY = 1.10, {"mlp_train_b1": 1.5, "mlp_train_b64": 1.5, "mlp_train_b256": 1.5}


def paired(a: contest.Side, b: contest.Side, name: str, rounds: int, budget: float) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the ratios of neighbouring turns: the two sides differ by little."""
    for side in (a, b):
        side.ask(build=name)
    once = min(side.ask(times=5) for side in (a, b))
    times = max(1, min(5000, int(budget / rounds / 2 / once)))
    turns = []
    for i in range(rounds):
        first, second = (a, b) if i % 2 else (b, a)
        got = {id(side): side.ask(times=times) for side in (first, second)}
        turns.append((got[id(a)], got[id(b)]))
    return statistics.median(x for x, _ in turns), statistics.median(y for _, y in turns), statistics.median(x / y for x, y in turns)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", help="workloads whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--budget", type=float, default=3.0, help="seconds a workload, about")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        if options.serve == "without lines":
            sys.meta_path.insert(0, Cutter())
        elif options.serve == "anomaly":
            import bibun

            bibun.autograd.set_detect_anomaly(True)
        return contest.serve("bibun", WORKLOADS)
    held = True
    for title, other, workloads in (("lines", "without lines", LINES), ("anomaly", "anomaly", ANOMALY)):
        a, b = contest.Side(__file__, "as it is"), contest.Side(__file__, other)
        for name in workloads:
            if options.only and not any(part in name for part in options.only):
                continue
            if title == "lines":
                mine, without, ratio = paired(a, b, name, options.rounds, options.budget)
                bound: float | None = BOUND_LINES
                detail = f"with lines {mine * 1e6:9.1f} µs   without {without * 1e6:9.1f} µs"
            else:
                watched, mine, ratio = paired(b, a, name, options.rounds, options.budget)
                bound = BOUND_ANOMALY.get(name)
                detail = f"anomaly    {watched * 1e6:9.1f} µs   off     {mine * 1e6:9.1f} µs"
            held &= contest.report(name, ratio, bound, detail)
        a.close()
        b.close()
    sys.exit(not held)


if __name__ == "__main__":
    main()
