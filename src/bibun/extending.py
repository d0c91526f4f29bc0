"""`bibun.primitive`: declare an operation of your own through the door that the library's own operations use.

In go a function on arrays, written against a namespace ``xp``, and the rules of its derivative, forward mode and batching;
out comes a function of tensors that every part of the library knows how to record, differentiate to any order, push
tangents through and batch. What is declared wrongly is refused where it is declared; what a rule gives back wrongly is
refused with the rule's name and both shapes. ``docs/extending.md`` is the tutorial.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from . import dtypes
from .autograd import dispatch
from .autograd.dispatch import apply, wrap
from .backends import cpu
from .errors import normalize_dim
from .ops.primitive import Primitive, Rule
from .tensor import Tensor

__all__ = ["UserPrimitive", "primitive"]

#: How the operands' dtypes of an elementwise primitive may meet; see `bibun.ops.primitive.Primitive`.
KINDS = ("same", "float", "compare", "order", "logical", "integer", "difference", "choose")

OPTIONS = frozenset("name grad family kind variadic outputs several nondiff tangent axes shapes refuses".split())


def parameters_of(what: str, function: Any) -> tuple[str, ...]:
    """The names of a function's parameters, all of which can be given by position."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise TypeError(f"{what} must be a function written in Python (a def or a lambda), not {function!r}")
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS) or code.co_kwonlyargcount:
        raise TypeError(
            f"{what} takes *arguments, **arguments or keyword-only ones: its parameters are read by name, so write each as an ordinary one"
        )
    return code.co_varnames[: code.co_argcount]


def shape_of(x: Any) -> Any:
    """The shape of an array or tensor, None for anything else."""
    return tuple(x.shape) if isinstance(x, (np.ndarray, np.generic, Tensor)) else None


def reducible(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether summing over broadcast dimensions brings ``shape`` to ``to``."""
    extra = len(shape) - len(to)
    return extra >= 0 and all(a == b or b == 1 for a, b in zip(shape[extra:], to))


class CheckedRule(Rule):
    """A user's derivative rule: the gradient first, whatever the order it was written in, and its result looked at."""

    __slots__ = ()

    def __init__(self, prim: Primitive, array: str, rule: Callable[..., Any]):
        super().__init__(rule)
        grads = [n for n in self.needs if n == "g" or n.startswith("g_")]
        others = [n for n in self.needs if n not in grads]
        order = [(grads + others).index(n) for n in self.needs]
        count = len(order)
        takes_xp, elementwise, where = self.takes_xp, prim.family == "elementwise", f"the derivative of {prim.name} in {array}"

        def call(xp: Any, *values: Any) -> Any:
            given = [values[i] for i in order]
            r = rule(xp, *given) if takes_xp else rule(*given)
            shape, dtype = values[count:]
            if not prim.variadic:
                return one_gradient(where, r, shape, dtype, xp, elementwise)
            if not isinstance(r, (list, tuple)) or len(r) != len(shape):
                got = f"{len(r)} gradients" if isinstance(r, (list, tuple)) else type(r).__name__
                raise RuntimeError(f"{where} must give a list of {len(shape)} gradients, one for each array, and gave {got}")
            return [one_gradient(f"{where} (array {i})", x, s, d, xp, False) for i, (x, s, d) in enumerate(zip(r, shape, dtype))]

        self.needs = (*grads, *others, f"{array}_shape", f"{array}_dtype")
        self.takes_xp = True
        self.call = self.plain = call


def one_gradient(where: str, r: Any, shape: Any, dtype: Any, xp: Any, elementwise: bool) -> Any:
    """A gradient that a rule gave, checked, in the dtype of its input."""
    if r is None:
        return None
    got = shape_of(r)
    if got is None:
        raise RuntimeError(f"{where} must give an array (or None for zero), and gave {type(r).__name__}")
    if got != tuple(shape) and not (elementwise and reducible(got, tuple(shape))):
        raise RuntimeError(
            f"{where} gave a gradient of shape {list(got)} for an input of shape {list(shape)}"
            + ("" if elementwise or not reducible(got, tuple(shape)) else
               ": sum it over the dimensions that were broadcast (only elementwise primitives have that done for them)")
        )
    own = getattr(r.dtype, "np", r.dtype)
    if own != dtype and own.kind == "c" and dtype.kind != "c":
        r, own = xp.real(r), dtype if own.itemsize == 2 * dtype.itemsize else None
    return r if own == dtype or dtype.kind not in dispatch.DIFFERENTIABLE else xp.astype(r, dtype)


def one_output(name: str, o: Any, inputs: list[Any], i: int | None) -> Any:
    """An output of a forward, checked; a copy where it looks at an input's memory."""
    which = "" if i is None else f" as output {i}"
    if isinstance(o, Tensor):
        raise TypeError(f"the forward of primitive {name} gave a Tensor{which}: it works on arrays, so call functions of xp or NumPy in it")
    if not isinstance(o, (np.ndarray, np.generic)):
        raise TypeError(f"the forward of primitive {name} must give an array{which}, and gave {type(o).__name__}")
    a = np.asarray(o)
    if a.dtype not in dtypes.BY_NUMPY:
        raise TypeError(f"the forward of primitive {name} gave an array of dtype {a.dtype}{which}, which no tensor can hold")
    return np.array(a) if any(np.may_share_memory(a, x) for x in inputs) else a


class UserPrimitive:
    """A primitive that a program declared; called on tensors, it is recorded like any operation of the library.

    Called with arrays alone, as its own and other primitives' rules do in ordinary backward, it computes on arrays.
    """

    def __init__(self, run: Callable[..., Any], **options: Any):
        unknown = options.keys() - OPTIONS
        if unknown:
            raise TypeError(f"primitives have no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(OPTIONS - {'family'}))}")
        names = parameters_of("the forward of a primitive", run)
        if not names or names[0] != "xp":
            raise TypeError(
                f"the forward of primitive {run.__name__} must take the array namespace first: def {run.__name__}(xp, {', '.join(names) or 'x'})"
            )
        kind = options.get("kind")
        if options.get("family") == "elementwise" and kind not in KINDS:
            raise TypeError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        self.entry = entry = Primitive(run, **options)
        if not entry.arrays:
            raise TypeError(f"primitive {entry.name} has no array parameter (those before /): {', '.join(names)}")
        if entry.variadic and len(entry.arrays) != 1:
            raise TypeError(f"primitive {entry.name} is variadic, so its one array parameter stands for all arrays; it has {', '.join(entry.arrays)}")
        for option, given in (("axes", entry.batch_axes), ("shapes", entry.batch_shapes)):
            for n in given:
                if n not in entry.static:
                    raise TypeError(f"{option}= of primitive {entry.name} names {n!r}; its static parameters (those after /) are {entry.static}")
        reserved = {"g", "xp"} & {*entry.names()} | {n for n in entry.names() if n.startswith("g_")}
        if reserved:
            raise TypeError(f"primitive {entry.name} has parameters or outputs called {sorted(reserved)}, names that rules use for gradients and the namespace")
        entry.run = self._checked(run)
        self.__name__ = self.__qualname__ = entry.name
        self.__doc__, self.__module__, self.__wrapped__ = run.__doc__, run.__module__, run

    def _checked(self, run: Callable[..., Any]) -> Callable[..., Any]:
        entry = self.entry
        count = len(entry.arrays)

        def checked(xp: Any, *args: Any) -> Any:
            out = run(xp, *args)
            inputs = [x for x in (args[0] if entry.variadic else args[:count]) if isinstance(x, np.ndarray)]
            if entry.several:
                wanted = len(entry.outputs)
                if not isinstance(out, (tuple, list)) or wanted > 1 and len(out) != wanted:
                    got = f"{len(out)} of them" if isinstance(out, (tuple, list)) else type(out).__name__
                    raise TypeError(f"the forward of primitive {entry.name} must give a tuple of its outputs ({', '.join(entry.outputs)}), and gave {got}")
                return tuple(one_output(entry.name, o, inputs, i) for i, o in enumerate(out))
            a = one_output(entry.name, out, inputs, None)
            if entry.family == "elementwise":
                shape = np.broadcast_shapes(*[x.shape for x in inputs])
                if a.shape != shape:
                    raise RuntimeError(f"the forward of elementwise primitive {entry.name} gave shape {list(a.shape)} for inputs that broadcast to {list(shape)}")
            return a

        return checked

    # rules

    def _named(self, what: str, rule: Any, extra: Callable[[str], bool]) -> None:
        known = self.entry.names()
        names = parameters_of(what, rule)
        for i, n in enumerate(names):
            if n == "xp" and i:
                raise TypeError(f"{what} takes xp, which must be its first parameter")
            if n != "xp" and n not in known and not extra(n):
                raise TypeError(f"{what} names {n!r}, which is none of what a rule can take: {', '.join(sorted(known))}")

    @property
    def derivative(self) -> Derivative:
        """Gives the derivative in each differentiable input, by the input's name: ``p.derivative(x=rule)``, or ``@p.derivative.of("x")``.

        A rule takes the gradient ``g`` of the output (``g_<output>`` where there are several) and whatever else it names:
        inputs, outputs (``out``), static arguments, ``<input>_shape``, ``<input>_dtype``; ``xp`` first, if at all.
        """
        return Derivative(self)

    def _differentiate(self, rules: dict[str, Callable[..., Any]]) -> UserPrimitive:
        entry = self.entry
        grads = {"g"} if not entry.several else {f"g_{o}" for o in entry.outputs} if len(entry.outputs) > 1 else {"g"}
        for array, rule in rules.items():
            if array not in entry.arrays:
                raise TypeError(f"{entry.name} has no array parameter {array!r} to differentiate in; it has {', '.join(entry.arrays)}")
            what = f"the derivative of {entry.name} in {array}"
            self._named(what, rule, lambda n: n in grads)
            names = parameters_of(what, rule)
            if not grads & set(names):
                raise TypeError(f"{what} takes none of the gradients it is given: {', '.join(sorted(grads))}")
            tangents = [n for n in names if n.startswith("t_") and n[2:] in entry.arrays]
            if tangents:
                raise TypeError(f"{what} names {', '.join(tangents)}: tangents are for tangent rules")
        for array, rule in rules.items():
            entry.derivatives[array] = CheckedRule(entry, array, rule)
        entry.recording = None
        if entry.node_class is not None:
            entry.node_class.plans.clear()
        return self

    def tangent(self, rule: Callable[..., Any]) -> UserPrimitive:
        """Give the forward-mode rule: it takes tangents ``t_<input>`` (None where zero), inputs, outputs and static arguments."""
        what = f"the tangent rule of {self.entry.name}"
        self._named(what, rule, lambda n: False)
        if not any(f"t_{a}" in parameters_of(what, rule) for a in self.entry.arrays):
            raise TypeError(f"{what} takes none of the tangents it is given: {', '.join('t_' + a for a in self.entry.arrays)}")
        self.entry.tangent(rule)
        return self

    def batching(self, rule: Callable[..., Any]) -> UserPrimitive:
        """Give the batching rule, called ``rule(apply, size, arrays, dims, *static)``.

        ``dims`` has the batch dimension of each array (None: not batched); ``apply(*arrays, **static)`` calls this
        primitive; out come the output and the position of its batch dimension.
        """
        name = self.entry.name

        def checked(*args: Any) -> Any:
            made = rule(*args)
            if not isinstance(made, tuple) or len(made) != 2 or not (made[1] is None or isinstance(made[1], (int, list, tuple))):
                raise RuntimeError(f"the batching rule of {name} must give (output, batch dimension of the output), and gave {type(made).__name__}")
            return made

        self.entry.batch_rule = checked
        return self

    # calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        entry = self.entry
        given = args
        try:
            arrays, static = entry.bind(args, dict(kwargs))
        except KeyError as error:
            raise TypeError(f"{entry.name}() is missing the argument {error.args[0]!r}; it takes ({self._signature()})") from None
        if len(args) > len(entry.arrays) + len(entry.static):
            raise TypeError(f"{entry.name}() takes at most {len(entry.arrays) + len(entry.static)} arguments ({self._signature()}), not {len(given)}")
        operands = tuple(arrays[0]) if entry.variadic else arrays
        static = tuple([self._static(n, s, operands) for n, s in zip(entry.static, static)])
        if not any(isinstance(a, Tensor) for a in operands) and any(isinstance(a, (np.ndarray, np.generic)) for a in operands):
            return entry.run(cpu, operands, *static) if entry.variadic else entry.run(cpu, *operands, *static)
        tensors = any(isinstance(a, Tensor) for a in operands)
        return apply(entry, [self._operand(a, i, tensors) for i, a in enumerate(operands)], static)

    def _static(self, name: str, s: Any, operands: tuple[Any, ...]) -> Any:
        """A static argument as entries take it: NumPy's dtypes, axes counted from the front."""
        if isinstance(s, dtypes.dtype):
            return s.np
        if name in self.entry.batch_axes and s is not None:
            ndim = next((len(shape) for shape in map(shape_of, operands) if shape is not None), 0)
            return normalize_dim(s, ndim) if isinstance(s, int) else tuple([normalize_dim(i, ndim) for i in s])
        return s

    def _operand(self, a: Any, i: int, tensors: bool) -> Any:
        if isinstance(a, Tensor) or a is None:
            return a
        if isinstance(a, np.ndarray):
            return wrap(a)
        if isinstance(a, (bool, int, float, complex, np.generic)):
            if self.entry.family == "elementwise" and tensors:
                return a
            return wrap(np.asarray(a, dtypes.default.np if isinstance(a, float) else None))
        name = self.entry.arrays[0 if self.entry.variadic else i]
        raise TypeError(f"{self.entry.name}(): argument {name!r} (position {i + 1}) must be Tensor, not {type(a).__name__}")

    def _signature(self) -> str:
        e = self.entry
        return ", ".join([*e.arrays, *(["/"] if e.static else []), *(f"{n}={e.defaults[n]!r}" if n in e.defaults else n for n in e.static)])

    def __repr__(self) -> str:
        return f"<primitive {self.__name__}({self._signature()})>"

    def __reduce__(self) -> str:
        return self.__qualname__  # found again by its name in its module, as functions are

    # a check of all rules together

    def check(self, *args: Any, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, **kwargs: Any) -> bool:
        """Hold every rule against what it must agree with; True, or an error that says which one does not.

        The derivative and the second derivative are compared with differences, forward mode with the derivative, batching
        with a loop, and the forward must leave its inputs as they were. Give float64 (or complex128) tensors.
        """
        from .autograd.gradcheck import gradcheck, gradgradcheck
        from .func import vmap

        entry = self.entry
        tensors = [a for a in args if isinstance(a, Tensor)]
        before = [np.array(a._a) for a in tensors]
        out = self(*args, **kwargs)
        for i, (a, b) in enumerate(zip(tensors, before)):
            if not np.array_equal(a._a, b, equal_nan=a._a.dtype.kind in "fc"):
                raise AssertionError(f"the forward of {entry.name} wrote to its input {i}")
        inputs = tuple(
            a.detach().requires_grad_(not entry.derivatives or entry.variadic or entry.arrays[min(i, len(entry.arrays) - 1)] in entry.derivatives)
            if isinstance(a, Tensor) and a._a.dtype.kind in dispatch.DIFFERENTIABLE else a
            for i, a in enumerate(args)
        )

        def call(*values: Any) -> Any:
            return self(*values, **kwargs)

        if entry.derivatives and not entry.variadic:
            gradcheck(call, inputs, eps=eps, atol=atol, rtol=rtol, check_forward_ad=True)
            gradgradcheck(call, inputs, eps=eps, atol=atol, rtol=rtol)
        if not entry.variadic:
            plain = [a.detach() if isinstance(a, Tensor) else a for a in args]
            stacked = [wrap(np.stack([a._a, a._a * 1])) if isinstance(a, Tensor) else a for a in plain]
            dims = tuple([0 if isinstance(a, Tensor) else None for a in plain])
            batched = vmap(call, in_dims=dims)(*stacked)
            for o, b in zip(out if isinstance(out, tuple) else (out,), batched if isinstance(batched, tuple) else (batched,)):
                for row in b._a:
                    if row.shape != o._a.shape or not np.allclose(row, o._a, rtol=rtol, atol=atol, equal_nan=True):
                        raise AssertionError(f"batching of {entry.name} gives shape {list(row.shape)} and other values than one call at a time")
        return True


class Derivative:
    """Takes derivative rules for a primitive: by name, or as a decorator."""

    __slots__ = ("owner",)

    def __init__(self, owner: UserPrimitive):
        self.owner = owner

    def __call__(self, **rules: Callable[..., Any]) -> UserPrimitive:
        return self.owner._differentiate(rules)

    def of(self, array: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator for the rule in the input named."""

        def give(rule: Callable[..., Any]) -> Callable[..., Any]:
            self.owner._differentiate({array: rule})
            return rule

        return give


def _declare(run: Any, options: dict[str, Any]) -> Any:
    if run is None:
        return lambda function: _declare(function, options)
    return UserPrimitive(run, **options)


class _Door:
    """``primitive`` and, as its attributes, the families of primitives."""

    __name__ = __qualname__ = "primitive"

    def __call__(self, run: Any = None, **options: Any) -> Any:
        """Declare a primitive of no particular family: it states its own rules.

        Options: ``name``; ``grad``, the name its graph nodes bear; ``outputs``, their names where there are several, separated by
        spaces; ``nondiff``, those outputs that have no derivative; ``variadic``: the one array parameter stands for a
        sequence of arrays; ``tangent``: ``"linear"`` or ``"multilinear"`` in the arrays; ``axes`` and ``shapes``, names of
        static parameters that hold axes or shapes, from which batching follows.

        >>> import bibun as torch
        >>> @torch.primitive
        ... def cube(xp, x):
        ...     return x * x * x
        >>> cube.derivative(x=lambda g, x: 3 * x * x * g)
        <primitive cube(x)>
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> y = cube(x)
        >>> y.backward()
        >>> y, x.grad
        (tensor(8., grad_fn=<CubeBackward0>), tensor(12.))
        """
        return _declare(run, options)

    def elementwise(self, run: Any = None, *, kind: str = "same", **options: Any) -> Any:
        """Declare an elementwise primitive: broadcasting, promotion (``kind``), forward mode and batching follow."""
        return _declare(run, {"family": "elementwise", "tangent": "elementwise", "kind": kind, **options})

    def linear(self, run: Any = None, **options: Any) -> Any:
        """Declare a primitive that is linear in its arrays taken together: forward mode is the primitive itself."""
        return _declare(run, {"family": "linear", "tangent": "linear", **options})

    def __repr__(self) -> str:
        return "<function primitive>"


primitive = _Door()
primitive.__doc__ = _Door.__call__.__doc__
