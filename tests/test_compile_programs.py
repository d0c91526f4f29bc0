"""Whole programs as people write them, with their models compiled and not: the same losses, parameters and gradients."""

import copy
import gc
import io
import pickle
import threading
import weakref

import pytest

import bibun as torch
from bibun import nn
from bibun.nn import functional as F


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 4))


def data(n=37):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 8, generator=generator), torch.randint(0, 4, (n,), generator=generator)


def epochs(compiles):
    m = network()
    c, (x, y) = compiles(m), data()
    optimizer = torch.optim.AdamW(m.parameters(), 1e-2)
    for _ in range(4):
        c.train()
        for i in range(0, 37, 8):
            optimizer.zero_grad()
            loss = F.cross_entropy(c(x[i : i + 8]), y[i : i + 8])
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            optimizer.step()
            yield loss
        c.eval()
        with torch.no_grad():
            yield F.cross_entropy(c(x), y)
    yield from m.state_dict().values()


def frozen_for_a_while(compiles):
    m = network()
    c, (x, y) = compiles(m), data()
    optimizer = torch.optim.SGD(m.parameters(), 0.1)
    for k in range(12):
        if k in (5, 9):
            m[0].requires_grad_(k == 9)
        optimizer.zero_grad()
        loss = F.cross_entropy(c(x), y)
        loss.backward()
        optimizer.step()
        yield loss
    yield from m.parameters()


def loaded(compiles):
    m = network().eval()
    c, (x, _) = compiles(m), data()
    other = {k: v + 0.1 if v.is_floating_point() else v for k, v in m.state_dict().items()}
    for k in range(10):
        if k == 4:
            m.load_state_dict(other)
        elif k == 6:
            m.load_state_dict(network().state_dict(), assign=True)
        elif k == 8:
            m.double()
            x = x.double()
        yield c(x)


def hooked(compiles):
    m = network().eval()
    c, (x, _) = compiles(m), data()
    for k in range(12):
        if k == 4:
            handle = m[0].register_forward_hook(lambda module, given, made: made * 2)
        elif k == 7:
            handle.remove()
        elif k == 9:
            m[0].weight.register_hook(lambda g: g * 3)
        m.zero_grad()
        made = c(x)
        made.sum().backward()
        yield from (made, m[0].weight.grad.clone())


def changed(compiles):
    m = network()
    c, (x, _) = compiles(m), data()
    for k in range(16):
        if k == 4:
            m[3].p = 0.7
        elif k == 7:
            m[0].weight = nn.Parameter(torch.ones_like(m[0].weight))
        elif k == 10:
            m[0].weight.data = torch.full_like(m[0].weight, 0.3)
        elif k == 13:
            m[4].bias = None
        m.zero_grad()
        made = c(x)
        made.square().sum().backward()
        yield from (made, m[0].weight.grad.clone())


def accumulated(compiles):
    m = network()
    c, (x, y) = compiles(m), data()
    optimizer = torch.optim.SGD(m.parameters(), 0.1)
    for k in range(12):
        loss = F.cross_entropy(c(x), y) / 3
        loss.backward()
        if k % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        yield loss
    yield from m.parameters()


def averaged(compiles):
    m = network()
    m[3].p = 0.0
    mean, (x, y) = copy.deepcopy(m), data()
    c, of_mean = compiles(m), compiles(mean)
    optimizer = torch.optim.SGD(m.parameters(), 0.1)
    for _ in range(8):
        loss = F.cross_entropy(c(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean.eval()
        with torch.no_grad():
            for a, b in zip(mean.parameters(), m.parameters()):
                a.lerp_(b, 0.1)
            yield of_mean(x)


def adversarial(compiles):
    torch.manual_seed(2)
    maker, judge = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8)), nn.Sequential(nn.Linear(8, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    make, judged, (x, _) = compiles(maker), compiles(judge), data()
    one, other = torch.optim.SGD(maker.parameters(), 0.1), torch.optim.SGD(judge.parameters(), 0.1)
    for _ in range(10):
        fake = make(torch.randn(37, 4))
        other.zero_grad()
        loss = F.softplus(-judged(x)).mean() + F.softplus(judged(fake.detach())).mean()
        loss.backward()
        other.step()
        one.zero_grad()
        cheat = F.softplus(-judged(fake)).mean()
        cheat.backward()
        one.step()
        yield from (loss, cheat)
    yield from maker.parameters()


def penalised(compiles):
    torch.manual_seed(2)
    judge, (x, _) = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), data()
    judged = compiles(judge)
    for _ in range(8):
        at = x.clone().requires_grad_()
        made = judged(at)
        (slope,) = torch.autograd.grad(made.sum(), at, create_graph=True)
        loss = ((slope.norm(dim=1) - 1) ** 2).mean() + made.mean()
        judge.zero_grad()
        loss.backward()
        yield from (loss, judge[0].weight.grad.clone())


def with_a_state(compiles):
    torch.manual_seed(2)
    m, x, state = nn.LSTM(8, 8, batch_first=True), torch.randn(3, 5, 8), None
    c = compiles(m)
    for _ in range(8):
        made, state = c(x) if state is None else c(x, state)
        state = tuple(t.detach() for t in state)
        m.zero_grad()
        made.sum().backward()
        yield from (made, m.weight_hh_l0.grad.clone())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, x):
        return {"a": self.a(x), "b": [self.b(x), x.mean()]}


def parts_of_the_results(compiles):
    torch.manual_seed(0)
    m, (x, _) = Two(), data()
    c = compiles(m)
    for k in range(9):
        m.zero_grad()
        made = c(x)
        made = made["a"].sum() if k % 2 else made["b"][0].mul_(2).sum()
        made.backward(retain_graph=True)
        (made * 2).backward()
        yield from (p.grad.clone() for p in m.parameters() if p.grad is not None)


def called_again_before_backward(compiles):
    m, (x, _) = network(), data()
    m[3].p = 0.0
    c = compiles(m)
    for _ in range(6):
        m.zero_grad()
        (c(x).mean() * c(x + 1).mean() + c(c(x) @ torch.ones(4, 8)).mean()).backward()
        yield m[0].weight.grad.clone()


PROGRAMS = (epochs, frozen_for_a_while, loaded, hooked, changed, accumulated, averaged, adversarial, penalised, with_a_state, parts_of_the_results,
            called_again_before_backward)  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_compiled_models_in_programs(program):
    made = []
    for compiles in (lambda m: m, torch.compile):
        torch.manual_seed(1)
        made.append([t.detach().clone() for t in program(compiles)])
    assert len(made[0]) == len(made[1])
    for a, b in zip(*made):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        self.mean.mul_(0.5).add_(x)
        self.count += 1
        return self.mean * self.count


def test_buffers_that_count():
    plain, m = Counting(), Counting()
    c = torch.compile(m)
    for k in range(8):
        x = torch.full((3,), float(k))
        torch.testing.assert_close(c(x), plain(x))
    assert m.count == 8
    (known,) = c._compiled.signatures.values()
    assert known.program is not None, known.why


def test_copies_and_pickles_of_compiled_models():
    m, (x, _) = network().eval(), data()
    c = torch.compile(m)
    for _ in range(4):
        wanted = c(x)
    copied, loaded_ = copy.deepcopy(c), pickle.loads(pickle.dumps(c))
    assert list(c.state_dict())[0] == "_orig_mod.0.weight"
    file = io.BytesIO()
    torch.save(c.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for p in copied.parameters():
            p.add_(1)
    copied_wants = copied._orig_mod(x)
    for _ in range(4):
        torch.testing.assert_close(c(x), wanted)
        torch.testing.assert_close(loaded_(x), wanted)
        torch.testing.assert_close(copied(x), copied_wants)
    copied.load_state_dict(torch.load(file))
    torch.testing.assert_close(copied(x), wanted)


def test_methods_and_parts_that_are_compiled():
    m, (x, _) = network().eval(), data()
    wanted = m(x)
    whole, inner, forward = copy.deepcopy(m), copy.deepcopy(m), copy.deepcopy(m)
    whole.compile()
    inner[0] = torch.compile(inner[0])
    forward.forward = torch.compile(forward.forward)
    for _ in range(5):
        for made in (whole, inner, forward):
            torch.testing.assert_close(made(x), wanted)


def test_compiled_functions_go_with_their_names():
    m, (x, _) = network(), data()
    c = torch.compile(m)
    for _ in range(4):
        c(x).sum().backward()
    gone = weakref.ref(m), weakref.ref(c._compiled)
    del m, c
    gc.collect()
    assert [r() for r in gone] == [None, None]


def test_threads_that_compile_one_model():
    m, (x, _) = network().eval(), data()
    c, wanted, seen = torch.compile(m), m(x).detach(), []

    def work():
        with torch.no_grad():
            seen.extend(torch.allclose(c(x), wanted, atol=1e-5) for _ in range(40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(seen) == 160 and all(seen)
