"""Custom functions at their edges: defaults of forward, gradients that are not made, the old name of saved tensors."""

import pytest

import bibun as torch


def test_setup_context_is_given_the_defaults_of_forward():
    class Power(torch.autograd.Function):
        @staticmethod
        def forward(x, y=3):
            return x**y

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.y = inputs
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * ctx.y * x ** (ctx.y - 1), None

    x = torch.tensor(2.0, requires_grad=True)
    assert torch.autograd.grad(Power.apply(x), x)[0] == 12
    assert torch.autograd.grad(Power.apply(x, 2), x)[0] == 4
    assert Power.apply(x).grad_fn.__class__ is Power._backward_cls

    class OfClass(Power):
        @classmethod
        def forward(cls, x, y=3):
            return x**y

    assert torch.autograd.grad(OfClass.apply(x), x)[0] == 12


@pytest.mark.parametrize("made", [True, False])
def test_gradients_of_outputs_without_derivative(made):
    class Two(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            other = x.clone()
            ctx.mark_non_differentiable(other)
            ctx._materialize_non_diff_grads = made
            return x.clone(), other, x.clone()

        @staticmethod
        def backward(ctx, g, none, zeros):
            assert (none is not None) is made and not zeros.any()
            return g

    x = torch.ones(2, requires_grad=True)
    Two.apply(x)[0].sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_saved_variables_warns():
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_variables
            return g * x

    x = torch.full((2,), 3.0, requires_grad=True)
    y = Same.apply(x).sum()
    with pytest.warns(DeprecationWarning, match="saved_variables"):
        y.backward()
    assert x.grad.tolist() == [3, 3]


def test_numbers_are_not_packed():
    packed = []

    def pack(t):
        packed.append(t)
        return t

    x = torch.ones(2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = (x * 3).sum()
    assert not packed
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        z = x * torch.tensor(3.0)
    assert len(packed) == 1
    (y + z.sum()).backward()
    assert x.grad.tolist() == [6, 6]


def test_gradgradcheck_with_an_input_that_is_not_used():
    x, y = (torch.rand(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: x * x, (x, y)) and torch.autograd.gradgradcheck(lambda x, y: x * x, (x, y))


def test_hooks_entered_while_unpacking_end_with_the_unpacking():
    contexts = []

    def unpack(t):
        contexts.append(torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t))
        contexts[-1].__enter__()
        return t

    x = torch.ones(2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        x.sin().sum().backward()
    assert contexts and torch.autograd.dispatch.busy[0] == 0 and torch.autograd.graph.current_saved_hooks() is None


def test_copies_go_with_the_context():
    with torch.autograd.graph.allow_mutation_on_saved_tensors() as kept:
        x = torch.ones(2, requires_grad=True).clone()
        y = (x**2).sum()
        x.sin_()
        assert len(kept.cloned) == 1
    assert not kept.cloned and y.requires_grad


def test_forward_mode_where_there_is_no_derivative():
    pytest.importorskip("scipy")
    x = torch.rand(3)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with pytest.raises(NotImplementedError, match="Trying to use forward AD with igamma that does not support it"):
            torch.igamma(dual, dual)
