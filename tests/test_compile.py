"""bibun.compile: what a compiled function gives is what the function gives, whatever changes between calls."""

import copy
import threading
import time
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bibun as torch
from bibun import nn
from bibun.autograd import dispatch
from bibun.backends.large import native
from bibun.nn import functional as F

SCALE = 2.0
NOTED = []


def state_of(compiled):
    count = len(compiled._compiled.signatures)
    return torch.compiler.report(compiled).splitlines()[1 : 1 + count]


def is_compiled(compiled):
    return any(row.endswith("compiled") for row in state_of(compiled))


def why_not(compiled):
    return state_of(compiled)[-1]


def training(seed=0, make=torch.optim.Adam, **options):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = make(model.parameters(), **options)
    x, y = torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    return model, optimizer, x, y


def step_of(model, optimizer, x, y):
    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def both(make, calls=8):
    """What the function gives, and what it gives compiled, over several calls from the same beginning."""
    plain = make()
    wanted = [plain() for _ in range(calls)]
    compiled = torch.compile(make())
    got = [compiled() for _ in range(calls)]
    for a, b in zip(wanted, got):
        assert torch.allclose(torch.as_tensor(a), torch.as_tensor(b), atol=1e-6, equal_nan=True)
    return compiled


@pytest.mark.parametrize("make, options", [
    (torch.optim.SGD, {"lr": 0.1}), (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}), (torch.optim.Adam, {"lr": 0.01}),
    (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True}), (torch.optim.RMSprop, {"lr": 0.01}), (torch.optim.Adagrad, {"lr": 0.1}),
])  # fmt: skip
def test_a_training_step(make, options):
    compiled = both(lambda: step_of(*training(0, make, **options)))
    assert is_compiled(compiled), state_of(compiled)


def test_parameters_and_gradients_are_those_of_the_plain_step():
    model, optimizer, x, y = training()
    other, other_optimizer, _, _ = training()
    plain, compiled = step_of(model, optimizer, x, y), torch.compile(step_of(other, other_optimizer, x, y))
    for _ in range(7):
        plain()
        compiled()
        for p, q in zip(model.parameters(), other.parameters()):
            assert torch.allclose(p, q, atol=1e-6) and torch.allclose(p.grad, q.grad, atol=1e-6) and q.grad.grad_fn is None
    assert is_compiled(compiled), state_of(compiled)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(6, 5, 2, bidirectional=True), lambda: nn.GRU(6, 5, batch_first=True), lambda: nn.RNN(6, 5)])
def test_a_training_step_of_a_recurrent_layer(make):
    def built():
        torch.manual_seed(3)
        model = make()
        optimizer, x = torch.optim.Adam(model.parameters(), lr=0.01), torch.randn(4, 3, 6)

        def step():
            optimizer.zero_grad()
            output, last = model(x)
            loss = output.square().sum() + sum(s.sum() for s in (last if isinstance(last, tuple) else (last,)))
            loss.backward()
            optimizer.step()
            return loss

        return step

    compiled = both(built)
    assert is_compiled(compiled), state_of(compiled)


def test_schedules_and_learning_rates():
    def make():
        model, optimizer, x, y = training(lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        inner = step_of(model, optimizer, x, y)

        def step():
            loss = inner()
            schedule.step()
            return loss

        return step

    assert is_compiled(both(make, 10))
    model, optimizer, x, y = training(lr=0.1)
    other, other_optimizer, _, _ = training(lr=0.1)
    plain, compiled = step_of(model, optimizer, x, y), torch.compile(step_of(other, other_optimizer, x, y))
    for k in range(8):
        for o in (optimizer, other_optimizer):
            o.param_groups[0]["lr"] = 0.1 / (k + 1)
        assert torch.allclose(plain(), compiled())
    assert is_compiled(compiled), state_of(compiled)


def test_clipping():
    def make():
        model, optimizer, x, y = training(lr=0.1)

        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x) * 30, y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            return loss

        return step

    compiled = both(make)
    assert is_compiled(compiled), state_of(compiled)


def test_accumulated_gradients():
    def make():
        w = torch.ones(3, requires_grad=True)

        def step():
            (w * w).sum().backward()
            return w.grad.clone()

        return step

    both(make)


def test_batch_norm_statistics_and_dropout():
    def make():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(9, 6)

        def step():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return torch.stack([loss.detach(), model[1].running_mean.sum(), model[1].num_batches_tracked.float()])

        return step

    plain = make()
    wanted = [plain() for _ in range(8)]
    compiled = torch.compile(make())
    for w in wanted:
        assert torch.allclose(compiled(), w)


def test_shapes_change():
    model, _, _, _ = training()
    compiled = torch.compile(lambda x: model(x).sum(0))
    with torch.no_grad():
        for n in (5, 5, 5, 3, 3, 3, 5, 1, 4, 4):
            x = torch.randn(n, 6)
            assert torch.allclose(compiled(x), model(x).sum(0))


def test_dtypes_and_strides_change():
    compiled = torch.compile(lambda x: (x * 2 + 1).sum(1))
    for x in (torch.randn(4, 5), torch.randn(4, 5).double(), torch.randn(5, 4).t(), torch.arange(20).reshape(4, 5)):
        for _ in range(4):
            torch.testing.assert_close(compiled(x), (x * 2 + 1).sum(1))


def test_plain_numbers_change():
    compiled = torch.compile(lambda x, k: x * k)
    x = torch.randn(3)
    for k in (2, 2, 2, 3, 3, 2.5, True, 2):
        assert torch.equal(compiled(x, k), x * k)


def test_a_global_changes():
    global SCALE
    x = torch.randn(3)
    compiled = torch.compile(lambda: x * SCALE)
    for SCALE in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0):
        assert torch.equal(compiled(), x * SCALE)
    SCALE = 2.0


def test_a_variable_of_the_enclosing_function_changes():
    x = torch.randn(3)
    k = 1.0

    def step():
        return x * k

    compiled = torch.compile(step)
    for k in (1.0, 1.0, 1.0, 5.0, 5.0, 1.0):
        assert torch.equal(compiled(), x * k)


def test_an_attribute_changes():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = 2.0

        def forward(self, x):
            return x * self.scale

    module = Scaled()
    compiled = torch.compile(module)
    x = torch.randn(3)
    for scale in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0):
        module.scale = scale
        assert torch.equal(compiled(x), x * scale)


def test_a_branch_on_a_value():
    def f(x):
        return x * 2 if x.sum() > 0 else x - 1

    compiled = torch.compile(f)
    for x in (torch.ones(3), torch.ones(3), torch.ones(3), -torch.ones(3), torch.ones(3)):
        assert torch.equal(compiled(x), f(x))
    assert "reads the value" in why_not(compiled)


def test_item_in_the_middle():
    w = torch.ones(3, requires_grad=True)

    def step():
        s = (w * w).sum()
        return w.detach() * s.item()

    compiled = torch.compile(step)
    for k in range(6):
        with torch.no_grad():
            w.fill_(k)
        assert torch.equal(compiled(), step())


def test_train_eval_and_grad_mode():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    compiled = torch.compile(model)
    x = torch.randn(3, 4)
    for mode in (True, True, True, False, False, False, True, False):
        model.train(mode)
        torch.manual_seed(0)
        wanted = model(x)
        torch.manual_seed(0)
        assert torch.equal(compiled(x), wanted)
        with torch.no_grad():
            torch.manual_seed(0)
            got = compiled(x)
            assert torch.equal(got, wanted) and not got.requires_grad
        assert compiled(x).requires_grad


def test_parameters_are_replaced_or_loaded():
    model, _, x, _ = training()
    compiled = torch.compile(lambda: model(x))
    with torch.no_grad():
        for _ in range(4):
            compiled()
        state = {k: v * 2 for k, v in model.state_dict().items()}
        model.load_state_dict(state)
        assert torch.allclose(compiled(), model(x), atol=1e-6)
        model[0].weight = nn.Parameter(torch.randn(8, 6))
        assert torch.allclose(compiled(), model(x), atol=1e-6)
        model[0].weight.data = torch.randn(8, 6)
        assert torch.allclose(compiled(), model(x), atol=1e-6)
        model[1] = nn.ReLU()
        assert torch.allclose(compiled(), model(x), atol=1e-6)
        model.append(nn.Linear(3, 2))
        assert torch.allclose(compiled(), model(x), atol=1e-6)


def test_freezing_is_noticed():
    model, optimizer, x, y = training(make=torch.optim.SGD, lr=0.1)
    compiled = torch.compile(step_of(model, optimizer, x, y))
    for _ in range(4):
        compiled()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    compiled()
    assert torch.equal(model[0].weight, before) and model[0].weight.grad is None


def test_hooks_are_noticed():
    model, optimizer, x, y = training(make=torch.optim.SGD, lr=0.1)
    compiled = torch.compile(step_of(model, optimizer, x, y))
    for _ in range(4):
        compiled()
    seen = []
    handle = model[0].weight.register_hook(lambda g: seen.append(1))
    compiled()
    compiled()
    assert len(seen) == 2
    handle.remove()
    model[0].register_forward_hook(lambda m, a, o: seen.append(2))
    compiled()
    assert seen == [1, 1, 2]


def test_output_and_other_effects_are_kept(capsys):
    x = torch.ones(2)
    count = [0]

    def step():
        print("here")
        count[0] += 1
        NOTED.append(1)
        return x * 2

    compiled = torch.compile(step)
    for _ in range(5):
        compiled()
    assert capsys.readouterr().out == "here\n" * 5 and count == [5] and len(NOTED) == 5
    assert not is_compiled(compiled)


def test_exceptions_come_out_and_nothing_stays_behind():
    def f(x, y):
        return x @ y

    compiled = torch.compile(f)
    a = torch.randn(2, 3)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            compiled(a, a)
    for _ in range(4):
        assert torch.equal(compiled(a, a.t()), a @ a.t())
    y = torch.ones(2, requires_grad=True)
    (y * y).sum().backward()
    assert y.grad.tolist() == [2, 2]


def test_arguments_that_are_one_tensor():
    def f(x, y):
        x.add_(1)
        return y * 2

    compiled = torch.compile(f)
    for _ in range(5):
        a = torch.zeros(2)
        assert compiled(a, a).tolist() == [2, 2]
        a, b = torch.zeros(2), torch.zeros(2)
        assert compiled(a, b).tolist() == [0, 0] and a.tolist() == [1, 1]


def test_views_and_writes():
    def make():
        x = torch.arange(6.0)

        def step():
            v = x[1:3]
            v.mul_(1.5)
            x.view(2, 3)[1] += v.sum()
            return x[::2]

        return step

    compiled = both(make)
    assert is_compiled(compiled), state_of(compiled)


def test_a_view_that_is_returned_looks_at_the_same_memory():
    x = torch.zeros(4)
    compiled = torch.compile(lambda: x[1:3])
    for _ in range(4):
        v = compiled()
    v.fill_(7)
    assert x.tolist() == [0, 7, 7, 0]


def test_results_are_not_written_by_later_calls():
    x = torch.zeros(3)

    def step():
        x.add_(1)
        return x * 1, torch.zeros(2)

    compiled = torch.compile(step)
    kept = [compiled() for _ in range(6)]
    assert [k[0][0].item() for k in kept] == [1, 2, 3, 4, 5, 6]
    kept[-1][1].fill_(9)
    assert compiled()[1].tolist() == [0, 0]


def test_a_graph_that_the_caller_keeps():
    w = torch.randn(4, requires_grad=True)
    compiled = torch.compile(lambda x: (x * w).tanh())
    for _ in range(5):
        x = torch.randn(4)
        out, wanted = compiled(x), (x * w).tanh()
        torch.testing.assert_close(out, wanted)
        (g,), (h,) = torch.autograd.grad(out.sum(), w), torch.autograd.grad(wanted.sum(), w)
        torch.testing.assert_close(g, h)


def test_a_spent_graph_says_so():
    w = torch.ones(3, requires_grad=True)

    def step():
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        return loss

    compiled = torch.compile(step)
    for _ in range(4):
        loss = compiled()
    assert is_compiled(compiled), state_of(compiled)
    assert loss.requires_grad and "SumBackward0" in repr(loss)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_double_backward():
    def make():
        torch.manual_seed(0)
        m = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(m.parameters(), lr=1e-2)
        x = torch.linspace(0, 1, 10).reshape(-1, 1).requires_grad_()

        def step():
            optimizer.zero_grad()
            u = m(x)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (d2,) = torch.autograd.grad(du.sum(), x, create_graph=True)
            loss = (d2 + u).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    compiled = both(make)
    assert is_compiled(compiled), state_of(compiled)


def test_random_draws_go_on():
    def make():
        torch.manual_seed(3)
        return lambda: torch.rand(3) + torch.randn(2, 3)

    both(make)


DRAWS = {
    "randn": lambda w: torch.randn(4, 3) * w,
    "rand_like": lambda w: torch.rand_like(w) * w,
    "randint": lambda w: torch.randint(0, 4, (4, 3)) * w,
    "normal": lambda w: torch.normal(0.0, 1.0, (4, 3)) * w,
    "bernoulli": lambda w: torch.bernoulli(torch.full((4, 3), 0.5)) * w,
    "dropout": lambda w: F.dropout(w),
    "randperm": lambda w: w[torch.randperm(4)],
    "multinomial": lambda w: w[torch.multinomial(torch.ones(4), 2)],
    "normal_": lambda w: torch.empty(4, 3).normal_() * w,
    "uniform_": lambda w: torch.empty_like(w).uniform_(-1, 2) * w,
    "exponential_": lambda w: torch.zeros(4, 3).exponential_() * w,
    "gumbel": lambda w: F.gumbel_softmax(w, dim=-1).square(),
    "twice": lambda w: torch.randn(4, 3) * w + torch.randn_like(w),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_drawn_in_each_call(name):
    w = torch.randn(4, 3, requires_grad=True)

    def step():
        w.grad = None
        loss = DRAWS[name](w).sum()
        loss.backward()
        return loss.detach(), w.grad

    made = []
    compiled = torch.compile(step)
    for call in (step, compiled):
        torch.manual_seed(5)
        made.append([(a.clone(), g.clone()) for a, g in (call() for _ in range(6))])
    for one, two in zip(*made):
        for a, b in zip(one, two):
            torch.testing.assert_close(a, b)
    assert is_compiled(compiled), why_not(compiled)


def test_values_lie_otherwise_than_they_were_recorded():
    """What NumPy makes of transposed operands is transposed; a native run reads it as it lies."""
    x, c = torch.randn(200, 16), torch.randn(30, 16, requires_grad=True)

    def step():
        c.grad = None
        torch.cdist(x, c).sum().backward()
        return c.grad

    compiled, wanted = torch.compile(step), step().clone()
    for _ in range(5):
        torch.testing.assert_close(compiled(), wanted, rtol=1e-4, atol=1e-4)


def test_what_is_made_unnoticed_is_not_compiled():
    """An array that no recorded step makes is known by being another one in each call."""
    held = torch.ones(3)

    def outside(x):
        return x * held

    def unnoticed(x):
        return x * dispatch.wrap(np.full(3, x.shape[0], np.float32))

    for function, wanted in ((outside, True), (unnoticed, False)):
        compiled = torch.compile(function)
        for _ in range(5):
            assert torch.equal(compiled(torch.full((3,), 2.0)), function(torch.full((3,), 2.0)))
        assert is_compiled(compiled) is wanted, why_not(compiled)
        assert wanted or "not recorded" in why_not(compiled) and "test_compile.py" in why_not(compiled)


def test_what_another_thread_does_meanwhile_is_not_recorded():
    model, optimizer, x, y = training()
    compiled = torch.compile(step_of(model, optimizer, x, y))
    counted, written, stop = torch.zeros(3), 0, threading.Event()

    def work():
        nonlocal written
        while not stop.is_set():
            counted.add_(1.0)
            written += 1

    other = threading.Thread(target=work)
    other.start()
    for _ in range(4):
        compiled()
    stop.set()
    other.join()
    assert counted[0].item() == written
    assert is_compiled(compiled), why_not(compiled)
    before = counted.clone()
    for _ in range(4):
        compiled()
    assert torch.equal(counted, before)


def test_two_threads():
    model, _, x, _ = training()
    wanted = model(x)
    compiled = torch.compile(model)
    wrong = []

    def work():
        with torch.no_grad():
            for _ in range(30):
                if not torch.allclose(compiled(x), wanted, atol=1e-6):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_large_arrays_in_one_pass():
    def make():
        torch.manual_seed(0)
        x, w, b = torch.randn(300, 200), torch.randn(200).requires_grad_(), torch.randn(200).requires_grad_()

        def step():
            w.grad = b.grad = None
            s = ((x * w + b).tanh() * 2 - (x * b).sigmoid()).square().mean()
            s.backward()
            return torch.cat([s.detach().reshape(1), w.grad, b.grad])

        return step

    plain, compiled = make(), torch.compile(make())
    wanted = plain()
    for _ in range(4):
        assert torch.allclose(compiled(), wanted, rtol=1e-4, atol=1e-5)
    assert is_compiled(compiled), state_of(compiled)


def test_verify():
    model, optimizer, x, y = training()
    compiled = torch.compile(step_of(model, optimizer, x, y), verify=3)
    other, other_optimizer, _, _ = training()
    plain = step_of(other, other_optimizer, x, y)
    for _ in range(8):
        assert torch.allclose(compiled(), plain())


def test_modules_behind_it():
    model, _, x, _ = training()
    compiled = torch.compile(model)
    assert isinstance(compiled, nn.Module) and compiled._orig_mod is model
    assert list(compiled.state_dict())[0] == "_orig_mod.0.weight"
    assert compiled[0] is model[0] and len(list(compiled.parameters())) == 4
    compiled.eval()
    assert not model.training
    again = copy.deepcopy(model)
    assert torch.equal(torch.compile(again)(x), compiled(x))


def test_what_is_asked_of_it():
    f = torch.compile(lambda x: x + 1, mode="reduce-overhead", dynamic=True)
    assert f(torch.ones(2)).tolist() == [2, 2]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.compile(lambda x: x, backend="nobody")
    assert any("nobody" in str(w.message) for w in seen)
    assert not torch.compiler.is_compiling()
    with pytest.raises(RuntimeError):
        torch.compile(3)

    @torch.compile(fullgraph=False)
    def g(x):
        return x * 3

    assert g(torch.ones(1)).item() == 3 and g.__name__ == "g"

    @torch.compiler.disable
    def h(x):
        return x

    assert torch.compile(h) is h
    with pytest.raises(RuntimeError, match="value of a tensor"):
        refused = torch.compile(lambda x: x * x.sum().item(), fullgraph=True)
        for _ in range(4):
            refused(torch.ones(2))


OPS = ("add", "mul", "sub", "tanh", "relu", "sum", "mean0", "t", "slice", "exp", "write", "max", "cat", "detach", "softmax", "zeros", "index")


def run_program(program, pool, w):
    """Run a drawn program; gives a scalar."""
    pool = list(pool)
    for op, i, j in program:
        a, b = pool[i % len(pool)], pool[j % len(pool)]
        if op in ("add", "mul", "sub"):
            made = getattr(torch, op)(a, b) if a.shape == b.shape else a * 2
        elif op in ("tanh", "relu"):
            made = getattr(a, op)()
        elif op == "exp":
            made = (a * 0.1).exp()
        elif op == "sum":
            made = a.sum() + b
        elif op == "mean0":
            made = a.mean(0, keepdim=True) + a
        elif op == "t":
            made = a.t() if a.ndim == 2 else a
        elif op == "slice":
            made = a[:2] * 1
        elif op == "write":
            made = a * 1
            made[0] = 0.5
            made.add_(1)
        elif op == "max":
            made = torch.maximum(a, a * 0.5)
        elif op == "cat":
            made = torch.cat([a, a])
        elif op == "detach":
            made = a.detach() * 3
        elif op == "softmax":
            made = a.softmax(0)
        elif op == "zeros":
            made = a + torch.zeros(1)
        else:
            made = a.gather(0, torch.zeros(a.shape, dtype=torch.int64))
        pool.append(made)
    return sum((p * p).mean() for p in pool) * w.sum()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=10), st.integers(0, 99))
def test_drawn_programs(program, seed):
    check_drawn(program, seed)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=10), st.integers(0, 99))
def test_drawn_programs_whose_arrays_count_as_large(program, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bibun.compiler.groups.LARGE", 4)
        check_drawn(program, seed, (5, 24))


def check_drawn(program, seed, shape=(3, 3)):
    def make():
        rng = np.random.default_rng(seed)
        pool = [torch.tensor(rng.standard_normal(shape), dtype=torch.float32, requires_grad=k < 2) for k in range(3)]
        w = torch.tensor([0.5, 1.5], requires_grad=True)
        optimizer = torch.optim.SGD([*pool[:2], w], lr=1e-3, momentum=0.5)

        def step():
            optimizer.zero_grad()
            loss = run_program(program, pool, w)
            loss.backward()
            optimizer.step()
            return loss

        return step

    plain, compiled = make(), torch.compile(make())
    for _ in range(5):
        a, b = plain(), compiled()
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True), (a, b)


def test_made_in_the_background():
    w = torch.ones(4, requires_grad=True)

    @torch.compile(background=True)
    def step():
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        return loss.detach()

    for _ in range(200):
        assert step().item() == 4
        if is_compiled(step):
            break
        time.sleep(0.02)
    assert is_compiled(step), state_of(step)
    assert step().item() == 4 and w.grad.tolist() == [2.0] * 4


def test_sizes_that_change_for_ever_are_said_once():
    @torch.compile(dynamic=False)
    def f(x):
        return (x * 2).sum()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for n in range(1, 13):
            for _ in range(3):
                assert f(torch.ones(n)).item() == 2 * n
    assert len(said) == 1 and "8 kinds of arguments" in str(said[0].message) and said[0].filename == __file__
    assert len(state_of(f)) == 8 and all(row.endswith("compiled") for row in state_of(f))


def test_the_report_names_the_parts():
    x, w = torch.randn(300, 200), torch.randn(200, requires_grad=True)

    @torch.compile
    def step():
        w.grad = None
        loss = (x * w).tanh().square().mean()
        loss.backward()
        return loss.detach()

    for _ in range(3):
        step()
    table = torch.compiler.report(step)
    assert "bytes" in table and ("loop" in table or not native())


@pytest.mark.parametrize("more", ["", "returned", "read", "written"])
def test_sums_of_one_array_in_one_loop(more):
    """Gradients of a scale and a shift are sums of the same array, which then need not be written."""

    def make():
        torch.manual_seed(0)
        x, w, b = torch.randn(200, 120), torch.randn(120, requires_grad=True), torch.randn(120, requires_grad=True)
        kept = torch.zeros(200, 120)

        def step():
            w.grad = b.grad = None
            y = x * w + b
            if more == "written":
                kept.copy_(y.detach())
            loss = F.gelu(y).sum()
            loss.backward()
            extra = F.gelu(y.detach()).mean() if more == "read" else y.detach() if more == "returned" else loss.detach()
            return torch.cat([w.grad, b.grad, extra.reshape(-1), kept.reshape(-1)])

        return step

    plain, compiled = make(), torch.compile(make())
    for _ in range(4):
        assert torch.allclose(plain(), compiled(), rtol=1e-4, atol=1e-4)
    assert is_compiled(compiled), state_of(compiled)
    if native() and not more:
        assert "sums of" in torch.compiler.report(compiled)
