"""Saved tensors that may be overwritten, and checkpoints: once per backward, nested, stopped early, in their own precision."""

import pytest

import bibun as torch
import bibun.autograd
from bibun.autograd import Function, graph
from bibun.utils.checkpoint import checkpoint


def test_overwritten_saved_tensors_are_counted():
    with graph.allow_mutation_on_saved_tensors() as ctx:
        a = torch.randn(3, requires_grad=True).clone()
        b = a**2
        c = a**2
        assert len(ctx.tid_to_weakhandle) == 1 and not ctx.cloned
        a.sin_()
        d = a**2
        assert len(ctx.cloned) == 1
        a.sin_()
        assert len(ctx.cloned) == 2
        del b, c
        assert len(ctx.cloned) == 1
        del d
        assert not ctx.cloned


def test_mutation_is_allowed_in_its_own_block_only():
    with graph.allow_mutation_on_saved_tensors():
        out = (torch.rand(3, requires_grad=True) ** 2).sum()
    with pytest.raises(AssertionError, match="outside of the 'allow_mutation_on_saved_tensors' context"):
        out.backward()


def test_leaving_hooks_too_often_is_no_crash():
    hooks = graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    hooks.__exit__()
    torch.ones(2, requires_grad=True).exp().sum().backward()


class Twice(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, g):
        ctx.saved_tensors
        with pytest.raises(RuntimeError, match="already unpacked once"):
            ctx.saved_tensors
        return g * 2


def test_computed_again_once_per_backward():
    count = [0]

    def f(x):
        count[0] += 1
        return torch.exp(x * x)

    x = torch.randn(3, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=False)
    y.grad_fn._saved_result
    y.grad_fn._saved_result
    assert count == [3]
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert count == [5]
    checkpoint(lambda x: Twice.apply(x * x), x, use_reentrant=False).sum().backward()


def test_what_needs_no_gradient_is_the_same_object():
    seen = []

    class Look(Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(y)
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(ctx.saved_tensors[0])
            return g, None

    a, b = torch.tensor(1.0, requires_grad=True), torch.tensor(1.0)
    checkpoint(Look.apply, a, b, use_reentrant=False).backward()
    assert seen[0] is b


@pytest.mark.parametrize("early", [True, False])
def test_gradients_taken_inside(early):
    def slope(x):
        with torch.enable_grad():
            g, = torch.autograd.grad(x.sin().sum(), x, create_graph=True)
        return g.sum()

    x = torch.rand(3, requires_grad=True)
    g, = torch.autograd.grad(checkpoint(slope, x, use_reentrant=False, early_stop=early), x)
    assert torch.allclose(g, -x.sin())


def test_reentrant_form_refuses_grad():
    x = torch.randn(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="torch.utils.checkpoint is incompatible"):
        torch.autograd.grad(checkpoint(torch.exp, x, use_reentrant=True).sum(), x)


def test_precision_of_the_first_run():
    kinds = []

    def f(x):
        kinds.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return x.sin()

    x = torch.randn(3, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.float16):
        y = checkpoint(f, x, use_reentrant=False)
    y.sum().backward()
    assert kinds == [(True, torch.float16)] * 2
