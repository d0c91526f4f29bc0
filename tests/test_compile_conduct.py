"""bibun.compile, seen from outside: gradients, results and errors are those of the function itself, whatever tensors come and go."""

import gc

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


def test_constants_are_new_in_each_call():
    def drawn():
        return torch.zeros(4).uniform_()

    def seen():
        return torch.tensor([1.0, 2.0])[..., :1], torch.ones(3)[1:]

    def written():
        z = torch.zeros(4)
        z[1:].add_(1)
        return z * 2

    for f in (drawn, seen, written):
        torch.manual_seed(0)
        wanted = [f() for _ in range(6)]
        compiled = torch.compile(f)
        torch.manual_seed(0)
        for w in wanted:
            for a, b in zip(w if isinstance(w, tuple) else [w], made if isinstance(made := compiled(), tuple) else [made]):
                assert torch.equal(a, b)
            for a in made if isinstance(made, tuple) else [made]:
                a.fill_(7)
        assert is_compiled(compiled)


def test_library_calls_run_in_the_mode_in_which_they_were_recorded():
    p = torch.zeros(4, requires_grad=True)

    def f():
        with torch.no_grad():
            p.bernoulli_(0.5)
        return p * 2

    compiled = torch.compile(f)
    for _ in range(5):
        assert compiled().requires_grad
    assert is_compiled(compiled)


def test_errors_of_library_calls_come_out_as_they_are():
    p = torch.zeros(4)
    said = [0.5]

    def f(q):
        return torch.bernoulli(p + q).floor() * 2

    compiled = torch.compile(f)
    for _ in range(4):
        compiled(torch.zeros(4))
    assert is_compiled(compiled) and said
    for _ in range(2):
        with pytest.raises(RuntimeError, match="p"):
            compiled(torch.full((4,), 3.0))
    assert compiled(torch.zeros(4)).tolist() == [0] * 4


def test_views_of_a_leaf_that_are_the_leaf_again():
    p = torch.randn(3, requires_grad=True)
    held = p.detach()
    compiled = torch.compile(lambda x: (p.squeeze(), held, p.detach()))
    for _ in range(5):
        v, h, d = compiled(torch.ones(1))
        v.sum().backward()
        assert h is held and d is not held and not d.requires_grad
    assert p.grad.tolist() == [5] * 3 and is_compiled(compiled)


def test_a_used_up_graph_of_nodes_that_keep_nothing_may_be_used_again():
    p = torch.randn(3, requires_grad=True)

    def f():
        v = p.sum().mean()
        v.backward(retain_graph=False)
        return v

    compiled = torch.compile(f)
    for _ in range(5):
        p.grad = None
        compiled().backward()
        assert p.grad.tolist() == [2] * 3


def test_hooks_on_a_graph_that_is_returned():
    p = torch.ones(3, requires_grad=True)

    def f():
        v = p * 2
        v.register_hook(lambda g: g * 10)
        return v * 1

    compiled = torch.compile(f)
    for _ in range(5):
        p.grad = None
        compiled().sum().backward()
        assert p.grad.tolist() == [20] * 3


def test_who_requires_grad_matters_where_only_its_gradient_would_show():
    p, b = torch.randn(3, requires_grad=True), torch.randn(3)

    def f():
        ((b * b).sum() + (p * p).sum()).backward()

    compiled = torch.compile(f)
    for _ in range(4):
        p.grad = None
        compiled()
    b.requires_grad_()
    p.grad = None
    compiled()
    same(b.grad, 2 * b.detach())


def test_gradients_that_somebody_holds_are_added_to_in_place():
    p = torch.ones(3, requires_grad=True)
    compiled = torch.compile(lambda: (p * p).sum().backward())
    p.grad = held = torch.zeros(3)
    for k in range(6):
        compiled()
        assert p.grad is held and held.tolist() == [2 * (k + 1)] * 3
    assert is_compiled(compiled)


def test_what_garbage_collection_runs_is_not_the_functions():
    turns, threshold = [0], gc.get_threshold()

    def noticed(phase, info):
        turns[0] += 1

    gc.callbacks.append(noticed)
    gc.set_threshold(1)
    try:
        compiled = torch.compile(lambda x: x * 2 + 1)
        for _ in range(4):
            compiled(torch.ones(3))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(noticed)
    assert turns[0] and gc.isenabled() and is_compiled(compiled)


def test_graphs_that_autograd_grad_has_used_up():
    p = torch.randn(3, requires_grad=True)

    def f(x):
        v = p * x
        (g,) = torch.autograd.grad(v.square().sum(), p)
        return v, g

    compiled = torch.compile(f)
    for _ in range(5):
        v, _ = compiled(torch.ones(3))
        with pytest.raises(RuntimeError, match="second time"):
            v.sum().backward()
    assert is_compiled(compiled)


def test_what_of_a_gradient_was_not_used_up_stays():
    p, q = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)

    def f():
        v, w = p * p, q * q
        (g,) = torch.autograd.grad((v + w).sum(), p)
        w.sum().backward()
        return g

    compiled = torch.compile(f)
    for _ in range(5):
        q.grad = None
        same(compiled(), 2 * p.detach())
        same(q.grad, 2 * q.detach())


def test_operations_that_give_back_what_they_were_given():
    p = torch.randn(3, requires_grad=True)

    def f():
        v = p.expand(2, 3)
        v.squeeze()
        return v, v.reshape(2, 3)

    compiled = torch.compile(f)
    for _ in range(5):
        p.grad = None
        a, b = compiled()
        (a + b).sum().backward()
        assert p.grad.tolist() == [4] * 3
    assert is_compiled(compiled)


def test_clipping_for_all_sizes():
    p = torch.randn(3, requires_grad=True)

    def f(x):
        p.grad = None
        (x * p).square().sum().backward()
        nn.utils.clip_grad_norm_([p], 0.5)

    compiled = torch.compile(f)
    for n in (2, 2, 3, 3, 4, 4, 5, 6, 7):
        compiled(torch.randn(n, 3))
        same(p.grad.norm(), torch.tensor(0.5))


def test_inner_functions_that_use_what_the_function_has_made():
    p = torch.randn(3, requires_grad=True)

    def f(x):
        made, z = 0.5 - x, torch.zeros(3)

        def inner(q):
            return q * made + z

        y = inner(p * 2)
        made.add_(made.mean())
        return y

    compiled = torch.compile(f)
    for _ in range(5):
        x = torch.randn(3)
        same(compiled(x), f(x))
    assert is_compiled(compiled)


def test_gradients_that_are_made_of_nothing():
    p = torch.randn(3, requires_grad=True)

    def f():
        v = p.round() + 1.5
        return torch.complex(v, v).abs()

    compiled = torch.compile(f)
    for _ in range(5):
        p.grad = None
        y = compiled()
        y.sum().backward()
        same(y, f())
        assert p.grad.tolist() == [0, 0, 0]


def written_to_first(x, y):
    z = y * 3
    x.mul_(2)
    return z + y


def shifted_in(x, y):
    x[1:] = y[:-1] * 2
    return y.sum() + x


@pytest.mark.parametrize("function", [written_to_first, shifted_in])
@pytest.mark.parametrize("cut", [lambda a: (a, a), lambda a: (a[:4], a[1:]), lambda a: (a[:4], a[:4])])
def test_arguments_that_share_memory_in_a_later_call(function, cut):
    compiled = torch.compile(function)
    for _ in range(4):
        compiled(torch.arange(4.0), torch.arange(4.0))
    mine, theirs = torch.arange(5.0), torch.arange(5.0)
    torch.testing.assert_close(compiled(*cut(mine)), function(*cut(theirs)))
    torch.testing.assert_close(mine, theirs)


def test_one_leaf_as_two_arguments_or_as_one_that_is_read_from_outside():
    w = torch.ones(4, requires_grad=True)

    def two(x, y):
        loss = (x * y).sum() + (x**2).sum()
        loss.backward()
        return loss.detach()

    def outside(x):
        loss = (x * w).sum() + (w**2).sum()
        loss.backward()
        return loss.detach()

    def leaf():
        return torch.arange(4.0).requires_grad_()

    compiled, one = torch.compile(two), torch.compile(outside)
    for _ in range(4):
        compiled(leaf(), leaf())
        one(leaf())
    x = leaf()
    compiled(x, x)
    assert x.grad.tolist() == [0, 4, 8, 12]
    w.grad = None
    one(leaf())
    w.grad.zero_()
    one(w)
    assert w.grad.tolist() == [4] * 4
