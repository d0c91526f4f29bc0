"""`gradcheck` finds what is wrong with a derivative, and says so in PyTorch's words; gradients that nobody computed."""

import pytest

import bibun as torch
import bibun.autograd
from bibun._C._functions import UndefinedGrad
from bibun.autograd import Function, forward_ad, gradcheck
from bibun.autograd.gradcheck import GradcheckError


def double(*shape, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype, requires_grad=True)


def off_by_a_little(x):
    y = x.clone()
    y.register_hook(lambda g: g + 1e-2)
    return y


def test_mismatch_names_output_and_input_and_part():
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(off_by_a_little, (double(2),))
    with pytest.raises(GradcheckError, match="While considering the imaginary part of complex outputs only"):
        gradcheck(off_by_a_little, (double(2, dtype=torch.complex128),))
    assert not gradcheck(off_by_a_little, (double(2),), raise_exception=False)
    with pytest.raises(RuntimeError, match="mine"):
        gradcheck(lambda x: (_ for _ in ()).throw(RuntimeError("mine")), double(2), raise_exception=False)


def test_functions_that_give_their_input_back_or_nothing():
    assert gradcheck(lambda x, y: (x + y, y), (double(2), double(2)), check_forward_ad=True)
    assert gradcheck(lambda x: (), (double(2),))


def test_outputs_must_not_change_with_values():
    def fn(x):
        return torch.cat([x, x]) if torch.all(x >= 1) else x

    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(AssertionError, match="same shape when inputs are perturbed"):
        gradcheck(fn, x)


def test_undefined_gradients_are_tried():
    def fn(x):
        def hook(g):
            if g is None:
                raise RuntimeError("no gradient")

        y = x.clone()
        y.register_hook(hook)
        return y

    with pytest.warns(UserWarning, match="undefined gradient support"), pytest.raises(GradcheckError, match="handle undefined output grads"):
        gradcheck(fn, double(1))


class Forth(Function):
    tangents: list = []

    @staticmethod
    def forward(ctx, x, y):
        return x.clone(), y.clone()

    @staticmethod
    def jvp(ctx, x_t, y_t):
        Forth.tangents.append(x_t)
        return x_t, y_t


def test_forward_mode_by_the_functions_jvp():
    options = {"check_forward_ad": True, "check_backward_ad": False}
    for undefined, batched, count in ((False, False, 2), (True, False, 6), (True, True, 12)):
        Forth.tangents.clear()
        assert gradcheck(Forth.apply, (double(1), double(1)), check_undefined_grad=undefined, check_batched_forward_grad=batched, **options)
        assert len(Forth.tangents) == count

    def wrong(x):
        value, tangent = forward_ad.unpack_dual(x)
        return x if tangent is None else forward_ad.make_dual(value, tangent * 1.1)

    with pytest.raises(GradcheckError, match="Jacobian computed with forward mode mismatch for output 0 with respect to input 0"):
        gradcheck(wrong, (double(2),), **options)


def test_nodes_run_though_no_gradient_comes():
    seen = []

    class Look(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(g)
            return g

    x = double(2)
    y = x * 2
    y.register_hook(seen.append)
    UndefinedGrad()(Look.apply(y)).sum().backward()
    assert seen == [None, None] and x.grad is None
    (UndefinedGrad()(Look.apply(y)) + y).sum().backward()
    assert x.grad.tolist() == [2, 2]
