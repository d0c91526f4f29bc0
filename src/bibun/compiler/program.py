"""From a recording to a program: one Python function over arrays, without tensors, graph or dispatch in between.

In: a `Recorder` that has finished, and what the recorded function returned. Out: a `Program` that does the same to the same memory,
as long as its guards hold. Steps that nothing depends on are left out; large elementwise chains become one native loop; large arrays
are let go after their last use.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.modes import state
from ..autograd.node import LEAF, Freed
from ..autograd.versions import written
from ..backends import cpu
from ..backends.large import LARGE, native
from ..backends.strides import root
from ..func.pytree import tree_flatten
from ..functions.register import array_function_of
from ..optim.optimizer import Optimizer
from ..optim.prepared import PreparedStep, preparable
from ..tensor import Tensor
from .groups import find_groups
from .layout import Layout, Recorded, layouts
from .reads import same
from .recorder import Argument, Recorder, Refused, Slot, Step, alike, settled
from .segments import find_segments
from .sizes import NotRelated, Relations, same_constant, sized, text_of_constant

__all__ = ["Program"]

ndarray = np.ndarray


def _as_array(x: Any) -> Any:
    return x if x.__class__ is ndarray else np.asarray(x)


#: Kinds of results that a program makes: of values, of values whose part of the graph the caller gets, and of those of a `joint` program. Others
#: are constants, arguments, and what has been returned already.
MADE = frozenset(("value", "tensor", "joint"))


def _like(a: Any, b: Any) -> bool:
    """Whether an array may stand where another was recorded."""
    return a.shape == b.shape and a.dtype == b.dtype and a.strides == b.strides


class _Text:
    """Python source under construction, and the objects it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {
            "cpu": cpu, "copyto": np.copyto, "written": written, "as_array": _as_array, "wrap": dispatch.wrap, "array": np.array, "ndarray": ndarray,
            "quiet": quiet, "restore": restore, "IGNORE": IGNORE,
        }  # fmt: skip
        self.held: dict[int, str] = {}

    def object(self, x: Any, stem: str) -> str:
        """The name under which an object is known to the source."""
        name = self.held.get(id(x))
        if name is None:
            name = self.held[id(x)] = f"{stem}{len(self.names)}"
            self.names[name] = x
        return name


class Program:
    """What `compile` calls instead of the function.

    Attributes:
        steps: the recorded steps that are left; groups: how many native loops chains of them became.
    """

    def __init__(self, recorder: Recorder, result: Any):
        self.recorder_steps = recorder.steps
        leaves, self.spec = tree_flatten(result)
        self.layouts = layouts(recorder.arrays)
        self.backward = recorder.backward if recorder.backward is not None and self._parts(recorder) else None
        self.joint: Any = None
        self.returns: Any = None
        self.passed_sizes = False
        self.held: set[int] = set()  # constants that are memory from outside
        self.recorded: set[int] = set()  # places of the steps whose part of the graph the caller gets
        gradients: set[int] = self.backward.wanted if self.backward is not None else set()
        places: dict[int, int] = {}
        self.outputs = [("again", places[id(x)], None) if isinstance(x, Tensor) and places.setdefault(id(x), i) != i else self._output(recorder, x) for i, x in enumerate(leaves)]
        wanted = {i for kind, i, _ in self.outputs if kind in MADE}
        on_tensors = {id(recorder.steps[k]) for k in self.recorded}
        self.steps = needed(recorder.steps, wanted | gradients)
        self.on_tensors = {k for k, step in enumerate(self.steps) if id(step) in on_tensors}
        self.made_on_tensors = {n for k in self.on_tensors for n in self.steps[k].gives}
        self.wanted = wanted
        read = {n for step in self.steps for n in reads(step)} | wanted | gradients
        self.sources = {n: s for n, s in recorder.sources.items() if n in read and s[0] != "gradient"}
        self.given = {n: s for n, s in recorder.sources.items() if s[0] == "gradient"}
        self.inputs = {n: s for n, s in recorder.sources.items() if s[0] == "argument"}
        # Of a general program: the variables, with the dimension of the argument that each is, and their least and largest values so far;
        # the arguments' shapes; and how values lie for other sizes.
        self.sizes: dict[str, tuple[int, int]] = {}
        self.spread: dict[str, tuple[int, int]] = {}
        self.limits: list[str] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.elsewhere: list[Layout] | None = None
        self.groups: dict[int, Any] = {}
        self.segments: dict[int, Any] = {}

    def _parts(self, recorder: Recorder) -> bool:
        """Whether there can be a program forward and one back: what is returned must have memory of its own, and backward only compute."""
        backward = recorder.backward
        assert backward is not None
        if any(s.kind not in ("run", "rule", "cast", "own") for s in recorder.steps[backward.first :]):
            return False
        roots = [self.layouts[n].root for n in backward.outputs]
        outside = {self.layouts[n].root for n in recorder.sources}
        return len(set(roots)) == len(roots) and not outside.intersection(roots)

    def build(self, arrays: list[Any], function: Any = None, spec: Any = None) -> None:
        """Make what runs; until then this only says that there can be a program, and what it would depend on.

        Args:
            arrays: the recorded values.
            function, spec: what was recorded, and how its arguments are built of their leaves.
        """
        if self.backward is not None:
            from .joint import Joint

            self.joint = Joint(self, self.backward)
            self.joint.build(arrays)
            forward, backward = self.joint.forward, self.joint.backward
            self.pieces, self.text = forward.pieces + backward.pieces, forward.text + "\n" + backward.text
            self.run = self._apart(self.joint.runner(self, function, spec), function, spec)
            return
        if not self.on_tensors:
            self.steps = ahead(self.layouts, shared(self.steps, self.wanted))
            self.groups = find_groups(Recorded(arrays, self.layouts), self.steps, self.wanted)
            sure = {n for n, s in self.sources.items() if s[0] in ("tensor", "argument") or s[0] == "grad" and isinstance(s[1], Tensor)}
            self.segments = find_segments(self.layouts, self.steps, self.groups, self.wanted, sure, tuple(self.sizes), self.elsewhere)
        self.pieces = pieces(self)
        run, self.text = self._write()
        self.run = self._apart(run, function, spec)

    def _apart(self, run: Any, function: Any, spec: Any) -> Any:
        """What is called: the function itself where what is written to, or given a gradient, has come as another argument, too."""
        places = [s[1] for s in self.inputs.values()]
        written = {self.layouts[s.takes[0]].root for s in self.steps if s.kind == "write"} | {self.layouts[n].root for n in called(self.steps)}
        leaves = [s.what for s in self.steps if s.kind == "grad"]
        for step in self.steps:
            for group in getattr(getattr(step.what, "__self__", None), "param_groups", ()) if step.kind == "call" else ():
                leaves += group["params"]
        outside = [s[1] for n, s in self.sources.items() if s[0] == "tensor" and self.layouts[n].root in written] + [t for t in leaves if isinstance(t, Tensor)]
        own = {s[1] for n, s in self.inputs.items() if self.layouts[n].root in written} | {t.place for t in leaves if isinstance(t, Argument)}
        if not places or not outside and (not own or len(places) < 2):
            return run
        roots = frozenset(id(root(t._a)) for t in outside)
        pairs = [(i, k) for i in own for k in places if i < k or i > k and k not in own]

        def apart(leaves: list[Any]) -> Any:
            for i, k in pairs:
                if np.may_share_memory(leaves[i]._a, leaves[k]._a):
                    break
            else:
                for k in places:
                    if id(root(leaves[k]._a)) in roots:
                        break
                else:
                    return run(leaves)
            args, kwargs = spec.build(iter(leaves))
            return function(*args, **kwargs)

        return apart

    def settle(self, other: Program) -> None:
        """Find out, with the help of another recording, what was there before and what has been made unnoticed, which is `Refused`."""
        written = {s.takes[0] for s in self.steps if s.kind == "write"} | called(self.steps)
        for n, source in self.sources.items():
            theirs = other.sources.get(n, (None,))
            if source[0] == "outside" or theirs[0] == "outside":
                self.sources[n] = found = settled([theirs, source])
                if found[0] == "constant":
                    self.held.add(n)
                    if n in written:
                        raise Refused("it writes to memory in a way that is not recorded")
            elif source[0] == "constant" and (theirs[0] != "constant" or not same_constant(source[1], theirs[1])):
                raise Refused("two calls used different numbers")
        for (kind, x, _), (_, y, _) in zip(self.outputs, other.outputs):
            if kind == "constant" and not same(x, y):
                raise Refused(f"it returns a {type(x).__name__} that was made in a way that is not recorded")

    def general(self, others: list[Program]) -> Program:
        """The program for all sizes, from this one and those for two other sizes; it is yet to be built.

        Raises:
            NotRelated: what they do does not follow from the sizes, or what they return keeps a graph.
        """
        programs = [*others, self]
        if any(p.on_tensors for p in programs):
            raise NotRelated("it returns a tensor with its graph")
        if any(len(p.recorder_steps) != len(self.recorder_steps) or len(p.layouts) != len(self.layouts) for p in programs):
            raise NotRelated("it takes another number of steps")
        if any([(k, i) for k, i, _ in p.outputs if k != "constant"] != [(k, i) for k, i, _ in self.outputs if k != "constant"] or p.spec != self.spec for p in programs):
            raise NotRelated("it returns something else")
        for mine, *theirs in zip(self.outputs, *[p.outputs for p in others]):
            if mine[0] == "constant" and not all(same(x[1], mine[1]) for x in theirs):
                raise NotRelated("it returns another constant")
        if any((p.backward is None) != (self.backward is None) for p in others):
            raise NotRelated("its backward differs")
        if self.backward is not None:
            for theirs in [p.backward for p in others]:
                if theirs is None or theirs.first != self.backward.first or theirs.gradients != self.backward.gradients or not all(
                    a == b and alike(x, y) for (a, x), (b, y) in zip(theirs.targets, self.backward.targets, strict=True)
                ):
                    raise NotRelated("its backward differs")
        made = copy.copy(self)
        relations = Relations([{s[1]: p.layouts[n].shape for n, s in p.inputs.items()} for p in programs])
        made.sizes, made.shapes = relations.places, relations.shapes
        made.spread = {name: (min(v), max(v)) for name, v in relations.values.items()}
        made.recorder_steps = [relations.step(*each) for each in zip(*[p.recorder_steps for p in programs])]
        made.layouts = [relations.layout(*each) for each in zip(*[p.layouts for p in programs])]
        made.limits = relations.limits(made.recorder_steps, made.layouts)
        made.elsewhere = list(map(relations.elsewhere, made.layouts))
        made.steps = needed(made.recorder_steps, made.wanted | (made.backward.wanted if made.backward is not None else set()))
        made.sources, made.held = {}, set(self.held)
        for n, source in self.sources.items():
            theirs = [p.sources.get(n, (None,)) for p in others]
            if any(s[0] == "outside" for s in (*theirs, source)):
                try:
                    made.sources[n] = found = settled([*theirs, source])
                    if found[0] == "constant":
                        made.held.add(n)
                    continue
                except Refused as why:
                    raise NotRelated(str(why)) from None
            if any(s[0] != source[0] or source[0] != "constant" and not alike(s[1], source[1]) for s in theirs):
                raise NotRelated("a value comes from somewhere else")
            made.sources[n] = ("constant", relations.constant(*[s[1] for s in theirs], source[1])) if source[0] == "constant" else source
        return made

    # what comes out

    def _output(self, recorder: Recorder, x: Any) -> tuple[str, Any, Any]:
        if not isinstance(x, Tensor):
            return "constant", x, None
        if id(x) in recorder.arguments:
            return "argument", recorder.arguments[id(x)], None
        if id(x) in recorder.found:
            return "constant", x, None
        n = recorder.known.get(id(x._a))
        if n is None or recorder.arrays[n] is not x._a:
            raise Refused("it returns a tensor that was made in a way that is not recorded")
        node = x._node
        if node is None:
            return "value", n, None
        if node is LEAF:
            raise Refused("it returns a new leaf that requires grad")
        inner = getattr(node, "node", node)
        if self.backward is not None and n in self.backward.outputs:
            return "joint", n, None
        used, leaves = _reached(recorder, inner)
        if not used:
            self._keep_graph(recorder, inner)
            return "tensor", n, None
        if inner._seq not in recorder.freed:
            raise Refused("it returns a graph of which a part has been used up")
        spent = object.__new__(type(inner))
        spent.plan, spent.fix, spent.hooks, spent.next = inner.plan, None, None, leaves
        spent.saved = Freed(inner.code, inner.lasti)
        spent.code, spent.lasti, spent._seq = inner.code, inner.lasti, inner._seq
        return "value", n, spent

    def _keep_graph(self, recorder: Recorder, node: Any) -> None:
        """Have the steps that made a graph which the caller gets run on tensors."""
        places = {step.node: k for k, step in enumerate(recorder.steps) if step.node}
        stack = [node]
        while stack:
            n = stack.pop()
            k = places.get(n._seq)
            if k is None:
                raise Refused("it returns a graph that was not made by primitives alone")
            if n.hooks is not None:
                raise Refused("it returns a graph with hooks")
            if k in self.recorded:
                continue
            if any(t is not None and not t._seq and id(t) not in recorder.found for t in n.next):
                raise Refused("it returns a graph with a leaf of its own")
            self.recorded.add(k)
            stack += [getattr(t, "node", t) for t in n.next if t is not None and t._seq]

    # the source

    def _write(self) -> tuple[Callable[..., Any], str]:
        text = _Text()
        lines = text.lines
        if self.passed_sizes:
            lines += [f"{name} = arguments[2][{i}]" for i, name in enumerate(self.sizes)]
        else:
            lines += [f"{name} = arguments[{k}]._a.shape[{d}]" for name, (k, d) in self.sizes.items()]
        given = {i for kind, i, _ in self.outputs if kind in MADE} if self.returns is None else {n for n in self.returns if n is not None}
        escaping = given | {s.takes[0] for s in self.steps if s.kind in ("grad", "write") and s.takes[0] is not None} | called(self.steps)
        roots = {self.layouts[n].root for n in escaping}
        last = _last_uses(self.steps, self.groups)
        for n, source in self.sources.items():
            if source[0] == "tensor":
                lines.append(f"v{n} = {text.object(source[1], 't_')}._a")
            elif source[0] == "grad":
                lines.append(f"v{n} = {self._leaf(source[1], text)}._grad._a")
            elif source[0] == "argument":
                lines.append(f"v{n} = arguments[{source[1]}]._a")
            elif source[0] == "passed":
                lines.append(f"v{n} = arguments[{source[1]}][{source[2]}]")
            elif source[1].__class__ is tuple:
                text.names.update(full=np.full, arange=np.arange, broadcast_to=np.broadcast_to)
                lines.append(f"v{n} = {text_of_constant(source[1], text.object(self.layouts[n].dtype, 'd'))}")
            else:
                name = text.object(source[1], "c")
                lines.append(f"v{n} = {name}.copy()" if self.layouts[n].root in roots and n not in self.held else f"v{n} = {name}")
        covered = {j for k, g in self.segments.items() for j in range(k, g.stop)}
        loud = any(step.kind in ("run", "cast") and k not in covered and k not in self.groups for k, step in enumerate(self.steps))
        self.outside = (["restore(token)", "token = None"], ["token = quiet(IGNORE)"]) if loud else ([], [])
        if loud:
            lines.append("token = quiet(IGNORE)")
            lines.append("try:")
        body: list[str] = []
        stop = 0
        for k, step in enumerate(self.steps):
            if k < stop:
                continue
            segment = self.segments.get(k)
            if segment is not None:
                body += segment.source(self, text)
                stop = segment.stop
                continue
            if k in self.on_tensors:
                body += self._on_tensors(step, text)
            elif k in self.groups:
                group = self.groups[k]
                if group is None:
                    continue  # part of a later loop
                body.append(group.source(step, text))
            else:
                body += self._step(step, text)
            group = self.groups.get(k)
            dead = [n for n in (*(group.leaves if group is not None else reads(step)), *(group.gives(step) if group is not None else step.gives)) if last.get(n) == k and n not in escaping and n not in self.sources and self.layouts[n].size >= LARGE]
            if dead:
                body.append(" = ".join(f"v{n}" for n in dict.fromkeys(dead)) + " = None")
        if loud:
            lines += ["    " + b for b in body or ["pass"]]
            lines.append("finally:")
            lines.append("    if token is not None: restore(token)")
        else:
            lines += body
        lines += self._returned(text)
        source_text = "def program(arguments):\n" + "\n".join("    " + x for x in lines) + "\n"
        space: dict[str, Any] = dict(text.names)
        exec(compile(source_text, "<bibun program>", "exec"), space)
        return space["program"], source_text

    def _returned(self, text: _Text) -> list[str]:
        """What gives the caller its result."""
        if self.returns is not None:
            return [f"return ({''.join(f'v{n}, ' if n is not None else 'None, ' for n in self.returns)})"]
        lines: list[str] = []
        leaves: list[str] = []
        twice = {x for kind, x, _ in self.outputs if kind == "again"}
        for i, (kind, x, node) in enumerate(self.outputs):
            if kind == "value" and (node is not None or i in twice):
                name = f"r{i}"
                lines.append(f"{name} = wrap(v{x})")
                if node is not None:
                    text.names["state"] = state
                    lines.append(f"if state.grad: {name}._node = {text.object(node, 'g')}")
                leaves.append(name)
            elif kind == "again":
                leaves.append(leaves[x])
            else:
                leaves.append(text.object(x, "k") if kind == "constant" else f"arguments[{x}]" if kind == "argument" else f"wrap(v{x})" if kind == "value" else f"t{x}")
        if self.spec.kind is None:
            return [*lines, f"return {leaves[0]}"]
        return [*lines, f"return {text.object(self.spec.build, 'b')}(iter(({', '.join(leaves)},)))" if leaves else f"return {text.object(self.spec.build, 'b')}(iter(()))"]

    def _on_tensors(self, step: Step, text: _Text) -> list[str]:
        """A step whose part of the graph the caller gets."""
        prim = step.what
        operands = ", ".join(self._tensor(x, text) for x in step.given)
        static = ", ".join(self._static(s, text) for s in step.static[0])
        gives = ", ".join(f"t{n}" for n in step.gives)
        given = f"[{operands}]" if prim.variadic else f"({operands},)"
        text.names.setdefault("apply", dispatch.apply)
        return [f"{gives}{',' if prim.several and len(step.gives) == 1 else ''} = apply({text.object(prim, 'p')}, {given}, ({static}{',' if static else ''}))",
                *[f"v{n} = t{n}._a" for n in step.gives]]

    def _tensor(self, x: Any, text: _Text) -> str:
        if not isinstance(x, Slot):
            return text.object(x, "k") if x is not None else "None"
        if x.tensor.__class__ is not bool:
            return self._leaf(x.tensor, text)
        return f"t{x.index}" if x.index in self.made_on_tensors else f"wrap(v{x.index})"

    @staticmethod
    def _leaf(x: Any, text: _Text) -> str:
        return f"arguments[{x.place}]" if isinstance(x, Argument) else text.object(x, "t_")

    def _static(self, x: Any, text: _Text) -> str:
        if isinstance(x, Slot):
            return f"v{x.index}" if x.tensor is False else self._tensor(x, text)
        if x.__class__ is slice and sized(x):
            return f"slice({x.start!r}, {x.stop!r}, {x.step!r})"
        if _has_slot(x) or sized(x) and not isinstance(x, (int, float)):
            inner = ", ".join(self._static(v, text) for v in (x.values() if x.__class__ is dict else x))
            if x.__class__ is dict:
                return "{" + ", ".join(f"{k!r}: {self._static(v, text)}" for k, v in x.items()) + "}"
            return f"({inner},)" if x.__class__ is tuple else f"[{inner}]"
        if x.__class__ in (int, bool, type(None), str) or sized(x):
            return repr(x)
        return text.object(x, "s")

    def _step(self, step: Step, text: _Text) -> list[str]:
        kind = step.kind
        if kind == "run":
            prim = step.what
            static, narrow = step.static
            gives = ", ".join(f"v{n}" for n in step.gives)
            takes = [f"v{n}" if n is not None else "None" for n in step.takes]
            if prim.variadic:
                takes = [f"[{', '.join(takes)}]"]
            given = ", ".join([*takes, *(self._static(s, text) for s in static)])
            if prim.family == "elementwise" and not static and len(step.takes) < 3:
                function = array_function_of(prim)
                if isinstance(function, np.ufunc):
                    made = f"{text.object(function, 'f')}({given}, out=...)"
                    return [f"{gives} = {made}" + (f".astype({text.object(narrow, 'd')})" if narrow is not None else "")]
            call = f"{text.object(prim.run, 'f')}(cpu, {given})"
            if prim.several:
                return [f"{gives}{',' if len(step.gives) == 1 else ''} = map(as_array, {call})"]
            if narrow is not None:
                call += f".astype({text.object(narrow, 'd')})"
            if prim.family == "view":
                return [f"{gives} = {call}"]
            return [f"{gives} = {call}", f"if {gives}.__class__ is not ndarray: {gives} = as_array({gives})"]
        if kind == "rule":
            args, there = step.static
            numbers = iter(step.gives)
            made = ", ".join(f"v{next(numbers)}" if t else "_" for t in there)
            return [f"{made}{',' if len(there) == 1 else ''} = {text.object(step.what, 'f')}(cpu, {', '.join(self._static(a, text) for a in args)})"]
        if kind == "cast":
            return [f"v{step.gives[0]} = v{step.takes[0]}.astype({text.object(step.what, 'd')})"]
        if kind == "own":
            return [f"v{step.gives[0]} = array(v{step.takes[0]}, order='C')"]
        if kind == "write":
            target, value = step.takes
            return [f"copyto(v{target}, v{value}, 'unsafe')", f"written(v{target})"]
        if kind == "grad":
            (n,) = step.takes
            leaf = self._leaf(step.what, text)
            return [f"{leaf}._grad = {'None' if n is None else f'wrap(v{n})'}"]
        args, kwargs = step.static
        owner = getattr(step.what, "__self__", None)
        if not [x for x in (*args, *kwargs.values()) if x is not None] and step.what.__name__ == "step" and preparable(owner) and native():
            return [f"{text.object(PreparedStep(owner, step.line), 'f')}()"]
        if getattr(step.what, "__func__", None) is Optimizer.zero_grad and (*args, *kwargs.values()) == (True,):
            return [f"for group in {text.object(owner, 'o')}.param_groups:", "    for p in group['params']: p._grad = None"]
        given = ", ".join([*(self._static(a, text) for a in args), *(f"{k}={self._static(v, text)}" for k, v in kwargs.items())])
        call = f"{text.object(step.what if step.within is None else step.within()(step.what), 'f')}({given})"
        made = f"v{step.gives[0]} = {call}._a" if step.gives else call
        return [*self.outside[0], made, *self.outside[1]]

    def same(self, other: Recorder) -> str:
        """Why another recording is not of the same program; "" where it is."""
        mine, theirs = self.recorder_steps, other.steps
        for k, (a, b) in enumerate(zip(mine, theirs)):
            if not a.same(b):
                return f"step {k} was {a} and then {b}"
        if len(mine) != len(theirs):
            return f"it took {len(mine)} steps and then {len(theirs)}"
        return ""


def pieces(program: Program) -> list[tuple[str, str, int, int]]:
    """(what runs it, what it does, steps, bytes that it reads and makes) of each part of a program, in order."""

    def name(step: Step) -> str:
        return str(getattr(step.what, "name", None) or getattr(step.what, "__qualname__", None) or step.kind)

    def size(numbers: Any) -> int:
        return sum(int(program.layouts[n].nbytes) for n in dict.fromkeys(numbers))

    made: list[tuple[str, str, int, int]] = []
    k = 0
    while k < len(program.steps):
        step, segment = program.steps[k], program.segments.get(k)
        if segment is not None:
            inside = program.steps[k : segment.stop]
            names = [name(s) for s in inside if s.kind != "grad"]
            more = f" and {len(names) - 6} more" if len(names) > 6 else ""
            own = {n for s in inside for n in s.gives}
            made.append(("native", ", ".join(names[:6]) + more, len(inside), size([*[n for s in inside for n in reads(s) if n not in own], *segment.gives])))
            k = segment.stop
            continue
        k += 1
        if k - 1 in program.groups:
            group = program.groups[k - 1]
            if group is not None:
                made.append(("loop", group.key.removeprefix("group "), group.steps, size([*group.leaves, *group.gives(step)])))
        elif step.kind != "grad":
            made.append(("on tensors" if k - 1 in program.on_tensors else "call" if step.kind == "call" else "kernel", name(step), 1, size([*reads(step), *step.gives])))
    return made


def _reached(recorder: Recorder, node: Any) -> tuple[bool, tuple[Any, ...]]:
    """Whether a backward from a node would meet what has been used up, and the leaves that it leads to, but arguments."""
    stack, seen, leaves, used = [node], {node._seq}, {}, False
    while stack:
        n = stack.pop()
        used = used or n._seq in recorder.used
        for t in n.next:
            if t is not None and not t._seq:
                leaves[id(t)] = t
            elif t is not None and t._seq not in seen:
                seen.add(t._seq)
                stack.append(getattr(t, "node", t))
    return used, tuple([t for t in leaves.values() if id(t) not in recorder.arguments])


def _has_slot(x: Any) -> bool:
    if isinstance(x, Slot):
        return True
    if x.__class__ is tuple or x.__class__ is list:
        return any(_has_slot(v) for v in x)
    return x.__class__ is dict and any(_has_slot(v) for v in x.values())


def _slots(x: Any) -> list[int]:
    if isinstance(x, Slot):
        return [x.index]
    if x.__class__ is dict:
        x = tuple(x.values())
    if x.__class__ is tuple or x.__class__ is list:
        return [n for v in x for n in _slots(v)]
    return []


def reads(step: Step) -> list[int]:
    """The values that a step reads."""
    before = [x.index for x in step.given if isinstance(x, Slot)] if step.given else []
    return [n for n in step.takes if n is not None] + _slots(step.static) + before


def called(steps: list[Step]) -> set[int]:
    """The values that calls are given, which may write to them."""
    return {n for s in steps if s.kind == "call" for n in _slots(s.static)}


def needed(steps: list[Step], wanted: set[int]) -> list[Step]:
    """The steps without those that nothing depends on. Memory that is written counts as needed, with all views of it."""
    alive = set(wanted)
    kept: list[Step] = []
    for step in reversed(steps):
        if step.kind in ("write", "grad", "call") or any(n in alive for n in step.gives):
            alive.update(reads(step))
            kept.append(step)
    return kept[::-1]


def shared(steps: list[Step], wanted: set[int]) -> list[Step]:
    """The steps without those that another has done: of the same primitive on the same values, with nothing written in between."""
    apart = wanted | {n for s in steps if s.kind in ("grad", "write", "own") for n in s.takes}  # these have memory of their own
    same: dict[int, int] = {}
    done: dict[Any, Step] = {}
    kept = []

    def renamed(x: Any) -> Any:
        if isinstance(x, Slot):
            return Slot(same.get(x.index, x.index), x.tensor)
        if x.__class__ is dict:
            return {k: renamed(v) for k, v in x.items()}
        return x.__class__([renamed(v) for v in x]) if x.__class__ is tuple or x.__class__ is list else x

    for step in steps:
        if any(n in same for n in reads(step)):
            step = copy.copy(step)
            step.takes, step.static = tuple([same.get(n, n) for n in step.takes]), renamed(step.static)
            step.given = renamed(step.given)
        if step.kind in ("write", "call"):
            done.clear()
        elif step.kind == "run":
            first = done.setdefault((step.what, step.takes, repr(step.static)), step)
            if first is not step and not apart.intersection(step.gives):
                same.update(zip(step.gives, first.gives))
                continue
        kept.append(step)
    return kept


def ahead(layouts: list[Layout], steps: list[Step]) -> list[Step]:
    """The steps, with those on large arrays joined with their backward where there is something that does both and the gradient is known before."""
    makers: dict[int, int] = {}
    barrier = 0
    kept: list[Step | None] = []
    for k, step in enumerate(steps):
        if step.kind in ("write", "call"):
            barrier = k
        kept.append(step)
        first = _forward_of(step, steps, makers)
        if first is not None and first >= barrier and makers.get(step.takes[0], -1) < first and layouts[step.gives[0]].size >= LARGE:
            forward = steps[first]
            kept[first] = both = Step("run", forward.what.ahead[1], (*forward.takes, step.takes[0]), step.static, (*forward.gives, *step.gives))
            kept[k] = None
            makers.update(dict.fromkeys(both.gives, first))
        else:
            makers.update(dict.fromkeys(step.gives, k))
    return [step for step in kept if step is not None]


def _forward_of(step: Step, steps: list[Step], makers: dict[int, int]) -> int | None:
    """The place of the step whose backward this is, if it can be done with it."""
    if step.kind != "run":
        return None
    for n in step.takes[1:]:
        k = makers.get(n, -1) if n is not None else -1
        forward = steps[k]
        if k >= 0 and forward.kind == "run" and forward.what.ahead is not None and forward.what.ahead[0] is step.what:
            known = dict(zip((*forward.what.arrays, *forward.what.outputs), (*forward.takes, *forward.gives)))
            same = all(known.get(name, -1) == m for name, m in zip(step.what.arrays[1:], step.takes[1:]))
            return k if same and step.static[1] is None and repr(step.static) == repr(forward.static) else None
    return None


def _last_uses(steps: list[Step], groups: dict[int, Any]) -> dict[int, int]:
    """value -> the place of the last step that reads or makes it."""
    found: dict[int, int] = {}
    for k, step in enumerate(steps):
        group = groups.get(k)
        if k in groups and group is None:
            continue
        for n in (*group.leaves, *group.gives(step)) if group is not None else (*reads(step), *step.gives):
            found[n] = k
    return found
