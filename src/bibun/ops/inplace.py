"""What an in-place write leaves of the old value in the graph: fills and copies as primitives of the tensor written to.

The old value's gradient is zero; the new value's passes. The write itself is done by the floor above.
"""

from __future__ import annotations

from .primitive import primitive


@primitive(tangent="linear")
def zero(xp, x):
    """Zeros in the shape of ``x``."""
    return xp.zeros_like(x)


zero.derivative(x=lambda xp, g: xp.zeros_like(g))


@primitive
def fill(xp, x, value):
    """``value``, a 0-d array, in the shape of ``x``."""
    return xp.full_like(x, xp.astype(value, x.dtype)) if value is not None else xp.zeros_like(x)


fill.derivative(x=lambda xp, g: xp.zeros_like(g), value=lambda xp, g: xp.sum(g))
fill.tangent(lambda xp, x, t_value, x_shape: None if t_value is None else xp.broadcast_to(t_value, x_shape))


@primitive(grad="CopyBackwards0")
def copy_into(xp, x, source):
    """``source`` broadcast to the shape of ``x``, in its dtype."""
    return xp.copy(xp.broadcast_to(source, x.shape)).astype(x.dtype, copy=False)


copy_into.grad_name = "CopyBackwards"
copy_into.derivative(x=lambda xp, g: xp.zeros_like(g), source=lambda xp, g, source_shape, source_dtype: g)
copy_into.tangent(lambda xp, t_source, x_shape: None if t_source is None else xp.broadcast_to(t_source, x_shape))


@primitive(grad="Bernoulli", nondiff="draw")
def drawn_from(xp, x, draw):
    """``draw``, random numbers whose distribution depends on ``x``: no gradient passes."""
    return xp.copy(draw)


drawn_from.derivative(x=lambda xp, g: xp.zeros_like(g))
