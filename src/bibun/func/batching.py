"""`vmap`: how a vmap level runs a primitive, and the transform itself.

Elementwise primitives have their operands' batch dimensions brought to the front and aligned; primitives that say which
static arguments are axes or shapes have those shifted; others have a rule of their own; what has none runs example by
example, with a warning that names it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import dispatch, inplace
from ..autograd.dispatch import apply
from ..autograd.namespace import xp
from ..functions.random import get_rng_state, set_rng_state
from ..ops.primitive import Primitive
from ..ops.shape import laid_out
from ..tensor import Tensor
from . import levels
from .levels import Batched, Level, batched, below, bottom, highest, stack, unwrapped, wrapped_fresh
from .pytree import broadcast_prefix, structure, tree_flatten, tree_leaves, tree_map

#: Batching rules stated here because they concern the in-place mechanism; others stand in the entries.
RULES: dict[str, Callable[..., Any]] = {}


def front(x: Any, bdim: int) -> Any:
    """``x`` with its batch dimension first."""
    return x if bdim == 0 else xp.permute_dims(x, (bdim, *[i for i in range(x._a.ndim) if i != bdim]))


def run_batched(level: Level, prim: Primitive, arrays: Any, static: Any) -> Any:
    """A primitive on batched arguments."""
    values = [x.value if isinstance(x, Batched) and x.level is level else x for x in arrays]
    dims = [x.bdim if isinstance(x, Batched) and x.level is level else None for x in arrays]
    made = batch(level, prim, values, dims, static)
    out, bdim = made
    if prim.several:
        dims_out = bdim if isinstance(bdim, (list, tuple)) else [bdim] * len(out)
        return tuple(o if d is None else batched(level, o, d) for o, d in zip(out, dims_out))
    return out if bdim is None else batched(level, out, bdim)


def batch(level: Level, prim: Primitive, values: list[Any], dims: list[int | None], static: Any) -> Any:
    """(output, batch dimension) by the rule that fits the entry."""
    if prim.name in ("copy_slices", "replay"):
        return batch_steps(level, prim, values, dims, static)
    if prim.batch_rule is not None:
        def call(*args: Any, **changed: Any) -> Any:
            # Arrays first; static arguments follow by position or by name, and stay as they were where not given.
            n = len(prim.arrays)
            positional = args[n:]
            given = tuple(positional[i] if i < len(positional) else changed.get(name, s) for i, (name, s) in enumerate(zip(prim.static, static)))
            return apply(prim, args[0] if prim.variadic else args[:n], given)
        call.primitive = prim.name  # type: ignore[attr-defined]
        made = prim.batch_rule(call, level.size, values, dims, *static)
        return batch_by_loop(level, prim, values, dims, static) if made is NotImplemented else made
    if prim.family == "elementwise":
        return batch_elementwise(prim, values, dims, static)
    if prim.batch_axes or prim.batch_shapes:
        return batch_shifted(level, prim, values, dims, static)
    return batch_by_loop(level, prim, values, dims, static)


def batch_elementwise(prim: Primitive, values: list[Any], dims: list[int | None], static: Any) -> Any:
    """Batch dimensions first, shapes padded so that the rest broadcasts as it did."""
    ndim = max(v._a.ndim - (d is not None) for v, d in zip(values, dims) if isinstance(v, Tensor))
    lined = []
    for v, d in zip(values, dims):
        if d is not None:
            v = front(v, d)
            missing = ndim - (v._a.ndim - 1)
            if missing:
                shape = v._a.shape
                v = xp.reshape(v, (shape[0], *(1,) * missing, *shape[1:]))
        lined.append(v)
    return keep_dtype(prim, values, dims, lined, static), 0


def keep_dtype(prim: Primitive, values: list[Any], dims: list[int | None], lined: list[Any], static: Any) -> Any:
    """Call an elementwise primitive, minding that a 0-d operand became dimensioned and so would promote otherwise."""
    ranks = [v._a.ndim - (d is not None) for v, d in zip(values, dims) if isinstance(v, Tensor)]
    if len({v._a.dtype for v in lined if isinstance(v, Tensor)}) > 1 and 0 in ranks and max(ranks) > 0 and prim.kind != "logical":
        from ..autograd.dispatch import common_dtype
        common = common_dtype([np.broadcast_to(np.zeros((), v._a.dtype), (1,) * (v._a.ndim - (d is not None))) if isinstance(v, Tensor) else v
                               for v, d in zip(values, dims)])
        lined = [xp.astype(v, common) if isinstance(v, Tensor) and v._a.dtype != common else v for v in lined]
    return apply(prim, lined, static)


#: Primitives whose axis is one of their output's.
NEW_AXIS = frozenset(("expand_dims", "stack"))


def batch_shifted(level: Level, prim: Primitive, values: list[Any], dims: list[int | None], static: Any) -> Any:
    """Batch dimensions first, the static axes shifted by one, the static shapes prefixed."""
    if prim.variadic:
        ranks = [v._a.ndim - (d is not None) for v, d in zip(values, dims)]
        if max(ranks) != 1 and 1 in ranks:      # the old form of an empty array, which `concat` passes over
            kept = [(v, d) for v, d, n in zip(values, dims, ranks) if n != 1 or v._a.shape[0 if d else -1]]
            values, dims = [v for v, _ in kept], [d for _, d in kept]
    lined = []
    for v, d in zip(values, dims):
        if isinstance(v, Tensor):
            v = front(v, d) if d is not None else xp.broadcast_to(xp.expand_dims(v, 0), (level.size, *v._a.shape))
        lined.append(v)
    ndim = next(v._a.ndim for v in lined if isinstance(v, Tensor))
    if ndim == 1 and not prim.batch_shapes and prim.name not in NEW_AXIS:
        # 0-d examples, of which an axis may be named all the same: one more dimension to name, gone afterwards.
        lined = [xp.expand_dims(v, 1) if isinstance(v, Tensor) else v for v in lined]
        out = batch_shifted(level, prim, lined, [0 if isinstance(v, Tensor) else None for v in lined], static)[0]
        return (tuple([xp.squeeze(o, 1) for o in out]) if prim.several else xp.squeeze(out, 1)), 0
    given = []
    s: Any
    for name, s in zip(prim.static, static):
        if name in prim.batch_axes:
            if s is None:
                s = tuple(range(1, ndim))
            else:
                s = s + 1 if isinstance(s, int) else tuple([a + 1 for a in s])
                if name in ("axes", "dims") and prim.name == "permute_dims":
                    s = (0, *s)
        elif name in prim.batch_shapes:
            s = (level.size, *s)
        given.append(s)
    if prim.name == "permute_dims" and given and given[0][0] != 0:
        given[0] = (0, *given[0])
    return apply(prim, lined, tuple(given)), 0


_warned: set[str] = set()


def batch_by_loop(level: Level, prim: Primitive, values: list[Any], dims: list[int | None], static: Any) -> Any:
    """Example by example."""
    if prim.name not in _warned:
        _warned.add(prim.name)
        warnings.warn(f"There is a performance drop because we have not yet implemented the batching rule for {prim.name}: it runs example by example.",
                      UserWarning, stacklevel=6)
    fronts = [front(v, d) if d is not None else v for v, d in zip(values, dims)]
    outs = []
    for i in range(level.size):
        outs.append(apply(prim, [v[i] if d is not None else v for v, d in zip(fronts, dims)], static))
    if prim.several:
        return tuple(xp.stack(tuple(o), axis=0) for o in zip(*outs)), 0
    return xp.stack(tuple(outs), axis=0), 0


def example_by_example(function: Any, args: Any, kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, which looks at values and gives nothing differentiable, below all levels; at a vmap's, on each example."""
    leaves, rebuild = tree_flatten((args, kwargs))
    level = highest([x for x in leaves if isinstance(x, Tensor)])
    if level is None or level not in stack.levels:
        return NotImplemented
    with below(level):
        if level.kind != "vmap":
            args, kwargs = rebuild([unwrapped(level, x) for x in leaves])
            return tree_map(lambda o: wrapped_fresh(level, o) if isinstance(o, Tensor) else o, function(*args, **kwargs))
        made = []
        for i in range(level.size):
            args, kwargs = rebuild([x.value.select(x.bdim, i) if isinstance(x, Batched) and x.level is level else x for x in leaves])
            made.append(tree_flatten(function(*args, **kwargs)))
        outs = [xp.stack(tuple(each), axis=0) for each in zip(*[flat for flat, _ in made])]
    return made[0][1]([batched(level, o, 0) for o in outs])


dispatch.example_by_example = example_by_example


def shifted_steps(level: Level, steps: Any) -> Any:
    """A chain of view steps as they are under a leading batch dimension."""
    made = []
    for prim, static, index in steps:
        if prim.batch_rule is None and not prim.batch_axes and not prim.batch_shapes:
            return None
        if prim.batch_rule is not None:
            return None
        given = []
        s: Any
        for name, s in zip(prim.static, static):
            if name in prim.batch_axes and s is not None:
                s = s + 1 if isinstance(s, int) else tuple([a + 1 for a in s])
                if prim.name == "permute_dims":
                    s = (0, *s)
            elif name in prim.batch_shapes:
                s = (level.size, *s)
            given.append(s)
        made.append((prim, tuple(given), index))
    return tuple(made)


def batch_steps(level: Level, prim: Primitive, values: list[Any], dims: list[int | None], static: Any) -> Any:
    """`copy_slices` and `replay`, whose static argument is a chain of views."""
    steps = shifted_steps(level, static[0])
    lined = []
    for v, d in zip(values, dims):
        lined.append(front(v, d) if d is not None else xp.broadcast_to(xp.expand_dims(v, 0), (level.size, *v._a.shape)))
    if steps is not None:
        return apply(prim, lined, (steps,)), 0
    # Some of the views have batching rules of their own: they are taken under vmap again.
    base = lined[0] if prim.name == "replay" else lined[0].clone()
    chain = static[0]
    with level:
        whole = batched(level, base, 0)
        if prim.name == "replay":
            part = inplace.look(xp, whole, chain)
            return part.value, part.bdim
        # A view by strides speaks of memory: what it is taken of is laid out as it was, written, and put back in its place.
        at = next((i for i, step in enumerate(chain) if step[0].name == "as_strided"), None)
        if at is not None:
            whole = inplace.look(xp, whole, chain[:at])
            ordered = front(whole.value, whole.bdim).clone()
            room = batched(level, laid_out(ordered, (ordered._a.size, *chain[at][1][3])), 0)
            part = inplace.look(xp, room, chain[at:])
        else:
            room = whole
            part = inplace.look(xp, whole, chain)
        a, b = bottom(part)._a, bottom(room)._a
        if a.size and not np.may_share_memory(a, b):
            return batch_by_loop(level, prim, values, dims, static)
        part.copy_(batched(level, lined[1], 0))
        if room is not whole:
            whole.copy_(room)
    return base, 0


def assign_batched(level: Level, x: Any, result: Any) -> Any:
    """An in-place write at a vmap level."""
    mine = isinstance(result, Batched) and result.level is level
    if not (isinstance(x, Batched) and x.level is level):
        if mine:
            raise RuntimeError("vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args that has more "
                               "elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped over at level "
                               f"{level.depth}. Please try to use out-of-place operators instead of inplace arithmetic.")
        return inplace.assign(x, result)
    target = front(x.value, x.bdim)
    lower = front(result.value, result.bdim) if mine else xp.broadcast_to(xp.expand_dims(result, 0), tuple(target._a.shape))
    target.copy_(lower)
    return x


def _in_dims(in_dims: Any, args: Any, name: str) -> tuple[list[Any], list[int | None], Any]:
    """(leaves, the batch dimension of each, how to rebuild)."""
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): expected `in_dims` to be int or a (potentially nested) tuple matching the "
                         f"structure of inputs, got: {type(in_dims)}.")
    if not args:
        raise ValueError(f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function with no inputs. "
                         "The latter is unsupported.")
    leaves, build = tree_flatten(args)
    dims = broadcast_prefix(in_dims, build)
    if dims is None:
        raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{structure(in_dims)} but inputs has structure {build}.")
    for i, (x, d) in enumerate(zip(leaves, dims)):
        if d is None:
            continue
        if not isinstance(d, int):
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but in_dim must be either an integer dimension or None.")
        if not isinstance(x, Tensor):
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but the input is of type {type(x)}. We cannot vmap "
                             "over non-Tensor arguments, please use None as the respective in_dim")
        if not -x._a.ndim <= d < x._a.ndim:
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for some input, but that input is a Tensor of dimensionality "
                             f"{x._a.ndim} so expected in_dim to satisfy -{x._a.ndim} <= in_dim < {x._a.ndim}.")
        dims[i] = d % x._a.ndim
    return leaves, dims, build


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None) -> Callable[..., Any]:
    """The function that applies ``func`` to every slice of its arguments along ``in_dims``, at once.

    Args:
        in_dims, out_dims: the dimension of each input (output) that runs over the examples; None: the same for all.
        randomness: whether random draws inside are an "error", "same" for all examples or "different".
        chunk_size: take so many examples at a time.

    >>> import bibun as torch
    >>> torch.vmap(torch.dot)(torch.ones(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", None) or repr(func)

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, dims, build = _in_dims(in_dims, args, name)
        sizes = [x._a.shape[d] for x, d in zip(leaves, dims) if d is not None]
        if not sizes:
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Expected at least one Tensor to vmap over")
        if min(sizes) != max(sizes):
            raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the mapped dimension")
        size = sizes[0]
        if chunk_size is None or chunk_size >= size:
            return one_batch(func, leaves, dims, build, size, out_dims, randomness, kwargs, name)[0]
        parts = []
        before = get_rng_state() if randomness == "same" else None
        for start in range(0, size, chunk_size):
            stop = min(start + chunk_size, size)
            if before is not None:
                set_rng_state(before)
            cut = [x if d is None else x.narrow(d, start, stop - start) for x, d in zip(leaves, dims)]
            parts.append(one_batch(func, cut, dims, build, stop - start, out_dims, randomness, kwargs, name))
        flats = [tree_flatten(p)[0] for p, _ in parts]
        rebuild, where = structure(parts[0][0]), parts[0][1]
        return rebuild([g[0] if d is None or not isinstance(g[0], Tensor) else xp.concat(tuple(g), axis=d % g[0]._a.ndim) for g, d in zip(zip(*flats), where)])
    return functools.wraps(func)(call) if isinstance(getattr(func, "__name__", None), str) else call


def _out_dims(out_dims: Any, out: Any, spec: Any, name: str) -> list[int | None]:
    """The batch dimension of each output."""
    if isinstance(out, Tensor) and out_dims.__class__ is tuple and len(out_dims) == 1:
        out_dims = out_dims[0]
    if not all(isinstance(d, (int, type(None))) for d in tree_leaves(out_dims)):
        raise ValueError(f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of ints representing where in the "
                         "outputs the vmapped dimension should appear.")
    where = broadcast_prefix(out_dims, spec)
    if where is None:
        raise ValueError(f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of `outputs`. out_dims has "
                         f"structure {structure(out_dims)} but outputs has structure {spec}.")
    return where


def one_batch(func: Any, leaves: list[Any], dims: list[int | None], build: Any, size: int, out_dims: Any, randomness: str, kwargs: Any, name: str) -> Any:
    """Run ``func`` once on batched tensors: (what it gives, the batch dimension of each output)."""
    with Level("vmap", size, randomness) as level:
        given = build([x if d is None else batched(level, x, d) for x, d in zip(leaves, dims)])
        out = func(*given, **kwargs)
    outs, rebuild = tree_flatten(out)
    where = [out_dims] if outs and outs[0] is out and out_dims.__class__ is int else _out_dims(out_dims, out, rebuild, name)
    made = []
    for o, d in zip(outs, where):
        inside = o.__class__ is Batched and o.level is level
        if d is None:
            if inside:
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            made.append(o)
            continue
        if not isinstance(o, Tensor):
            raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(o)}. Did you mean to set out_dims= to None for output?")
        v, at = (o.value, o.bdim) if inside else (xp.broadcast_to(xp.expand_dims(o, 0), (size, *o._a.shape)), 0)
        ndim = v._a.ndim
        if not -ndim <= d < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got {d}): vmap({name}, ..., out_dims={out_dims})")
        made.append(moved(v, at, d % ndim))
    return rebuild(made), where


def moved(x: Any, at: int, to: int) -> Any:
    """``x`` with its dimension ``at`` moved to ``to``."""
    if at == to:
        return x
    order = [i for i in range(x._a.ndim) if i != at]
    order.insert(to, at)
    return xp.permute_dims(x, tuple(order))


def current_vmap() -> Level | None:
    """The innermost active vmap level of this thread."""
    return next((x for x in reversed(stack.levels) if x.kind == "vmap"), None)


def random_tensor(draw: Callable[[tuple[int, ...]], Any], shape: tuple[int, ...]) -> Any:
    """A random draw of ``shape`` inside vmap, by its ``randomness``; ``draw`` gives a tensor of a shape."""
    active = stack.levels[:]

    def at(k: int, shape: tuple[int, ...]) -> Any:
        if k < 0:
            return draw(shape)
        level = active[k]
        if level.kind != "vmap":
            return wrapped_fresh(level, at(k - 1, shape))
        refuse_randomness(level)
        return at(k - 1, shape) if level.randomness == "same" else batched(level, at(k - 1, (level.size, *shape)), 0)
    if not active:
        return draw(shape)
    with below(active[0]):
        return at(len(active) - 1, shape)


def refuse_randomness(level: Level) -> None:
    """Raise where the transform does not allow random draws."""
    if level.randomness == "error":
        raise RuntimeError("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness flags on vmap "
                           "or perform the randomness operation out of vmap")


def random_call(call: Callable[..., Any], tensors: tuple[Any, ...]) -> Any:
    """``call(*tensors)``, a draw with tensors for parameters, below the levels that these belong to."""
    level = highest([x for x in tensors if isinstance(x, Tensor)])
    if level is None:
        current = current_vmap()
        if current is not None:
            refuse_randomness(current)
            if current.randomness == "different":
                sized = [xp.broadcast_to(xp.expand_dims(x, 0), (current.size, *x._a.shape)) if isinstance(x, Tensor) else x for x in tensors]
                with below(current):
                    made = call(*sized)
                return batched(current, made, 0)
        return NotImplemented
    lower = [unwrapped(level, x) for x in tensors]
    if level.kind != "vmap":
        with below(level):
            return wrapped_fresh(level, call(*lower))
    refuse_randomness(level)
    if level.randomness == "same":
        raise RuntimeError("Vmap does not currently support same randomness with a batched tensor input. Please file an issue with functorch")
    lined = []
    ndim = max(x._a.ndim for x in tensors if isinstance(x, Tensor))
    for x, v in zip(tensors, lower):
        if isinstance(x, Batched) and x.level is level:
            v = front(v, x.bdim)
            if v._a.ndim - 1 < ndim:
                v = xp.reshape(v, (v._a.shape[0], *(1,) * (ndim - v._a.ndim + 1), *v._a.shape[1:]))
        lined.append(v)
    with below(level):
        made = call(*lined)
    return batched(level, made, 0)


levels.run_batched, levels.assign_batched = run_batched, assign_batched

__all__ = ["current_vmap", "random_tensor", "run_batched", "vmap"]
