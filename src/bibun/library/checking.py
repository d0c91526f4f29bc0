"""`opcheck`: whether an operator does what was registered for it.

It runs the operator on the arguments given and holds it against its schema (does it write where it says it does not?), its
stand-in for shapes, and its backward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.dispatch import wrap
from ..tensor import Tensor
from .operators import Operator, lookup, taken_out

__all__ = ["OpCheckError", "opcheck"]

TESTS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static", "test_aot_dispatch_dynamic")
DEFAULT = tuple(t for t in TESTS if t != "test_aot_dispatch_static")


class OpCheckError(Exception):
    """An operator does not do what was registered for it."""


class _Sizes:
    """What `get_ctx` gives inside a stand-in: sizes that nobody can know beforehand."""

    def __init__(self) -> None:
        self.made: set[int] = set()

    def new_dynamic_size(self, *, min: int = 0, max: int | None = None) -> int:
        """A size that depends on values; any size the operator gives agrees with it."""
        size = 10_007 + len(self.made)
        self.made.add(size)
        return size

    create_unbacked_symint = new_dynamic_size


#: The stand-ins in progress.
current: list[_Sizes] = []


def copied(x: Any) -> Any:
    if isinstance(x, Tensor):
        t = wrap(np.array(x._a, order="K"))
        return t.requires_grad_() if x.requires_grad else t
    if isinstance(x, (list, tuple)):
        return [copied(v) for v in x]
    return x


def tensors_in(*given: Any) -> list[Any]:
    return taken_out(tuple(list(g) if isinstance(g, tuple) else g for g in given))[1]


def check_schema(op: Operator, args: Any, kwargs: Any, rtol: Any, atol: Any) -> None:
    """Arguments not declared mutable stay as they were."""
    args, kwargs = [copied(a) for a in args], {k: copied(v) for k, v in kwargs.items()}
    values, named = op._schema.bind(tuple(args), kwargs)
    given = dict(zip([a.name for a in op._schema.arguments if not a.kwarg_only], values)) | named
    before = {name: [np.array(t._a) for t in tensors_in(v)] for name, v in given.items()}
    op(*values, **named)
    for a in op._schema.arguments:
        now = [t._a for t in tensors_in(given[a.name])]
        if not a.is_write and any(not np.array_equal(x, y, equal_nan=x.dtype.kind in "fc") for x, y in zip(before[a.name], now)):
            raise RuntimeError(f"Argument {a.name} is not defined as mutable but was mutated")


def check_autograd(op: Operator, args: Any, kwargs: Any, rtol: Any, atol: Any) -> None:
    """A backward was registered in a way that the graph sees."""
    if op.opaque or op.backward is not None or op.composite is not None or not any(t.requires_grad for t in tensors_in(*args, *kwargs.values())):
        return
    out = op(*args, **kwargs)
    if any(t.requires_grad for t in tensors_in(*(out if isinstance(out, tuple) else (out,)))):
        raise AssertionError(
            "Autograd kernel was not registered: the operator's outputs require grad by what its kernel calls. Register a backward with "
            "torch.library.register_autograd, or the kernel as CompositeImplicitAutograd."
        )


def check_fake(op: Operator, args: Any, kwargs: Any, rtol: Any, atol: Any) -> None:
    """The stand-in gives what the operator gives, values aside."""
    if op.composite is not None:
        return
    if op.fake is None:
        raise RuntimeError(f"There was no fake impl registered for {op.qualname}. This is necessary for torch.compile/export/fx tracing to work. Please use "
                           f"`{op.name}.register_fake` to add an fake impl.")
    args, kwargs = [copied(a) for a in args], {k: copied(v) for k, v in kwargs.items()}
    sizes = _Sizes()
    current.append(sizes)
    try:
        fake = op.fake(*args, **kwargs)
    finally:
        current.pop()
    real = op(*args, **kwargs)
    ours, theirs = (tensors_in(*(o if isinstance(o, tuple) else (o,))) for o in (fake, real))
    where = f"When comparing the output of {op} on FakeTensor and concrete Tensors, found mismatched tensor metadata:"
    if len(ours) != len(theirs):
        raise AssertionError(f"{where} {len(ours)} tensors and {len(theirs)} tensors")
    for f, r in zip(ours, theirs):
        if f.dtype != r.dtype:
            raise AssertionError(f"{where} Dtypes {f.dtype} and {r.dtype} are not equal!")
        if f.ndim != r.ndim or any(a != b and a not in sizes.made for a, b in zip(f.shape, r.shape)):
            raise AssertionError(f"{where} Shapes {f.shape} and {r.shape} are not equal!")


def check_backward(op: Operator, args: Any, kwargs: Any, rtol: Any, atol: Any) -> None:
    """Two runs agree, and the backward gives each input a gradient of its shape."""
    check_fake(op, args, kwargs, rtol, atol)
    runs = []
    for _ in range(2):
        given, named = [copied(a) for a in args], {k: copied(v) for k, v in kwargs.items()}
        out = op(*given, **named)
        outs = [t for t in tensors_in(*(out if isinstance(out, tuple) else (out,)))]
        leaves = [t for t in tensors_in(*given, *named.values()) if t.requires_grad]
        roots = [t for t in outs if t.requires_grad]
        if roots and leaves and op.backward is not None:
            from ..autograd import grad

            grads = grad([t.sum() for t in roots], leaves, allow_unused=True)
        else:
            grads = ()
        runs.append([t._a for t in outs] + [g._a for g in grads if g is not None])
    tolerances = {k: v for k, v in (("rtol", rtol), ("atol", atol)) if v is not None}
    for a, b in zip(*runs):
        if a.shape != b.shape or not np.allclose(a, b, equal_nan=True, **tolerances):
            raise AssertionError(f"{op} gave other values when it was called again with the same arguments")


CHECKS = {
    "test_schema": check_schema, "test_autograd_registration": check_autograd, "test_faketensor": check_fake, "test_aot_dispatch_static": check_backward,
    "test_aot_dispatch_dynamic": check_backward,
}


def opcheck(
    op: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *, test_utils: Any = DEFAULT, raise_exception: bool = True,
    atol: float | None = None, rtol: float | None = None,
) -> dict[str, Any]:
    """Test that an operator does what was registered for it, on sample arguments; gives each test's "SUCCESS" or its error.

    ``test_schema``: it writes only where its schema says so. ``test_autograd_registration``: its backward is where the graph sees
    it. ``test_faketensor``: what was given to `register_fake` agrees with it in shapes and dtypes. ``test_aot_dispatch_dynamic``:
    it runs forward and backward, twice with the same result. Whether gradients are right is for `torch.autograd.gradcheck`.
    """
    try:
        found = lookup(op)
    except ValueError:
        raise ValueError(f"opcheck(op, ...): op must be instance of torch._ops.OpOverload, e.g. torch.ops.aten.sin.default, got {type(op)}") from None
    names = (test_utils,) if isinstance(test_utils, str) else tuple(test_utils)
    if not set(names) <= set(TESTS):
        raise ValueError(f"opcheck(op, ..., test_utils={names}), expected test_utils to be subset of {TESTS} but it was not")
    results: dict[str, Any] = {}
    for name in names:
        try:
            CHECKS[name](found, args, kwargs or {}, rtol, atol)
            results[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise OpCheckError(f"opcheck(op, ...): {name} failed with {error} (scroll up for stack trace)") from error
            results[name] = error
    return results
