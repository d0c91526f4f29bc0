"""Poolings and resampling: the largest or the mean of windows, and weighted sums along spatial dimensions.

In: arrays (..., *spatial) and for each spatial dimension a rule, a tuple that says which inputs an output is made of
(the array kernels have the list). Out: arrays (..., *outputs). All but max pooling are linear, and their transposes are
the same primitives, told so.
"""

from __future__ import annotations

from .primitive import primitive


@primitive(grad="MaxPool2DWithIndices", outputs="out where", nondiff="where")
def max_pool(xp, x, /, rules):
    """The largest element of each window, and its place in the window."""
    return xp.max_pool(x, rules)


@primitive(grad="MaxPool2DWithIndicesBackward", tangent="linear")
def max_pool_gradient(xp, grad, where, /, rules):
    """Each window's gradient, where its largest element was."""
    return xp.max_pool_gradient(grad, where, rules)


@primitive(grad="MaxPool2DWithIndicesBackward", tangent="linear")
def max_pool_taken(xp, x, where, /, rules):
    """The element of each window at its place."""
    return xp.max_pool_taken(x, where, rules)


max_pool.derivative(x=lambda xp, g_out, where, rules: xp.max_pool_gradient(g_out, where, rules))
max_pool.tangent(lambda xp, t_x, where, rules: (xp.max_pool_taken(t_x, where, rules), None))
max_pool_gradient.derivative(grad=lambda xp, g, where, rules: xp.max_pool_taken(g, where, rules))
max_pool_gradient.tangent(lambda xp, t_grad, where, rules: xp.max_pool_gradient(t_grad, where, rules))
max_pool_taken.derivative(x=lambda xp, g, where, rules: xp.max_pool_gradient(g, where, rules))
max_pool_taken.tangent(lambda xp, t_x, where, rules: xp.max_pool_taken(t_x, where, rules))


def in_front(apply, size, arrays, dims, *static):
    """The batching rule of what works on the last dimensions alone."""
    lined = [a.movedim(d, 0) if d is not None else a.expand((size, *a.shape)) for a, d in zip(arrays, dims)]
    out = apply(*lined)
    return out, (0,) * len(out) if isinstance(out, tuple) else 0


@primitive(nondiff="out")
def flat_positions(xp, where, /, rules):
    """The flat position in its image of each window's place."""
    return xp.flat_positions(where, rules)


@primitive(nondiff="out samples")
def fractional_places(xp, x, samples, /, kernel, size):
    """The flat position of the largest element of each window of fractional max pooling."""
    return xp.fractional_places(x, samples, kernel, size)


for _prim in (max_pool, max_pool_gradient, max_pool_taken, flat_positions, fractional_places):
    _prim.batching(in_front)


@primitive(grad="MaxUnpool2D")
def put_windows(xp, x, indices, /, size, added=False):
    """Images of zeros with the elements of ``x`` at flat positions; equal positions are added up if told so."""
    return xp.put_windows(x, indices, size, added)


@primitive(grad="MaxPool2DWithIndicesBackward")
def take_windows(xp, x, indices, /, rank):
    """The elements of images at flat positions."""
    return xp.take_windows(x, indices, rank)


put_windows.derivative(x=lambda xp, g, indices, size: xp.take_windows(g, indices, len(size)))
put_windows.tangent(lambda xp, t_x, indices, size, added: xp.put_windows(t_x, indices, size, added))
take_windows.derivative(
    x=lambda xp, g, indices, x_shape, rank: xp.put_windows(g, indices, tuple(x_shape[-rank:]), True)
)
take_windows.tangent(lambda xp, t_x, indices, rank: xp.take_windows(t_x, indices, rank))
put_windows.batching(in_front)
take_windows.batching(in_front)


@primitive(grad="AvgPool2D", tangent="linear")
def average_windows(xp, x, /, rules, count_padding, override, transposed=False):
    """The mean of each window, margins counted or not, or the sum over a given number."""
    return xp.average_windows(x, rules, count_padding, override, transposed)


average_windows.derivative(
    x=lambda xp, g, rules, count_padding, override, transposed: xp.average_windows(
        g, rules, count_padding, override, not transposed
    )
)
average_windows.batching(in_front)


@primitive(grad="UpsampleBilinear2D", tangent="linear")
def resample(xp, x, /, rules, transposed=False):
    """Weighted sums of neighbours along the last dimensions."""
    return xp.resample(x, rules, transposed)


resample.derivative(x=lambda xp, g, rules, transposed: xp.resample(g, rules, not transposed))
resample.batching(in_front)
