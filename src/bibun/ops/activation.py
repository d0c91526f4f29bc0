"""Activations: elementwise nonlinearities, and the softmax family with its backward kernels.

In: an array (and static slopes, thresholds, axes). Out: an array of the same shape. Formulas are those of the papers
the names come from; at kinks the subgradient is PyTorch's.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

from .primitive import elementwise, primitive

SQRT_HALF = sqrt(0.5)
SQRT_2_OVER_PI = sqrt(2 / pi)
INV_SQRT_2PI = 1 / sqrt(2 * pi)
CUBIC = 0.044715
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def _steps(xp: Any, g: Any) -> Any:
    """The gradient in what a result depends on in steps only."""
    return xp.zeros_like(g)


# Piecewise linear


@elementwise(refuses="bc")
def relu(xp, x):
    """max(x, 0)."""
    return xp.relu(x)


@elementwise(grad="ThresholdBackward")
def rectified_gradient(xp, grad, result):
    """``grad`` where ``result`` is not ``<= 0``, else 0."""
    return xp.rectified_gradient(grad, result)


rectified_gradient.derivative(grad=lambda xp, g, result: xp.rectified_gradient(g, result), result=_steps)
rectified_gradient.drawn_from((-3, 3))
relu.derivative(x=lambda xp, g, out: xp.rectified_gradient(g, out))
relu.drawn_from((-3, 3))


@elementwise
def stepwise(xp, made, x):
    """``made``, a gradient that depends on ``x`` in steps only: ``x`` stays in its graph, with zeros for a gradient."""
    return xp.copy(made if made.shape == x.shape else xp.broadcast_to(made, xp.broadcast_shape(made.shape, x.shape)))


stepwise.derivative(made=lambda g: g, x=lambda xp, g: xp.zeros_like(g))
stepwise.drawn_from((-3, 3))


@elementwise(refuses="c")
def threshold(xp, x, /, threshold, value):
    """value where x <= threshold, else x."""
    return xp.where(x <= threshold, xp.full_like(x, value), x)


@elementwise(grad="ThresholdBackward", refuses="c")
def threshold_gradient(xp, grad, x, /, threshold):
    """0 where x <= threshold, else grad."""
    return xp.where(x <= threshold, xp.zeros_like(grad), grad)


threshold.derivative(x=lambda xp, g, x, threshold: xp.threshold_gradient(g, x, threshold))
threshold.drawn_from((-3, 3))
threshold_gradient.derivative(grad=lambda xp, g, x, threshold: xp.threshold_gradient(g, x, threshold), x=_steps)
threshold_gradient.drawn_from((-3, 3))


@elementwise(refuses="c")
def leaky_relu(xp, x, /, negative_slope):
    """x where x > 0, else negative_slope·x."""
    return xp.where(x > 0, x, x * negative_slope)


@elementwise(grad="LeakyReluBackward", refuses="c")
def leaky_relu_gradient(xp, grad, x, /, negative_slope):
    """grad where x > 0, else negative_slope·grad."""
    return xp.where(x > 0, grad, grad * negative_slope)


leaky_relu.derivative(x=lambda xp, g, x, negative_slope: xp.leaky_relu_gradient(g, x, negative_slope))
leaky_relu.drawn_from((-3, 3))
leaky_relu_gradient.derivative(
    grad=lambda xp, g, x, negative_slope: xp.leaky_relu_gradient(g, x, negative_slope), x=_steps
)
leaky_relu_gradient.drawn_from((-3, 3))


@elementwise(refuses="c")
def hardtanh(xp, x, /, min_val, max_val):
    """x clipped to [min_val, max_val]."""
    return xp.clip(x, min_val, max_val)


@elementwise(grad="HardtanhBackward", refuses="c")
def hardtanh_gradient(xp, grad, x, /, min_val, max_val):
    """grad where x lies between the bounds, else 0."""
    return xp.where((x <= min_val) | (x >= max_val), 0, grad)


hardtanh.derivative(x=lambda xp, g, x, min_val, max_val: xp.hardtanh_gradient(g, x, min_val, max_val))
hardtanh.drawn_from((-3, 3))
hardtanh_gradient.derivative(
    grad=lambda xp, g, x, min_val, max_val: xp.hardtanh_gradient(g, x, min_val, max_val), x=_steps
)
hardtanh_gradient.drawn_from((-3, 3))


@elementwise
def hardsigmoid(xp, x):
    """clip(x + 3, 0, 6) / 6."""
    return xp.clip(x + 3, 0, 6) / 6


@elementwise(grad="HardsigmoidBackward", refuses="c")
def hardsigmoid_gradient(xp, grad, x):
    """grad / 6 where |x| < 3, else 0."""
    return xp.where((x > -3) & (x < 3), grad / 6, 0)


hardsigmoid.derivative(x=lambda xp, g, x: xp.hardsigmoid_gradient(g, x))
hardsigmoid.drawn_from((-5, 5))
hardsigmoid_gradient.derivative(grad=lambda xp, g, x: xp.hardsigmoid_gradient(g, x), x=_steps)
hardsigmoid_gradient.drawn_from((-5, 5))


@elementwise
def hardswish(xp, x):
    """x·hardsigmoid(x)."""
    return x * xp.clip(x + 3, 0, 6) / 6


@elementwise(grad="HardswishBackward", refuses="c")
def hardswish_gradient(xp, grad, x):
    """0 up to -3, grad from 3 on, between them grad·(x/3 + 1/2)."""
    return xp.where(x <= -3, 0, xp.where(x < 3, grad * (x / 3 + 0.5), grad))


hardswish.derivative(x=lambda xp, g, x: xp.hardswish_gradient(g, x))
hardswish.drawn_from((-5, 5))
hardswish_gradient.derivative(
    grad=lambda xp, g, x: xp.hardswish_gradient(g, x),
    x=lambda xp, g, grad, x: xp.where((x > -3) & (x < 3), g * grad / 3, xp.zeros_like(g)),
)
hardswish_gradient.drawn_from((-5, 5))


@elementwise(refuses="c")
def hardshrink(xp, x, /, lambd):
    """x where |x| > lambd, else 0."""
    return xp.where((x >= -lambd) & (x <= lambd), xp.zeros_like(x), x)


@elementwise(grad="HardshrinkBackward", refuses="c")
def hardshrink_gradient(xp, grad, x, /, lambd):
    """0 where |x| <= lambd, else grad."""
    return xp.where((x >= -lambd) & (x <= lambd), xp.zeros_like(grad), grad)


hardshrink.derivative(x=lambda xp, g, x, lambd: xp.hardshrink_gradient(g, x, lambd))
hardshrink.drawn_from((-3, 3))
hardshrink_gradient.derivative(grad=lambda xp, g, x, lambd: xp.hardshrink_gradient(g, x, lambd), x=_steps)
hardshrink_gradient.drawn_from((-3, 3))


@elementwise(refuses="c")
def softshrink(xp, x, /, lambd):
    """x moved towards 0 by lambd, and 0 within."""
    return xp.where(x > lambd, x - lambd, xp.where(x < -lambd, x + lambd, x * 0))


@elementwise(grad="SoftshrinkBackward", refuses="c")
def softshrink_gradient(xp, grad, x, /, lambd):
    """0 where |x| <= lambd, else grad."""
    return xp.where((x >= -lambd) & (x <= lambd), xp.zeros_like(grad), grad)


softshrink.derivative(x=lambda xp, g, x, lambd: xp.softshrink_gradient(g, x, lambd))
softshrink.drawn_from((-3, 3))
softshrink_gradient.derivative(grad=lambda xp, g, x, lambd: xp.softshrink_gradient(g, x, lambd), x=_steps)
softshrink_gradient.drawn_from((-3, 3))


@elementwise(grad="PreluKernel")
def prelu(xp, x, weight):
    """x where x > 0, else weight·x."""
    return xp.where(x > 0, x, weight * x)


prelu.derivative(
    x=lambda xp, g, x, weight: xp.stepwise(xp.where(x > 0, g, weight * g), x),
    weight=lambda xp, g, x: xp.where(x > 0, 0, x * g),
)
prelu.drawn_from((-3, 3))


@elementwise(grad="RreluWithNoise", refuses="c", nondiff="noise")
def rrelu(xp, x, noise):
    """x·noise, where noise is 1 for positive x and a random slope else."""
    return x * noise


rrelu.derivative(x=lambda g, noise: g * noise)
rrelu.drawn_from((-3, 3), (0.1, 1))


# Exponential


#
# Each has a gradient of its own, grad·slope, whose derivative in x is given by the curvature.


@elementwise(refuses="c")
def elu(xp, x, /, alpha, scale, input_scale):
    """scale·x where x > 0, else scale·alpha·(exp(input_scale·x) - 1)."""
    return xp.where(x > 0, x * scale, xp.expm1(xp.minimum(x, xp.zeros_like(x)) * input_scale) * (alpha * scale))


@elementwise(grad="EluBackward", refuses="c")
def elu_gradient(xp, grad, x, /, alpha, scale, input_scale):
    """grad·scale where x > 0, else grad·scale·alpha·input_scale·exp(input_scale·x)."""
    return xp.where(
        x > 0, grad * scale, grad * xp.exp(xp.minimum(x, xp.zeros_like(x)) * input_scale) * (alpha * scale * input_scale)
    )


elu.derivative(
    x=lambda xp, g, x, alpha, scale, input_scale: xp.elu_gradient(g, x, alpha, scale, input_scale),
)
elu.drawn_from((-3, 3))
elu_gradient.derivative(
    grad=lambda xp, g, x, alpha, scale, input_scale: xp.elu_gradient(g, x, alpha, scale, input_scale),
    x=lambda xp, g, grad, x, alpha, scale, input_scale: xp.where(
        x >= 0, xp.zeros_like(g), xp.elu_gradient(g * grad, x, alpha, scale, input_scale) * input_scale
    ),
)
elu_gradient.drawn_from((-3, 3))


@elementwise(grad="Celu", refuses="c")
def celu(xp, x, /, alpha):
    """max(0, x) + min(0, alpha·(exp(x/alpha) - 1))."""
    return xp.where(x > 0, x, xp.expm1(xp.minimum(x, xp.zeros_like(x)) / alpha) * alpha)


@elementwise(grad="EluBackward", refuses="c")
def celu_gradient(xp, grad, x, /, alpha):
    """grad where x > 0, else grad·exp(x/alpha)."""
    return xp.where(x > 0, grad, grad * xp.exp(xp.minimum(x, xp.zeros_like(x)) / alpha))


celu.derivative(x=lambda xp, g, x, alpha: xp.celu_gradient(g, x, alpha))
celu.drawn_from((-3, 3))
celu_gradient.derivative(
    grad=lambda xp, g, x, alpha: xp.celu_gradient(g, x, alpha),
    x=lambda xp, g, grad, x, alpha: xp.where(
        x >= 0, xp.zeros_like(g), xp.celu_gradient(g * grad, x, alpha) * (1 / alpha)
    ),
)
celu_gradient.drawn_from((-3, 3))


@elementwise
def silu(xp, x):
    """x·sigmoid(x) (Elfwing et al. 2017)."""
    return x * xp.sigmoid(x)


@elementwise(grad="SiluBackward")
def silu_gradient(xp, grad, x):
    """grad·s·(1 + x·(1 - s)), s the sigmoid."""
    s = xp.sigmoid(x)
    return grad * (s * (1 + x * (1 - s)))


def _silu_curvature(xp, g, grad, x):
    s = xp.sigmoid(x)
    return g * (grad * (s * (1 - s) * (2 + x * (1 - s * 2)))).conj()


silu.derivative(x=lambda xp, g, x: xp.silu_gradient(g, x.conj()))
silu.drawn_from((-3, 3))
silu_gradient.derivative(grad=lambda xp, g, x: xp.silu_gradient(g, x.conj()), x=_silu_curvature)
silu_gradient.drawn_from((-3, 3))


@elementwise
def gelu(xp, x):
    """x·Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016)."""
    return x * 0.5 * (1 + xp.erf(x * SQRT_HALF))


@elementwise(grad="GeluBackward", refuses="c")
def gelu_gradient(xp, grad, x):
    """grad·(Φ(x) + x·φ(x))."""
    return grad * (0.5 * (1 + xp.erf(x * SQRT_HALF)) + x * xp.exp(x * x * -0.5) * INV_SQRT_2PI)


gelu.derivative(x=lambda xp, g, x: xp.gelu_gradient(g, x))
# Natively by Φ itself, which does not cancel on the left.
gelu.native(lambda xp, x: xp.gelu(x))
gelu_gradient.native(lambda xp, grad, x: grad * xp.gelu_slope(x))
gelu.drawn_from((-3, 3))
gelu_gradient.derivative(
    grad=lambda xp, g, x: xp.gelu_gradient(g, x),
    x=lambda xp, g, grad, x: g * grad * xp.exp(x * x * -0.5) * ((2 - x * x) * INV_SQRT_2PI),
)
gelu_gradient.drawn_from((-3, 3))


@elementwise(grad="Gelu")
def gelu_tanh(xp, x):
    """GELU by its tanh approximation."""
    return 0.5 * x * (1 + xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x)))


@elementwise(grad="GeluBackward", refuses="c")
def gelu_tanh_gradient(xp, grad, x):
    """The transpose of `gelu_tanh`'s slope."""
    t = xp.tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x))
    return grad * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)))


def _gelu_tanh_curvature(xp, g, grad, x):
    # ½(1 + tanh u) = sigmoid(w) with w = 2u
    square = x * x
    s = xp.sigmoid(x * (square * CUBIC + 1) * (2 * SQRT_2_OVER_PI))
    slope = (square * (3 * CUBIC) + 1) * (2 * SQRT_2_OVER_PI)
    bend = x * (12 * CUBIC * SQRT_2_OVER_PI)
    return g * grad * (s * (1 - s) * (slope * 2 + x * ((1 - s * 2) * slope * slope + bend)))


gelu_tanh.derivative(x=lambda xp, g, x: xp.gelu_tanh_gradient(g, x))
gelu_tanh.native(lambda xp, x: x * xp.sigmoid((2 * SQRT_2_OVER_PI) * (x + CUBIC * x * x * x)))


@gelu_tanh_gradient.native
def _gelu_tanh_gradient_native(xp, grad, x):
    s = xp.sigmoid((2 * SQRT_2_OVER_PI) * (x + CUBIC * x * x * x))
    return grad * (s + s * (1 - s) * x * ((2 * SQRT_2_OVER_PI) * (1 + (3 * CUBIC) * x * x)))


gelu_tanh.drawn_from((-3, 3))
gelu_tanh_gradient.derivative(grad=lambda xp, g, x: xp.gelu_tanh_gradient(g, x), x=_gelu_tanh_curvature)
gelu_tanh_gradient.drawn_from((-3, 3))


@elementwise
def softplus(xp, x, /, beta, threshold):
    """log(1 + exp(beta·x)) / beta; x itself where beta·x > threshold."""
    z = x * beta
    return xp.where(z > threshold, x, xp.log1p(xp.exp(xp.minimum(z, xp.full_like(z, threshold)))) / beta)


@elementwise(grad="SoftplusBackward", refuses="c")
def softplus_gradient(xp, grad, x, /, beta, threshold):
    """grad·sigmoid(beta·x), or grad itself beyond the threshold."""
    z = x * beta
    return xp.where(z > threshold, grad, grad * xp.sigmoid(z))


def _softplus_curvature(xp, g, grad, x, beta, threshold):
    z = x * beta
    s = xp.sigmoid(z)
    return xp.where(z > threshold, xp.zeros_like(g), g * grad * (s * (1 - s) * beta))


softplus.derivative(x=lambda xp, g, x, beta, threshold: xp.softplus_gradient(g, x, beta, threshold))
softplus.native(lambda xp, x, beta, threshold: xp.where(x * beta > threshold, x, xp.log1p_exp(x * beta) / beta))
softplus.drawn_from((-3, 3))
softplus_gradient.derivative(
    grad=lambda xp, g, x, beta, threshold: xp.softplus_gradient(g, x, beta, threshold), x=_softplus_curvature
)
softplus_gradient.drawn_from((-3, 3))


@elementwise
def mish(xp, x):
    """x·tanh(softplus(x)) (Misra 2019)."""
    return x * xp.tanh(xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(x, xp.zeros_like(x)))


@elementwise(grad="MishBackward", refuses="c")
def mish_gradient(xp, grad, x):
    """grad·(t + x·sigmoid(x)·(1 - t²)), t = tanh(softplus(x))."""
    t = xp.tanh(xp.log1p(xp.exp(-xp.abs(x))) + xp.maximum(x, xp.zeros_like(x)))
    return grad * (t + x * xp.sigmoid(x) * (1 - t * t))


def _mish_curvature(xp, g, grad, x):
    t, s = xp.tanh(xp.logaddexp(x, xp.zeros_like(x))), xp.sigmoid(x)
    return g * grad * (s * (1 - t * t) * (2 + x * (1 - s - t * s * 2)))


mish.derivative(x=lambda xp, g, x: xp.mish_gradient(g, x))


def _mish_ratio(xp, x):
    """(n, n + 2) with n = e² + 2e and e = exp(x): tanh(log(1 + e)) is their ratio."""
    e = xp.exp(xp.minimum(x, 40.0))  # from there on 1 - tanh² is 0 to all bits, below by an overflow of the square
    n = e * (e + 2)
    return n, n + 2


@mish.native
def _mish_native(xp, x):
    n, d = _mish_ratio(xp, x)
    return x * (n / d)


@mish_gradient.native
def _mish_gradient_native(xp, grad, x):
    n, d = _mish_ratio(xp, x)
    return grad * (n / d + x * xp.sigmoid(x) * (4 * (n + 1) / (d * d)))


mish.drawn_from((-3, 3))
mish_gradient.derivative(grad=lambda xp, g, x: xp.mish_gradient(g, x), x=_mish_curvature)
mish_gradient.drawn_from((-3, 3))


@elementwise(grad="LogSigmoid")
def log_sigmoid(xp, x):
    """log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|))."""
    return xp.minimum(x, xp.zeros_like(x)) - xp.log1p(xp.exp(-xp.abs(x)))


@elementwise(grad="LogSigmoidBackward", refuses="c")
def log_sigmoid_gradient(xp, grad, x):
    """grad·sigmoid(-x)."""
    return grad * xp.sigmoid(-x)


def _log_sigmoid_curvature(xp, g, grad, x):
    s = xp.sigmoid(x)
    return g * grad * (s * (s - 1))


log_sigmoid.derivative(x=lambda xp, g, x: xp.log_sigmoid_gradient(g, x))
log_sigmoid.native(lambda xp, x: xp.minimum(x, 0.0) - xp.log1p_exp(-xp.abs(x)))
log_sigmoid.drawn_from((-3, 3))
log_sigmoid_gradient.derivative(grad=lambda xp, g, x: xp.log_sigmoid_gradient(g, x), x=_log_sigmoid_curvature)
log_sigmoid_gradient.drawn_from((-3, 3))


@primitive(axes="axis")
def glu(xp, x, /, axis):
    """The first half of x along ``axis`` times the sigmoid of the second."""
    n = x.shape[axis] // 2
    a, b = xp.slice_axis(x, axis, 0, n), xp.slice_axis(x, axis, n, 2 * n)
    return a * xp.sigmoid(b)


def _glu_gradient(xp, g, x, axis):
    n = x.shape[axis] // 2
    a, b = xp.slice_axis(x, axis, 0, n), xp.slice_axis(x, axis, n, 2 * n)
    s = xp.sigmoid(b)
    return xp.concat((g * s, g * a * s * (1 - s)), axis=axis)


glu.derivative(x=_glu_gradient)


# Softmax


def total(xp: Any, x: Any, axis: int) -> Any:
    """The sum along ``axis``, which stays; a 0-d array itself."""
    return xp.sum(x, axis=axis, keepdims=True) if x.ndim else x


@primitive(axes="axis")
def softmax(xp, x, /, axis):
    """exp(x) over its sum along ``axis``."""
    return xp.softmax(x, axis)


@primitive(axes="axis", grad="SoftmaxBackward")
def softmax_gradient(xp, grad, result, /, axis):
    """The softmax's vector-Jacobian product: result·(grad - Σ grad·result)."""
    return xp.softmax_gradient(grad, result, axis)


softmax.derivative(x=lambda xp, g, out, axis: xp.softmax_gradient(g, out, axis))
softmax.tangent(lambda xp, t_x, out, axis: xp.softmax_gradient(t_x, out, axis))
softmax_gradient.derivative(
    grad=lambda xp, g, result, axis: xp.softmax_gradient(g, result, axis),
    result=lambda xp, g, grad, result, axis: (
        g * (grad - total(xp, grad * result, axis)) - grad * total(xp, g * result, axis)
    ),
)


@primitive(axes="axis")
def log_softmax(xp, x, /, axis):
    """log of the softmax along ``axis``, without overflow."""
    return xp.log_softmax(x, axis)


@primitive(axes="axis", grad="LogSoftmaxBackward")
def log_softmax_gradient(xp, grad, result, /, axis):
    """The log-softmax's vector-Jacobian product: grad - exp(result)·Σ grad."""
    return xp.log_softmax_gradient(grad, result, axis)


log_softmax.derivative(x=lambda xp, g, out, axis: xp.log_softmax_gradient(g, out, axis))
log_softmax.tangent(lambda xp, t_x, out, axis: t_x - total(xp, xp.exp(out) * t_x, axis))
log_softmax_gradient.derivative(
    grad=lambda xp, g, result, axis: g - total(xp, xp.exp(result) * g, axis),
    result=lambda xp, g, grad, result, axis: -g * xp.exp(result) * total(xp, grad, axis),
)
