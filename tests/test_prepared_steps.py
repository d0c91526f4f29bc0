"""A step made ready is the optimizer's own step, whatever happens to groups, options, state and gradients in between."""

import copy

import pytest

import bibun as torch
from bibun import nn
from bibun.backends.large import native

pytestmark = pytest.mark.skipif(not native(), reason="native kernels need llvmlite")

MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, dampening=0.2, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01)),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p),
    "adamax": lambda p: torch.optim.Adamax(p),
    "radam": lambda p: torch.optim.RAdam(p),
    "nadam": lambda p: torch.optim.NAdam(p),
    "rprop": lambda p: torch.optim.Rprop(p),
    "asgd": lambda p: torch.optim.ASGD(p),
}


def pair(make, dtype=torch.float32, shapes=((3, 4), (4,), (1,), ())):
    from bibun.optim.prepared import PreparedStep

    torch.manual_seed(0)
    first = [torch.randn(s, dtype=dtype).requires_grad_() for s in shapes]
    second = [p.detach().clone().requires_grad_() for p in first]
    a, b = make(first), make(second)
    gradients(first, second)
    a.step(), b.step()
    return first, second, a, b, PreparedStep(b)


def gradients(first, second, without=()):
    for i, (p, q) in enumerate(zip(first, second)):
        p.grad = q.grad = None
        if i not in without:
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()


def alike(first, second, a, b):
    for p, q in zip(first, second):
        torch.testing.assert_close(p, q, rtol=2e-6 if p.dtype == torch.float32 else 1e-12, atol=1e-7)
    for p, q in zip(first, second):
        for name, x in a.state.get(p, {}).items():
            y = b.state[q][name]
            if isinstance(x, torch.Tensor):
                torch.testing.assert_close(x, y, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MAKERS)
def test_it_is_the_step(name, dtype):
    first, second, a, b, step = pair(MAKERS[name], dtype)
    for _ in range(6):
        gradients(first, second)
        a.step()
        step()
        alike(first, second, a, b)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "radam"])
def test_things_change_between_steps(name):
    first, second, a, b, step = pair(MAKERS[name])
    counted = [0]

    def other_rate(o, _):
        o.param_groups[0]["lr"] = 0.03

    def decay(o, _):
        o.param_groups[0]["weight_decay"] = 0.2

    def loaded(o, _):
        o.load_state_dict(copy.deepcopy(o.state_dict()))

    def grown(o, params):
        params.append(torch.ones(3, requires_grad=True))
        o.add_param_group({"params": [params[-1]], "lr": 0.5})

    def replaced(o, params):
        params[0].data = params[0].data * 2

    def hooked(o, _):
        o.register_step_post_hook(lambda *_: counted.__setitem__(0, counted[0] + 1))

    for change in (None, other_rate, None, decay, None, loaded, None, grown, None, replaced, None, hooked, None):
        if change is not None:
            change(a, first)
            change(b, second)
        gradients(first, second)
        a.step()
        step()
        alike(first, second, a, b)
    assert counted == [4]


def test_parameters_without_gradients():
    first, second, a, b, step = pair(MAKERS["adam"])
    for without in ((), (1,), (1,), (0, 2), (), (0, 1, 2, 3), ()):
        gradients(first, second, without)
        a.step()
        step()
        alike(first, second, a, b)


def test_schedulers_and_saved_values():
    first, second, a, b, step = pair(MAKERS["adamw"])
    one, two = (torch.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in (a, b))
    for _ in range(6):
        gradients(first, second)
        a.step()
        step()
        one.step()
        two.step()
        alike(first, second, a, b)
    y = (second[0] * second[0]).sum()
    gradients(first, second)
    step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.parametrize("name", MAKERS)
def test_compiled_steps(name):
    def training():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        return model, MAKERS[name](model.parameters()), torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])

    def run(compiled):
        model, optimizer, x, y = training()

        def step():
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step = torch.compile(step) if compiled else step
        losses = [step().item() for _ in range(8)]
        if compiled:
            assert torch.compiler.report(step).splitlines()[1].endswith("compiled")
        return losses, [p.detach().clone() for p in model.parameters()]

    (plain, wanted), (losses, got) = run(False), run(True)
    assert losses == pytest.approx(plain, rel=1e-4, abs=1e-6)
    for p, q in zip(wanted, got):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_a_wrong_class_in_a_compiled_step():
    model, y = nn.Linear(4, 3), torch.tensor([0, 1, 2])

    @torch.compile
    def step(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(4):
        step(torch.ones(3, 4), y)
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        step(torch.ones(3, 4), torch.tensor([0, 7, 1]))
    assert step(torch.ones(3, 4), y).item() > 0
