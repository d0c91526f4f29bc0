"""Two libraries do the same work in turn, and a bound on the ratio of their times says whether the benchmark holds.

In go workloads by name (a function from a torch-like module to the step to time) and the bound of each; out come the
median seconds of both sides and an exit status: 1 where a bound is broken. Each side lives in a process of its own, and
they take turns (A B A B …), so that a machine growing slower slows both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Step = Callable[[], Any]


class Failed(Exception):
    """A side could not build or run a step."""

Workload = Callable[[Any], Step]


class Side:
    """One library in its process: `ask` sends it a line and gives its answer."""

    def __init__(self, script: str, module: str) -> None:
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, script, "--serve", module], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(what), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.module} ended while it was asked {what}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise Failed(f"{self.module}: {answer}")
        return answer

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(module: str, workloads: dict[str, Workload]) -> None:
    """A side's own loop: build a step, or run it so many times and say how long that took."""
    library = importlib.import_module(module)
    step: Step | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = None
        try:
            if "build" in asked:
                step = workloads[asked["build"]](library)
                for _ in range(3):
                    step()
            else:
                assert step is not None
                times = asked["times"]
                start = time.perf_counter()
                for _ in range(times):
                    step()
                answer = (time.perf_counter() - start) / times
        except Exception as error:  # the others go on
            answer = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(json.dumps(answer), flush=True)


def race(ours: Side, theirs: Side, name: str, rounds: int, budget: float) -> tuple[float, float]:
    """Median seconds of a step on either side."""
    for side in (ours, theirs):
        side.ask(build=name)
    once = min(side.ask(times=5) for side in (ours, theirs))
    times = max(1, min(5000, int(budget / rounds / 2 / once)))
    seconds = [(ours.ask(times=times), theirs.ask(times=times)) for _ in range(rounds)]
    mine, other = zip(*seconds)
    return statistics.median(mine), statistics.median(other)


def report(name: str, ratio: float, bound: float | None, detail: str) -> bool:
    """Print a line; whether the bound holds."""
    holds = bound is None or ratio <= bound
    limit = "" if bound is None else f"   bound {bound:4.2f}  {'holds' if holds else 'BROKEN'}"
    print(f"{name:22} {detail}   ratio {ratio:6.3f}{limit}", flush=True)
    return holds


def main(script: str, workloads: dict[str, Workload], bounds: dict[str, float]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", help="workloads whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds a workload, about")
    parser.add_argument("--module", default="bibun", help="torch: PyTorch against itself, ratios near 1")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, workloads)
    ours, theirs = Side(script, options.module), Side(script, "torch")
    held = True
    for name in workloads:
        if options.only and not any(part in name for part in options.only):
            continue
        mine, other = race(ours, theirs, name, options.rounds, options.budget)
        detail = f"{mine * 1e6:9.1f} µs   PyTorch {other * 1e6:9.1f} µs"
        held &= report(name, mine / other, bounds.get(name), detail)
    ours.close()
    theirs.close()
    sys.exit(not held)
