"""`grad`, `vjp`, `jvp`, `linearize` and the Jacobians: derivatives as functions of functions.

In goes a function of tensors, out comes a function of the same arguments; they nest with each other and with `vmap` in
any order. See `bibun.func.levels` for how.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..autograd.engine import Wanted, fit, run
from ..autograd.graph import _stack as saved_hooks
from ..autograd.modes import state
from ..autograd.namespace import xp
from ..autograd.node import LEAF
from ..tensor import Tensor
from .levels import Dual, Graded, Level, graded, place_of, stack, unwrapped, wrapped_dual, wrapped_fresh, zeros_as
from .pytree import LEAF as LEAF_SPEC
from .pytree import structure, tree_flatten, tree_leaves, tree_map


class _Forward:
    """Forward mode on inside a transform, and as it was afterwards."""

    def __enter__(self) -> None:
        self.before, stack.forward = stack.forward, True

    def __exit__(self, *_: object) -> None:
        stack.forward = self.before


class _Recording:
    """Recording on inside a transform, saved-tensor hooks refused, and both as they were afterwards."""

    def __enter__(self) -> None:
        self.before, state.grad = state.grad, True
        self.refused, saved_hooks.disabled = saved_hooks.disabled, NO_HOOKS

    def __exit__(self, *_: object) -> None:
        state.grad, saved_hooks.disabled = self.before, self.refused


def tracked(level: Level, x: Any) -> Any:
    """A fresh leaf of a grad level that stands for ``x``."""
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    t = graded(level, x)
    if x._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients; got {x.dtype}")
    t._node = LEAF
    return t


def inside(level: Level, tree: Any) -> Any:
    """The tensors among arguments that are not differentiated in, as the level's, so that they may be written in place."""
    return tree_map(lambda x: wrapped_fresh(level, x) if isinstance(x, Tensor) else x, tree)


def outside(level: Level, aux: Any) -> Any:
    """An auxiliary output, without this level's wrappers."""
    def one(x: Any) -> Any:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(x)}")
        return unwrapped(level, x)
    return tree_map(one, aux)


def tensors_only(flat: list[Any], name: str, what: str) -> None:
    """Raise unless ``flat`` holds tensors, and at least one."""
    if not flat or flat == [None]:
        raise RuntimeError(f"{name}: Expected f to be a function that has non-empty output (got output = {flat[0] if flat else ()})")
    for x in flat:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{name}: expected {what} to return only tensors, got unsupported type {type(x)}")


NO_HOOKS = "torch.func.{grad, vjp, jacrev, hessian} don't yet support saved tensor hooks. Please open an issue with your use case."


def no_saved_hooks() -> None:
    """Raise where saved tensors are to be packed: a level's saved values belong to other levels than the hooks would think."""
    if dispatch.saved_hooks[0] and saved_hooks.pairs:
        raise RuntimeError(NO_HOOKS)


def named_like(call: Any, func: Any) -> Any:
    """``call`` with the name and the page of ``func``."""
    return functools.wraps(func)(call) if isinstance(getattr(func, "__name__", None), str) else call


def pull(level: Level, outputs: list[Any], cotangents: list[Any], inputs: list[Any], retain: bool) -> list[Any]:
    """The gradients of the inputs of a level, which is not active (any more), as tensors below; zeros where an input does not matter."""
    roots = []
    for o, c in zip(outputs, cotangents):
        if isinstance(o, Graded) and o.level is level:
            n = place_of(o)
            if n is not None and c is not None:
                roots.append((o if n is LEAF else n, c))
    leaves = run(roots, xp, retain, False, Wanted([r[0] for r in roots], [x if x._node is LEAF else None for x in inputs]))
    found = []
    for x in inputs:
        g = leaves.get(x)
        a = x._a
        found.append(zeros_as(x) if g is None else fit(g, tuple(a.shape), a.dtype, xp))
    return found


def vjp_of_linear(transpose: Callable[..., Any], starts: list[Any], tangents: list[Any], values: list[Any]) -> list[Any]:
    """The derivative in v of ⟨transpose(v), tangents⟩: for forward mode from a reverse-mode rule."""
    with Level("grad") as level, _Recording():
        vs = [tracked(level, wrap(np.zeros(o._a.shape, o._a.dtype))) for o in starts]
        made = transpose(*vs)
    fitted, given = [], []
    for m, t, v in zip(made, tangents, values):
        if m is not None:
            with level, _Recording():
                m = fit(m, tuple(v._a.shape), v._a.dtype, xp)
            fitted.append(m)
            given.append(t)
    return pull(level, fitted, given, vs, False)


def argnums_of(argnums: Any, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Argument numbers as a tuple of non-negative ones."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    chosen = (argnums,) if isinstance(argnums, int) else argnums
    if not chosen:
        raise RuntimeError("argnums must be non-empty")
    out = []
    for n in chosen:
        if not isinstance(n, int):
            raise RuntimeError(f"argnums must be int, got: {type(n)}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
        out.append(n % len(args))
    if len(set(out)) != len(out):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(out)


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """As `grad`, and gives (gradients, value) or, with ``has_aux``, (gradients, (value, aux))."""

    def call(*args: Any, **kwargs: Any) -> Any:
        no_saved_hooks()
        chosen = argnums_of(argnums, args)
        with Level("grad") as level, _Recording():
            flat: list[Any] = []
            builds = []
            given = [None if n in chosen else inside(level, x) for n, x in enumerate(args)]
            for n in chosen:
                leaves, build = tree_flatten(args[n])
                mine = [tracked(level, x) for x in leaves]
                flat += mine
                builds.append(build)
                given[n] = build(mine)
            out = func(*given, **(inside(level, kwargs) if kwargs else kwargs))
            aux = None
            if has_aux:
                if not (isinstance(out, tuple) and len(out) == 2):
                    raise RuntimeError("grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True")
                out, aux = out
            if not isinstance(out, Tensor):
                raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(out).__name__}")
            if out._a.ndim:
                raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with "
                                   f"{out._a.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?")
        filled = pull(level, [out], [wrap(np.ones((), out._a.dtype))], flat, False)
        grads = iter(filled)
        made = [next(grads) if build is LEAF_SPEC else build.build(grads) for build in builds]
        result = made[0] if isinstance(argnums, int) else tuple(made)
        value = unwrapped(level, out)
        return result, (value, outside(level, aux)) if has_aux else value
    return named_like(call, func)


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that computes the gradient of ``func``, which gives a scalar, in its argument(s) ``argnums``.

    >>> import bibun as torch
    >>> torch.func.grad(torch.sin)(torch.tensor(0.0))
    tensor(1.)
    """
    both = grad_and_value(func, argnums, has_aux)

    def call(*args: Any, **kwargs: Any) -> Any:
        result, value = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result
    return named_like(call, func)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(``func(*primals)``, a function from a cotangent of the output to the cotangents of the primals)[, aux]."""
    made = graph_of(func, primals, None, has_aux)
    level, inputs, builds, outputs, rebuild, aux = made
    result = rebuild([unwrapped(level, o) for o in outputs])

    def pullback(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        flat, found = tree_flatten(given)
        if found != rebuild:
            raise RuntimeError(f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. cotangents: {found}, "
                               f"primal output: {rebuild}")
        for i, (c, o) in enumerate(zip(flat, outputs)):
            if c._a.shape != o._a.shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {c.shape} and output[{i}] has a shape of {o.shape}.")
        grads = iter(pull(level, outputs, flat, inputs, True))
        return tuple([next(grads) if build is LEAF_SPEC else build.build(grads) for build in builds])
    return (result, pullback, aux) if has_aux else (result, pullback)


class Pulled(NamedTuple):
    """A function that was run under a grad level, whose graph can be pulled back through any number of times."""

    level: Level
    #: The inputs differentiated in, the structure of each argument that they came from, the outputs, and their structure.
    inputs: list[Any]
    builds: list[Any]
    outputs: list[Any]
    rebuild: Any
    aux: Any

    def jacobian(self, i: int, chunk_size: int | None) -> list[Any]:
        """The derivatives of output number ``i`` in all inputs, each of shape (*output, *input)."""
        from .batching import vmap
        out = self.outputs[i]
        n = out._a.size

        def row(v: Any) -> Any:
            return tuple(pull(self.level, [out], [v], self.inputs, True))
        shape = tuple(out._a.shape)
        if not n:
            return [wrap(np.zeros((*shape, *x._a.shape), x._a.dtype)) for x in self.inputs]
        if n == 1:
            found = row(wrap(np.ones(shape, out._a.dtype)))
            return list(found) if not shape else [xp.reshape(g, (*shape, *g._a.shape)) for g in found]
        basis = _basis(out, 0, n)
        if chunk_size == 1:
            rows = zip(*[row(v) for v in basis.unbind()])
            return [xp.reshape(xp.stack(tuple(g), axis=0), (*shape, *g[0]._a.shape)) for g in rows]
        found = vmap(row, chunk_size=chunk_size)(basis)
        return list(found) if len(shape) == 1 else [xp.reshape(g, (*shape, *g._a.shape[1:])) for g in found]


def graph_of(func: Callable[..., Any], args: tuple[Any, ...], chosen: tuple[int, ...] | None, has_aux: bool, kwargs: Any = None) -> Pulled:
    """Run ``func`` under a grad level, tracking some of its arguments (None: all)."""
    no_saved_hooks()
    level = Level("grad")
    with level, _Recording():
        if chosen is None:
            chosen = tuple(range(len(args)))
        given = [None if n in chosen else inside(level, x) for n, x in enumerate(args)]
        inputs, builds = [], []
        for n in chosen:
            leaves, build = tree_flatten(args[n])
            mine = [tracked(level, x) for x in leaves]
            inputs += mine
            builds.append(build)
            given[n] = build(mine)
        out = func(*given, **(kwargs or {}))
        aux = None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError("vjp(f, *primals): output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
            aux = outside(level, aux)
        outputs, rebuild = tree_flatten(out)
        tensors_only(outputs, "vjp(f, *primals)", "f(*primals)")
    return Pulled(level, inputs, builds, outputs, rebuild, aux)


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(``func(*primals)``, its derivative in the direction ``tangents``)[, aux].

    >>> import bibun as torch
    >>> torch.func.jvp(lambda x: x * x, (torch.tensor(3.0),), (torch.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    return jvp_at(func, primals, tangents, None, strict, has_aux)


def jvp_at(func: Callable[..., Any], primals: Any, tangents: Any, chosen: tuple[int, ...] | None, strict: bool, has_aux: bool, kwargs: Any = None) -> Any:
    """`jvp` in some of the arguments only: ``primals`` are all, ``tangents`` those of the chosen ones (None: in all)."""
    if not isinstance(primals, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    active = primals if chosen is None else tuple([primals[n] for n in chosen])
    flat_primals, build = tree_flatten(active)
    flat_tangents = tree_leaves(tangents)
    if structure(active) != structure(tangents):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python structure. For example, if primals is a tuple of 3 "
                           f"tensors, tangents also must be. Got primals with structure {structure(active)} and tangents with structure {structure(tangents)}")
    if not flat_primals:
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to contain at least one Tensor.")
    for name, flat in (("primals", flat_primals), ("tangents", flat_tangents)):
        for x in flat:
            if not isinstance(x, Tensor):
                raise RuntimeError(f"jvp(f, primals, tangents): Expected {name} to only contain Tensors, got {type(x)}")
    for p, t in zip(flat_primals, flat_tangents):
        if p._a.shape != t._a.shape:
            raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. Tensor is of "
                               f"size {list(p._a.shape)} while the given forward gradient is of size {list(t._a.shape)}.")
    with Level("jvp") as level, _Forward():
        duals = build([wrapped_dual(level, p, t) for p, t in zip(flat_primals, flat_tangents)])
        if chosen is not None:
            given = [None if n in chosen else inside(level, x) for n, x in enumerate(primals)]
            for n, x in zip(chosen, duals):
                given[n] = x
            duals = given
        out = func(*duals, **(kwargs or {}))
        aux = None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError("jvp(f, primals, tangents): output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
        leaves, rebuild = tree_flatten(out)
        tensors_only(leaves, "jvp(f, primals, tangents)", "f(*primals)")
        values, made = [], []
        for o in leaves:
            t = o.tangent if isinstance(o, Dual) and o.level is level else None
            if t is None and strict:
                raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
                                   "strict=True.")
            v = unwrapped(level, o)
            values.append(v)
            made.append(zeros_as(v) if t is None else t)
        result = rebuild(values), rebuild(made)
        if has_aux:
            return (*result, outside(level, aux))
        return result


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(``func(*primals)``, a function that applies the derivative at ``primals`` to tangents).

    ``func`` runs once: its vector-Jacobian product is linear in its vector, and the derivative of that map is what is given.
    """
    out, pullback = vjp(func, *primals)
    outputs, rebuild = tree_flatten(out)
    _, transposed = vjp(lambda *vs: pullback(rebuild(list(vs))), *[zeros_as(o) for o in outputs])
    flat_primals, build = tree_flatten(primals)

    def push(*tangents: Any) -> Any:
        flat = tree_leaves(tangents)
        if len(flat) != len(flat_primals):
            raise RuntimeError(f"Expected the tangents to have the same argspec as the primals: {len(flat_primals)} tensors, not {len(flat)}")
        for i, (t, p) in enumerate(zip(flat, flat_primals)):
            if t._a.shape != p._a.shape:
                raise RuntimeError(f"tangent:{i} with shape {t.shape} in flattened pytree doesn't match the shape {p.shape} of the corresponding primal.")
            if t._a.dtype != p._a.dtype:
                raise RuntimeError(f"tangent:{i} with dtype {t.dtype} in flattened pytree doesn't match the dtype {p.dtype} of the corresponding primal.")
        return rebuild(list(transposed(build(flat))))
    return out, push


def real_only(name: str, what: str, flat: list[Any]) -> None:
    """Raise where a Jacobian of complex tensors is asked for: it is none of real-linear maps."""
    for i, x in enumerate(flat):
        if isinstance(x, Tensor) and x._a.dtype.kind == "c":
            raise RuntimeError(f"{name}: Expected all {what}s to be real but received complex tensor at flattened {what} idx: {i}")


def _basis(x: Any, before: int, total: int) -> Any:
    """Rows ``before`` and following of ``total`` stand for the elements of ``x``: shape (total, *x.shape)."""
    shape, n = x._a.shape, x._a.size
    return wrap(np.eye(total, n, -before, x._a.dtype).reshape(total, *shape))


def jacrev(func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> Any:
    """The function that computes the Jacobian of ``func`` in its argument(s) ``argnums``, row by row in reverse mode.

    Gives tensors of shape (*output, *input), nested as output and input are. ``chunk_size`` rows are computed at once.

    >>> import bibun as torch
    >>> torch.func.jacrev(lambda x: x ** 2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = argnums_of(argnums, args)
        active = [args[n] for n in chosen]
        leaves, build = tree_flatten(active)
        real_only("jacrev", "input", leaves)
        made = graph_of(func, args, chosen, has_aux, kwargs)
        outputs = made.outputs
        real_only("jacrev", "output", outputs)
        rows = []
        for i in range(len(outputs)):
            found = build(made.jacobian(i, chunk_size))
            rows.append(found[0] if isinstance(argnums, int) else tuple(found))
        result = made.rebuild(rows)
        return (result, made.aux) if has_aux else result
    return named_like(call, func)


def jacfwd(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Any:
    """As `jacrev`, column by column in forward mode: cheaper where outputs outnumber inputs."""

    def call(*args: Any, **kwargs: Any) -> Any:
        from .batching import vmap
        chosen = argnums_of(argnums, args)
        active = tuple([args[n] for n in chosen])
        flat, build = tree_flatten(active)
        real_only("jacfwd", "input", flat)
        sizes = [x._a.size if isinstance(x, Tensor) else 0 for x in flat]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        total, shapes, aux = sum(sizes), None, None

        def push(*tangents: Any) -> Any:
            nonlocal shapes
            made = jvp_at(func, args, build(tangents), chosen, False, has_aux, kwargs)
            columns, shapes = tree_flatten(made[1])
            return (tuple(columns), made[2]) if has_aux else tuple(columns)
        bases = [_basis(x, start, total) if isinstance(x, Tensor) else x for x, start in zip(flat, starts)]
        columns = vmap(push, randomness=randomness, out_dims=(-1, None) if has_aux else -1)(*bases)
        if has_aux:
            columns, aux = columns
        real_only("jacfwd", "output", columns)
        assert shapes is not None
        nested = []
        for g in columns:
            parts = []
            for x, start, n in zip(flat, starts, sizes):
                part = g if len(flat) == 1 else g.narrow(-1, start, n)
                parts.append(part if x._a.ndim == 1 else xp.reshape(part, (*g._a.shape[:-1], *x._a.shape)))
            inputs = build(parts)
            nested.append(inputs[0] if isinstance(argnums, int) else inputs)
        result = shapes(nested)
        return (result, aux) if has_aux else result
    return named_like(call, func)


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """``func`` itself: what PyTorch's removes from the traces that its compilers read (in-place writes, views) is in no trace here.

    Its results, and the writes to its arguments, are those of ``func``, as they are there.
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(f"functionalize(f, remove='...'): Valid options for removing mutations are: 'mutations' and 'mutations_and_views', not {remove!r}.")

    def call(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)
    return named_like(call, func)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that computes the Hessian of ``func``: forward over reverse."""
    return jacfwd(jacrev(func, argnums), argnums)
