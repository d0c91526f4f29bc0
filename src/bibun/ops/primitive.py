"""What a primitive is: one entry that holds all that is known of one mathematical operation.

In: a function against an array namespace ``xp`` (the forward computation) and, one by one, its rules: the derivative
(reverse mode), the tangent (forward mode), batching and the native form. Out: a `Primitive`, which the floors above
bind to tensors, differentiate, batch and compile. Nothing here knows tensors, graphs or NumPy.

An entry reads like this::

    @elementwise(kind="float")
    def tanh(xp, x):
        return xp.tanh(x)

    tanh.derivative(x=lambda g, out: g * (1 - out * out).conj())

Parameters before ``/`` are arrays, those after it are static (axes, shapes, flags); without ``/`` all are arrays. The
names of a rule's parameters say what it needs, and what no rule names is not kept alive between forward and backward:

======================  ==============================================================================
``xp``                  the array namespace (first, if at all)
``g``                   the gradient of the output (``g_<output>`` where there are several outputs)
``x`` (an input)        that input's value, saved
``out`` (an output)     the output's value, saved
``x_shape, x_dtype``    that input's shape (a tuple) or dtype (of ``xp``), without keeping its value
``axis`` (a static)     that static argument
``t_x`` (tangents only) the tangent of that input, or None where it is zero
======================  ==============================================================================

The same rule runs on raw arrays (ordinary backward), on tensors (double backward) and on traced values; ``xp`` and the
operators are what changes. A rule never sums over broadcast dimensions and never casts: the engine gives each
gradient the shape and dtype of its input, and takes the real part where the input is real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..native import formulas

__all__ = ["REGISTRY", "Primitive", "Rule", "elementwise", "linear", "primitive", "refusal", "view"]

#: Every primitive by name, in the order of declaration.
REGISTRY: dict[str, Primitive] = {}


class Rule:
    """A derivative or tangent rule and the names of what it needs, in the order it takes them."""

    __slots__ = ("call", "needs", "plain", "refuses", "takes_xp")

    def __init__(self, call: Callable[..., Any]):
        #: Whether the rule only raises: there is no derivative in closed form, or PyTorch has none.
        self.refuses: bool = getattr(call, "refuses", False)
        code = call.__code__
        names = code.co_varnames[: code.co_argcount]
        self.takes_xp = bool(names) and names[0] == "xp"
        self.needs: tuple[str, ...] = names[1:] if self.takes_xp else names
        self.plain = call
        self.call = call if self.takes_xp else lambda xp, *values: call(*values)


def refusal(error: type[Exception], words: str) -> Callable[..., Any]:
    """The derivative rule of what cannot be differentiated: it raises, where a backward comes to it."""

    def refuse(g: Any) -> Any:
        raise error(words)

    refuse.refuses = True  # type: ignore[attr-defined]
    return refuse


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


class Primitive:
    """One operation with all its rules; see the module's page for how an entry is written.

    Attributes:
        run: the forward computation, called ``run(xp, *arrays, *static)``.
        arrays: names of the array parameters; ``static``: names of the others, ``defaults`` their defaults.
        variadic: the one array parameter is a sequence of arrays (``cat``); its derivative rule gives a list.
        outputs: names of the outputs; ``several`` says that ``run`` gives a tuple of them, or a list of any length.
        kind: of an elementwise primitive, how its operands' dtypes meet: ``same`` (promote), ``float`` (promote,
            integers to the default float), ``compare`` (promote, give bool), ``order`` (the same, complex refused),
            ``logical`` (any dtype, gives bool), ``integer`` (promote; floats are refused), ``difference`` (promote;
            booleans are refused), ``choose`` (promote all but the first, a condition).
        refuses: kinds of dtypes (NumPy's letters: ``b`` bool, ``i`` and ``u`` integers, ``f``, ``c`` complex) that an
            elementwise primitive has no meaning for.
        derivatives: input name -> `Rule`; joint_rule: see `jointly`.
        ahead: (the entry of its backward, what does both), see `with_gradient`.
        nondiff: names of the outputs that have no derivative, and of the inputs that would have one but do not, because
            they are not differentiated in PyTorch or because another rule accounts for them. What is of a dtype without
            derivatives (indices, masks) need not be named.
        domain: for each array the interval that generated tests draw from (the last one holds for those that follow).
        tangent_kind: ``elementwise``, ``linear``, ``multilinear``, ``rule`` or ``derived`` (from the derivative).
    """

    def __init__(
        self,
        run: Callable[..., Any],
        *,
        name: str | None = None,
        grad: str | None = None,
        family: str = "primitive",
        kind: str | None = None,
        variadic: bool = False,
        outputs: Iterable[str] = ("out",),
        several: bool = False,
        nondiff: Iterable[str] = (),
        tangent: str = "derived",
        axes: str = "",
        shapes: str = "",
        refuses: str = "",
    ):
        self.run = run
        self.name = name or run.__name__.rstrip("_")
        self.grad_name = (grad or camel(self.name)) + ("" if grad and grad[-1].isdigit() else "Backward0")
        self.family = family
        self.kind = kind
        self.variadic = variadic
        self.outputs = tuple(outputs.split() if isinstance(outputs, str) else outputs)
        self.several = several or len(self.outputs) > 1
        self.nondiff = frozenset(nondiff.split() if isinstance(nondiff, str) else nondiff)
        if kind in ("compare", "order", "logical", "integer"):
            self.nondiff |= {"out"}
        self.refuses = refuses
        self.doc = run.__doc__
        code = run.__code__  # read directly: `inspect` costs more to import than all entries together
        names = code.co_varnames[1 : code.co_argcount]
        count = code.co_posonlyargcount - 1 if code.co_posonlyargcount else len(names)
        self.arrays = names[:count]
        self.static = names[count:]
        values = run.__defaults__ or ()
        self.defaults = dict(zip(names[len(names) - len(values) :], values))
        self.derivatives: dict[str, Rule] = {}
        self.joint_rule: Rule | None = None
        self.joint_suits: Callable[..., bool] | None = None
        self.joint_adds = False
        self.ahead: tuple[Primitive, Primitive] | None = None
        self.tangent_kind = tangent
        self.tangent_rule: Rule | None = None
        self.batch_rule: Callable[..., Any] | None = None
        self.batch_axes = tuple(axes.split())
        self.batch_shapes = tuple(shapes.split())
        self.native_form: Callable[..., Any] | None = None
        self.domain: tuple[Any, ...] = ()
        self.node_class: Any = None  # made by the floor above when the first node is recorded
        self.recording: Any = None  # the same

    # the rules

    def derivative(self, **rules: Callable[..., Any]) -> Primitive:
        """Give the reverse-mode rule of each differentiable input, by name."""
        for name, rule in rules.items():
            if name not in self.arrays:
                raise TypeError(f"{self.name} has no array parameter {name!r}; it has {self.arrays}")
            made = Rule(rule)
            known = self.names()
            unknown = [n for n in made.needs if n not in known and not (n == "g" or n.startswith("g_"))]
            if unknown:
                raise TypeError(f"the derivative of {self.name} in {name} names {unknown}; known are {sorted(known)}")
            self.derivatives[name] = made
        return self

    def jointly(self, rule: Any = None, *, suits: Callable[..., bool] | None = None) -> Any:
        """Give a rule for all inputs' gradients in one go, ``rule(xp, wanted, g, ...)``, that gives a list of them.

        It is used beside the rules of the inputs, in ordinary backwards that want several gradients, and takes nothing that
        these do not take. ``wanted`` says for each input whether its gradient is wanted; NotImplemented sends to the rules. Of several
        outputs' gradients some may be None, for zeros. ``suits``, given the call's arrays, says whether it is worth looking at: where it is
        not, the inputs' own rules are called with less ado. A rule with a last parameter ``more`` adds to the first input's gradient what
        has come to the same place before, an array or None.
        """
        if rule is None:
            return lambda r: self.jointly(r, suits=suits)
        made = Rule(rule)
        self.joint_adds = "more" in made.needs
        made.needs = tuple([n for n in made.needs if n not in ("wanted", "more")])
        self.joint_rule, self.joint_suits = made, suits
        return self

    def with_gradient(self, gradient: Primitive) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Give what does this and ``gradient``, the entry of its backward, in one go: for programs that know the gradient of the result before.

        It takes the inputs and then ``grad``, and gives the outputs and then the gradient; ``gradient`` takes ``grad`` and then inputs and
        outputs by the names that they have here, and the same static arguments.
        """

        def give(run: Callable[..., Any]) -> Callable[..., Any]:
            self.ahead = gradient, Primitive(run, outputs=(*self.outputs, "gradient"))
            return run

        return give

    def tangent(self, rule: Callable[..., Any]) -> Primitive:
        """Give the forward-mode rule: from inputs, tangents ``t_<input>`` (None: zero) and outputs to the output's tangent."""
        self.tangent_rule, self.tangent_kind = Rule(rule), "rule"
        return self

    def batching(self, rule: Callable[..., Any] | None = None, *, axes: str = "", shapes: str = "") -> Primitive:
        """Give the batching rule, or say from which static parameters it follows.

        ``axes`` names static parameters that hold axes (non-negative integers or tuples of them), which a leading batch
        dimension shifts by one; ``shapes`` those that hold shapes, which it prefixes with the batch size. A rule is called
        ``rule(apply, size, arrays, dims, *static)`` with the position of the batch dimension of each array (None: not
        batched), where ``apply(*arrays, **static)`` runs this primitive, and gives (output, dimension); NotImplemented for one run after the other.
        """
        self.batch_rule = rule
        self.batch_axes, self.batch_shapes = tuple(axes.split()), tuple(shapes.split())
        return self

    def native(self, form: Callable[..., Any]) -> Primitive:
        """Give the native form, written against a handler ``b``: ``lambda b, x: b.exp(x)``."""
        self.native_form = form
        return self

    def drawn_from(self, *domain: Any) -> Primitive:
        """Say from which interval each array argument of a generated test is drawn, as (low, high) pairs.

        The last interval holds for the arrays that follow.
        """
        self.domain = domain
        return self

    def named(self, grad: str) -> Primitive:
        """The same primitive whose graph nodes bear another name (``sum`` over axes gives SumBackward1)."""
        other = object.__new__(Primitive)
        other.__dict__.update(self.__dict__)
        other.grad_name, other.node_class, other.recording = grad, None, None
        return other

    # what the floors above ask

    def names(self) -> set[str]:
        """All names that a rule may take."""
        shapes = {f"{a}_{what}" for a in self.arrays for what in ("shape", "dtype")}
        return {*self.arrays, *self.static, *self.outputs, *shapes, *(f"t_{a}" for a in self.arrays)}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """(arrays, static) of a call written with positions, names and defaults."""
        n = len(self.arrays)
        arrays, static = args[:n], args[n:]
        if len(arrays) < n:
            arrays += tuple(kwargs.pop(name) for name in self.arrays[len(arrays) :])
        for name in self.static[len(static) :]:
            static += (kwargs.pop(name) if name in kwargs else self.defaults[name],)
        if kwargs:
            raise TypeError(f"{self.name} got unknown arguments {sorted(kwargs)}")
        return arrays, static

    def __call__(self, xp: Any, *args: Any, **kwargs: Any) -> Any:
        """The forward computation on raw arrays; primitives may be used inside other entries' runs."""
        arrays, static = self.bind(args, kwargs)
        return self.run(xp, *arrays, *static)

    def __repr__(self) -> str:
        return f"<primitive {self.name}({', '.join(self.arrays)}{'; ' if self.static else ''}{', '.join(self.static)})>"


def declare(**options: Any) -> Callable[[Callable[..., Any]], Primitive]:
    def make(run: Callable[..., Any]) -> Primitive:
        made = Primitive(run, **options)
        if made.name in REGISTRY:
            raise TypeError(f"a primitive named {made.name} is declared twice")
        REGISTRY[made.name] = made
        if made.family == "elementwise":
            formulas[made.name] = made
        return made

    return make


def primitive(run: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a primitive of no particular family: it states its own rules.

    Options: ``grad`` (the node's name, without ``Backward0`` or whole with its digit), ``name``, ``variadic``,
    ``outputs`` (names, separated by spaces), ``several``, ``nondiff`` (outputs and inputs without a derivative), ``tangent``
    (``linear`` or ``multilinear`` in all array inputs), ``axes`` and ``shapes`` (see `Primitive.batching`).
    """
    return declare(**options) if run is None else declare(**options)(run)


def elementwise(run: Callable[..., Any] | None = None, *, kind: str = "same", **options: Any) -> Any:
    """Declare an elementwise primitive: broadcasting, promotion (``kind``), tangent and batching follow."""
    options.setdefault("tangent", "elementwise")
    make = declare(family="elementwise", kind=kind, **options)
    return make if run is None else make(run)


def linear(run: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a primitive that is linear in its arrays taken together: its tangent is itself."""
    make = declare(family="linear", tangent="linear", **options)
    return make if run is None else make(run)


def view(run: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Declare a primitive whose output looks at its input's memory: linear, and an alias for in-place writes."""
    make = declare(family="view", tangent="linear", **options)
    return make if run is None else make(run)
