"""What a program assumes, and whether it still holds.

A recording holds for the layout of its arguments and of the tensors it captured, for who requires grad, for the modules' own settings
(training, eps, …), their parameters and hooks, for the grad mode and the defaults, and for all that the user's code can have read from
outside (`reads`). Everything is looked at before each call; the first thing that differs is named.
"""

from __future__ import annotations

from operator import is_
from typing import Any

from .. import dtypes
from ..autograd import anomaly, dispatch
from ..autograd.modes import state
from ..tensor import Tensor
from .reads import SIMPLE, reads
from .recorder import Recorder, Refused
from .watch import Watch

__all__ = ["Guards", "describe"]


def describe(x: Any) -> Any:
    """What of an argument a program depends on."""
    if isinstance(x, Tensor):
        a = x._a
        return type(x), a.shape, a.dtype, a.strides, x._node is not None, x._has_hooks, x._grad is None
    if type(x) in SIMPLE:
        return type(x), x
    raise Refused(f"an argument is a {type(x).__name__}")


def _settings(module: Any) -> tuple[Any, ...]:
    """A module's simple attributes."""
    return tuple([(k, v) for k, v in module.__dict__.items() if type(v) in SIMPLE or type(v) is tuple])


class Guards:
    """The assumptions of one program."""

    def __init__(self, recorder: Recorder, watch: Watch, function: Any, sources: dict[int, Any]):
        # Dictionaries whose values are looked at by identity first, which is quick, and by `_settings` only where that fails.
        self.modules = [(m, m.__dict__, tuple(m.__dict__.values()), _settings(m)) for m in watch.modules.values()]
        self.contents = [
            (d, tuple(d.values()), f"{what} of {type(m).__name__}")
            for m in watch.modules.values() for d, what in ((m._parameters, "a parameter"), (m._buffers, "a buffer"), (m._modules, "a module"))
        ]  # fmt: skip
        hooked = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        self.contents += [(m.__dict__[k], (), f"a hook of {type(m).__name__}") for m in watch.modules.values() for k in hooked if k in m.__dict__]
        self.checks = reads(watch, function)
        # Whether a tensor requires grad matters even where no step that is left reads it.
        read = {id(t): t for t in (*_tensors(recorder.sources), *[t for t, a, _, _ in recorder.found.values() if id(a) in recorder.known])}
        for k in recorder.arguments:
            read.pop(k, None)
        self.tensors = [
            (t, t._a, (t._a.shape, t._a.dtype, t._a.strides), t._node, t._has_hooks)
            for t in {id(t): t for t in (*_tensors(sources), *read.values())}.values()
        ]
        self.grads = [s[1] for s in sources.values() if s[0] == "grad" and isinstance(s[1], Tensor)]
        self.absent = recorder.absent
        self.modes = self._modes()
        self.space: dict[str, Any] = {}
        lines = ["def quick():", " try:", *[f"  if {test}: return False" for test in self._tests()], " except (AttributeError, KeyError, ValueError):", "  return False", " return True"]
        exec(compile("\n".join(lines), "<bibun guards>", "exec"), self.space)
        #: `holds` where nothing at all has changed: whether every object is the very one that was seen.
        self.quick = self.space["quick"]

    def _tests(self) -> list[str]:
        """What `quick` looks at, and in its globals what should be found."""
        names = self.space
        names |= {"busy": dispatch.busy, "state": state, "dtypes": dtypes, "anomaly": anomaly.mode, "saved": dispatch.saved_hooks, "is_": is_, "all": all, "map": map}
        tests = ["busy[0]", "dtypes.default_np is not default", "anomaly[0] != watched", "saved[0] != packing", "bool(state.grad) is not grad"]
        names["grad"], names["inference"], names["strict"], names["default"], names["watched"], names["packing"] = self.modes
        tests += ["state.inference != inference", "state.strict != strict"]
        for i, (t, a, _, node, hooks) in enumerate(self.tensors):
            names.update({f"t{i}": t, f"a{i}": a, f"n{i}": node})
            tests.append(f"t{i}._a is not a{i} or t{i}._node is not n{i} or t{i}._has_hooks is not {hooks!r}")
        for i, leaf in enumerate(self.grads):
            names.update({f"l{i}": leaf, f"s{i}": leaf._a.shape})
            tests.append(f"l{i}._grad is None or (a := l{i}._grad._a).shape != s{i} or not a.flags.c_contiguous")
        for i, leaf in enumerate(self.absent):
            names[f"b{i}"] = leaf
            tests.append(f"b{i}._grad is not None")
        for i, (d, values) in enumerate([(d, v) for _, d, v, _ in self.modules] + [(d, v) for d, v, _ in self.contents]):
            names.update({f"d{i}": d, f"v{i}": values})
            tests.append(f"len(d{i}) != len(v{i}) or not all(map(is_, d{i}.values(), v{i}))" if values else f"d{i}")
        return tests + [check.test(i, names) for i, check in enumerate(self.checks)]

    @staticmethod
    def _modes() -> tuple[Any, ...]:
        return bool(state.grad), state.inference, state.strict, dtypes.default_np, anomaly.mode[0], dispatch.saved_hooks[0]

    def holds(self) -> str:
        """The first assumption that does not hold; "" where all do, and `quick` knows the objects of now."""
        if dispatch.busy[0]:
            return "transforms are active"
        if self._modes() != self.modes:
            return "grad mode or a default"
        for t, a, (shape, dtype, strides), node, hooks in self.tensors:
            b = t._a
            if b is not a and (b.shape != shape or b.dtype != dtype or b.strides != strides):
                return f"a tensor of shape {tuple(shape)} is now {tuple(b.shape)}"
            if t._node is not node and (t._node is None) is not (node is None):
                return "requires_grad of a tensor"
            if t._has_hooks is not hooks:
                return "hooks of a tensor"
        for leaf in self.grads:
            if leaf._grad is None or leaf._grad._a.shape != leaf._a.shape or not leaf._grad._a.flags.c_contiguous:
                return "a gradient that was there"
        for leaf in self.absent:
            if leaf._grad is not None:
                return "a gradient that was not there"
        for m, d, values, settings in self.modules:
            if (len(d) != len(values) or not all(map(is_, d.values(), values))) and _settings(m) != settings:
                return f"a setting of {type(m).__name__}"
        for d, values, what in self.contents:
            if len(d) != len(values) or not all(map(is_, d.values(), values)):
                return what
        for check in self.checks:
            if not check.holds():
                return check.what
        self.tensors = [(t, t._a, layout, t._node, hooks) for t, _, layout, _, hooks in self.tensors]
        self.modules = [(m, d, tuple(d.values()), settings) for m, d, _, settings in self.modules]
        self._tests()
        return ""


def _tensors(sources: dict[int, Any]) -> list[Any]:
    """The tensors that values come from, or whose gradients do."""
    return [t for s in sources.values() if isinstance(t := s[2] if s[0] == "outside" else s[1] if s[0] in ("tensor", "grad") else None, Tensor)]
