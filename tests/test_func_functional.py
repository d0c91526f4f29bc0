"""`torch.autograd.functional`: products and Jacobians against each other, strict mode, and the errors."""

import pytest

import bibun as torch
from bibun.autograd import functional as F

X, V = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)


def cubic(x):
    return (x * x).flip(0) * x.sin()


def scalar(x):
    return cubic(x).sum()


def test_products_are_those_of_the_matrices():
    jac = F.jacobian(cubic, X)
    hess = F.hessian(scalar, X)
    close = torch.testing.assert_close
    for vectorize in (False, True):
        close(F.jacobian(cubic, X, vectorize=vectorize), jac)
        close(F.hessian(scalar, X, vectorize=vectorize), hess)
    close(F.jacobian(cubic, X, vectorize=True, strategy="forward-mode"), jac)
    close(F.hessian(scalar, X, vectorize=True, outer_jacobian_strategy="forward-mode"), hess)
    close(torch.func.jacrev(cubic)(X), jac)
    close(torch.func.hessian(scalar)(X), hess)
    close(F.vjp(cubic, X, V)[1], V @ jac)
    close(F.jvp(cubic, X, V)[1], jac @ V)
    close(F.vhp(scalar, X, V)[1], V @ hess)
    close(F.hvp(scalar, X, V)[1], hess @ V)


def test_the_hessian_of_rectified_products_vectorized():
    def f(x, y, z):
        return ((x.relu() * x) @ y.sin() @ z).sum()

    torch.manual_seed(0)
    ins = torch.randn(2, 3), torch.randn(3, 5), torch.randn(5, 5)
    plain, vectorized, func = F.hessian(f, ins), F.hessian(f, ins, vectorize=True), torch.func.hessian(f, (0, 1, 2))(*ins)
    for a, b, c in zip(plain, vectorized, func):
        for d, e, g in zip(a, b, c):
            torch.testing.assert_close(d, e)
            torch.testing.assert_close(d, g)


def test_a_graph_through_the_products():
    x = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: F.jacobian(cubic, x, create_graph=True), x)
    assert torch.autograd.gradcheck(lambda x: F.hvp(scalar, x, V, create_graph=True)[1], x)
    assert torch.autograd.gradcheck(lambda x, v: F.jvp(cubic, x, v, create_graph=True)[1], (x, V.clone().requires_grad_()))
    assert not F.vjp(cubic, x, V)[1].requires_grad


def unconnected(x):
    return x.long().double().requires_grad_().clone()


@pytest.mark.parametrize("name", ["vjp", "jvp", "jacobian", "hessian", "vhp", "hvp"])
def test_strict_mode(name):
    call = getattr(F, name)
    reduced = torch.sum if name in ("hessian", "vhp", "hvp") else torch.clone
    more = () if name in ("jacobian", "hessian") else (V,)
    for f, words in (
        (lambda x: reduced(x.detach()), "Output 0 of the user-provided function does not require gradients"),
        (lambda x: reduced(unconnected(x)), "is independent of (the )?input"),
    ):
        with pytest.raises(RuntimeError, match=words):
            call(f, X, *more, strict=True)
        result = call(f, X, *more)
        assert not (result if torch.is_tensor(result) else result[1]).any()
    with pytest.raises(RuntimeError, match="is independent of"):
        call(lambda x: reduced(3 * x), X, *more, strict=True, create_graph=True)


def test_errors_name_the_function():
    for name, f in (("vjp", cubic), ("jvp", cubic), ("vhp", scalar), ("hvp", scalar)):
        call = getattr(F, name)
        with pytest.raises(TypeError, match=f"The inputs given to {name} must be either a Tensor"):
            call(f, (X, 2), V)
        with pytest.raises(RuntimeError, match="v has invalid size"):
            call(f, X, V[:2])
        with pytest.raises(RuntimeError, match="The given v should contain a single Tensor"):
            call(f, X, (V, V))
    with pytest.raises(RuntimeError, match="not supported together"):
        F.jacobian(cubic, X, strict=True, vectorize=True)
    with pytest.raises(RuntimeError, match="single element"):
        F.hvp(cubic, X, V)
