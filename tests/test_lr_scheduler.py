"""Learning rate schedules: rates equal to PyTorch's to the last bit, states, warnings and errors alike."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import pytest

import bibun

bs = bibun.optim.lr_scheduler


class Power:
    """A callable object, whose attributes are saved."""

    def __init__(self, base):
        self.base = base

    def __call__(self, n):
        return self.base**n


def half_life(n):
    return 0.5 ** (n / 3)


# name, arguments after the optimizer, options of the optimizer
SCHEDULES = [
    ("LambdaLR", {"lr_lambda": half_life}, {}),
    ("LambdaLR", {"lr_lambda": [half_life, Power(0.9)]}, {}),
    ("MultiplicativeLR", {"lr_lambda": half_life}, {}),
    ("MultiplicativeLR", {"lr_lambda": [Power(0.99), half_life]}, {}),
    ("StepLR", {"step_size": 3}, {}),
    ("StepLR", {"step_size": 1, "gamma": 0.7}, {}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9]}, {}),
    ("MultiStepLR", {"milestones": (9, 3), "gamma": 0.3}, {}),
    ("ConstantLR", {}, {}),
    ("ConstantLR", {"factor": 0.3, "total_iters": 2}, {}),
    ("ConstantLR", {"factor": 0.3, "total_iters": 0}, {}),
    ("LinearLR", {}, {}),
    ("LinearLR", {"start_factor": 0.7, "end_factor": 0.1, "total_iters": 7}, {}),
    ("ExponentialLR", {"gamma": 0.93}, {}),
    ("PolynomialLR", {}, {}),
    ("PolynomialLR", {"total_iters": 9, "power": 2.3}, {}),
    ("CosineAnnealingLR", {"T_max": 5}, {}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}, {}),
    ("CosineAnnealingLR", {"T_max": 1}, {}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}, {}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.001}, {}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}, {"momentum": 0.9}),
    (
        "CyclicLR",
        {"base_lr": [0.01, 0.02], "max_lr": 0.1, "step_size_up": 3, "step_size_down": 5, "mode": "triangular2"},
        {"momentum": 0.9},
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": [0.1, 0.3],
            "step_size_up": 4,
            "mode": "exp_range",
            "gamma": 0.95,
            "cycle_momentum": False,
        },
        {},
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 2,
            "scale_fn": half_life,
            "scale_mode": "iterations",
            "base_momentum": 0.7,
            "max_momentum": 0.99,
        },
        {"momentum": 0.9},
    ),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 25}, {"momentum": 0.9}),
    (
        "OneCycleLR",
        {"max_lr": [0.1, 0.2], "epochs": 5, "steps_per_epoch": 5, "three_phase": True, "anneal_strategy": "linear"},
        {"momentum": 0.9},
    ),
    (
        "OneCycleLR",
        {
            "max_lr": 0.1,
            "total_steps": 30,
            "pct_start": 0.5,
            "div_factor": 10,
            "final_div_factor": 100,
            "three_phase": True,
            "cycle_momentum": False,
        },
        {},
    ),
]
NAMES = [f"{name}{i}" for i, (name, _, _) in enumerate(SCHEDULES)]


def two_groups(t, kind="SGD", lr=0.1, **options):
    """An optimizer with two groups, the second's rate half as large."""
    a, b = t.ones(1, requires_grad=True), t.ones(2, requires_grad=True)
    return getattr(t.optim, kind)([{"params": [a]}, {"params": [b], "lr": lr / 2}], lr=lr, **options)


def make(t, name, arguments, options, **more):
    optimizer = two_groups(t, **options)
    scheduler = getattr(t.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(arguments), **more)
    return optimizer, scheduler


def seen(optimizer):
    """What schedules write into groups."""
    return [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]


def plain(state):
    """A state without functions, for comparison."""
    if isinstance(state, dict):
        return {k: plain(v) for k, v in state.items()}
    return state


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES, ids=NAMES)
def test_rates_are_pytorchs(name, arguments, options):
    torch = pytest.importorskip("torch")
    optimizer, scheduler = make(bibun, name, arguments, options)
    theirs, reference = make(torch, name, arguments, options)
    assert seen(optimizer) == seen(theirs)
    for _ in range(24):
        optimizer.step()
        theirs.step()
        scheduler.step()
        reference.step()
        assert seen(optimizer) == seen(theirs)
        assert scheduler.get_last_lr() == reference.get_last_lr()
        assert plain(scheduler.state_dict()) == plain(reference.state_dict())
        assert list(scheduler.state_dict()) == list(reference.state_dict())


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES, ids=NAMES)
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_step_to_an_epoch(name, arguments, options):
    torch = pytest.importorskip("torch")
    optimizer, scheduler = make(bibun, name, arguments, options)
    theirs, reference = make(torch, name, arguments, options)
    for epoch in (0, 3, 1, 7, 15, 15, 4):
        optimizer.step()
        theirs.step()
        scheduler.step(epoch)
        reference.step(epoch)
        assert seen(optimizer) == seen(theirs)
    if name == "CosineAnnealingWarmRestarts":
        for epoch in (0.25, 3.75, 9.5):
            scheduler.step(epoch)
            reference.step(epoch)
            assert seen(optimizer) == seen(theirs)


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES, ids=NAMES)
@pytest.mark.parametrize("epoch", [0, 1, 4, 10])
def test_resumed(name, arguments, options, epoch):
    torch = pytest.importorskip("torch")
    got = []
    for t in (bibun, torch):
        optimizer = two_groups(t, **options)
        for i, group in enumerate(optimizer.param_groups):
            group.update(initial_lr=0.2 / (i + 1), max_lr=0.3, min_lr=0.001, max_momentum=0.9, base_momentum=0.8)
        scheduler = getattr(t.optim.lr_scheduler, name)(optimizer, **copy.deepcopy(arguments), last_epoch=epoch)
        got.append([seen(optimizer)])
        for _ in range(8):
            optimizer.step()
            scheduler.step()
            got[-1].append(seen(optimizer))
    assert got[0] == got[1]


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES, ids=NAMES)
def test_states_move_between_the_two(name, arguments, options):
    torch = pytest.importorskip("torch")
    for source, target in ((bibun, torch), (torch, bibun)):
        optimizer, scheduler = make(source, name, arguments, options)
        for _ in range(5):
            optimizer.step()
            scheduler.step()
        other, resumed = make(target, name, arguments, options)
        resumed.load_state_dict(scheduler.state_dict())
        other.load_state_dict(optimizer.state_dict())
        assert seen(other) == seen(optimizer)
        for _ in range(5):
            optimizer.step()
            other.step()
            scheduler.step()
            resumed.step()
            assert seen(other) == seen(optimizer)


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "NAdam"])
def test_betas_in_place_of_momentum(kind):
    torch = pytest.importorskip("torch")
    got = []
    for t in (bibun, torch):
        for name, arguments in (
            ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2}),
            ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9}),
        ):
            optimizer, scheduler = make(t, name, arguments, {"kind": kind})
            for _ in range(8):
                optimizer.step()
                scheduler.step()
            got.append(seen(optimizer))
    assert got[:2] == got[2:]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"mode": "max", "factor": 0.5, "patience": 1},
        {"patience": 0, "cooldown": 2, "min_lr": [0.01, 0.002]},
        {"threshold": 0.3, "threshold_mode": "abs", "patience": 1},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.2, "patience": 2},
        {"patience": 0, "eps": 0.05},
        {"patience": 0, "min_lr": 0.03},
    ],
)
def test_plateau(arguments):
    torch = pytest.importorskip("torch")
    optimizer, scheduler = make(bibun, "ReduceLROnPlateau", arguments, {})
    theirs, reference = make(torch, "ReduceLROnPlateau", arguments, {})
    for i in range(40):
        metric = math.sin(i * 0.7) + 3 / (i + 1) if i % 13 else math.nan
        scheduler.step(bibun.tensor(metric, dtype=bibun.float64))
        reference.step(metric)
        assert seen(optimizer) == seen(theirs)
        assert scheduler.state_dict() == reference.state_dict()
        assert scheduler.in_cooldown == reference.in_cooldown
    other, resumed = make(bibun, "ReduceLROnPlateau", {}, {})
    resumed.load_state_dict(reference.state_dict())
    assert resumed.state_dict() == reference.state_dict()


def test_plateau_of_more_groups():
    for minimum, fails in ((0.0, False), ([0.0, 0.0], True)):
        optimizer, scheduler = make(bibun, "ReduceLROnPlateau", {"patience": 0, "min_lr": minimum}, {})
        optimizer.add_param_group({"params": [bibun.ones(1)], "lr": 0.3})
        scheduler.step(1.0)
        if fails:
            with pytest.raises(RuntimeError, match=r"param groups in the `optimizer` \(3\) differs"):
                scheduler.step(2.0)
        else:
            scheduler.step(2.0)
            assert optimizer.param_groups[2]["lr"] == 0.03


def sequential(t, kind):
    s = t.optim.lr_scheduler
    optimizer = two_groups(t, momentum=0.9)
    if kind == 0:
        return optimizer, s.SequentialLR(
            optimizer, [s.ConstantLR(optimizer, 0.1, 4), s.ExponentialLR(optimizer, 0.9)], [4]
        )
    if kind == 1:
        return optimizer, s.SequentialLR(
            optimizer,
            [s.LinearLR(optimizer, 0.1, 1.0, 3), s.CosineAnnealingLR(optimizer, 6), s.StepLR(optimizer, 2)],
            [3, 9],
        )
    if kind == 2:
        return optimizer, s.ChainedScheduler([s.ConstantLR(optimizer, 0.1, 4), s.ExponentialLR(optimizer, 0.9)])
    if kind == 3:
        inner = s.ChainedScheduler([s.LinearLR(optimizer, 0.5, 1.0, 3), s.ExponentialLR(optimizer, 0.8)])
        return optimizer, s.SequentialLR(optimizer, [inner, s.PolynomialLR(optimizer, 8)], [5])
    if kind == 4:
        inner = s.SequentialLR(optimizer, [s.ConstantLR(optimizer, 0.3, 2), s.StepLR(optimizer, 3)], [2])
        return optimizer, s.SequentialLR(optimizer, [inner, s.MultiStepLR(optimizer, [2, 4])], [7])
    return optimizer, s.SequentialLR(
        optimizer,
        [s.StepLR(optimizer, 1, 0.5), s.LambdaLR(optimizer, half_life), s.CosineAnnealingWarmRestarts(optimizer, 3)],
        [2, 5],
    )


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_combined(kind):
    torch = pytest.importorskip("torch")
    optimizer, scheduler = sequential(bibun, kind)
    theirs, reference = sequential(torch, kind)
    for i in range(16):
        assert seen(optimizer) == seen(theirs), i
        assert scheduler.get_last_lr() == reference.get_last_lr()
        assert scheduler.state_dict() == reference.state_dict()
        optimizer.step()
        theirs.step()
        scheduler.step()
        reference.step()
        if i == 7:
            saved, reference_saved = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(reference.state_dict())
    scheduler.load_state_dict(reference_saved)
    reference.load_state_dict(saved)
    for _ in range(6):
        scheduler.step()
        reference.step()
        assert seen(optimizer) == seen(theirs)


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "LinearLR"])
def test_rate_in_a_tensor(name):
    arguments = {"StepLR": {"step_size": 1, "gamma": 0.5}, "CosineAnnealingLR": {"T_max": 4}, "LinearLR": {}}[name]
    rate = bibun.tensor(0.1)
    optimizer = bibun.optim.Adam([bibun.ones(1, requires_grad=True)], lr=rate)
    scheduler = getattr(bs, name)(optimizer, **arguments)
    first = scheduler.get_last_lr()[0]
    reference = getattr(bs, name)(bibun.optim.Adam([bibun.ones(1, requires_grad=True)], lr=0.1), **arguments)
    for _ in range(3):
        optimizer.step()
        reference.optimizer.step()
        scheduler.step()
        reference.step()
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
    assert first.item() == pytest.approx(0.1 / 3 if name == "LinearLR" else 0.1)
    assert scheduler.base_lrs[0].item() == pytest.approx(0.1)


# order of calls


def warned(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(w.message) for w in caught]


def order_cases(t):
    def new():
        return t.optim.SGD([t.ones(1, requires_grad=True)], lr=0.1)

    def forgotten():
        scheduler = t.optim.lr_scheduler.StepLR(new(), 1)
        scheduler.step()
        scheduler.step()

    def stepped_before():
        optimizer = new()
        optimizer.step()
        t.optim.lr_scheduler.StepLR(optimizer, 1).step()

    def second_scheduler():
        optimizer = new()
        t.optim.lr_scheduler.StepLR(optimizer, 1)
        optimizer.step()
        t.optim.lr_scheduler.StepLR(optimizer, 1).step()

    def overridden():
        optimizer = new()
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 1)
        optimizer.step = lambda: None
        scheduler.step()

    def to_an_epoch():
        optimizer = new()
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 1)
        optimizer.step()
        scheduler.step(3)

    def asked_outside():
        t.optim.lr_scheduler.StepLR(new(), 1).get_lr()

    def right():
        optimizer = new()
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 1)
        for _ in range(3):
            optimizer.step()
            scheduler.step()

    def own_optimizer():
        class Own(t.optim.Optimizer):
            def step(self, closure=None):
                pass

        optimizer = Own([t.ones(1)], {"lr": 1.0})
        scheduler = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        scheduler.step()

    return [forgotten, stepped_before, second_scheduler, overridden, to_an_epoch, asked_outside, right, own_optimizer]


@pytest.mark.parametrize("i", range(8))
def test_warnings_are_pytorchs(i):
    torch = pytest.importorskip("torch")
    assert warned(order_cases(bibun)[i]) == warned(order_cases(torch)[i])


def test_order_of_calls_is_watched():
    assert len(warned(order_cases(bibun)[0])) == 1
    assert warned(order_cases(bibun)[6]) == []


def test_a_step_of_the_instance_is_watched():
    optimizer = bibun.optim.SGD([bibun.ones(1)], lr=0.1)
    optimizer.step = lambda: 7
    scheduler = bs.StepLR(optimizer, 1)
    assert optimizer.step() == 7
    assert warned(scheduler.step) == []


# errors


def error_cases(t):
    s = t.optim.lr_scheduler

    def one(momentum=0, n=1, kind="SGD"):
        options = {"momentum": momentum} if kind == "SGD" else {}
        return getattr(t.optim, kind)(
            [{"params": [t.ones(1, requires_grad=True)]} for _ in range(n)], lr=0.1, **options
        )

    same = one()
    return [
        lambda: s.StepLR(3, 1),
        lambda: s.StepLR(one(), 1, last_epoch=3),
        lambda: s.StepLR(one(), 1, 0.1, -1, True),
        lambda: s.LRScheduler(one()),
        lambda: s.LambdaLR(one(n=2), [lambda n: 1.0]),
        lambda: s.MultiplicativeLR(one(n=2), [lambda n: 1.0]),
        lambda: s.ConstantLR(one(), factor=2),
        lambda: s.ConstantLR(one(), factor=-1),
        lambda: s.LinearLR(one(), start_factor=0),
        lambda: s.LinearLR(one(), start_factor=1.5),
        lambda: s.LinearLR(one(), end_factor=1.5),
        lambda: s.SequentialLR(same, [], []),
        lambda: s.SequentialLR(same, [s.StepLR(same, 1)], [3]),
        lambda: s.SequentialLR(one(), [s.StepLR(same, 1)], []),
        lambda: s.SequentialLR(same, [3], []),
        lambda: s.SequentialLR(same, [s.ReduceLROnPlateau(same)], []),
        lambda: s.ChainedScheduler([]),
        lambda: s.ChainedScheduler([s.StepLR(same, 1), s.StepLR(one(), 1)]),
        lambda: s.ChainedScheduler([s.StepLR(same, 1), s.ReduceLROnPlateau(same)]),
        lambda: s.ChainedScheduler([s.StepLR(same, 1), 3]),
        lambda: s.ChainedScheduler([s.StepLR(same, 1)], one()),
        lambda: s.CosineAnnealingWarmRestarts(one(), 0),
        lambda: s.CosineAnnealingWarmRestarts(one(), 1.5),
        lambda: s.CosineAnnealingWarmRestarts(one(), 1, 0),
        lambda: s.CosineAnnealingWarmRestarts(one(), 1, 1.5),
        lambda: s.CosineAnnealingWarmRestarts(one(), 1, 1, "a"),
        lambda: s.CosineAnnealingWarmRestarts(one(), 2).step(-1),
        lambda: s.CyclicLR(one(), 0.1, 0.2, mode="x"),
        lambda: s.CyclicLR(one(n=2), [0.1], 0.2, cycle_momentum=False),
        lambda: s.CyclicLR(3, 0.1, 0.2),
        lambda: s.CyclicLR(one(kind="Adagrad"), 0.1, 0.2),
        lambda: s.OneCycleLR(one(), 0.1),
        lambda: s.OneCycleLR(one(), 0.1, epochs=3),
        lambda: s.OneCycleLR(one(), 0.1, total_steps=-1),
        lambda: s.OneCycleLR(one(), 0.1, total_steps=1.5),
        lambda: s.OneCycleLR(one(), 0.1, epochs=-1, steps_per_epoch=1),
        lambda: s.OneCycleLR(one(), 0.1, epochs=1, steps_per_epoch=0),
        lambda: s.OneCycleLR(one(), 0.1, total_steps=3, pct_start=2.0),
        lambda: s.OneCycleLR(one(), 0.1, total_steps=3, pct_start=1),
        lambda: s.OneCycleLR(one(), 0.1, total_steps=3, anneal_strategy="x"),
        lambda: s.OneCycleLR(one(kind="Adagrad"), 0.1, total_steps=3),
        lambda: s.OneCycleLR(one(n=2), [0.1], total_steps=3),
        lambda: s.OneCycleLR(3, 0.1, total_steps=3),
        lambda: [
            (lambda o, x: [(o.step(), x.step()) for _ in range(4)])(o, s.OneCycleLR(o, 0.1, total_steps=2))
            for o in [one(0.9)]
        ],
        lambda: s.ReduceLROnPlateau(one(), factor=1.0),
        lambda: s.ReduceLROnPlateau(one(), mode="x"),
        lambda: s.ReduceLROnPlateau(one(), threshold_mode="x"),
        lambda: s.ReduceLROnPlateau(one(n=2), min_lr=[0.1]),
        lambda: s.ReduceLROnPlateau(3),
        lambda: s.ReduceLROnPlateau(one()).step("a"),
    ]


def failure(function):
    try:
        function()
    except Exception as error:
        return type(error), str(error)
    return None


def test_errors_are_pytorchs():
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, (ours, theirs) in enumerate(zip(error_cases(bibun), error_cases(torch), strict=True)):
            assert failure(ours) == failure(theirs), i
            assert failure(ours) is not None, i


# without the other library


def test_known_values():
    optimizer, scheduler = make(bibun, "StepLR", {"step_size": 2, "gamma": 0.5}, {})
    rates = []
    for _ in range(5):
        rates.append(scheduler.get_last_lr())
        optimizer.step()
        scheduler.step()
    assert rates == [[0.1, 0.05], [0.1, 0.05], [0.05, 0.025], [0.05, 0.025], [0.025, 0.0125]]


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES, ids=NAMES)
def test_saved_and_copied(name, arguments, options):
    optimizer, scheduler = make(bibun, name, arguments, options)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    state = pickle.loads(pickle.dumps(scheduler.state_dict()))
    copied = copy.deepcopy(scheduler)
    fresh, resumed = make(bibun, name, arguments, options)
    resumed.load_state_dict(state)
    fresh.load_state_dict(optimizer.state_dict())
    for _ in range(4):
        for o in (optimizer, fresh, copied.optimizer):
            o.step()
        for s in (scheduler, resumed, copied):
            s.step()
        assert seen(optimizer) == seen(fresh) == seen(copied.optimizer)


def test_functions_keep_their_attributes():
    optimizer = two_groups(bibun)
    scheduler = bs.LambdaLR(optimizer, [Power(0.9), half_life])
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [{"base": 0.9}, None]
    state["lr_lambdas"][0]["base"] = 0.25
    scheduler.load_state_dict(state)
    assert scheduler.lr_lambdas[0].base == 0.25
    assert "lr_lambdas" in state


def test_exports():
    torch = pytest.importorskip("torch")
    assert set(bs.__all__) == set(torch.optim.lr_scheduler.__all__)
    assert bs.EPOCH_DEPRECATION_WARNING == torch.optim.lr_scheduler.EPOCH_DEPRECATION_WARNING
