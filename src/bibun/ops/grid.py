"""Sampling of images at points of a grid, and the grids of affine maps.

In: images (N, C, *), a grid (N, *points, rank). Out: (N, C, *points). A sample is a sum of elements times weights, and
the weights are products of polynomials in the coordinates; gathering, scattering and matching (bilinear, each the
others' derivative) and the weights' derivatives of any order therefore serve all orders of differentiation.
"""

from __future__ import annotations

import math

from .primitive import primitive


def merged(apply, size, arrays, dims, *static):
    """The batching rule of what works on each example apart: the batch dimension joins that of the examples."""
    lined = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]
    out = apply(*[a.reshape((a.shape[0] * a.shape[1], *a.shape[2:])) for a in lined])
    return out.reshape((size, -1 if size else 0, *out.shape[1:])), 0


@primitive(nondiff="out")
def sample_places(xp, grid, /, size, mode, padding, align):
    """Which elements each point is made of: flat positions (N, K, P)."""
    return xp.sample_places(grid, size, mode, padding, align)


@primitive
def sample_weights(xp, grid, /, size, mode, padding, align, orders):
    """The weights that go with `sample_places`, differentiated ``orders`` times in each coordinate."""
    return xp.sample_weights(grid, size, mode, padding, align, orders)


def slopes(xp, grid, size, mode, padding, align, orders):
    """The weights' derivatives in each coordinate."""
    for j in range(len(size)):
        higher = tuple([n + (i == j) for i, n in enumerate(orders)])
        yield xp.sample_weights(grid, size, mode, padding, align, higher)


def _in_grid(xp, g, grid, size, mode, padding, align, orders):
    shares = [xp.sum(g * w, (1,), False) for w in slopes(xp, grid, size, mode, padding, align, orders)]
    return xp.reshape(xp.stack(shares, 2), tuple(grid.shape))


sample_weights.derivative(grid=_in_grid)


@primitive(tangent="multilinear")
def grid_gather(xp, x, places, weights, /):
    """Weighted sums of elements of images."""
    return xp.grid_gather(x, places, weights)


@primitive(tangent="multilinear")
def grid_scatter(xp, held, places, weights, /, count):
    """What points hold, shared out to the images' elements."""
    return xp.grid_scatter(held, places, weights, count)


@primitive(tangent="multilinear")
def grid_match(xp, held, x, places, /):
    """Sums over channels of what points hold times elements."""
    return xp.grid_match(held, x, places)


grid_gather.derivative(
    x=lambda xp, g, places, weights, x_shape: xp.grid_scatter(g, places, weights, x_shape[2]),
    weights=lambda xp, g, x, places: xp.grid_match(g, x, places),
)
grid_scatter.derivative(
    held=lambda xp, g, places, weights: xp.grid_gather(g, places, weights),
    weights=lambda xp, g, held, places: xp.grid_match(held, g, places),
)
grid_match.derivative(
    held=lambda xp, g, x, places: xp.grid_gather(x, places, g),
    x=lambda xp, g, held, places, x_shape: xp.grid_scatter(held, places, g, x_shape[2]),
)


def flat(xp, x, rank):
    shape = tuple(x.shape)
    return xp.reshape(x, (*shape[:-rank], math.prod(shape[-rank:])))


@primitive(grad="GridSampler2D")
def grid_sample(xp, x, grid, /, mode, padding, align):
    """Images sampled at the points of a grid."""
    size = tuple(x.shape[2:])
    places = xp.sample_places(grid, size, mode, padding, align)
    weights = xp.sample_weights(grid, size, mode, padding, align, (0,) * len(size))
    out = xp.grid_gather(flat(xp, x, len(size)), places, weights)
    return xp.reshape(out, (*out.shape[:2], *grid.shape[1:-1]))


def _sample_in_x(xp, g, grid, x_shape, mode, padding, align):
    size = tuple(x_shape[2:])
    places = xp.sample_places(grid, size, mode, padding, align)
    weights = xp.sample_weights(grid, size, mode, padding, align, (0,) * len(size))
    return xp.reshape(xp.grid_scatter(flat(xp, g, len(size)), places, weights, math.prod(size)), tuple(x_shape))


def _sample_in_grid(xp, g, x, grid, mode, padding, align):
    size = tuple(x.shape[2:])
    rank = len(size)
    places = xp.sample_places(grid, size, mode, padding, align)
    matched = xp.grid_match(flat(xp, g, rank), flat(xp, x, rank), places)
    return _in_grid(xp, matched, grid, size, mode, padding, align, (0,) * rank)


grid_sample.derivative(x=_sample_in_x, grid=_sample_in_grid)


@primitive(tangent="linear")
def affine_grid_generator(xp, theta, /, size, align, transposed=False):
    """The points of an image under affine maps."""
    return xp.affine_grid(theta, size, align, transposed)


affine_grid_generator.derivative(
    theta=lambda xp, g, size, align, transposed: xp.affine_grid_generator(g, size, align, not transposed)
)

for _prim in (sample_places, sample_weights, grid_gather, grid_scatter, grid_match, grid_sample, affine_grid_generator):
    _prim.batching(merged)
