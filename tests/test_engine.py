"""The graph and its engine: accumulation, modes, reuse, in-place writes, threads, depth, memory."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import bibun as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(list(values), requires_grad=True)


def ones(n: int) -> torch.Tensor:
    return torch.ones(n)


def test_paths_are_summed():
    a, b = leaf(2.0), leaf(3.0)
    c = a * b
    (c + a).backward(ones(1))
    assert a.grad.tolist() == [4.0] and b.grad.tolist() == [2.0]


def test_gradients_accumulate_in_place():
    x = leaf(1.0, 2.0)
    (x * 2).backward(ones(2))
    g = x.grad
    (x * 3).backward(ones(2))
    assert x.grad is g and g.tolist() == [5.0, 5.0]


def test_leaf_gradients_do_not_share_memory():
    x, y, g = leaf(1.0), leaf(2.0), ones(1)
    (x + y).backward(g)
    x.grad += 10
    assert y.grad.item() == 1.0 and g.item() == 1.0


def test_graph_can_be_looked_at():
    w, x, b = (torch.tensor(v, requires_grad=True) for v in (3.0, 2.0, 1.0))
    y = w * x + b
    assert y.grad_fn.name() == "AddBackward0"
    (mul, i), (acc, j) = y.grad_fn.next_functions
    assert mul.name() == "MulBackward0" and i == j == 0
    assert acc.name() == "torch::autograd::AccumulateGrad" and acc.variable is b
    assert acc is y.grad_fn.next_functions[1][0]
    assert mul._saved_other.item() == 2.0 and mul._saved_self.item() == 3.0
    assert "_saved_self" in dir(mul) and not hasattr(mul, "_saved_dim")


def test_hot_classes_have_no_getattr():
    """A ``__getattr__`` makes every read of every attribute several times slower, whether it is called or not."""
    x = torch.ones(2, requires_grad=True)
    for each in (x, x * x, torch.nn.Parameter(x), (x * x).grad_fn, x.sum(0).grad_fn):
        assert type(each).__getattribute__ is object.__getattribute__ and not hasattr(type(each), "__getattr__")


def test_second_backward_is_refused_and_retain_graph_allows_it():
    x = leaf(3.0)
    y = x * x
    y.backward(ones(1), retain_graph=True)
    y.backward(ones(1))
    assert x.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="backward through the graph a second time") as error:
        y.backward(ones(1))
    assert "y = x * x" in str(error.value)  # the line that made the node, and the line that used it up
    assert "y.backward(ones(1))" in str(error.value)
    z = x + x  # nothing was saved, nothing is missed
    z.backward(ones(1))
    z.backward(ones(1))


def test_nothing_requires_grad():
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        ones(1).backward()


def test_scalar_is_asked_for():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    assert x.grad is None


def test_wrong_gradient_shape_changes_nothing():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(ones(3))
    assert x.grad is None


def test_modes():
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert torch.is_grad_enabled()

    @torch.no_grad()
    def f(v):
        return v * 2

    assert not f(x).requires_grad

    @torch.no_grad()
    def g(v):
        yield v * 2
        yield v * 3

    for y in g(x):
        assert not y.requires_grad and torch.is_grad_enabled()


def test_mode_is_of_the_thread():
    seen = []
    with torch.no_grad():
        t = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_overwritten_saved_value_names_both_lines():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * y  # saved here
    y += 1  # overwritten here
    with pytest.raises(RuntimeError, match="modified by an inplace operation") as error:
        z.backward(ones(2))
    text = str(error.value)
    assert "saved here" in text and "overwritten here" in text and "at version 1; expected version 0" in text


def test_write_elsewhere_is_no_error():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 2
    left, right = y[:2], y[2:]
    z = left * left
    with torch.no_grad():
        right.mul_(5)
    z.backward(ones(2))
    assert x.grad.tolist() == [8.0, 16.0, 0.0, 0.0]


def test_leaf_must_not_be_written_while_recording():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x += 1
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        x[0] = 3.0
    with torch.no_grad():
        x += 1
    assert x.item() == 2.0 and x._version == 1 and x.is_leaf


def test_write_through_a_view_rebases_the_base():
    x, w = leaf(1.0, 2.0, 3.0), leaf(10.0, 20.0)
    y = x * 1
    v = y[1:]
    v.mul_(w)
    assert y.tolist() == [1.0, 20.0, 60.0]
    assert y.grad_fn.name() == "torch::autograd::CopySlices" and v.grad_fn.name() == "AsStridedBackward0"
    y.backward(ones(3))
    assert x.grad.tolist() == [1.0, 10.0, 20.0] and w.grad.tolist() == [2.0, 3.0]


def test_write_to_the_base_is_seen_by_its_views():
    x = leaf(1.0, 2.0)
    y = x * 1
    v = y[0]
    y.mul_(3)
    (v * v).backward()
    assert x.grad.tolist() == [18.0, 0.0]


def test_setitem_records():
    w = leaf(2.0)
    out = torch.zeros(3)
    out[1] = w[0] * 3
    out.backward(torch.tensor([1.0, 5.0, 1.0]))
    assert w.grad.item() == 15.0


def test_detach_shares_memory_and_version():
    x = leaf(1.0)
    y = x * 2
    d = y.detach()
    d.add_(1)
    assert y.item() == 3.0 and y._version == d._version == 1 and not d.requires_grad
    h = y.data
    h.add_(1)
    assert y.item() == 4.0 and y._version == 1


def test_double_backward():
    x = leaf(2.0)
    (g,) = torch.autograd.grad(x * x * x, x, create_graph=True)
    assert g.item() == 12.0
    (h,) = torch.autograd.grad(g, x, create_graph=True)
    assert h.item() == 12.0
    (t,) = torch.autograd.grad(h, x)
    assert t.item() == 6.0


def test_grad_of_non_leaf_and_unused():
    x, u = leaf(2.0), leaf(1.0)
    y = x * 3
    z = y * y
    gy, gx = torch.autograd.grad(z, (y, x), retain_graph=True)
    assert gy.item() == 12.0 and gx.item() == 36.0 and x.grad is None
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(z, u, retain_graph=True)
    assert torch.autograd.grad(z, u, allow_unused=True) == (None,)


def test_backward_inputs():
    x, y = leaf(2.0), leaf(3.0)
    (x * y).backward(ones(1), inputs=[x])
    assert x.grad.item() == 3.0 and y.grad is None


def test_hooks():
    x = leaf(1.0)
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.item()) or g * 10)
    x.register_hook(lambda g: g + 1)
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    y.retain_grad()
    (y * 3).backward(ones(1))
    assert seen == [3.0, 61.0] and x.grad.item() == 61.0 and y.grad.item() == 30.0
    handle.remove()
    x.grad = None
    (y * 1).backward(ones(1), retain_graph=True) if False else (x * 2).backward(ones(1))
    assert x.grad.item() == 3.0


def test_chain_of_a_million_nodes():
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1
    y.backward(ones(1))
    assert x.grad.item() == 1.0
    del y


def test_threads_lose_no_gradient():
    x = torch.zeros(1000, requires_grad=True)
    n, rounds = 8, 50

    def work():
        for _ in range(rounds):
            (x * 1.0).backward(torch.ones(1000))

    threads = [threading.Thread(target=work) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (x.grad == n * rounds).all()


def test_reference_counting_frees_graphs():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        for _ in range(3):
            before = len(gc.get_objects())
            for _ in range(200):
                y = x * 2
                v = y[0]
                z = y * y
                z += v
                z.backward(ones(2))
                (g,) = torch.autograd.grad((x * x), x, ones(2), create_graph=True)
                x.grad = None
            del y, v, z, g
            after = len(gc.get_objects())
        assert after - before < 50
    finally:
        gc.enable()


def test_function():
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            ctx.save_for_backward(x)
            ctx.k = k
            return x * k, x + k

        @staticmethod
        def backward(ctx, g, h):
            assert ctx.saved_tensors[0].tolist() == [1.0, 2.0]
            return g * ctx.k + h, None

    x = leaf(1.0, 2.0)
    a, b = Scale.apply(x, 3)
    assert a.grad_fn is b.grad_fn and a.grad_fn.name() == "ScaleBackward"
    (a + b).backward(ones(2))
    assert x.grad.tolist() == [4.0, 4.0]
    x.grad = None
    a, _ = Scale.apply(x, 3)  # the other output's gradient arrives as zeros
    a.backward(ones(2))
    assert x.grad.tolist() == [3.0, 3.0]


def test_function_wrong_number_of_gradients():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        Bad.apply(leaf(1.0), leaf(2.0)).backward(ones(1))


def test_saved_tensors_hooks():
    packed = []
    x = leaf(3.0)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or len(packed) - 1, lambda i: packed[i]):
        y = x * x
    y.backward(ones(1))
    assert len(packed) == 2 and x.grad.item() == 6.0


def test_anomaly_names_the_line():
    x = leaf(0.0)
    with pytest.warns(UserWarning, match="Anomaly"), torch.autograd.detect_anomaly():
        y = (x / x) * x  # the culprit
        with pytest.raises(RuntimeError, match="returned nan values") as error:
            y.backward(ones(1))
    assert "the culprit" in str(error.value)


def test_numpy_gives_tracked_tensors():
    x = leaf(1.0, 2.0)
    y = np.array([3.0, 4.0], np.float32) * x
    z = np.sin(x)
    assert isinstance(y, torch.Tensor) and y.requires_grad and z.requires_grad
    y.backward(ones(2))
    assert x.grad.tolist() == [3.0, 4.0]


def test_errors_in_backward_name_the_forward_line():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("broken")

    y = Fails.apply(leaf(1.0))  # made here
    with pytest.raises(ValueError, match="broken") as error:
        y.backward(ones(1))
    assert any("made here" in note for note in error.value.__notes__)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.where(x > 0, x.sqrt(), x),
        lambda x: torch.where(x > 0, 1 / x, x),
        lambda x: torch.where(x > 0, x.log(), x),
        lambda x: torch.where(x > 0, x**0.5, x),
        lambda x: torch.where(x > 0, x.norm() / x, x),
    ],
)
def test_strict_zero(f):
    x = torch.tensor([0.0], requires_grad=True)
    with torch.autograd.strict_zero():
        f(x).sum().backward()
    assert x.grad.tolist() == [1.0]
    x.grad = None
    with torch.autograd.strict_zero():
        (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        assert g.tolist() == [1.0]


def test_inplace_policy():
    x = torch.tensor(3.0, requires_grad=True)
    with torch.autograd.inplace_policy("clone"):
        y = x * 2
        z = y * y
        y += 1
    z.backward()
    assert x.grad.item() == 24.0


def test_coverage_names_every_primitive():
    table = torch.autograd.coverage()
    assert "multiply" in table and "matmul" in table


def test_leaves_have_their_gradients_when_a_later_part_of_the_run_fails():
    """What had arrived whole when the run failed is accumulated, hooks and all; what had arrived in part is not."""
    from threading import Thread

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise RuntimeError("this is the end")

    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    seen = []
    for name, leaf in zip("abc", (a, b, c)):
        leaf.register_hook(lambda g, name=name: seen.append(name))

    def fail(**given):
        with pytest.raises(RuntimeError, match="this is the end"):
            (Fails.apply(a * c) * b * c).sum().backward(**given)

    fail()
    assert seen == ["b"] and a.grad is None and c.grad is None and b.grad.tolist() == [1, 1]
    fail(inputs=[a, b])
    fail(inputs=[a, c])
    assert seen == ["b"] * 2 and b.grad.tolist() == [2, 2] and c.grad is None
    threads = [Thread(target=fail) for _ in range(3)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert seen == ["b"] * 5 and b.grad.tolist() == [5, 5] and c.grad is None


@pytest.mark.parametrize(("numbers", "wanted"), [((100, 99, 98), "cab"), ((98, 99, 100), "cba"), ((5, 1, 5), "cab")])
def test_nodes_are_taken_by_numbers_that_the_program_gives_them(numbers, wanted):
    from bibun.autograd import node

    for lib in (torch, pytest.importorskip("torch")):
        x, y, z = [lib.full((3,), v, requires_grad=True) for v in (1.0, 2.0, 3.0)]
        a, b = x * y, y * z
        c = a * b
        order = []
        for name, t, number in zip("abc", (a, b, c), numbers):
            t.grad_fn._set_sequence_nr(number)
            assert t.grad_fn._sequence_nr() == number
            t.register_hook(lambda g, name=name, order=order: order.append(name))
        values, _ = c.split([1, 2])
        (values.sum() + a.exp().sum()).backward()  # the node of `a` waits for both
        assert "".join(order) == wanted
        assert y.grad.tolist() == pytest.approx([2 * 1 * 2 * 3 + np.exp(2.0), np.exp(2.0), np.exp(2.0)])
    node.NUMBERED[0] = False


def test_a_gradient_that_somebody_holds_is_copied():
    x, z = (torch.ones(40_000, requires_grad=True) for _ in range(2))
    g, kept = torch.ones(40_000), []
    handle = x.register_hook(lambda seen: kept.append(seen))
    for make in (lambda: x.clone(), lambda: x + z, lambda: x * 2, lambda: (x * 2) + z):
        x.grad = z.grad = None
        make().backward(g)
        before = kept[-1].clone()
        x.grad.add_(5)
        assert g.eq(1).all() and kept[-1].equal(before)
        assert z.grad is None or z.grad.eq(1).all()
    handle.remove()
    x.grad = z.grad = None
    ((x * 2) + (z * 1)).backward(g, inputs=[x, z])
    x.grad.add_(5)
    assert z.grad.eq(1).all() and g.eq(1).all()
