"""`grad`, `vjp`, `jvp`, `linearize` and the Jacobians: derivatives as functions of functions.

In goes a function of tensors, out comes a function of the same arguments; they nest with each other and with `vmap` in
any order. See `bibun.func.levels` for how.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..autograd.engine import Wanted, fit, run
from ..autograd.modes import state
from ..autograd.namespace import xp
from ..autograd.node import LEAF
from ..tensor import Tensor
from .levels import Dual, Graded, Level, Wrapper, dual, graded, place_of, unwrapped
from .pytree import tree_flatten, tree_leaves, tree_map


class _Recording:
    """Recording on inside a transform, and as it was afterwards."""

    def __enter__(self) -> None:
        self.before, state.grad = state.grad, True

    def __exit__(self, *_: object) -> None:
        state.grad = self.before


def tracked(level: Level, x: Any) -> Any:
    """A fresh leaf of a grad level that stands for ``x``."""
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    t = graded(level, x)
    if x._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        raise RuntimeError(f"only Tensors of floating point and complex dtype can require gradients; got {x.dtype}")
    t._node = LEAF
    return t


def below(level: Level, aux: Any) -> Any:
    """An auxiliary output, without this level's wrappers."""
    def one(x: Any) -> Any:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(x)}")
        return unwrapped(level, x)
    return tree_map(one, aux)


def tensors_only(flat: list[Any], name: str, what: str) -> None:
    """Raise unless ``flat`` holds tensors, and at least one."""
    for x in flat:
        if not isinstance(x, Tensor):
            raise RuntimeError(f"{name}: expected {what} to return only tensors, got unsupported type {type(x)}")
    if not flat:
        raise RuntimeError(f"{name}: Expected f to be a function that has non-empty output (got output = {flat})")


def zeros_of(x: Any) -> Any:
    """Zeros in the shape and dtype of ``x``."""
    return wrap(np.zeros(tuple(x._a.shape), x._a.dtype))


def pull(level: Level, outputs: list[Any], cotangents: list[Any], inputs: list[Any], retain: bool) -> list[Any]:
    """The gradients of a level's inputs, as tensors below; zeros where an input does not matter."""
    roots = []
    for o, c in zip(outputs, cotangents):
        if isinstance(o, Graded) and o.level is level:
            n = place_of(o)
            if n is not None and c is not None:
                roots.append((o if n is LEAF else n, c))
    targets = [x if isinstance(x, Graded) and x._node is LEAF else None for x in inputs]
    with _Below(level):
        leaves = run(roots, xp, retain, False, Wanted([r[0] for r in roots], targets))
        found = []
        for x in inputs:
            g = leaves.get(x)
            a = x._a
            found.append(zeros_of(x) if g is None else fit(g, tuple(a.shape), a.dtype, xp))
    return found


class _Below:
    """Recording as the levels below have it while a level's own backward runs."""

    def __init__(self, level: Level):
        self.level = level

    def __enter__(self) -> None:
        self.before, state.grad = state.grad, self.level.outer

    def __exit__(self, *_: object) -> None:
        state.grad = self.before


def vjp_of_linear(transpose: Callable[..., Any], starts: list[Any], tangents: list[Any], values: list[Any]) -> list[Any]:
    """The derivative in v of ⟨transpose(v), tangents⟩: for forward mode from a reverse-mode rule."""
    with Level("grad") as level, _Recording():
        vs = [tracked(level, wrap(np.zeros(o._a.shape, o._a.dtype))) for o in starts]
        made = transpose(*vs)
        fitted, given = [], []
        for m, t, v in zip(made, tangents, values):
            if m is not None:
                shape, d = tuple(v._a.shape), v._a.dtype
                fitted.append(fit(m, shape, d, xp))
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
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
        out.append(n % len(args))
    if len(set(out)) != len(out):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(out)


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """As `grad`, and gives (gradients, value) or, with ``has_aux``, (gradients, (value, aux))."""
    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = argnums_of(argnums, args)
        with Level("grad") as level, _Recording():
            flat: list[Any] = []
            given = list(args)
            builds = []
            for n in chosen:
                leaves, build = tree_flatten(args[n])
                mine = [tracked(level, x) for x in leaves]
                flat += mine
                builds.append((build, len(mine)))
                given[n] = build(mine)
            out = func(*given, **kwargs)
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
            made, at = [], 0
            for build, n in builds:
                made.append(build(filled[at:at + n]))
                at += n
            result = made[0] if isinstance(argnums, int) else tuple(made)
            value = tree_map(functools.partial(unwrapped, level), out)
            if has_aux:
                return result, (value, below(level, aux))
            return result, value
    return call


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that computes the gradient of ``func``, which gives a scalar, in its argument(s) ``argnums``.

    >>> import bibun as torch
    >>> torch.func.grad(torch.sin)(torch.tensor(0.0))
    tensor(1.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        result, value = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result
    return call


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(``func(*primals)``, a function from a cotangent of the output to the cotangents of the primals)[, aux]."""
    level = Level("grad")
    with level, _Recording():
        flats = [tree_flatten(p) for p in primals]
        inputs = [[tracked(level, x) for x in leaves] for leaves, _ in flats]
        out = func(*[build(mine) for mine, (_, build) in zip(inputs, flats)])
        aux = None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError("vjp(f, *primals): output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
        outputs, rebuild = tree_flatten(out)
        tensors_only(outputs, "vjp(f, *primals)", "f(*primals)")
        result = rebuild([unwrapped(level, o) for o in outputs])
        if has_aux:
            aux = below(level, aux)
    tensors = [x for mine in inputs for x in mine]

    def pullback(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        flat = tree_leaves(given)
        if len(flat) != len(outputs):
            raise RuntimeError(f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function: it has {len(flat)} "
                               f"tensors, the outputs are {len(outputs)}")
        for i, (c, o) in enumerate(zip(flat, outputs)):
            if c._a.shape != o._a.shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {c.shape} and output[{i}] has a shape of {o.shape}.")
        with level:
            grads = pull(level, outputs, flat, tensors, True)
        made, at = [], 0
        for mine, (_, build) in zip(inputs, flats):
            made.append(build(grads[at:at + len(mine)]))
            at += len(mine)
        return tuple(made)
    if has_aux:
        return result, pullback, aux
    return result, pullback


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(``func(*primals)``, its derivative in the direction ``tangents``)[, aux].

    >>> import bibun as torch
    >>> torch.func.jvp(lambda x: x * x, (torch.tensor(3.0),), (torch.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    flat_primals, build = tree_flatten(primals)
    flat_tangents = tree_leaves(tangents)
    if len(flat_primals) != len(flat_tangents):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python structure.")
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
    with Level("jvp") as level:
        out = func(*build([dual(level, p, t) for p, t in zip(flat_primals, flat_tangents)]))
        aux = None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError("jvp(f, primals, tangents): output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
        leaves, rebuild = tree_flatten(out)
        values, made = [], []
        tensors_only(leaves, "jvp(f, primals, tangents)", "f(*primals)")
        for o in leaves:
            if isinstance(o, Dual) and o.level is level and not (strict and o.fresh):
                values.append(o.value)
                made.append(o.tangent)
            else:
                if strict:
                    raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
                                       "strict=True.")
                values.append(unwrapped(level, o))
                made.append(zeros_of(o) if not isinstance(o, Wrapper) else xp.multiply(unwrapped(level, o), 0))
        result = rebuild(values), rebuild(made)
        if has_aux:
            return (*result, below(level, aux))
        return result


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(``func(*primals)``, a function that applies the derivative at ``primals`` to tangents).

    ``func`` runs once: its vector-Jacobian product is linear in its vector, and the derivative of that map is what is given.
    """
    out, pullback = vjp(func, *primals)
    outputs, rebuild = tree_flatten(out)
    _, transposed = vjp(lambda *vs: pullback(rebuild(list(vs))), *[zeros_of(o) if not isinstance(o, Wrapper) else xp.multiply(o, 0) for o in outputs])
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


def _basis(x: Any) -> Any:
    """The standard basis of the space of ``x``: shape (n, *x.shape)."""
    n = x._a.size
    return wrap(np.eye(n, dtype=x._a.dtype).reshape(n, *x._a.shape))


def _chunks(total: int, size: int | None) -> list[tuple[int, int]]:
    size = size or max(total, 1)
    return [(i, min(i + size, total)) for i in range(0, max(total, 1), size)]


def _no_rows(shape: tuple[int, ...], x: Any) -> Any:
    return xp.zeros((*shape, *x._a.shape), dtype=x._a.dtype)


def jacrev(func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> Any:
    """The function that computes the Jacobian of ``func`` in its argument(s) ``argnums``, row by row in reverse mode.

    Gives tensors of shape (*output, *input), nested as output and input are.

    >>> import bibun as torch
    >>> torch.func.jacrev(lambda x: x ** 2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        from .batching import vmap
        chosen = argnums_of(argnums, args)

        def partial(*active: Any) -> Any:
            given = list(args)
            for n, x in zip(chosen, active):
                given[n] = x
            return func(*given, **kwargs)
        active = [args[n] for n in chosen]
        real_only("jacrev", "input", tree_leaves(active))
        made = vjp(partial, *active, has_aux=has_aux)
        out, pullback = made[0], made[1]
        outputs, rebuild = tree_flatten(out)
        real_only("jacrev", "output", outputs)
        rows = []
        for i, o in enumerate(outputs):
            def one(v: Any, i: int = i) -> Any:
                full = [v if j == i else xp.zeros(tuple(p._a.shape), dtype=p._a.dtype) for j, p in enumerate(outputs)]
                return pullback(rebuild(full))
            basis = _basis(o)
            parts = [vmap(one)(basis[a:b]) if b > a else None for a, b in _chunks(o._a.size, chunk_size)]
            parts = [p for p in parts if p is not None]
            if not parts:
                rows.append(tree_map(functools.partial(_no_rows, tuple(o._a.shape)), tuple(active)))
                continue
            flats = [tree_flatten(p) for p in parts]
            joined = [g[0] if len(g) == 1 else xp.concat(tuple(g), axis=0) for g in zip(*[f[0] for f in flats])]
            shaped = [xp.reshape(g, (*o._a.shape, *g._a.shape[1:])) for g in joined]
            rows.append(flats[0][1](shaped))
        result = rebuild([r[0] if isinstance(argnums, int) else r for r in rows])
        return (result, made[2]) if has_aux else result
    return call


def jacfwd(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error") -> Any:
    """As `jacrev`, column by column in forward mode: cheaper where outputs outnumber inputs."""
    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        from .batching import vmap
        chosen = argnums_of(argnums, args)
        active = tuple(args[n] for n in chosen)
        flat, build = tree_flatten(active)
        real_only("jacfwd", "input", flat)

        def partial(*values: Any) -> Any:
            given = list(args)
            for n, x in zip(chosen, values):
                given[n] = x
            return func(*given, **kwargs)
        columns = []
        aux = None
        shapes: Any = None
        for i, x in enumerate(flat):
            def push(v: Any, i: int = i) -> Any:
                tangents = [v if j == i else xp.zeros(tuple(p._a.shape), dtype=p._a.dtype) for j, p in enumerate(flat)]
                made = jvp(partial, active, build(tangents), has_aux=has_aux)
                return made[1:] if has_aux else (made[1],)
            basis = _basis(x)
            pushed = vmap(push, randomness=randomness, out_dims=(0, None) if has_aux else (0,))(basis)
            if has_aux:
                aux = pushed[1]
            joined, shapes = tree_flatten(pushed[0])
            real_only("jacfwd", "output", joined)
            columns.append([xp.reshape(xp.permute_dims(g, (*range(1, g._a.ndim), 0)), (*g._a.shape[1:], *x._a.shape)) for g in joined])
        per_output = list(zip(*columns))
        nested = []
        for row in per_output:
            inputs = build(list(row))
            nested.append(inputs[0] if isinstance(argnums, int) else inputs)
        result = shapes(nested)
        return (result, aux) if has_aux else result
    return call


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that computes the Hessian of ``func``: forward over reverse."""
    return jacfwd(jacrev(func, argnums), argnums)
