"""Optimizers: trajectories, states, printed forms and errors against PyTorch's, and what needs no second library."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import math
import pickle
import warnings

import numpy as np
import pytest

import bibun
from bibun.optim.arithmetic import row_of_sums

#: name, options, how far a trajectory may stray, in units of the dtype's epsilon
CASES = [
    ("SGD", {}, 4),
    ("SGD", {"momentum": 0.9}, 6),
    ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}, 6),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True, "weight_decay": 0.1}, 6),
    ("Adam", {}, 4),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1, "maximize": True}, 4),
    ("Adam", {"betas": (0.3, 0.5), "eps": 1e-3}, 4),
    ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}, 4),
    ("AdamW", {}, 4),
    ("AdamW", {"amsgrad": True, "weight_decay": 0.5}, 4),
    ("RMSprop", {}, 16),
    ("RMSprop", {"momentum": 0.5}, 24),
    ("RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}, 400),
    ("Adagrad", {}, 6),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}, 6),
    ("Adadelta", {}, 8),
    ("Adadelta", {"weight_decay": 0.1, "maximize": True, "rho": 0.5}, 8),
    ("Adamax", {}, 6),
    ("Adamax", {"weight_decay": 0.1, "maximize": True}, 6),
    ("NAdam", {}, 6),
    ("NAdam", {"weight_decay": 0.1}, 6),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}, 6),
    ("RAdam", {}, 6),
    ("RAdam", {"weight_decay": 0.1}, 6),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}, 6),
    ("ASGD", {}, 8),
    ("ASGD", {"t0": 3, "weight_decay": 0.1, "lambd": 0.1, "maximize": True}, 8),
    ("Rprop", {}, 0),
    ("Rprop", {"maximize": True, "etas": (0.3, 1.7), "step_sizes": (0.005, 0.05)}, 0),
    ("Adafactor", {}, 16),
    ("Adafactor", {"weight_decay": 0.1, "maximize": True, "eps": (1e-3, 1e-2), "d": 1.5}, 16),
]
IDS = [f"{name}{i}" for i, (name, _, _) in enumerate(CASES)]
ELEMENTWISE = sorted({name for name, _, _ in CASES} - {"Adafactor"})
EVERY = [*sorted({name for name, _, _ in CASES}), "LBFGS", "Muon", "SparseAdam"]
SHAPES = [(), (1,), (3,), (7, 5), (2, 3, 4), (130, 70), (300, 200)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """PyTorch's threads spin; where processors are few and busy, that costs minutes."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def array(random, shape, dtype):
    a = np.asarray(random.standard_normal(shape))
    if np.dtype(dtype).kind == "c":
        a = a + 1j * random.standard_normal(shape)
    return np.array(a, dtype)


def parameters(t, shapes=SHAPES, dtype="f4", seed=0):
    random = np.random.default_rng(seed)
    return [t.from_numpy(array(random, s, dtype)).requires_grad_() for s in shapes]


def give_gradients(t, params, seed, dtype="f4"):
    random = np.random.default_rng(seed)
    for p in params:
        g = array(random, tuple(p.shape), dtype)
        g += np.array(0.3, dtype)
        p.grad = t.from_numpy(g)


def values(p):
    return p.detach().numpy()


def distance(ours, theirs):
    """The largest difference, in epsilons of the larger of value and 0.1."""
    a, b = values(ours), values(theirs)
    if not a.size:
        return 0.0
    return float((np.abs(a - b) / np.maximum(np.abs(b), 0.1)).max() / np.finfo(a.dtype).eps)


def pair(torch, name, options, shapes=SHAPES, dtype="f4"):
    ours, theirs = parameters(bibun, shapes, dtype), parameters(torch, shapes, dtype)
    return (ours, getattr(bibun.optim, name)(ours, **options)), (theirs, getattr(torch.optim, name)(theirs, **options))


# trajectories


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8"])
@pytest.mark.parametrize(("name", "options", "bound"), CASES, ids=IDS)
def test_trajectory_is_pytorchs(name, options, bound, dtype):
    torch = pytest.importorskip("torch")
    if dtype == "c8" and name == "Adafactor":
        pytest.skip("refused")
    (ours, optimizer), (theirs, reference) = pair(torch, name, options, dtype=dtype)
    for i in range(8):
        give_gradients(bibun, ours, i, dtype)
        give_gradients(torch, theirs, i, dtype)
        assert optimizer.step() is None
        reference.step()
    for p, q in zip(ours, theirs):
        assert distance(p, q) <= bound
        state, expected = optimizer.state[p], reference.state[q]
        assert list(state) == list(expected)
        for key, value in expected.items():
            assert str(state[key].dtype).split(".")[-1] == str(value.dtype).split(".")[-1]
            assert tuple(state[key].shape) == tuple(value.shape)
            if key == "step":
                assert state[key].item() == value.item() == 8


@pytest.mark.parametrize("options", [options for name, options, _ in CASES if name == "SGD"])
def test_small_descent_is_equal_to_the_bit(options):
    """a + s·b is rounded once, as PyTorch's kernels do, where BLAS has fused multiply-add."""
    torch = pytest.importorskip("torch")
    if row_of_sums() is None:
        pytest.skip("this processor's BLAS does not fuse")
    shapes = [(), (1, 1), (2,), (3, 5), (64, 10), (10,), (17, 3, 5), (4096,)]
    (ours, optimizer), (theirs, reference) = pair(torch, "SGD", {"lr": 0.05, **options}, shapes)
    for i in range(30):
        give_gradients(bibun, ours, i)
        give_gradients(torch, theirs, i)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, theirs):
        assert (values(p) == values(q)).all(), p.shape


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "options", "bound"), CASES, ids=IDS)
def test_narrow_dtypes(name, options, bound, dtype):
    torch = pytest.importorskip("torch")
    if options.get("centered") or name == "Adafactor":
        pytest.skip("differences of nearly equal values")
    ours = [p.detach().to(getattr(bibun, dtype)).requires_grad_() for p in parameters(bibun, [(1,), (5, 7)])]
    theirs = [p.detach().to(getattr(torch, dtype)).requires_grad_() for p in parameters(torch, [(1,), (5, 7)])]
    optimizer, reference = getattr(bibun.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for i in range(5):
        for t, params in ((bibun, ours), (torch, theirs)):
            random = np.random.default_rng(i)
            for p in params:
                p.grad = t.from_numpy(array(random, tuple(p.shape), "f4")).to(p.dtype)
        optimizer.step()
        reference.step()
    for p, q in zip(ours, theirs):
        a, b = values(p.detach().float()), values(q.detach().float())
        assert np.abs(a - b).max() <= 4 * bibun.finfo(p.dtype).eps * max(np.abs(b).max(), 1)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "RMSprop", "Adadelta", "ASGD"])
def test_rate_in_a_tensor(name):
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(bibun), parameters(torch)
    optimizer = getattr(bibun.optim, name)(ours, lr=bibun.tensor(0.013))
    reference = getattr(torch.optim, name)(theirs, lr=torch.tensor(0.013))
    for i in range(4):
        give_gradients(bibun, ours, i)
        give_gradients(torch, theirs, i)
        optimizer.step()
        reference.step()
        optimizer.param_groups[0]["lr"].mul_(0.5)
        reference.param_groups[0]["lr"].mul_(0.5)
    assert max(distance(p, q) for p, q in zip(ours, theirs)) <= 16
    assert repr(optimizer) == repr(reference)


def test_betas_in_tensors():
    torch = pytest.importorskip("torch")
    ours, theirs = parameters(bibun), parameters(torch)
    optimizer = bibun.optim.Adam(ours, betas=(bibun.tensor(0.8), bibun.tensor(0.95)))
    reference = torch.optim.Adam(theirs, betas=(torch.tensor(0.8), torch.tensor(0.95)))
    for i in range(4):
        give_gradients(bibun, ours, i)
        give_gradients(torch, theirs, i)
        optimizer.step()
        reference.step()
    assert max(distance(p, q) for p, q in zip(ours, theirs)) <= 8


def test_muon():
    torch = pytest.importorskip("torch")
    shapes = [(3, 4), (2, 2), (5, 2), (1, 6)]
    for options in ({}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw"}, {"ns_steps": 2, "weight_decay": 0.5}):
        (ours, optimizer), (theirs, reference) = pair(torch, "Muon", options, shapes)
        for i in range(3):
            give_gradients(bibun, ours, i)
            give_gradients(torch, theirs, i)
            optimizer.step()
            reference.step()
        for p, q in zip(ours, theirs):
            # The update has bfloat16's digits, and sums in another order end in other ones.
            assert np.abs(values(p) - values(q)).max() <= 0.03 * 3e-3


def rosenbrock(t, params, dtype):
    """A curved valley, its gradient by hand, in double; (loss in dtype)."""
    (a, b), c = np.asarray(values(params[0]), "f8"), float(values(params[1])[0, 0])
    loss = (1 - a) ** 2 + 100 * (b - a * a) ** 2 + (c - a) ** 4
    params[0].grad = t.from_numpy(
        np.array([-2 * (1 - a) - 400 * a * (b - a * a) - 4 * (c - a) ** 3, 200 * (b - a * a)], dtype)
    )
    params[1].grad = t.from_numpy(np.array([[4 * (c - a) ** 3]], dtype))
    return float(np.array(loss, dtype))


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"line_search_fn": "strong_wolfe"},
        {"lr": 0.5, "max_iter": 4},
        {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
        {"max_iter": 1, "lr": 0.01},
        {"line_search_fn": "strong_wolfe", "max_eval": 5},
    ],
)
def test_lbfgs(options):
    torch = pytest.importorskip("torch")
    seen = []
    for t in (bibun, torch):
        params = [
            t.from_numpy(np.array([-1.2, 1.0])).requires_grad_(),
            t.from_numpy(np.array([[0.5]])).requires_grad_(),
        ]
        optimizer = t.optim.LBFGS(params, **options)
        losses = [optimizer.step(lambda params=params, t=t: rosenbrock(t, params, "f8")) for _ in range(3)]
        state = optimizer.state[params[0]]
        seen.append((losses, state, params))
    (losses, state, params), (expected, their_state, theirs) = seen
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert list(state) == list(their_state)
    for key in ("func_evals", "n_iter"):
        assert state[key] == their_state[key]
    for key in ("old_dirs", "old_stps", "ro"):
        assert len(state[key]) == len(their_state[key])
    np.testing.assert_allclose(values(params[0]), values(theirs[0]), rtol=1e-5, atol=1e-7)
    assert {k: type(v).__name__ for k, v in state.items()} == {k: type(v).__name__ for k, v in their_state.items()}


def test_lbfgs_resumes_from_its_state():
    ends = []
    for interrupted in (False, True):
        params = [
            bibun.tensor([-1.2, 1.0], dtype=bibun.float64, requires_grad=True),
            bibun.tensor([[0.5]], dtype=bibun.float64, requires_grad=True),
        ]
        optimizer = bibun.optim.LBFGS(params, lr=0.3, max_iter=5)
        optimizer.step(lambda params=params: rosenbrock(bibun, params, "f8"))
        if interrupted:
            state = optimizer.state_dict()
            optimizer = bibun.optim.LBFGS(params, lr=9)
            optimizer.load_state_dict(state)
        optimizer.step(lambda params=params: rosenbrock(bibun, params, "f8"))
        ends.append(values(params[0]).copy())
    assert (ends[0] == ends[1]).all()


def test_sparse_adam_refuses_dense_gradients():
    params = parameters(bibun, [(2,)])
    optimizer = bibun.optim.SparseAdam(params)
    optimizer.step()
    give_gradients(bibun, params, 0)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        optimizer.step()


# layouts: every way an array can lie in memory gives the same numbers


def laid_out(a, kind):
    if kind == "fortran":
        return np.asfortranarray(a)
    if kind == "every other":
        whole = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
        whole[..., ::2] = a
        return whole[..., ::2]
    if kind == "broadcast":
        return np.broadcast_to(a[:1], a.shape)
    return np.array(a)


@pytest.mark.parametrize("kind", ["fortran", "every other"])
@pytest.mark.parametrize("gradient", ["plain", "fortran", "every other", "broadcast"])
@pytest.mark.parametrize("name", ["SGD", "Adam", "Rprop"])
@pytest.mark.parametrize("dtype", ["f4", "c8"])
def test_layouts(name, kind, gradient, dtype):
    for shape in ((3, 5), (201, 203)):
        random = np.random.default_rng(1)
        start, slope = array(random, shape, dtype), array(random, shape, dtype)
        slope = laid_out(slope, gradient)
        p = bibun.from_numpy(laid_out(start, kind)).requires_grad_()
        q = bibun.from_numpy(start.copy()).requires_grad_()
        optimizer, plain = (getattr(bibun.optim, name)([x], lr=0.1) for x in (p, q))
        for _ in range(3):
            p.grad = bibun.from_numpy(np.require(slope)) if gradient != "broadcast" else bibun.from_numpy(slope.copy())
            q.grad = bibun.from_numpy(slope.copy())
            optimizer.step()
            plain.step()
        np.testing.assert_allclose(values(p), values(q), rtol=3e-6, atol=1e-6)


def test_empty_parameters():
    for name in ELEMENTWISE:
        p = bibun.zeros(0, 3, requires_grad=True)
        p.grad = bibun.zeros(0, 3)
        getattr(bibun.optim, name)([p]).step()


def test_infinite_and_undefined_gradients_pass_without_warning():
    for name in ELEMENTWISE:
        params = parameters(bibun, [(1,), (5,)])
        optimizer = getattr(bibun.optim, name)(params)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for bad in (math.nan, math.inf, 1e38, 0.0):
                for p in params:
                    p.grad = bibun.from_numpy(np.full(tuple(p.shape), bad, "f4"))
                optimizer.step()


# one parameter after another, and those without gradient


def test_parameters_without_gradient_are_left_alone():
    for name in EVERY:
        if name in ("LBFGS", "SparseAdam"):
            continue
        p, q = parameters(bibun, [(2, 2), (2, 2)])
        optimizer = getattr(bibun.optim, name)([p, q])
        before = values(q).copy()
        p.grad = bibun.ones(2, 2)
        optimizer.step()
        assert (values(q) == before).all()
        assert q not in optimizer.state or name == "Adagrad"


def test_steps_count_for_each_parameter():
    torch = pytest.importorskip("torch")
    for name in ("Adam", "NAdam", "RAdam"):
        (ours, optimizer), (theirs, reference) = pair(torch, name, {"lr": 0.1}, [(3,), (4,), (1,)])
        for i in range(6):
            for t, params, o in ((bibun, ours, optimizer), (torch, theirs, reference)):
                give_gradients(t, params, i)
                params[i % 3].grad = None
                o.step()
        for p, q in zip(ours, theirs):
            assert distance(p, q) <= 6
            assert optimizer.state[p]["step"].item() == reference.state[q]["step"].item() == 4


def test_memory_of_a_parameter_may_be_replaced():
    p = bibun.ones(3, requires_grad=True)
    optimizer = bibun.optim.SGD([p], lr=0.5, momentum=0.5)
    p.grad = bibun.ones(3)
    optimizer.step()
    p.data = bibun.zeros(3)
    p.grad = bibun.ones(3)
    optimizer.step()
    assert p.tolist() == [-0.75, -0.75, -0.75]


def test_state_may_be_cleared_and_replaced():
    p = bibun.ones(2, requires_grad=True)
    optimizer = bibun.optim.Adam([p], lr=0.1)
    p.grad = bibun.ones(2)
    optimizer.step()
    optimizer.state.clear()
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 1
    optimizer.state[p]["exp_avg"] = bibun.zeros(2)
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].tolist() == pytest.approx([0.1, 0.1])


# the graph


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(1,), (3,), (200, 200)])
def test_backward_notices_the_step(name, shape):
    p = bibun.from_numpy(np.ones(shape, "f4")).requires_grad_()
    optimizer = getattr(bibun.optim, name)([p])
    y = p * p
    p.grad = bibun.from_numpy(np.ones(shape, "f4"))
    version = p._version
    optimizer.step()
    assert p._version > version
    assert p.is_leaf and p.requires_grad
    with pytest.raises(RuntimeError, match="modified by an inplace operation|overwritten"):
        y.backward(bibun.from_numpy(np.ones(shape, "f4")))


def test_trains_a_line():
    for name, lr in (("SGD", 0.1), ("Adam", 0.1), ("RMSprop", 0.02), ("Adagrad", 0.5), ("NAdam", 0.1), ("LBFGS", 1.0)):
        w, b = bibun.zeros(1, requires_grad=True), bibun.zeros(1, requires_grad=True)
        x = bibun.from_numpy(np.linspace(-1, 1, 20, dtype="f4"))
        y = x * 2 + 1
        optimizer = getattr(bibun.optim, name)([w, b], lr=lr)

        def closure(optimizer=optimizer, w=w, b=b, x=x, y=y):
            optimizer.zero_grad()
            error = w * x + b - y
            loss = (error * error).sum() / 20
            loss.backward()
            return loss

        for _ in range(250 if name != "LBFGS" else 3):
            optimizer.step(closure)
        assert w.item() == pytest.approx(2, abs=0.05), name
        assert b.item() == pytest.approx(1, abs=0.05), name


def three_differentiable_steps(t, name, slope):
    """Where three recorded steps end, what they began from, and their gradient."""
    options = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {"momentum": 0.9} if name == "RMSprop" else {}
    start = t.tensor([1.0, -2.0, 3.0], dtype=t.float64, requires_grad=True)
    g = t.tensor(slope, dtype=t.float64, requires_grad=True)
    p = start.clone()
    p.retain_grad()
    optimizer = getattr(t.optim, name)([p], lr=0.1, differentiable=True, **options)
    for i in range(3):
        p.grad = g * (i + 1)
        optimizer.step()
    return p, start, g


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n not in ("ASGD", "Rprop")])
def test_differentiable(name):
    """Recorded steps, differentiated with respect to where they began and the gradient they used."""
    slope = [0.3, 0.5, -0.7]
    p, start, g = three_differentiable_steps(bibun, name, slope)
    (p * p).sum().backward()
    if name != "SGD":  # whose first velocity is out of the graph
        for i in range(3):
            ends = []
            for change in (1e-5, -1e-5):
                moved = [s + change * (j == i) for j, s in enumerate(slope)]
                q = three_differentiable_steps(bibun, name, moved)[0]
                ends.append((q * q).sum().item())
            assert g.grad[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-7)
    torch = pytest.importorskip("torch")
    if name == "Adamax":
        return  # PyTorch overwrites what it saved
    q, their_start, their_g = three_differentiable_steps(torch, name, slope)
    (q * q).sum().backward()
    for ours, theirs in ((p.detach(), q.detach()), (start.grad, their_start.grad), (g.grad, their_g.grad)):
        # PyTorch computes the corrections of the means in float32 here.
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)


def test_the_rate_is_learned():
    lr = bibun.tensor(0.1, requires_grad=True)
    start = bibun.tensor([2.0], requires_grad=True)
    p = start.clone()
    p.retain_grad()
    optimizer = bibun.optim.SGD([p], lr=lr, differentiable=True)
    p.grad = bibun.tensor([3.0])
    optimizer.step()
    p.sum().backward()
    assert lr.grad.item() == -3.0


# Optimizer itself


def optimizer_module(t):
    return importlib.import_module(f"{t.__name__}.optim.optimizer")


def leaf(t, *shape):
    return t.ones(*shape or (1,), requires_grad=True)


def construction_cases(t):
    o, a = t.optim, leaf(t, 2)
    return [
        lambda: o.SGD([]),
        lambda: o.SGD(leaf(t)),
        lambda: o.SGD([leaf(t) * 2]),
        lambda: o.SGD([1]),
        lambda: o.SGD(["a"]),
        lambda: o.SGD(None),
        lambda: o.SGD(3),
        lambda: o.SGD([{"params": [a]}, {"params": [a]}]),
        lambda: o.SGD([{"params": {a}}]),
        lambda: o.SGD([{"lr": 1}]),
        lambda: o.SGD([a, {"params": [leaf(t)]}]),
        lambda: o.SGD([("x", a), leaf(t)]),
        lambda: o.SGD([("x", 1)]),
        lambda: o.SGD([{"params": [("x", a)]}, {"params": [leaf(t)]}]),
        lambda: o.SGD([{"params": [a]}, {"params": [("x", leaf(t))]}]),
        lambda: o.SGD([a]).add_param_group([1]),
        lambda: o.SGD([a]).add_param_group({"params": a}),
        lambda: o.Optimizer([a], {}).step(),
        lambda: o.Optimizer([a], {"lr": optimizer_module(t).required}),
        lambda: o.LBFGS([{"params": [a]}, {"params": [leaf(t)]}]),
        lambda: o.Muon([a]),
        lambda: o.LBFGS([a]).step(),
        lambda: o.SGD([a], nesterov=True),
        lambda: o.SGD([a], bogus=1),
        lambda: o.Adam([a], betas=(0, 0)),
        lambda: o.Adam([a], betas=(t.tensor(0.9), 0.9)),
        lambda: o.Adam([a], lr=t.tensor(0.1), foreach=True),
        lambda: o.Adam([a], betas=(t.tensor(0.9), t.tensor(0.9)), foreach=True),
        lambda: o.Adafactor([a], eps=(-1.0, 1)),
        lambda: o.Adafactor([a], eps=(None, -1.0)),
        lambda: o.Adafactor([a], d=0.5),
        lambda: o.Adafactor([a], beta2_decay=0.5),
        lambda: o.Muon([leaf(t, 2, 2)], adjust_lr_fn="x"),
        lambda: o.Rprop([a], etas=(2, 0.5)),
    ]


OPTIONS = [
    {"lr": -1},
    {"lr": "a"},
    {"lr": None},
    {"momentum": -1},
    {"weight_decay": -1},
    {"eps": -1},
    {"betas": (-1, 0.9)},
    {"betas": (0.9, 1.0)},
    {"betas": 0.9},
    {"rho": 2},
    {"alpha": -1},
    {"lr_decay": -1},
    {"initial_accumulator_value": -1},
    {"momentum_decay": -1},
    {"fused": True, "foreach": True},
    {"fused": True, "differentiable": True},
    {"lr": True},
    {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
    {"foreach": True},
    {"fused": True},
    {"maximize": True},
]


def outcome(function):
    try:
        return repr(function())
    except Exception as error:
        return type(error), str(error).replace("bibun.", "torch.")


def test_errors_are_pytorchs():
    torch = pytest.importorskip("torch")
    for i, (ours, theirs) in enumerate(zip(construction_cases(bibun), construction_cases(torch), strict=True)):
        if i != 21:
            assert outcome(ours) == outcome(theirs), i
        assert isinstance(outcome(ours), tuple), i


@pytest.mark.parametrize("name", EVERY)
def test_options_are_checked_and_printed_as_pytorchs(name):
    torch = pytest.importorskip("torch")
    for options in [{}, *OPTIONS]:
        if set(options) <= set(inspect.signature(getattr(torch.optim, name)).parameters):
            made = [
                outcome(lambda t=t, options=options: getattr(t.optim, name)([leaf(t, 2, 3)], **options))
                for t in (bibun, torch)
            ]
            assert made[0] == made[1]
    for t in (bibun, torch):
        with pytest.raises(ValueError, match="Tensor lr must be 1-element"):
            getattr(t.optim, name)([leaf(t, 2, 3)], lr=t.tensor([0.1, 0.2]))


@pytest.mark.parametrize("name", EVERY)
def test_signatures_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(getattr(t.optim, name)).parameters.values() for t in (bibun, torch))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]
    made = [getattr(t.optim, name)([leaf(t, 2, 3)]) for t in (bibun, torch)]
    assert list(made[0].defaults.items()) == list(made[1].defaults.items())
    assert list(made[0].state_dict()["param_groups"][0]) == list(made[1].state_dict()["param_groups"][0])


@pytest.mark.parametrize("name", ["Adam", "NAdam", "ASGD", "Adadelta", "RMSprop", "Rprop", "Adamax", "RAdam"])
def test_capturable_is_refused_at_the_step(name):
    torch = pytest.importorskip("torch")
    got = []
    for t in (bibun, torch):
        p = leaf(t, 2)
        p.grad = t.ones(2)
        got.append(outcome(getattr(t.optim, name)([p], capturable=True).step))
    assert got[0] == got[1]
    assert got[0][0] is AssertionError


def test_duplicates_and_names():
    a = leaf(bibun)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        bibun.optim.SGD([a, a])
    optimizer = bibun.optim.SGD([("x", a), ("y", leaf(bibun))])
    assert optimizer.param_groups[0]["param_names"] == ["x", "y"]
    assert optimizer.param_groups[0]["params"][0] is a
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["x", "y"]
    other = bibun.optim.SGD([("p", leaf(bibun)), ("q", leaf(bibun))], lr=7)
    plain = bibun.optim.SGD([leaf(bibun), leaf(bibun)], lr=3)
    other.load_state_dict(plain.state_dict())
    assert other.param_groups[0]["param_names"] == ["p", "q"]
    assert other.param_groups[0]["lr"] == 3


def test_a_failed_group_changes_nothing():
    a = leaf(bibun)
    optimizer = bibun.optim.SGD([a])
    for bad in ({"params": [a]}, {"params": [leaf(bibun), 3]}, {"params": [("x", leaf(bibun))]}):
        given = dict(bad)
        with pytest.raises((ValueError, TypeError)):
            optimizer.add_param_group(bad)
        assert len(optimizer.param_groups) == 1
        assert bad == given


def test_zero_grad():
    a, b = leaf(bibun, 3), leaf(bibun, 2)
    optimizer = bibun.optim.SGD([a, b])
    a.grad = held = bibun.ones(3)
    optimizer.zero_grad(set_to_none=False)
    assert a.grad is held and held.tolist() == [0, 0, 0] and b.grad is None
    optimizer.zero_grad()
    assert a.grad is None
    a.grad = leaf(bibun, 3) * 2
    optimizer.zero_grad(set_to_none=False)
    assert not a.grad.requires_grad and a.grad.tolist() == [0, 0, 0]


def test_closure_runs_with_recording_on():
    for name in ("SGD", "Adam", "Adafactor", "SparseAdam"):
        p = leaf(bibun, 2)
        optimizer = getattr(bibun.optim, name)([p])
        with bibun.no_grad():
            assert optimizer.step(bibun.is_grad_enabled) is True
            assert not bibun.is_grad_enabled()
        assert bibun.is_grad_enabled()


# hooks


def step_hooks(t):
    log = []
    module = optimizer_module(t)

    class Own(t.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            log.append("own")
            return 5

    for optimizer in (t.optim.SGD([leaf(t)]), Own([leaf(t)]), t.optim.LBFGS([leaf(t)])):

        def note(what, log=log, optimizer=optimizer):
            return lambda o, args, kwargs: log.append((what, o is optimizer, args[0] is o, len(args), kwargs))

        handles = [
            optimizer.register_step_pre_hook(note("pre")),
            optimizer.register_step_post_hook(note("post")),
            module.register_optimizer_step_pre_hook(note("global pre")),
            module.register_optimizer_step_post_hook(note("global post")),
        ]
        if isinstance(optimizer, Own):
            log.append(optimizer.step())
        log.append(optimizer.step(lambda: 4.0))
        for handle in handles:
            handle.remove()
        log.append(optimizer.step(lambda: 3.0))
        optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 9.0), {}))
        log.append(optimizer.step(lambda: 3.0))
    return log


def test_step_hooks_are_called_as_pytorchs():
    torch = pytest.importorskip("torch")

    def prepare(t):
        # L-BFGS looks for gradients, which are zeros here: it returns the first loss.
        return step_hooks(t)

    assert prepare(bibun) == prepare(torch)


def test_hook_that_returns_nonsense():
    optimizer = bibun.optim.SGD([leaf(bibun)])
    optimizer.register_step_pre_hook(lambda *a: 3)
    with pytest.raises(
        RuntimeError, match=r"SGD.step.* must return None or a tuple of .new_args, new_kwargs., but got 3"
    ):
        optimizer.step()
    optimizer._optimizer_step_pre_hooks.clear()
    optimizer.step()


def test_subclass_of_an_optimizer_calls_hooks_once():
    class Logged(bibun.optim.SGD):
        def step(self, closure=None):
            log.append("step")
            return super().step(closure)

    log = []
    optimizer = Logged([leaf(bibun)])
    optimizer.register_step_pre_hook(lambda *a: log.append("pre"))
    assert optimizer.step(lambda: 2.0) == 2.0
    assert log == ["pre", "step"]


def test_state_dict_hooks():
    log = []
    optimizer = bibun.optim.SGD([leaf(bibun)], lr=1)
    for moment in ("state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post"):
        register = getattr(optimizer, f"register_{moment}_hook")
        register(lambda *a, moment=moment: log.append((moment, len(a))))
        register(lambda *a, moment=moment: log.append("first"), prepend=True)
    optimizer.load_state_dict(optimizer.state_dict())
    assert log == [
        "first",
        ("state_dict_pre", 1),
        "first",
        ("state_dict_post", 2),
        "first",
        ("load_state_dict_pre", 2),
        "first",
        ("load_state_dict_post", 1),
    ]
    optimizer.register_load_state_dict_pre_hook(
        lambda o, d: {**d, "param_groups": [{**d["param_groups"][0], "lr": 42}]}
    )
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups[0]["lr"] == 42
    optimizer.register_state_dict_post_hook(lambda o, d: {"replaced": True})
    assert optimizer.state_dict() == {"replaced": True}


# saving


def converted(state, t):
    """A state dict with its tensors as another library's."""
    if hasattr(state, "detach"):
        return t.from_numpy(np.array(state.detach().numpy()))
    if isinstance(state, dict):
        return {k: converted(v, t) for k, v in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(converted(v, t) for v in state)
    return state


@pytest.mark.parametrize(("name", "options", "bound"), CASES, ids=IDS)
def test_states_move_between_the_two(name, options, bound):
    torch = pytest.importorskip("torch")
    for source, target in ((bibun, torch), (torch, bibun)):
        params, others = parameters(source), parameters(target)
        optimizer = getattr(source.optim, name)(params, **options)
        resumed = getattr(target.optim, name)(others, lr=0.5)
        for i in range(7):
            give_gradients(source, params, i)
            optimizer.step()
            if i == 3:
                resumed.load_state_dict(converted(optimizer.state_dict(), target))
                for p, q in zip(params, others):
                    q.data = target.from_numpy(values(p).copy())
            if i > 3:
                give_gradients(target, others, i)
                resumed.step()
        assert max(distance(*pq) for pq in zip(params, others)) <= max(bound, 1)


@pytest.mark.parametrize("name", [n for n in EVERY if n not in ("LBFGS", "SparseAdam")])
def test_saved_and_copied(name):
    params = parameters(bibun, [(4, 3), (2, 2)])
    optimizer = getattr(bibun.optim, name)(params)
    give_gradients(bibun, params, 0)
    optimizer.step()
    twin_params, twin = copy.deepcopy((params, optimizer))
    assert twin.param_groups[0]["params"][0] is twin_params[0]
    assert list(twin.state) == (list(twin_params) if name != "SGD" else [])
    fresh = [p.detach().clone().requires_grad_() for p in params]
    resumed = getattr(bibun.optim, name)(fresh)
    resumed.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, fresh):
        for key, value in optimizer.state[p].items():
            assert resumed.state[q][key] is not value
    for ps, o in ((params, optimizer), (twin_params, twin), (fresh, resumed)):
        give_gradients(bibun, ps, 1)
        o.step()
    for p, q, r in zip(params, twin_params, fresh):
        assert (values(p) == values(q)).all() and (values(p) == values(r)).all()


def test_pickled():
    params = parameters(bibun, [(3,)])
    optimizer = bibun.optim.Adam(params)
    optimizer.register_step_pre_hook(lambda *a: None)
    give_gradients(bibun, params, 0)
    optimizer.step()
    loaded = pickle.loads(pickle.dumps(optimizer))
    assert repr(loaded) == repr(optimizer)
    q = loaded.param_groups[0]["params"][0]
    assert loaded.state[q]["exp_avg"].tolist() == optimizer.state[params[0]]["exp_avg"].tolist()
    give_gradients(bibun, [q], 1)
    loaded.step()


def test_loading_casts_state_and_keeps_counters():
    p, q = parameters(bibun, [(3,)]), parameters(bibun, [(3,)], "f8")
    source, target = bibun.optim.Adam(p), bibun.optim.Adam(q)
    give_gradients(bibun, p, 0)
    source.step()
    state = source.state_dict()
    state["state"][0]["more"] = {"list": [bibun.ones(1), 2], "text": "abc", "pair": (1, bibun.ones(2))}
    state["state"]["other"] = 3
    target.load_state_dict(state)
    got = target.state[q[0]]
    assert got["exp_avg"].dtype == bibun.float64 and got["step"].dtype == bibun.float32
    assert got["more"]["list"][0].dtype == bibun.float64 and got["more"]["text"] == "abc"
    assert isinstance(got["more"]["pair"], tuple)
    assert target.state["other"] == 3


def test_loading_refuses_other_groups():
    source = bibun.optim.SGD([leaf(bibun)], lr=5).state_dict()
    target = bibun.optim.SGD([leaf(bibun), leaf(bibun)], lr=1)
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        target.load_state_dict(source)
    target = bibun.optim.SGD([{"params": [leaf(bibun)]}, {"params": [leaf(bibun)]}], lr=1)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        target.load_state_dict(source)
    assert target.param_groups[0]["lr"] == 1


def test_old_states_get_what_they_lack():
    optimizer = bibun.optim.Adam([leaf(bibun)])
    optimizer.param_groups[0]["params"][0].grad = bibun.ones(1)
    optimizer.step()
    state = optimizer.state_dict()
    del state["param_groups"][0]["amsgrad"], state["param_groups"][0]["maximize"]
    state["state"][0]["step"] = 3
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["amsgrad"] is False
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["step"].item() == 3
    optimizer.step()


def test_saved_to_a_file_and_read_by_the_other():
    torch = pytest.importorskip("torch")
    if not hasattr(bibun, "save"):
        pytest.skip("no save yet")
    params = parameters(bibun, [(3,), (2, 2)])
    optimizer = bibun.optim.Adam(params)
    give_gradients(bibun, params, 0)
    optimizer.step()
    file = io.BytesIO()
    bibun.save(optimizer.state_dict(), file)
    file.seek(0)
    reference = torch.optim.Adam(parameters(torch, [(3,), (2, 2)]))
    reference.load_state_dict(torch.load(file))
    assert repr(reference.state_dict()) == repr(optimizer.state_dict())


# known numbers


def test_known_steps():
    for name, options, expected in (
        ("SGD", {"lr": 0.5}, 0.5),
        ("SGD", {"lr": 0.5, "weight_decay": 1.0}, 0.0),
        ("SGD", {"lr": 0.5, "maximize": True}, 1.5),
        ("Adam", {"lr": 0.5}, 0.5),
        ("AdamW", {"lr": 0.5, "weight_decay": 1.0}, 0.0),
        ("Adagrad", {"lr": 0.5}, 0.5),
        ("Rprop", {"lr": 0.25}, 0.75),
        ("ASGD", {"lr": 0.5, "lambd": 0.0}, 0.5),
    ):
        for shape in ((), (4,), (300, 300)):
            p = bibun.from_numpy(np.ones(shape, "f4")).requires_grad_()
            p.grad = bibun.from_numpy(np.ones(shape, "f4"))
            getattr(bibun.optim, name)([p], **options).step()
            np.testing.assert_allclose(values(p), expected, rtol=1e-6, atol=1e-7)


def test_vocabularies_agree():
    """One element, a few, a block and more: the same rule, the same numbers."""
    for name, options, _ in CASES:
        if name == "Adafactor" or options.get("centered"):
            continue
        ends = []
        for n in (1, 7, 40000):
            p = bibun.from_numpy(np.full(n, 0.7, "f4")).requires_grad_()
            optimizer = getattr(bibun.optim, name)([p], **options)
            for g in (0.3, -0.2, 0.5, 0.4):
                p.grad = bibun.from_numpy(np.full(n, g, "f4"))
                optimizer.step()
            assert len(np.unique(values(p))) == 1
            ends.append(float(values(p)[0]))
        np.testing.assert_allclose(ends, ends[0], rtol=2e-6)


def test_threads_give_the_same_numbers():
    from bibun.optim import scratch

    before = bibun.get_num_threads()
    ends = []
    for threads in (1, 3):
        bibun.set_num_threads(threads)
        random = np.random.default_rng(0)
        params = [
            bibun.from_numpy(random.standard_normal(n, "f4")).requires_grad_()
            for n in (1 << 20, 5, 300, (1 << 20) + 77)
        ]
        assert sum(p.numel() for p in params if p.numel() > scratch.BLOCK) > scratch.SHARED
        optimizer = bibun.optim.Adam(params, lr=0.1)
        for p in params:
            p.grad = bibun.from_numpy(random.standard_normal(p.numel(), "f4"))
        optimizer.step()
        ends.append(params)
    bibun.set_num_threads(before)
    for p, q in zip(*ends):
        assert (values(p) == values(q)).all()


def test_a_step_that_fails_leaves_nothing_for_the_next():
    good, bad = bibun.ones(300, 300, requires_grad=True), bibun.ones(2, dtype=bibun.int64)
    good.grad, bad.grad = bibun.ones(300, 300), bibun.ones(2, dtype=bibun.int64)
    optimizer = bibun.optim.SGD([good, bad], lr=0.5)
    with pytest.raises(RuntimeError, match="integral"):
        optimizer.step()
    bad.grad = None
    before = values(good).copy()
    optimizer.step()
    np.testing.assert_allclose(values(good), before - 0.5)


def test_dtypes_in_one_group():
    params = [bibun.ones(3, dtype=t, requires_grad=True) for t in (bibun.float32, bibun.float64, bibun.bfloat16)]
    optimizer = bibun.optim.Adam(params, lr=0.1)
    for p in params:
        p.grad = bibun.ones(3, dtype=p.dtype)
    optimizer.step()
    assert params[1][0].item() == pytest.approx(0.9, abs=2e-9)
    assert params[0][0].item() == pytest.approx(0.9, abs=1e-7)
    assert params[2][0].item() == pytest.approx(0.9, abs=4e-3)


def test_parameters_and_state_are_lent():
    params, others = parameters(bibun, [(2,), (3,)]), parameters(bibun, [(2,), (3,)], seed=5)
    optimizer = bibun.optim.Adam(params, lr=0.1)
    lent = {str(i): p for i, p in enumerate(others)}
    swapped = bibun.optim.swap_in_optimizer_params_and_state
    with pytest.raises(RuntimeError, match="initialized"), swapped(optimizer, lent, optimizer.state_dict()):
        pass
    give_gradients(bibun, params, 0)
    optimizer.step()
    give_gradients(bibun, others, 1)
    before, kept = [values(p).copy() for p in (*params, *others)], copy.deepcopy(optimizer.state_dict())
    for bad in ({}, {"state": {}}, {"state": {7: {}}, "param_groups": kept["param_groups"]}):
        with pytest.raises(RuntimeError), swapped(optimizer, lent, bad):
            pass
    with pytest.raises(ZeroDivisionError), swapped(optimizer, lent, kept):
        optimizer.step()
        raise ZeroDivisionError
    assert all(p is q for p, q in zip(optimizer.param_groups[0]["params"], params))
    assert all((a == values(p)).all() for a, p in zip(before, params))
    assert all((a != values(p)).all() for a, p in zip(before[2:], others))
    assert kept["state"][0]["step"].item() == 2 and optimizer.state[params[0]]["step"].item() == 1


def test_exports():
    torch = pytest.importorskip("torch")
    assert set(torch.optim.__all__) == set(bibun.optim.__all__)
    for name in bibun.optim.__all__:
        getattr(bibun.optim, name)


@pytest.mark.parametrize("name, options", [("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {"lr": 0.01}), ("RMSprop", {})])
def test_steps_made_ready_are_those_looked_up(monkeypatch, name, options):
    """From some step on the optimizer takes a step that was made ready; what changes meanwhile is noticed."""
    pytest.importorskip("llvmlite")
    from bibun.optim import elementwise

    made = []
    for at in (3, 10**9):
        monkeypatch.setattr(elementwise, "STEPS_OF_SMALL", at)
        bibun.manual_seed(0)
        model = bibun.nn.Sequential(bibun.nn.Linear(3, 4), bibun.nn.Tanh(), bibun.nn.Linear(4, 1))
        optimizer = getattr(bibun.optim, name)(model.parameters(), **options)
        x = bibun.randn(8, 3)
        for i in range(24):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            if i == 8:
                optimizer.param_groups[0]["lr"] = 0.005
            if i == 12:
                model[0].bias.grad = None
            if i == 16:
                optimizer.load_state_dict(optimizer.state_dict())
            if i == 20:
                model[2].weight.data = model[2].weight.detach().clone()
            optimizer.step()
        made.append(([p.detach().numpy().copy() for p in model.parameters()], optimizer))
    (ready, one), (looked_up, other) = made
    assert one._ready is not None and other._ready is None
    for a, b in zip(ready, looked_up):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
