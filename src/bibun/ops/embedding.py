"""Table look-ups: single rows, and sums, means or maxima of bags of rows; with the kernels of their backwards.

In: a table (n, d), row numbers as int64. Out: the rows, or one row for each bag.
"""

from __future__ import annotations

from typing import Any

from .primitive import primitive


@primitive
def embedding(xp, weight, index, /, padding_idx, scale):
    """Rows of ``weight``; no gradient for row ``padding_idx``, ``scale`` divides the others' by their counts."""
    return xp.embedding(weight, index, padding_idx, scale)


@primitive(grad="EmbeddingDenseBackward")
def embedding_gradient(xp, grad, index, /, shape, padding_idx, scale):
    """Rows of ``grad`` added up where they came from."""
    return xp.embedding_gradient(grad, index, shape, padding_idx, scale)


@primitive(grad="Embedding")
def embedding_rows(xp, x, index, /, padding_idx, scale):
    """The transpose of `embedding_gradient`."""
    return xp.embedding_rows(x, index, padding_idx, scale)


embedding.derivative(
    weight=lambda xp, g, index, weight_shape, padding_idx, scale: xp.embedding_gradient(
        g, index, weight_shape, padding_idx, scale
    )
)
embedding.tangent(lambda xp, t_weight, index: xp.embedding(t_weight, index, -1, False))
embedding_gradient.derivative(
    grad=lambda xp, g, index, padding_idx, scale: xp.embedding_rows(g, index, padding_idx, scale)
)
embedding_rows.derivative(
    x=lambda xp, g, index, x_shape, padding_idx, scale: xp.embedding_gradient(g, index, x_shape, padding_idx, scale)
)


def _joined(size: int, index: Any, dim: Any, n: int) -> Any:
    """Row numbers into ``size`` tables of ``n`` rows, one under the other."""
    index = index.movedim(dim, 0) if dim is not None else index.expand((size, *index.shape))
    return index + index.new_tensor(range(0, size * n, n)).reshape((size, *(1,) * (index.ndim - 1)))


@embedding.batching
def _embedding_batched(apply, size, arrays, dims, padding_idx, scale):
    weight, index = arrays
    if dims[0] is None:
        return apply(weight, index.movedim(dims[1], 0)), 0
    weight = weight.movedim(dims[0], 0)
    n = weight.shape[1]
    return apply(weight.reshape((size * n, weight.shape[2])), _joined(size, index, dims[1], n), padding_idx=-1), 0


@embedding_gradient.batching
def _gradient_batched(apply, size, arrays, dims, shape, padding_idx, scale):
    grad, index = arrays
    grad = grad.movedim(dims[0], 0) if dims[0] is not None else grad.expand((size, *grad.shape))
    n = shape[0]
    index = _joined(size, index, dims[1], n)
    out = apply(grad, index, shape=(size * n, *shape[1:]), padding_idx=-1).reshape((size, *shape))
    if padding_idx >= 0:
        out = out.index_fill(1, index.new_tensor([padding_idx]), 0)
    return out, 0


@embedding_rows.batching
def _rows_batched(apply, size, arrays, dims, padding_idx, scale):
    x, index = arrays
    x = x.movedim(dims[0], 0) if dims[0] is not None else x.expand((size, *x.shape))
    if padding_idx >= 0:
        x = x.index_fill(1, index.new_tensor([padding_idx]), 0)
    n = x.shape[1]
    return apply(x.reshape((size * n, x.shape[2])), _joined(size, index, dims[1], n), padding_idx=-1), 0


# Bags


@primitive(grad="EmbeddingBag", nondiff="factor scaling")
def embedding_bag(xp, weight, samples, index, bag, factor, scaling, /, bags):
    """Sums of rows·factor·samples over bags; ``bag``: the bag of each number, ``scaling``: the gradient's factors."""
    rows = weight[index]
    d = rows.dtype
    if d in xp.NARROW:
        rows = rows.astype(xp.float32)
    if factor is not None:
        rows = rows * factor
    if samples is not None:
        rows = rows * samples[:, None]
    return xp.scatter_add_rows((bags, weight.shape[1]), bag, rows).astype(d)


def _bag_in_weight(xp, g, samples, index, bag, factor, scaling, weight_shape):
    rows = xp.index_select(g, bag, 0)
    if factor is not None:
        rows = rows * factor
    if samples is not None:
        rows = rows * xp.expand_dims(samples, 1)
    out = xp.add_rows(rows, index, weight_shape)
    return out if scaling is None else out * scaling


def _bag_in_samples(xp, g, weight, index, bag, factor):
    products = xp.index_select(g, bag, 0) * xp.index_select(weight, index, 0)
    if factor is not None:
        products = products * factor
    return xp.sum(products, axis=(1,))


embedding_bag.derivative(weight=_bag_in_weight, samples=_bag_in_samples)


@primitive(grad="EmbeddingBag", outputs="out where", nondiff="where")
def embedding_bag_max(xp, weight, index, bag, /, bags, padding_idx):
    """The largest of each bag's rows, place by place, and which row of the table it is (-1 where there is none)."""
    out = xp.zeros((bags, weight.shape[1]), dtype=weight.dtype)
    where = xp.full(out.shape, -1, dtype=xp.int64)
    order = xp.argsort(bag, kind="stable")
    ends = xp.searchsorted(bag[order], xp.arange(bags + 1))
    columns = xp.arange(weight.shape[1])
    for b in range(bags):
        numbers = index[order[ends[b] : ends[b + 1]]]
        numbers = numbers[numbers != padding_idx]
        if numbers.size:
            rows = weight[numbers]
            best = xp.argmax(rows, axis=0)
            out[b], where[b] = rows[best, columns], numbers[best]
    return out, where


def _max_in_weight(xp, g_out, where, weight_shape, weight_dtype):
    none = where < 0
    g = xp.where(none, xp.zeros_like(g_out), g_out)
    return xp.scatter_add(
        xp.zeros(weight_shape, dtype=getattr(weight_dtype, "np", weight_dtype)), xp.where(none, 0, where), g, 0
    )


embedding_bag_max.derivative(weight=_max_in_weight)


def _under(size: int, a: Any, dim: Any) -> Any:
    """``a`` of all examples, one under the other."""
    return a if a is None else (a.movedim(dim, 0) if dim is not None else a.expand((size, *a.shape))).flatten(0, 1)


@embedding_bag.batching
def _bag_batched(apply, size, arrays, dims, bags):
    weight, samples, index, bag, factor, scaling = arrays
    n = weight.shape[0] if dims[0] is None else weight.movedim(dims[0], 0).shape[1]
    if dims[0] is None and dims[5] is None:  # one table for all
        table, index = weight, _under(size, index, dims[2])
    else:
        table, index = _under(size, weight, dims[0]), _joined(size, index, dims[2], n).flatten()
        scaling = _under(size, scaling, dims[5])
    bag = _joined(size, bag, dims[3], bags).flatten()
    out = apply(table, _under(size, samples, dims[1]), index, bag, _under(size, factor, dims[4]), scaling, bags=size * bags)
    return out.reshape((size, bags, out.shape[1])), 0


@embedding_bag_max.batching
def _bag_max_batched(apply, size, arrays, dims, bags, padding_idx):
    weight, index, bag = arrays
    n = weight.shape[0] if dims[0] is None else weight.movedim(dims[0], 0).shape[1]
    each = index.movedim(dims[1], 0) if dims[1] is not None else index.expand((size, *index.shape))
    # What is left out goes to a bag beyond the last, which is nobody's.
    bag = _joined(size, bag, dims[2], bags).masked_fill(each == padding_idx, size * bags).flatten()
    if dims[0] is None:
        out, where = apply(weight, each.flatten(), bag, bags=size * bags, padding_idx=-1)
    else:
        numbers = _joined(size, index, dims[1], n).flatten()
        out, where = apply(_under(size, weight, dims[0]), numbers, bag, bags=size * bags, padding_idx=-1)
        where = where.where(where < 0, where % n)
    return tuple([a.reshape((size, bags, a.shape[1])) for a in (out, where)]), (0, 0)
