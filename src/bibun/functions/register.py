"""Where public functions are declared: one definition becomes ``torch.<name>``, ``Tensor.<name>`` and ``Tensor.<name>_``.

In goes a function with PyTorch's signature (or an elementwise primitive, for `unary` and `binary`); out comes the same
function, entered in `FUNCTIONS` and `METHODS`, from which the package's namespace and the Tensor class are filled. The
in-place form and ``out=`` follow from the plain form, so that no operation states them itself.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import F32, F64, apply, make_binary, make_unary
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.inplace import assign, check_of_inference, check_writable, stand_in, unwatched, written_by, written_over
from ..autograd.modes import state
from ..backends import cpu
from ..backends.large import LARGE
from ..errors import argument_error, cast_error, combination_error
from ..ops.primitive import Primitive

__all__ = ["FUNCTIONS", "METHODS", "apply", "binary", "by_example", "function", "in_place", "inplace_of", "method", "prop", "unary", "write_out"]

#: ``torch.<name>``; a dotted name belongs to a submodule (``special.erf``).
FUNCTIONS: dict[str, Any] = {}
#: ``Tensor.<name>``: functions and properties.
METHODS: dict[str, Any] = {}

#: Kinds of primitives whose results are truth values.
BOOLEAN = frozenset(("compare", "order", "logical"))
#: Operations that cannot overflow, divide by zero or be invalid on ordinary values: spared the switching-off of warnings.
QUIET = frozenset(
    "add subtract multiply negative abs tanh sin cos sign floor ceil trunc maximum minimum positive rint rsub square".split()
)


def requires_grad(x: Any) -> bool:
    return isinstance(x, dispatch.Tensor) and (x._node is not None or x._view is not None)


def in_place(plain: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run ``plain`` on the tensor, write the result back, rebase its history."""
    check_writable(self)
    source = self
    if state.grad and (
        self._node is not None
        or any(map(requires_grad, args))
        or any(map(requires_grad, kwargs.values()))
        or dispatch.busy[0]
        and hasattr(self, "level")  # a function transform may have recorded below
    ):
        source = stand_in(self)
    return assign(self, plain(source, *args, **kwargs))


def inplace_of(plain: Callable[..., Any], name: str, prim: Primitive | None = None) -> Callable[..., Any]:
    """The in-place form of a function, which is all that the elementwise primitive ``prim`` does, if that is given."""

    into = array_function_of(prim) if prim is not None and len(prim.arrays) == 1 and prim.kind not in BOOLEAN else None
    if into is not None and into.__name__ == "one":  # which makes a new array
        into = None

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if prim is not None:
            a = self._a
            if a.size >= LARGE:
                if written_over(prim, self, args, kwargs):
                    return self
            elif into is not None and not args and not kwargs and (a.dtype is F32 or a.dtype is F64) and a.flags.carray and unwatched(self):
                token = quiet(IGNORE)
                try:
                    into(a, a)
                finally:
                    restore(token)
                written_by(a, 1)
                return self
        if unwatched(self, args, kwargs):
            result = plain(self, *args, **kwargs)
            a, source = self._a, result._a
            if source.dtype is a.dtype and source.shape == a.shape and source is not a and a.size < LARGE and a.flags.carray:
                a[...] = source
                written_by(a, 1)
                return self
            return assign(self, result)
        return in_place(plain, self, *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place version of `{plain.__name__}`."
    return call


def by_example(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function that looks at values and gives nothing differentiable: under `vmap` it runs on each example."""

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        if dispatch.busy[0]:
            done = dispatch.example_by_example(plain, args, kwargs)
            if done is not NotImplemented:
                return done
        return plain(*args, **kwargs)

    return call


def write_out(out: Any, result: Any) -> Any:
    """Put a result into the tensor(s) given as ``out=``, resized where they must be, with PyTorch's checks."""
    if isinstance(result, tuple):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            raise TypeError(f"out= must be a tuple of {len(result)} tensors")
        for o, r in zip(out, result):
            write_out(o, r)
        return (
            result.__class__(out)
            if result.__class__ is tuple
            else type(result)(*out)
            if hasattr(result, "_fields")
            else type(result)(out)
        )
    if not isinstance(out, dispatch.Tensor):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if not isinstance(result, dispatch.Tensor):
        return result
    if dispatch.forward_levels[0] and any(getattr(t, "tangent", None) is not None for t in (out, result)):
        raise NotImplementedError("Trying to use forward AD with a function that does not support it because it is an out= function")
    if state.grad and (out._node is not None or result._node is not None):
        if out._node is not None or any(True for _ in (1,) if result._node is not None):
            raise RuntimeError(
                "functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad."
            )
    check_of_inference(out)
    source = result._a
    if source.dtype != out._a.dtype:
        from .. import dtypes

        if not dtypes.can_cast(dtypes.BY_NUMPY[source.dtype], out.dtype):
            raise cast_error(result.dtype, out.dtype)
    if source.shape != out._a.shape:
        if out._a.size:
            import warnings

            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out._a.shape)}, which does not match the "
                f"required output shape {list(source.shape)}. This behavior is deprecated, and in a future PyTorch release outputs will "
                "not be resized unless they have zero elements. You can explicitly reuse an out tensor t by resizing it, inplace, to "
                "zero elements with t.resize_(0).",
                UserWarning,
                stacklevel=4,
            )
        out._a = np.empty(source.shape, out._a.dtype)
    before, state.grad = state.grad, False
    try:
        assign(out, result, checked=False)
    finally:
        state.grad = before
    return out


def say(public: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the class of an argument that is no tensor says of a call that failed (``__torch_function__``); else NotImplemented.

    Such objects are asked here, when a function has failed with them, so that calls with tensors need not ask.
    """
    for a in (*args, *kwargs.values()):
        for x in a if a.__class__ is list or a.__class__ is tuple else (a,):
            if not isinstance(x, dispatch.Tensor) and hasattr(type(x), "__torch_function__"):
                import importlib  # a floor above

                said = importlib.import_module("bibun.overriding").asked_late(public, args, kwargs, sys._getframe(2))
                if said is not NotImplemented:
                    return said
    return NotImplemented


def foreign(operator: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    """As `say`, for an operator that does not know its other operand."""
    import importlib

    return importlib.import_module("bibun.overriding").asked_late(operator, operands, {}, sys._getframe(3))


dispatch.foreign = foreign


def with_out(plain: Callable[..., Any]) -> Callable[..., Any]:
    """``plain`` with an ``out=`` argument."""

    @functools.wraps(plain)
    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        try:
            if out is None:
                return plain(*args, **kwargs) if kwargs else plain(*args)
            return write_out(out, plain(*args, **kwargs))
        except Exception:
            said = say(call, *args, **kwargs)
            if said is NotImplemented:
                raise
            return said

    return call


def function(
    plain: Any = None,
    *,
    name: str | None = None,
    method: bool = True,
    inplace: bool = False,
    aliases: str = "",
    out: bool = True,
    space: str = "",
) -> Any:
    """Declare a public function: decorator or direct call. See the module's page.

    Args:
        method: whether it is a method of Tensor too. inplace: whether ``<name>_`` exists. aliases: further names,
        separated by spaces. out: whether ``out=`` is accepted. space: the submodule it belongs to (``"special"``).
    """
    if plain is None:
        return functools.partial(
            function, name=name, method=method, inplace=inplace, aliases=aliases, out=out, space=space
        )
    own = name or plain.__name__.rstrip("_")
    public = with_out(plain) if out else plain
    for each in (own, *aliases.split()):
        FUNCTIONS[f"{space}.{each}" if space else each] = public
        if method and not space:
            METHODS[each] = plain
            if inplace:
                METHODS[each + "_"] = inplace_of(plain, each + "_")
        if inplace and not space:
            FUNCTIONS.setdefault(each + "_", METHODS[each + "_"]) if method else None
    return public


def method(plain: Any = None, *, name: str | None = None, aliases: str = "") -> Any:
    """Declare a method of Tensor that is no function of the package."""
    if plain is None:
        return functools.partial(method, name=name, aliases=aliases)
    for each in (name or plain.__name__, *aliases.split()):
        METHODS[each] = plain
    return plain


def prop(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Declare a property of Tensor."""
    METHODS[plain.__name__] = property(plain)
    return plain


def _plain_code(n: int) -> bytes:
    return (lambda xp, x: xp.f(x)).__code__.co_code if n == 1 else (lambda xp, x, y: xp.f(x, y)).__code__.co_code


def takes_out(f: Any) -> bool:
    """Whether an array function has an ``out`` after its operands, as NumPy's own have."""
    code = getattr(f, "__code__", None)
    return isinstance(f, np.ufunc) or code is not None and "out" in code.co_varnames[: code.co_argcount]


def array_function_of(prim: Primitive) -> Any:
    """The one NumPy function that an entry's run consists of, or the run itself on arrays."""
    code = prim.run.__code__
    if len(code.co_names) == 1 and code.co_code == _plain_code(len(prim.arrays)):
        found = getattr(cpu, code.co_names[0], None)
        if takes_out(found):
            return found
    run = prim.run
    if len(prim.arrays) == 1:

        def one(x: Any, out: Any = None) -> Any:
            r = run(cpu, x)
            return r if r.__class__ is np.ndarray else np.asarray(r)

        return one

    def two(x: Any, y: Any, out: Any = None) -> Any:
        r = run(cpu, x, y)
        return r if r.__class__ is np.ndarray else np.asarray(r)

    return two


def unary(
    prim: Primitive,
    *,
    name: str | None = None,
    aliases: str = "",
    method: bool = True,
    inplace: bool = True,
    space: str = "",
) -> Any:
    """The public function of an elementwise primitive of one operand: ``torch.exp(input, *, out=None)`` and its kin."""
    call = make_unary(prim, array_function_of(prim), prim.name not in QUIET)
    call.__name__ = call.__qualname__ = name or prim.name
    call.__doc__ = prim.doc

    def public(input: Any, *, out: Any = None) -> Any:
        try:
            return call(input) if out is None else write_out(out, call(input))
        except Exception:
            said = say(public, input)
            if said is NotImplemented:
                raise
            return said

    public.__name__ = public.__qualname__ = call.__name__
    public.__doc__ = prim.doc
    return _enter(call, public, aliases, method, inplace, space, prim)


#: Python's numbers.
NUMBERS = frozenset((int, float, complex, bool))
#: What two operands may be, by the name of the rule: signatures as PyTorch's error lists them.
OVERLOADS = {
    "second": ("Tensor input, Tensor other, *, Tensor out = None", "Tensor input, Number other, *, Tensor out = None"),
    "one": (
        "Tensor input, Tensor other, *, Tensor out = None",
        "Number self, Tensor other",
        "Tensor input, Number other, *, Tensor out = None",
    ),
}


def number_check(name: str, numbers: str) -> Callable[[Any, Any], None] | None:
    """What raises where PyTorch takes no Python number: ``both`` operands may be one (None), ``one`` of them, the
    ``second`` alone, or ``none``."""
    if numbers == "both":
        return None

    def refuse(input: Any, other: Any) -> None:
        first, last = input.__class__ in NUMBERS, other.__class__ in NUMBERS
        if numbers == "none":
            if first or last:
                raise argument_error(name, *(("input", 1) if first else ("other", 2)), "Tensor", input if first else other)
        elif first and (last or numbers == "second"):
            raise combination_error(name, (input, other), {}, OVERLOADS[numbers])

    return refuse


def binary(
    prim: Primitive,
    *,
    name: str | None = None,
    aliases: str = "",
    method: bool = True,
    inplace: bool = True,
    space: str = "",
    numbers: str = "both",
) -> Any:
    """The public function of an elementwise primitive of two operands: ``torch.mul(input, other, *, out=None)``.

    ``numbers`` says which of them may be Python numbers: see `number_check`.
    """
    said = f"{space}_{name or prim.name}" if space else name or prim.name
    call = make_binary(
        prim,
        array_function_of(prim),
        prim.name not in QUIET,
        refuse=number_check(said, numbers),
        numbers=numbers != "none",
    )
    call.__name__ = call.__qualname__ = name or prim.name
    call.__doc__ = prim.doc

    def public(input: Any, other: Any, *, out: Any = None) -> Any:
        try:
            return call(input, other) if out is None else write_out(out, call(input, other))
        except Exception:
            said = say(public, input, other)
            if said is NotImplemented:
                raise
            return said

    public.__name__ = public.__qualname__ = call.__name__
    public.__doc__ = prim.doc
    return _enter(call, public, aliases, method, inplace, space, prim)


def operator(prim: Primitive) -> Any:
    """The operator (``Tensor.__mul__``) of an elementwise primitive of two operands."""
    return make_binary(prim, array_function_of(prim), prim.name not in QUIET, operator=True)


def _enter(call: Any, public: Any, aliases: str, method: bool, inplace: bool, space: str, prim: Primitive) -> Any:
    for each in (call.__name__, *aliases.split()):
        FUNCTIONS[f"{space}.{each}" if space else each] = public
        if method and not space:
            METHODS[each] = call
            if inplace:
                METHODS[each + "_"] = inplace_of(call, each + "_", prim)
                FUNCTIONS[each + "_"] = METHODS[each + "_"]
    return public
