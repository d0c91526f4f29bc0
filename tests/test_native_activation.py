"""Native activations against NumPy's in float64, over shapes, layouts and special values; and the same to the bit by threads."""

from __future__ import annotations

import numpy as np
import pytest

from bibun.autograd.large import forward as in_loops
from bibun.backends import cpu
from bibun.backends.large import native
from bibun.ops.primitive import REGISTRY

if not native():
    pytest.skip("no native kernels here", allow_module_level=True)

from bibun.native import build, pool

FORWARD = (
    "relu leaky_relu hardtanh hardsigmoid hardswish threshold hardshrink softshrink gelu gelu_tanh silu sigmoid log_sigmoid "
    "softplus elu celu mish"
).split()
BACKWARD = (
    "rectified_gradient threshold_gradient hardshrink_gradient softshrink_gradient leaky_relu_gradient hardtanh_gradient "
    "hardsigmoid_gradient hardswish_gradient gelu_gradient gelu_tanh_gradient silu_gradient sigmoid_gradient tanh_gradient log_sigmoid_gradient softplus_gradient elu_gradient "
    "celu_gradient mish_gradient"
).split()

STATIC = {
    "leaky_relu": (0.1,),
    "hardtanh": (-0.5, 1.5),
    "softplus": (1.3, 20.0),
    "elu": (1.1, 1.05, 0.9),
    "celu": (1.4,),
    "threshold": (0.5, -2.0),
    "threshold_gradient": (0.5,),
    "hardshrink": (0.5,),
    "softshrink": (0.5,),
}


def forward(name: str, x: np.ndarray) -> np.ndarray:
    made = in_loops(REGISTRY[name], (x,), static_of(name))
    assert made is not NotImplemented
    return made


def backward(name: str, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    made = in_loops(REGISTRY[name], (g, x), static_of(name))
    assert made is not NotImplemented
    return made


def static_of(name: str) -> tuple[float, ...]:
    return STATIC.get(name, STATIC.get(name.removesuffix("_gradient"), ()))


def special() -> np.ndarray:
    x = np.concatenate([
        np.linspace(-30, 30, 4001),
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -3e38, 0.7, -0.7, 3.0, -3.0, 88.0, -88.0, 103.9, -103.9],
    ])  # fmt: skip
    return x.astype(np.float32)


def close(made: np.ndarray, wanted: np.ndarray, scale: np.ndarray | float = 0.0, ulps: int = 8) -> None:
    """Within some units in the last place of the value, or of what it is a difference of."""
    wanted = np.where(np.abs(wanted) > 3.4028235e38, np.sign(wanted) * np.inf, wanted)
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))
    np.testing.assert_array_equal(made[np.isinf(wanted)], wanted[np.isinf(wanted)])
    error = np.abs(made[finite] - wanted[finite])
    bound = ulps * 2.0**-24 * np.maximum(np.abs(wanted), np.broadcast_to(scale, wanted.shape))[finite] + 3e-43
    assert (error <= bound).all(), (error / bound).max()


@pytest.mark.parametrize("name", FORWARD)
def test_forward_is_numpys_in_float64(name):
    x = special()
    with np.errstate(all="ignore"):
        wanted = REGISTRY[name].run(cpu, x.astype(np.float64), *static_of(name))
        finite = np.isfinite(x)
        if name == "hardswish":  # 6·x overflows, in NumPy's float32 too
            finite &= np.abs(x) < 1e37
        if name in ("gelu", "gelu_tanh"):  # NumPy's own form cancels to the left
            finite &= x > -4
        # an exponential enlarges the rounding of what stands in its exponent
        close(forward(name, x)[finite], wanted[finite], ulps={"softplus": 64, "gelu_tanh": 16}.get(name, 8))


def test_gelu_keeps_its_tail():
    x = np.linspace(-12, -4, 1000).astype(np.float32)
    from math import erfc

    wanted = np.array([v * 0.5 * erfc(-v / 2**0.5) for v in x.astype(np.float64)])
    close(forward("gelu", x), wanted)


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_is_numpys_in_float64(name):
    x = special()
    x = x[np.isfinite(x)]
    if name in ("sigmoid_gradient", "tanh_gradient"):
        x = np.tanh(x)
    g = np.linspace(-2, 3, x.size).astype(np.float32)
    with np.errstate(all="ignore"):
        wanted = REGISTRY[name].run(cpu, g.astype(np.float64), x.astype(np.float64), *static_of(name))
    scale = np.abs(g) * (np.maximum(1.0, np.abs(x)) if "gelu_tanh" in name else 1.0)
    if name == "hardswish_gradient" or name == "mish_gradient" or "gelu" in name or "silu" in name:
        scale = scale + np.abs(g)
    made = backward(name, g, x)
    ordinary = np.abs(x) < 1e30
    close(made[ordinary], wanted[ordinary], scale[ordinary], 12)
    one = np.broadcast_to(np.float32(1.5), x.shape)
    np.testing.assert_array_equal(
        backward(name, one, x), backward(name, np.ascontiguousarray(one), x)
    )


def test_threads_do_not_change_bits():
    x = np.random.default_rng(1).standard_normal(200_001).astype(np.float32)
    before = pool.threads()
    try:
        pool.set_threads(1)
        alone = [forward(n, x) for n in ("gelu", "elu")] + [backward("gelu_gradient", x, x)]
        pool.set_threads(2)
        both = [forward(n, x) for n in ("gelu", "elu")] + [backward("gelu_gradient", x, x)]
    finally:
        pool.set_threads(before)
    for a, b in zip(alone, both):
        assert a.tobytes() == b.tobytes()


def test_large_tensors_take_them():
    import bibun as torch

    x = torch.randn(30_000, requires_grad=True)
    y = torch.nn.functional.gelu(x)
    y.sum().backward()
    assert y._a.tobytes() == forward("gelu", x._a).tobytes()
    np.testing.assert_array_equal(x.grad._a, backward("gelu_gradient", np.ones_like(x._a), x._a))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_floats_are_rounded_once(name):
    import bibun as torch

    dtype = getattr(torch, name)
    patterns = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(dtype)  # every number there is
    x = torch.cat([patterns, patterns])
    y = torch.cat([patterns.flip(0), patterns.roll(12_345)])
    for f in (torch.add, torch.mul, torch.div, torch.maximum, torch.lt):
        wide = f(x.float(), y.float())
        made, wanted = f(x, y), wide if wide.dtype is torch.bool else wide.to(dtype)
        assert made.dtype is wanted.dtype and ((made == wanted) | made.isnan() & wanted.isnan()).all(), f
    assert ((2 * x).eq((2 * x.float()).to(dtype)) | x.isnan()).all()
    rows = x.nan_to_num(0, 1, -1).clamp(-3, 3).view(512, 256).requires_grad_()
    row = torch.linspace(-1, 1, 256).to(dtype).requires_grad_()
    for each in (rows, rows.detach()[:, ::2].requires_grad_()):
        given = row[: each.shape[1]].detach().requires_grad_()
        (each * given).tanh().sum().backward()
        wide, bias = each.detach().float().requires_grad_(), given.detach().float().requires_grad_()
        (wide * bias).to(dtype).float().tanh().sum().backward()
        assert each.grad.dtype is dtype and given.grad.dtype is dtype
        torch.testing.assert_close(each.grad.float(), wide.grad, rtol=2**-6, atol=2**-6)
        torch.testing.assert_close(given.grad.float(), bias.grad, rtol=2**-5, atol=0.5)
    x = torch.linspace(-3, 3, 40_000).to(dtype).requires_grad_()
    (g,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
    g.sum().backward()
    torch.testing.assert_close(x.grad.float(), 6 * x.detach().float(), rtol=2**-5, atol=2**-5)
    before = torch.exp(x)
    with torch.no_grad():
        x.mul_(2)
    before.sum().backward()  # exp keeps its result
    if name == "float16" and not build.halves():
        return
    product = x * x
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        product.sum().backward()
