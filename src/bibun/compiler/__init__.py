"""`compile`: a function, module or whole training step as a recorded program.

The first two calls with given arguments run as they are, and are recorded: the primitives that pass, forward and backward, writes,
gradients, steps of optimizers. Where both recordings agree, later calls run the program, after a look at everything it assumes
(`guards`). Where three recordings for arguments of three sizes agree but for numbers that follow from the sizes, there is one program
for all sizes (`sizes`). Where something cannot be repeated for certain, calls go on running as they are; `report` says why. A compiled function
gives what the function itself gives, always: nothing is compiled that might not.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from ..autograd.dispatch import busy
from ..func.pytree import tree_flatten
from ..nn import Module
from ..tensor import Tensor
from .guards import Guards, describe
from .joint import record_backward
from .program import Program
from .recorder import Recorder, Refused, recording
from .sizes import NotRelated, TooSmall
from .watch import watching

__all__ = ["OptimizedModule", "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "report", "reset", "set_stance"]

#: How many different programs one function may have before the oldest goes.
MOST = 8
#: How many times larger than those seen sizes may be before one is recorded: what is best for small arrays is not for large ones.
_BEYOND = 16
#: How many recordings may fail before a function is left alone.
PATIENCE = 3
#: How many calls a program must have served before what changes is worth another: after `MOST` shorter lives there is none.
_WORTH = 20

_all: weakref.WeakSet[Any] = weakref.WeakSet()
_stance = ["default"]


class _Known:
    """What is known of a function for some arguments: a program with its guards, once there is one."""

    def __init__(self) -> None:
        self.program: Any = None
        self.guards: Any = None
        self.building = False
        self.calls = 0
        self.failures = 0
        self.short, self.since = 0, 0
        self.why = ""

    def outdated(self, differs: str) -> None:
        """Something that the program assumes has changed."""
        self.program = None
        self.short = self.short + 1 if self.calls - self.since < _WORTH else 0
        self.since = self.calls
        if self.short > MOST:
            self.failures, self.why = PATIENCE, f"{differs} changes again and again"


class _Signature(_Known):
    """What is known for arguments of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Any = None
        self.checked = 0


class _Family(_Known):
    """What is known for arguments that differ in nothing but sizes.

    Attributes:
        recorded: the latest recording for each size; fits: tells of arguments whether the program takes them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recorded: dict[Any, Program] = {}
        self.fits: Any = None

    def others(self, key: Any) -> list[Program]:
        """Two recordings for other sizes, as far apart as there are."""
        rest = sorted((p for k, p in self.recorded.items() if k != key), key=lambda p: sum(sum(p.layouts[n].shape) for n in p.inputs))
        return [rest[0], rest[-1]] if len(rest) > 1 else []


def _loosely(x: Any) -> Any:
    """What of an argument a program for all sizes depends on; None for one that there is no such program for."""
    if isinstance(x, Tensor):
        a = x._a
        return (type(x), a.ndim, a.dtype, x._node is not None, x._has_hooks, x._grad is None) if a.flags.c_contiguous else None
    return type(x), x


def _fitting(program: Program, ordered: bool) -> Any:
    """Whether arguments are of the shapes that a general program is for: its sizes are 2 or more and not far beyond what has been seen, or within it."""
    lines = [f"{name} = leaves[{k}]._a.shape[{d}]" for name, (k, d) in program.sizes.items()]
    bounds = program.limits + [f"{low} <= {name} <= {high}" if ordered else f"{name} <= {high * _BEYOND}" for name, (low, high) in program.spread.items()]
    shapes = [f"leaves[{k}]._a.shape == {shape!r}" for k, shape in program.shapes.items()]
    space: dict[str, Any] = {}
    exec("\n ".join(["def fits(leaves):", *lines, f"return {' and '.join(bounds + shapes)}"]), space)
    return space["fits"]


class Compiled:
    """A function that becomes a program when it is called."""

    def __init__(self, function: Callable[..., Any], verify: int = 0, explain: bool = False, fullgraph: bool = False, background: bool = False, dynamic: bool | None = None):
        self.function, self.verify, self.explain, self.fullgraph, self.background = function, verify, explain, fullgraph, background
        self.dynamic = dynamic
        self.full = False
        self.signatures: dict[Any, _Signature] = {}
        self.families: dict[Any, _Family] = {}
        self.quick: dict[Any, _Signature] = {}
        _all.add(self)

    def __reduce__(self) -> Any:
        """Copies, and what is unpickled, begin without programs."""
        return Compiled, (self.function, self.verify, self.explain, self.fullgraph, self.background, self.dynamic)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _stance[0] == "force_eager" or busy[0]:
            return self.function(*args, **kwargs)
        family = quick = None
        if args and not kwargs:  # mostly tensors alone, whose program is found without a look at what holds them
            try:
                quick = tuple([(x.__class__, (a := x._a).shape, a.dtype, a.strides, x._node is not None, x._has_hooks, x._grad is None) for x in args])
            except AttributeError:
                pass
            else:
                known = self.quick.get(quick)
                if known is not None and known.program is not None and known.checked >= self.verify and known.guards.quick():
                    known.calls += 1
                    return known.program.run(list(args))
        if args or kwargs:
            leaves, spec = tree_flatten((args, kwargs))
            try:
                key: Any = (spec, tuple([describe(x) for x in leaves]))
                known = self.signatures.get(key)
                if (known is None or known.program is None) and self.dynamic is not False:
                    family = self._family(spec, leaves)
                    if family is not None and family.program is not None and family.fits(leaves):
                        if family.guards.quick() or not (differs := family.guards.holds()):
                            family.calls += 1
                            if family.calls <= self.verify:
                                return self._verified(family, leaves, args, kwargs)
                            return family.program.run(leaves)
                        family.recorded.clear()
                        family.failures = 0
                        family.outdated(differs)
                        self.say(f"recorded anew: {differs} has changed")
            except (Refused, TypeError) as why:
                self.say(f"not compiled: {why}")
                return self.function(*args, **kwargs)
        else:
            leaves, key = [], None
            known = self.signatures.get(None)
        if known is None:
            if len(self.signatures) >= MOST:
                return self._one_too_many(args, kwargs)
            known = self.signatures[key] = _Signature()
        known.calls += 1
        if quick is not None:
            self.quick[quick] = known
        program = known.program
        if program is not None:
            guards = known.guards
            differs = "" if guards.quick() else guards.holds()
            if not differs:
                if known.checked < self.verify:
                    known.checked += 1
                    return self._verified(known, leaves, args, kwargs)
                return program.run(leaves)
            known.first = None
            known.outdated(differs)
            self.say(f"recorded anew: {differs} has changed")
        if known.failures >= PATIENCE or known.building:
            return self.function(*args, **kwargs)
        return self._record(known, family, key, leaves, args, kwargs)

    def _family(self, spec: Any, leaves: list[Any]) -> _Family | None:
        """What is known for arguments like these of any size."""
        kinds = tuple([_loosely(x) for x in leaves])
        if None in kinds:
            return None
        found = self.families.get((spec, kinds))
        if found is None:
            if len(self.families) >= MOST:
                return None
            found = self.families[spec, kinds] = _Family()
        return found

    def _one_too_many(self, args: Any, kwargs: Any) -> Any:
        """Run a call of yet another kind as it is."""
        if not self.full:
            self.full = True
            name = getattr(self.function, "__qualname__", type(self.function).__name__)
            warnings.warn(
                f"compile: {name} has been called with {MOST} kinds of arguments (shapes, dtypes, plain values) and a program made for each. Calls of other "
                "kinds run as they are from now on. torch.compiler.report() says why there is no program for all sizes. If a size changes from call to call, pad it to a few sizes; torch.compiler.reset() forgets all programs.",
                stacklevel=4,
            )
        return self.function(*args, **kwargs)

    def _build(self, known: _Signature, program: Program, recorder: Recorder, guards: Guards, spec: Any) -> None:
        try:
            program.build(recorder.arrays, self.function, spec)
        except Refused as why:
            known.failures, known.why = PATIENCE, str(why)
            self.say(f"not compiled: {why}")
        else:
            known.guards, known.why = guards, ""
            known.program = program
            self.say(f"compiled: {len(program.steps)} steps of {len(recorder.steps)}")
            if self.explaining():
                print(_table(program), file=sys.stderr)
        finally:
            known.building = False

    def _generalise(self, family: _Family, key: Any, program: Program, recorder: Recorder, watch: Any) -> None:
        """Make the program for all sizes, when three have been seen."""
        family.recorded.pop(key, None)
        family.recorded[key] = program
        if len(family.recorded) > MOST:
            del family.recorded[next(iter(family.recorded))]
        others = family.others(key)
        if not others or family.failures >= PATIENCE or family.building:
            return
        use = watch.size_use()
        family.building = True
        try:
            if use == "any":
                raise NotRelated("the function computes or compares with sizes in ways that may differ for others")
            made = program.general(others)
            fits = _fitting(made, use == "order")
            guards = Guards(recorder, watch, self.function, made.sources)
        except TooSmall as why:
            family.building = False
            for i in why.places:
                seen = [*others, program][i]
                family.recorded = {k: p for k, p in family.recorded.items() if p is not seen}
            return
        except (NotRelated, Refused) as why:
            family.failures, family.why, family.building = family.failures + 1, str(why), False
            self.say(f"no program for all sizes: {why}")
            return

        def build() -> None:
            try:
                made.build(recorder.arrays, self.function, key[0])
            except Refused as why:
                family.failures, family.why = family.failures + 1, str(why)
            else:
                family.guards, family.fits, family.why = guards, fits, ""
                family.program = made
                self.say(f"compiled for all sizes: {len(made.steps)} steps, sizes {', '.join(made.sizes)}")
                if self.explaining():
                    print(_table(made), file=sys.stderr)
            finally:
                family.building = False

        if self.background:
            threading.Thread(target=build, name="bibun.compile").start()
        else:
            build()

    def _record(self, known: _Signature, family: _Family | None, key: Any, leaves: list[Any], args: Any, kwargs: Any) -> Any:
        recorder = Recorder()
        for k, x in enumerate(leaves):
            if isinstance(x, Tensor):
                if id(x._a) in recorder.known or x._grad is not None and id(x._grad._a) in recorder.known:
                    known.failures, known.why = PATIENCE, "two arguments are one tensor"
                    return self.function(*args, **kwargs)
                recorder.argument(x, k)
        for cell in getattr(self.function, "__closure__", None) or ():
            try:
                recorder.reads(cell.cell_contents)
            except ValueError:
                pass
        ran, result, failure = False, None, None
        try:
            with recording(recorder):
                with watching(recorder) as watch:
                    result = self.function(*args, **kwargs)
                    ran = True
                recorder.check()
                record_backward(recorder, result, leaves)
        except Refused as why:
            failure = why
            if not ran:  # before the function was called
                return self.function(*args, **kwargs)
        failure = failure or recorder.refused
        program = None
        if failure is None:
            try:
                program = Program(recorder, result)
            except Refused as why:
                failure = why
        if failure is not None:
            return self._failed(known, failure, result)
        assert program is not None
        if family is not None:
            self._generalise(family, key, program, recorder, watch)
        if known.first is not None:
            differs = known.first.same(recorder)
            try:
                if not differs:
                    program.settle(known.first)
                    guards = Guards(recorder, watch, self.function, program.sources)
            except Refused as why:
                return self._failed(known, why, result)
            if not differs:
                spec = key[0] if key is not None else None
                known.building = True
                if self.background:
                    threading.Thread(target=self._build, args=(known, program, recorder, guards, spec), name="bibun.compile").start()
                else:
                    self._build(known, program, recorder, guards, spec)
            else:
                known.failures += 1
                known.why = "two calls went different ways: " + differs
                self.say(known.why)
        known.first = program
        return result

    def _failed(self, known: _Signature, why: Refused, result: Any) -> Any:
        """What a call gives that cannot be compiled."""
        known.failures, known.why, known.first = known.failures + 1, str(why), None
        self.say(f"not compiled: {why}")
        if self.fullgraph and known.failures >= PATIENCE:
            raise RuntimeError(f"compile(fullgraph=True): {why}")
        return result

    def _verified(self, known: _Signature | _Family, leaves: list[Any], args: Any, kwargs: Any) -> Any:
        """Run the program, then the function from the same beginning, and compare."""
        from .verify import compare

        return compare(self, known, leaves, args, kwargs)

    def explaining(self) -> bool:
        return self.explain or os.environ.get("BIBUN_EXPLAIN") == "compile"

    def say(self, text: str) -> None:
        if self.explaining():
            print(f"bibun.compile: {getattr(self.function, '__qualname__', self.function)}: {text}", file=sys.stderr)


class OptimizedModule(Module):
    """A compiled module: the module itself is ``_orig_mod``; everything else is asked of it."""

    def __init__(self, module: Module, call: Any):
        super().__init__()
        self._orig_mod = module
        object.__setattr__(self, "_compiled", call)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._modules["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_orig_mod", "training") or "_orig_mod" not in self.__dict__.get("_modules", {}):
            super().__setattr__(name, value)
        else:
            setattr(self._modules["_orig_mod"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._modules["_orig_mod"], name)

    def __len__(self) -> int:
        return len(self._modules["_orig_mod"])  # type: ignore[arg-type]

    def __getitem__(self, i: Any) -> Any:
        return self._modules["_orig_mod"][i]  # type: ignore[index]

    def __iter__(self) -> Any:
        return iter(self._modules["_orig_mod"])  # type: ignore[call-overload]


_BACKENDS = ("inductor", "eager", "aot_eager", "aot_eager_decomp_partition", "cudagraphs", "onnxrt", "openxla", "tvm", "bibun")
_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor", mode: str | None = None, options: Any = None,
    disable: bool = False, verify: int = 0, background: bool = False, explain: bool = False,
) -> Any:
    """A function or module that, once it has been called twice alike, runs as a recorded program.

    Args:
        model: a function, a module, or None for a decorator with options.
        fullgraph: raise where it cannot be compiled after some calls, rather than go on without.
        dynamic: False for a program for each shape of the arguments. Otherwise, when sizes have changed twice, one program is made for all
            sizes where all that is computed follows from them (`report` says why not).
        backend, mode, options: PyTorch's choices of compilers; there is one here, and unknown ones are warned of.
        disable: give the function back as it is.
        verify: run so many of the compiled calls a second time as they are, from the same beginning, and raise where results differ.
        background: make the program in a thread, while calls go on as they are. (The two recordings are part of the first calls.)
        explain: print what is recorded, and why something is not, or anew; ``BIBUN_EXPLAIN=compile`` in the environment does the same for all
            functions, ``BIBUN_EXPLAIN=llvm`` prints the code that is given to LLVM.

    >>> import bibun as torch
    >>> w = torch.ones(3, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.5)
    >>> @torch.compile
    ... def step():
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss.detach()
    >>> step(), step(), step()
    (tensor(3.), tensor(0.), tensor(0.))
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable, verify=verify,
            background=background, explain=explain,
        )  # fmt: skip
    if isinstance(backend, str) and backend not in _BACKENDS:
        warnings.warn(f"compile: there is no backend {backend!r} here; bibun's own compiler is used", stacklevel=2)
    if mode not in _MODES:
        warnings.warn(f"compile: the mode {mode!r} is not known; the default is used", stacklevel=2)
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if disable or getattr(model, "_bibun_compiles_not", False):
        return model
    if isinstance(model, Module):
        return OptimizedModule(model, Compiled(model, verify, explain, fullgraph, background, dynamic))
    if not callable(model):
        raise RuntimeError(f"compile: a function or a module is needed, not a {type(model).__name__}")
    made = Compiled(model, verify, explain, fullgraph, background, dynamic)

    @functools.wraps(model)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        return made(*args, **kwargs)

    compiled._compiled = made  # type: ignore[attr-defined]
    compiled._torchdynamo_orig_callable = model  # type: ignore[attr-defined]
    return compiled


def report(function: Any) -> str:
    """What has become of a compiled function: for each kind of arguments the calls, steps and state, and below it what runs the steps.

    A program's parts are ``native`` (a run of small steps as one function), ``loop`` (a chain of elementwise steps on large arrays in one
    pass), ``kernel`` (one step, natively or by NumPy) and ``call`` (of the library, as it is); ``bytes`` are those of the arrays that a part
    reads and makes.
    """
    made = function if isinstance(function, Compiled) else getattr(function, "_compiled", None)
    if made is None:
        raise TypeError("report: a compiled function or module is needed")
    rows = ["calls  steps  state"]
    tables = []
    for known in made.signatures.values():
        steps = len(known.program.steps) if known.program is not None else 0
        state_ = "compiled" if known.program is not None else "being compiled" if known.building else known.why or "recorded once"
        rows.append(f"{known.calls:5d}  {steps:5d}  {state_}")
        if known.program is not None:
            tables.append(_table(known.program))
    for family in made.families.values():
        if family.program is not None:
            rows.append(f"{family.calls:5d}  {len(family.program.steps):5d}  compiled for all sizes")
            tables.append(_table(family.program))
        elif family.why:
            rows.append(f"{family.calls:5d}  {0:5d}  not for all sizes: {family.why}")
    return "\n".join(rows + tables)


def _table(program: Program) -> str:
    rows = ["   part        steps         bytes  what"]
    rows += [f"   {kind:10s}  {steps:5d}  {size:12,d}  {what}" for kind, what, steps, size in program.pieces]
    return "\n".join(rows)


# What programs ask of torch.compiler


def is_compiling() -> bool:
    """Whether a recording is being made: never, to the program; what it does then is what it does always."""
    return False


def is_dynamo_compiling() -> bool:
    """As `is_compiling`."""
    return False


def is_exporting() -> bool:
    """As `is_compiling`."""
    return False


def reset() -> None:
    """Forget all programs."""
    for made in list(_all):
        made.signatures.clear()
        made.families.clear()
        made.quick.clear()


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Have a function never compiled by itself."""
    if fn is None:
        return lambda f: disable(f, recursive, reason=reason)
    try:
        fn._bibun_compiles_not = True
    except AttributeError:
        pass
    return fn


def allow_in_graph(fn: Any) -> Any:
    """The function itself: everything recorded is in the graph."""
    return fn


def assume_constant_result(fn: Any) -> Any:
    """The function itself."""
    return fn


def cudagraph_mark_step_begin() -> None:
    """Nothing, for there are no CUDA graphs."""


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The names of backends that `compile` knows."""
    return ["bibun"]


class set_stance:
    """Have all compiled functions run as they are ("force_eager"), or as programs ("default"); a function call or a context."""

    def __init__(self, stance: str = "default", **_: Any):
        if stance not in ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile"):
            raise RuntimeError(f"invalid torch.compile stance {stance!r}")
        self.before, _stance[0] = _stance[0], stance

    def __enter__(self) -> set_stance:
        return self

    def __exit__(self, *_: object) -> None:
        _stance[0] = self.before
