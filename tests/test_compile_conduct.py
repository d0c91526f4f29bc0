"""bibun.compile, seen from outside: gradients, results and errors are those of the function itself, whatever tensors come and go."""

import numpy as np
import pytest

import bibun as torch
from bibun import nn


def is_compiled(compiled):
    return any(known.program is not None for known in compiled._compiled.signatures.values())


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("clip", [lambda p: nn.utils.clip_grad_norm_(p, 0.5), lambda p: nn.utils.clip_grad_value_(p, 0.1)])
@pytest.mark.parametrize("listed", [False, True])
def test_gradients_are_clipped(clip, listed):
    made = []
    for wrap in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        model, x = nn.Linear(3, 2), torch.randn(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(model=model, optimizer=optimizer, x=x):
            optimizer.zero_grad()
            loss = (model(x) * 30).square().sum()
            loss.backward()
            clip(list(model.parameters()) if listed else model.parameters())
            optimizer.step()
            return loss.detach()

        call = wrap(step)
        made.append([call() for _ in range(6)] + [model.weight.grad])
    assert is_compiled(call)
    for a, b in zip(*made):
        same(a, b)


def test_gradients_that_the_caller_lets_add_up():
    w = torch.ones(3, requires_grad=True)
    step = torch.compile(lambda: (w * w).sum().backward())
    for _ in range(5):
        w.grad = None
        step()
    assert is_compiled(step)
    step()
    assert w.grad.tolist() == [4] * 3
    step()
    step()
    step()
    assert w.grad.tolist() == [10] * 3


def test_gradients_of_arguments():
    def step(x):
        (x * x).sum().backward()
        return x.grad * 2

    compiled = torch.compile(step)
    for k in range(5):
        x = torch.full((3,), float(k), requires_grad=True)
        assert compiled(x).tolist() == [4 * k] * 3 and x.grad.tolist() == [2 * k] * 3
    assert is_compiled(compiled)
    assert compiled(x).tolist() == [8 * k] * 3 and x.grad.tolist() == [4 * k] * 3


def test_a_backward_through_new_leaves():
    w = torch.randn(3, requires_grad=True)
    compiled = torch.compile(lambda x: (x * w).tanh())
    for _ in range(5):
        x = torch.randn(2, 3, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        compiled(x).square().sum().backward()
        (y * w).tanh().square().sum().backward()
        same(x.grad, y.grad)
    assert is_compiled(compiled)


def test_what_is_returned_twice_is_one_tensor():
    w = torch.ones(3, requires_grad=True)

    def f(x, y):
        z = x * w
        return z, x, [z, w], y, z.detach()

    compiled = torch.compile(f)
    for _ in range(5):
        x, y = torch.randn(3), torch.randn(3, requires_grad=True)
        z, a, (again, b), c, d = compiled(x, y)
        assert z is again and a is x and b is w and c is y and d is not z and np.shares_memory(d.numpy(), z.detach().numpy())
        z.sum().backward()
    assert is_compiled(compiled) and torch.isfinite(w.grad).all()


def test_objects_that_hold_results_are_made_anew():
    class Output:
        def __init__(self, value):
            self.__dict__["value"] = value

    def f(x):
        return Output(x * 2)

    compiled = torch.compile(f)
    for k in range(5):
        assert compiled(torch.full((2,), float(k))).value.tolist() == [2 * k] * 2


def test_a_backward_that_fails_is_not_met_before_it_is_asked_for():
    w = torch.ones(3, requires_grad=True)
    compiled = torch.compile(lambda: w // 2)
    for _ in range(4):
        assert compiled().tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError, match="not implemented"):
        compiled().sum().backward()


def test_gradients_while_recording_have_no_graph():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            assert not torch.is_grad_enabled()
            (x,) = ctx.saved_tensors
            return 2 * x * g

    w = torch.ones(3, requires_grad=True)

    def step():
        w.grad = None
        Square.apply(w).sum().backward()
        return w.grad

    compiled = torch.compile(step)
    for _ in range(5):
        g = compiled()
        assert not g.requires_grad and g.tolist() == [2, 2, 2]


def test_an_argument_that_the_function_also_reads_from_outside():
    held = torch.ones(3)
    listed = [torch.ones(3)]
    for f, one in ((lambda x: x + held, held), (lambda x: x + listed[0], listed[0])):
        compiled = torch.compile(f)
        for _ in range(4):
            assert compiled(one).tolist() == [2, 2, 2]
        assert compiled(torch.zeros(3)).tolist() == [1, 1, 1]


def test_tensors_from_outside_that_become_others():
    def history(b, w):
        b.mul_(w)
        return b.sum()

    def turned(b, w):
        return b.t_().sum(1) * w

    def leaf(b, w):
        return b.requires_grad_().sum()

    for f in (history, turned, leaf):
        made = []
        for wrap in (lambda f: f, torch.compile):
            w, call, seen = torch.tensor(2.0, requires_grad=True), wrap(f), []
            for _ in range(4):
                b = torch.arange(4.0).reshape(2, 2)
                result = call(b, w)
                seen += [result.detach(), b.detach().clone(), b.requires_grad, b.stride(), b.is_leaf]
            held = torch.arange(4.0).reshape(2, 2)
            call = wrap(lambda f=f, held=held, w=w: f(held, w))
            for _ in range(4):
                seen += [call().detach(), held.detach().clone(), held.requires_grad, held.stride(), held.is_leaf]
            made.append(seen)
        for a, b in zip(*made):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_gradients_of_gradients_where_memory_of_its_own_is_written():
    w = torch.randn(3, requires_grad=True)

    def f(x):
        v = x * 1
        v[0] = 0.5
        return (v * w).tanh()

    compiled = torch.compile(f)
    for _ in range(4):
        x = torch.randn(3)
        found = []
        for call in (f, compiled):
            (g,) = torch.autograd.grad(call(x).sum(), w, create_graph=True)
            found.append(torch.autograd.grad(g.square().sum(), w)[0])
        same(*found)
