"""Recording: the primitives, writes, gradients and library calls that pass while a function runs, in their order.

In: calls from the dispatcher (`Recorder.note`), from in-place writes and from `backward`, while `recording` is open in this thread.
Out: a list of steps over numbered values, and where each value that the steps did not make comes from. Backward runs on tensors
meanwhile, so that the primitives of its rules pass the dispatcher too. What cannot be told for certain (an array of unknown
origin) raises `Refused`; the function then simply is not compiled.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.inplace import assign
from ..autograd.modes import enable_grad, no_grad, state
from ..autograd.node import LEAF, Freed
from ..ops.primitive import Primitive
from ..tensor import Tensor

__all__ = ["Argument", "Recorder", "Refused", "Slot", "Step", "alike", "recording", "settled"]

ndarray = np.ndarray


class Refused(Exception):
    """Why a function is not compiled; the words name the user's line where there is one."""


class Argument:
    """An argument, where a step or a value's source is about a leaf."""

    __slots__ = ("place",)

    def __init__(self, place: int):
        self.place = place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Argument) and other.place == self.place

    def __hash__(self) -> int:
        return hash(self.place)

    def __repr__(self) -> str:
        return f"argument {self.place}"


def alike(a: Any, b: Any) -> bool:
    """Whether what two steps are of (a primitive, function, dtype or leaf) is one thing."""
    return a is b or not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b)


class Step:
    """One step of a recording.

    Attributes:
        kind: ``run`` (a primitive), ``rule`` (for the gradients of all inputs of one), ``cast`` (another dtype), ``own`` (a copy that nobody else holds), ``write`` (into memory), ``grad``
            (a leaf's gradient is set), ``call`` (of the library, as it is).
        what: the primitive, dtype, leaf or function.
        takes: numbers of the values it reads, None where there is none; for variadic primitives the sequence.
        static: what else it takes; values within are `Slot`s.
        gives: numbers of the values it makes.
        given: of a primitive, its operands before promotion: `Slot`s, numbers or None; node: the sequence number of its node in the graph.
        within: of a call, the context of another grad mode than the function's own; None where it is that.
    """

    __slots__ = ("given", "gives", "kind", "line", "node", "static", "takes", "what", "within")

    def __init__(self, kind: str, what: Any, takes: tuple[Any, ...], static: Any = (), gives: tuple[int, ...] = (), line: Any = None):
        self.kind, self.what, self.takes, self.static, self.gives, self.line = kind, what, takes, static, gives, line
        self.given: Any = None
        self.node = 0
        self.within: Any = None

    def same(self, other: Step) -> bool:
        """Whether another recording of the function took this step, too."""
        return (
            self.kind == other.kind and self.within is other.within and self.takes == other.takes and self.gives == other.gives
            and alike(self.what, other.what) and repr(self.static) == repr(other.static)
        )  # fmt: skip

    def __repr__(self) -> str:
        name = getattr(self.what, "name", None) or getattr(self.what, "__qualname__", None) or self.what
        return f"{', '.join(f'v{i}' for i in self.gives)} = {self.kind} {name}{self.takes} {self.static or ''}"


class Slot:
    """A value's place among static arguments. ``tensor``: False for an array, True for a tensor, or the very one where it is from outside."""

    __slots__ = ("index", "tensor")

    def __init__(self, index: int, tensor: Any):
        self.index, self.tensor = index, tensor

    def __repr__(self) -> str:
        return f"v{self.index}" if self.tensor.__class__ in (bool, Argument) else f"v{self.index} of {id(self.tensor)}"


def noting(method: Any) -> Any:
    """A method that is called from inside the user's program: what it refuses is kept for later and never raised there."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> None:
        if self.refused is None:
            try:
                method(self, *args)
            except Refused as why:
                self.refused = why
            except Exception as why:  # a mistake of ours must not become one of the user's
                self.refused = Refused(f"{method.__name__} failed: {type(why).__name__}: {why}")

    return call


class Recorder:
    """A recording in progress.

    Attributes:
        arrays: the arrays behind the values, by number, held so that none is taken for another.
        sources: number -> where a value that no step makes comes from: ("argument", k), ("tensor", t), ("grad", leaf), ("constant", array), or
            ("outside", array, tensor, line) of what was there, or was made in a way that is not recorded: `settled` finds out which.
        leaves: tensors whose ``.grad`` the function has touched.
        absent: those among them that had none, as far as the function could see.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.grad, self.inference = bool(state.grad), state.inference
        self.arrays: list[Any] = []
        self.known: dict[int, int] = {}
        self.sources: dict[int, tuple[Any, ...]] = {}
        self.steps: list[Step] = []
        self.leaves: dict[Any, Any] = {}
        self.absent: list[Any] = []
        self.held: set[int] = set()  # arrays of gradients that the function has asked for
        self.cleared: dict[int, Any] = {}  # leaves whose gradients the function has taken away by `zero_grad`
        self.arguments: dict[int, int] = {}  # tensors that are arguments, by id
        self.found: dict[int, Any] = {}  # tensors from outside, as they were found
        self.named: dict[int, Any] = {}  # arrays of tensors that are known by where they are kept
        self.fresh: dict[int, Any] = {}  # arrays made of nothing while recording: constants
        self.paused = False
        self.refused: Refused | None = None
        self.freed: set[int] = set()  # sequence numbers of the nodes that a backward has passed
        self.used: set[int] = set()  # and of those among them that have kept something, which is gone
        self.written: set[int] = set()
        self.backward: Any = None  # of a function whose results keep a graph; see `joint`

    # values

    def add(self, array: Any, source: Any = None) -> int:
        """The number of a new value."""
        n = len(self.arrays)
        self.arrays.append(array)
        self.known[id(array)] = n
        if source is not None:
            self.sources[n] = source
        return n

    def argument(self, t: Any, place: int) -> None:
        """Note an argument."""
        self.add(t._a, ("argument", place))
        self.arguments[id(t)] = place
        self.find(t)

    def find(self, t: Any) -> None:
        """Note how a tensor from outside is before the function does anything to it."""
        self.found.setdefault(id(t), (t, t._a, t._node, t._has_hooks))

    def name(self, t: Any) -> None:
        """Say that a tensor lives outside the function, if it was not made in it: a parameter, a buffer, an argument."""
        if isinstance(t, Tensor):
            n = self.known.get(id(t._a))
            if id(t._a) in self.fresh or n is not None and self.sources.get(n, ("",))[0] in ("", "constant", "gradient"):
                return
            self.named.setdefault(id(t._a), t)
            self.find(t)

    def reads(self, x: Any) -> None:
        """Say that the function may read something from outside: tensors in it are `name`d. One that is an argument, too, could be meant as either."""
        if x.__class__ is list or x.__class__ is tuple or x.__class__ is dict:
            for y in x.values() if x.__class__ is dict else x:
                if isinstance(y, Tensor):
                    self.reads(y)
        elif isinstance(x, Tensor):
            n = self.known.get(id(x._a))
            if n is not None and self.sources.get(n, ("",))[0] == "argument" and self.refused is None:
                self.refused = Refused("an argument is a tensor that the function also reads from outside")
            self.name(x)

    def who(self, leaf: Any) -> Any:
        """A leaf, or which argument it is."""
        place = self.arguments.get(id(leaf))
        return leaf if place is None else Argument(place)

    def check(self) -> None:
        """Raise where a tensor from outside has become another one: only its values may have changed."""
        for t, a, node, hooks in self.found.values():
            if t._a is not a or t._node is not node or t._has_hooks is not hooks:
                raise Refused("it changes the memory, the history or the hooks of a tensor from outside")

    def value(self, array: Any, tensor: Any = None) -> int:
        """The number of the value that an array is."""
        found = self.known.get(id(array))
        if found is not None and self.arrays[found] is array:
            return found
        t = self.named.get(id(array))
        if t is not None and t._a is array:
            return self.add(array, ("tensor", t))
        if id(array) in self.fresh:
            return self.add(array, ("constant", array.copy()))
        if tensor is not None:
            self.find(tensor)
        return self.add(array, ("outside", array, tensor, self.line()))

    def line(self) -> str:
        """Where the user's program is, for messages."""
        f = dispatch.user_frame(1)
        return f" ({f.f_code.co_filename}, line {f.f_lineno})"

    def operand(self, x: Any, raw: Any) -> int | None:
        """The value that a primitive reads: ``raw``, which came of the operand ``x``."""
        if raw is None:
            return None
        if not isinstance(raw, ndarray):
            raw = np.asarray(raw)
        found = self.known.get(id(raw))
        if found is not None and self.arrays[found] is raw:
            return found
        if isinstance(x, Tensor) or isinstance(x, ndarray):
            a = x._a if isinstance(x, Tensor) else x
            source = self.value(a, x if isinstance(x, Tensor) else None)
            if raw is a:
                return source
            n = self.add(raw)
            self.steps.append(Step("cast", raw.dtype, (source,), (), (n,)))
            return n
        return self.add(raw, ("constant", raw.copy() if raw.flags.writeable else raw))

    def slot(self, t: Any) -> Slot:
        """The place of a tensor whose value is known."""
        return Slot(self.known[id(t._a)], self.who(t) if id(t) in self.found else True)

    def freeze(self, x: Any) -> Any:
        """A static argument with the values in it as slots."""
        if isinstance(x, Tensor):
            self.value(x._a, x)
            return self.slot(x)
        if isinstance(x, ndarray):
            return Slot(self.value(x), False)
        if x.__class__ is tuple or x.__class__ is list:
            return x.__class__([self.freeze(v) for v in x])
        if x.__class__ is dict:
            return {k: self.freeze(v) for k, v in x.items()}
        return x

    # what happens

    @noting
    def note(self, prim: Primitive, arrays: Any, raw: Any, static: Any, outs: list[Any]) -> None:
        """A primitive has run."""
        takes = tuple([self.operand(x, r) for x, r in zip(arrays, raw)])
        frozen = tuple([self.freeze(s) for s in static])
        narrow = None
        if prim.family == "elementwise" and outs[0]._a.dtype in dispatch.NARROW and raw and getattr(raw[0], "dtype", None) == dispatch.F32:
            narrow = outs[0]._a.dtype
        if state.inference is not self.inference:
            raise Refused("it enters or leaves inference mode" + self.line())
        given = tuple([self.slot(x) if isinstance(x, Tensor) else x for x in arrays])
        for o in outs:
            if id(o._a) in self.known:  # what was given: each value has an array of its own
                o._a = o._a[...]
        gives = tuple([self.add(o._a) for o in outs])
        f = dispatch.user_frame(2)
        step = Step("run", prim, takes, (frozen, narrow), gives, (f.f_code, f.f_lasti))
        step.given = given
        n = outs[0]._node
        step.node = 0 if n is None or n is LEAF else n._seq
        self.steps.append(step)

    @noting
    def note_rule(self, rule: Any, args: Any, made: Any) -> None:
        """A rule for the gradients of all inputs of a node has run on arrays."""
        frozen = self.freeze(args)
        gives = tuple([self.add(x) for x in made if x is not None])
        self.steps.append(Step("rule", rule, (), (frozen, tuple([x is not None for x in made])), gives))

    @noting
    def note_write(self, a: Any, source: Any) -> None:
        """An array's memory has been written with another's values."""
        if a is source:
            raise Refused("it writes memory in a way that is not recorded" + self.line())
        target, value = self.value(a), self.value(source)
        self.written.add(target)
        self.steps.append(Step("write", None, (target, value)))

    @noting
    def sees_grad(self, leaf: Any) -> None:
        """A leaf's gradient is about to be read."""
        self.name(leaf)
        g = leaf._grad
        if leaf not in self.leaves:
            self.leaves[leaf] = None
            if g is None and id(leaf) not in self.cleared and id(leaf) not in self.arguments:
                self.absent.append(leaf)
        if g is not None and id(g._a) not in self.known:
            if not g._a.flags.c_contiguous or g._a.shape != leaf._a.shape:
                raise Refused("a gradient does not lie in order")
            self.add(g._a, ("grad", self.who(leaf)))

    def add_up(self, known: Any, total: Any) -> Any:
        """The gradient that a leaf has when something was added to it: the same one, written, where somebody else may hold it."""
        a = known._a
        theirs = self.sources.get(self.known.get(id(a), -1), ("",))[0] == "grad" or id(a) in self.held
        return assign(known, total) if theirs else total

    @noting
    def sets_grad(self, leaf: Any) -> None:
        """A leaf's gradient has been set; None says that it was taken away."""
        self.name(leaf)
        g = leaf._grad
        self.leaves[leaf] = None
        if g is None:
            self.steps.append(Step("grad", self.who(leaf), (None,)))
            return
        a = g._a
        n = self.value(a, g)
        if a.base is not None or not a.flags.c_contiguous or n in self.sources or any(s.kind in ("grad", "own") and n in s.takes for s in self.steps):
            owned = np.array(a, order="C")
            leaf._grad = dispatch.wrap(owned)
            m = self.add(owned)
            self.steps.append(Step("own", None, (n,), (), (m,)))
            n = m
        self.steps.append(Step("grad", self.who(leaf), (n,)))

    @noting
    def note_call(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """A function of the library has run unrecorded, and will be called as it is."""
        static = self.freeze((args, kwargs))
        gives: tuple[int, ...] = ()
        if isinstance(result, Tensor):
            gives = (self.add(result._a),)
        elif result is not None:
            raise Refused(f"it uses what {getattr(function, '__qualname__', function)}() returns")
        f = dispatch.user_frame(1)
        step = Step("call", function, (), static, gives, (f.f_code, f.f_lasti))
        if bool(state.grad) is not self.grad:
            step.within = enable_grad if state.grad else no_grad
        self.steps.append(step)
        if function.__name__ == "zero_grad" and (args == (True,) or not args and kwargs.get("set_to_none", True) is True):
            owner = function.__self__
            parameters = owner.parameters() if hasattr(owner, "parameters") else [p for group in owner.param_groups for p in group["params"]]
            self.cleared.update({id(p): p for p in parameters})
        for leaf in self.leaves:  # it may have set gradients anew
            g = leaf._grad
            if g is not None and id(g._a) not in self.known:
                raise Refused("a library call replaced a gradient")

    @noting
    def note_backward(self, roots: Any) -> None:
        """A backward that frees what it passes has run from these targets."""
        stack = [getattr(t, "node", t) for t in roots]
        seen: set[int] = set()
        while stack:
            n = stack.pop()
            if n is None or not n._seq or n._seq in seen:
                continue
            seen.add(n._seq)
            self.freed.add(n._seq)
            if n.saved.__class__ is Freed:
                self.used.add(n._seq)
            stack.extend(getattr(t, "node", t) for t in n.next)


def settled(sources: list[Any]) -> Any:
    """Where a value comes from, given what several recordings say, of which some say "outside": what was there before is the same in all.

    Raises:
        Refused: it was made while recording, or is not the same.
    """
    tensors = [s[2] if s[0] == "outside" else s[1] if s[0] == "tensor" else None for s in sources]
    if tensors[0] is not None and all(t is tensors[0] for t in tensors):
        return "tensor", tensors[0]
    arrays = [s[1] if s[0] in ("outside", "constant") else None for s in sources]
    if arrays[0] is not None and all(a is arrays[0] for a in arrays):
        return "constant", arrays[0]
    raise Refused("it makes an array in a way that is not recorded" + next(s[3] for s in sources if s[0] == "outside"))


_one_at_a_time = threading.Lock()


@contextmanager
def recording(r: Recorder) -> Iterator[Recorder]:
    """Have everything that runs in this thread noted by ``r``."""
    if not _one_at_a_time.acquire(blocking=False):
        raise Refused("another function is being recorded")
    if sys.getprofile() is not None or dispatch.busy[0]:
        _one_at_a_time.release()
        raise Refused("the program is being profiled or transformed")
    dispatch.recorder[0] = r
    dispatch.busy[0] += 1
    collecting = gc.isenabled()
    gc.disable()  # what others have run when garbage is collected is none of the function's doing
    try:
        yield r
    finally:
        if collecting:
            gc.enable()
        dispatch.busy[0] -= 1
        dispatch.recorder[0] = None
        _one_at_a_time.release()
