"""Steps made ready: what an optimizer's step looks up each time, looked up once.

In: an `Elementwise` optimizer that has taken a step. Out: a function that takes the step in one native call for each group, after it has
seen that groups, options, parameters and state are the very objects that they were. Where something else is found, the optimizer takes
the step as ever, and the next one is made ready anew.
"""

from __future__ import annotations

import sys
import threading
from operator import is_
from typing import Any

import numpy as np

from ..autograd.versions import last_write, records_of, tick
from ..tensor import Tensor
from .elementwise import Elementwise
from .optimizer import global_post_hooks, global_pre_hooks

__all__ = ["PreparedStep", "preparable"]

#: How often a step is made ready anew before it is left to the optimizer.
PATIENCE = 16
_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def preparable(optimizer: Any) -> bool:
    """Whether steps of this optimizer can be made ready."""
    kind = type(optimizer)
    return isinstance(optimizer, Elementwise) and kind.step is Elementwise.step and not optimizer._own_scalars and not optimizer.defaults.get("differentiable")


class _Group:
    """One group's row of arrays and numbers.

    Attributes:
        group: the dict; options: its values, by identity; names, flags: what `Elementwise._layout` says of it.
        params: those with gradients; states: their dicts; counts: arrays that count their steps.
        table: for each parameter where its elements end in the count of all, addresses of its arrays, and the numbers.
    """

    def __init__(self, optimizer: Any, group: dict[str, Any]):
        from ..native.kernels.updates import CHUNK

        self.optimizer, self.group, self.chunk = optimizer, group, CHUNK
        optimizer._check_capturable(group)
        self.options = tuple(group.values())
        self.all = tuple(group["params"])
        self.params = [p for p in self.all if p._grad is not None]
        self.without = [p for p in self.all if p._grad is None]
        self.names, self.flags = optimizer._layout(group)
        self.states = [optimizer.state.get(p) for p in self.params] if self.names or optimizer._counted else []
        self.counts = [s["step"]._a for s in self.states] if optimizer._counted else []
        self.arrays = [(p._a, *[s[name]._a for name in self.names]) for p, s in zip(self.params, self.states or [{}] * len(self.params))]
        self.dtype = self.arrays[0][0].dtype
        if self.dtype not in _TYPES or any(a.dtype is not self.dtype or not a.flags.c_contiguous or a.shape != row[0].shape for row in self.arrays for a in row):
            raise TypeError("arrays of another kind")
        if len({c.item() for c in self.counts}) > 1:
            raise TypeError("parameters with different numbers of steps")
        self.records = records_of([row[0] for row in self.arrays])
        self.shapes = [row[0].shape for row in self.arrays]
        self.width = 2 + len(self.names)
        numbers = self.ask(self.counts[0].item() if self.counts else 0.0)
        rows, wide = len(self.arrays), 1 + self.width + len(numbers)
        self.table = np.empty((rows, wide), np.int64)
        self.table[:, 0] = np.cumsum([row[0].size for row in self.arrays])
        for k, row in enumerate(self.arrays):
            self.table[k, 1 : 1 + self.width] = [id(row[0]), 0, *map(id, row[1:])]
        self.total = int(self.table[-1, 0])
        flat: Any = self.table.reshape(-1)
        self.places: Any = memoryview(flat)
        self.gradients = range(2, rows * wide, wide)
        self.floats: Any = memoryview(flat.view(np.float64))
        self.call: Any = None
        self.asked: frozenset[int] = frozenset()
        self.numbers = [float("nan")] * len(numbers)
        self.renumber(numbers)

    def ask(self, count: float) -> list[float]:
        return self.optimizer._numbers(self.group, count, self.states[0] if self.states else {})

    def renumber(self, numbers: list[float]) -> None:
        """Have the table hold other numbers."""
        self.asking = any(isinstance(x, Tensor) for x in self.options)  # whose values may change
        changed = [k for k, (new, old) in enumerate(zip(numbers, self.numbers)) if new != old]
        if not changed:
            return
        if self.call is None or not self.asked.isdisjoint(changed):
            from ..native.kernels.updates import kernel_of

            self.call, self.asked = kernel_of(self.optimizer._rule, self.flags, self.dtype, self.width, numbers)
        floats, step = self.floats, self.table.shape[1]
        for k in changed:
            for at in range(1 + self.width + k, len(floats), step):
                floats[at] = numbers[k]
        self.numbers = numbers

    def same_options(self) -> bool:
        """Whether options that have changed ask for nothing but other numbers."""
        names, flags = self.optimizer._layout(self.group)
        if names != self.names or flags != self.flags or self.group.get("capturable"):
            return False
        self.options = tuple(self.group.values())
        self.asking = True
        return True

    def write(self, k: int, names: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The tests that everything is as it was but for numbers and gradients, with what sees to those, and the step, as straight code."""

        def named(stem: str, x: Any) -> str:
            name = f"{stem}{k}_{len(names)}"
            names[name] = x
            return name

        me, group, places = named("group", self), named("options", self.group), named("places", self.places)
        tests = [f"not all(map(is_, {group}.values(), {me}.options)) and not {me}.same_options()"]
        params = named("params", self.group["params"])
        tests.append(f"{group}['params'] is not {params} or len({params}) != {len(self.all)}")
        known = [named("p", p) for p in self.all]
        tests += [f"{params}[{i}] is not {p}" for i, p in enumerate(known)]
        tests += [f"{p}._grad is not None" for p, x in zip(known, self.all) if any(x is w for w in self.without)]
        with_grad = [p for p, x in zip(known, self.all) if not any(x is w for w in self.without)]
        lines = []
        if self.states:
            for p, s, (_, *kept) in zip(with_grad, self.states, self.arrays):
                state = named("s", s)
                tests.append(f"state.get({p}) is not {state}")
                tests += [f"{state}[{name!r}]._a is not {named('a', a)}" for name, a in zip(self.names, kept)]
        for p, (a, *_), shape, at in zip(with_grad, self.arrays, self.shapes, self.gradients):
            lines += [
                f"g = {p}._grad", f"if g is None or {p}._a is not {named('a', a)}: return False", "b = g._a",
                f"if b.dtype is not {named('d', self.dtype)} or b.shape != {shape!r} or not b.flags.c_contiguous: return False", f"{places}[{at}] = id(b)",
            ]  # fmt: skip
        counts = [named("c", c) for c in self.counts]
        if counts:
            lines.append(f"n{k} = {counts[0]}.item()")
            lines += [f"if {named('s', s)}['step']._a is not {c}" + (f" or {c}.item() != n{k}" if i else "") + ": return False" for i, (c, s) in enumerate(zip(counts, self.states))]
            lines.append(f"{me}.renumber({me}.ask(n{k} + 1.0))")
        else:
            lines.append(f"if {me}.asking: {me}.renumber({me}.ask(0.0))")
        step = [f"{c}.fill(n{k} + 1.0)" for c in counts]
        step.append(f"{me}.call({named('table', self.table)}, {len(self.arrays)}, {self.total}, {self.chunk})")
        for record in self.records:  # as `versions.written`
            r = named("r", record)
            step.append(f"{r}.counter[0] += 1; {r}.time = now; {r}.log = [(now, 0, far, code, at)]")
        return [f"if {test}: return False" for test in tests] + lines, step


class PreparedStep:
    """``optimizer.step()``, made ready.

    Args:
        optimizer: one that is `preparable`.
        line: the code and instruction that errors about overwritten values name.
    """

    def __init__(self, optimizer: Any, line: tuple[Any, int] = (None, 0)):
        self.optimizer, self.line = optimizer, line
        self.lock = threading.Lock()
        self.left = PATIENCE
        self.groups: list[_Group] = []
        self.take: Any = bool
        self.find()

    def find(self) -> None:
        """Look everything up."""
        self.take = bool  # False
        if self.left and preparable(self.optimizer):
            self.left -= 1
            try:
                self.state, self.held = self.optimizer.state, self.optimizer.param_groups
                self.groups = [_Group(self.optimizer, g) for g in self.held]
                self.take = self._write()
            except (TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RuntimeError, AssertionError):
                pass  # its own way is right for everything

    def _write(self) -> Any:
        """What takes the step as it was prepared and says whether it could, as straight code; numbers and gradients are seen to."""
        names: dict[str, Any] = {"all": all, "map": map, "len": len, "id": id, "is_": is_, "o": self.optimizer, "held": self.held, "state": self.state,
                                 "before": global_pre_hooks, "after": global_post_hooks, "tick": tick, "last": last_write, "far": sys.maxsize}  # fmt: skip
        names["code"], names["at"] = self.line
        tests = [
            f"if o.param_groups is not held or o.state is not state or len(held) != {len(self.held)}: return False",
            "if o._optimizer_step_pre_hooks or o._optimizer_step_post_hooks or before or after: return False",
        ]
        steps = ["o._opt_called = True", "now = last[0] = tick()"]
        for k, group in enumerate(self.groups):
            names[f"group{k}"] = group.group
            looks, step = group.write(k, names)
            tests += [f"if held[{k}] is not group{k}: return False", *looks]
            steps += step
        text = ["def take():", " try:", *["  " + line for line in tests], " except (KeyError, AttributeError):", "  return False", *[" " + line for line in steps], " return True"]
        exec(compile("\n".join(text), "<bibun step>", "exec"), names)
        return names["take"]

    def __call__(self) -> None:
        if not self.lock.acquire(False):
            self.optimizer.step()
            return
        try:
            if not self.take():
                self.optimizer.step()
                self.find()
        finally:
            self.lock.release()
