"""Compiled functions whose arguments change in size: after three sizes there is one program for all, and it gives what the function gives."""

import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bibun as torch
from bibun import nn
from bibun.backends.large import native
from bibun.nn import functional as F

F32 = torch.float32
LIMIT = 4


def general(compiled):
    return any(f.program is not None for f in compiled._compiled.families.values())


def why(compiled):
    return torch.compiler.report(compiled)


def alike(make, argument, sizes, want=True):
    """A function made twice, one of them compiled, on arguments of changing sizes."""
    plain, compiled = make(), torch.compile(make())
    for size in sizes:
        given_ = argument(size)
        a, b = plain(*copy.deepcopy(given_)), compiled(*given_)
        for x, y in zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,)):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    assert general(compiled) is want, why(compiled)
    return compiled


def training(model, loss, make=lambda p: torch.optim.SGD(p, lr=0.05)):
    def build():
        torch.manual_seed(0)
        m = model()
        o = make(m.parameters())

        def step(x, y):
            o.zero_grad()
            made = loss(m(x), y)
            made.backward()
            o.step()
            return made

        return step

    return build


def rows(width, classes=None):
    def argument(n):
        torch.manual_seed(n)
        return torch.randn(n, width), torch.randint(0, classes, (n,)) if classes else torch.randn(n, 1)

    return argument


SIZES = (8, 16, 12, 9, 33, 7, 100, 3, 2, 1, 8, 0 + 5, 301)


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, lambda a, b: ((a - b) ** 2).sum() / len(a), lambda a, b: (a - b).abs().mean(0).sum(),
                                  lambda a, b: F.binary_cross_entropy_with_logits(a, b.sigmoid())])  # fmt: skip
def test_regression(loss):
    alike(training(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)), loss), rows(6), SIZES)


@pytest.mark.parametrize("make", [lambda p: torch.optim.Adam(p, lr=0.01), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_classes(make):
    compiled = alike(training(lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)), F.cross_entropy, make), rows(6, 3), SIZES)
    recorded = len(compiled._compiled.signatures)
    for n in range(40, 60):
        compiled(*rows(6, 3)(n))
    assert len(compiled._compiled.signatures) == recorded


@pytest.mark.skipif(not native(), reason="native kernels need llvmlite")
def test_small_steps_are_one_native_function_for_all_sizes():
    compiled = alike(training(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), F.cross_entropy), rows(6, 3), SIZES)
    (family,) = compiled._compiled.families.values()
    assert [kind for kind, *_ in family.program.pieces].count("kernel") == 0
    assert "native" in [kind for kind, *_ in family.program.pieces]


def test_large_arrays():
    alike(training(lambda: nn.Sequential(nn.Linear(64, 512), nn.GELU(), nn.Linear(512, 1)), F.mse_loss), rows(64), (64, 128, 100, 300, 41, 2, 64, 500))


def test_images():
    def model():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3))

    alike(training(model, F.cross_entropy), lambda n: (torch.randn(n, 1, 8, 8), torch.randint(0, 3, (n,))), (4, 8, 6, 5, 9, 2, 30))


class Words(nn.Module):
    def __init__(self, longest=64):
        super().__init__()
        self.longest = longest
        self.tokens, self.places = nn.Embedding(11, 8), nn.Embedding(longest, 8)
        self.one, self.two, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 11)

    def forward(self, x):
        batch, length = x.shape
        if length > self.longest:
            raise AssertionError("too long")
        h = self.tokens(x) + self.places(torch.arange(length))
        q, k, v = self.one(h).split(8, 2)
        w = q @ k.transpose(1, 2) * 8**-0.5
        mask = torch.tril(torch.ones(length, length))
        w = w.masked_fill(mask == 0, float("-inf")).softmax(-1)
        return self.head(h + self.two(w @ v))


def text(batch, length):
    torch.manual_seed(batch * 100 + length)
    return torch.randint(0, 11, (batch, length)), torch.randint(0, 11, (batch, length))


def test_batches_and_lengths():
    build = training(Words, lambda logits, y: F.cross_entropy(logits.reshape(-1, 11), y.reshape(-1)), lambda p: torch.optim.Adam(p, lr=0.01))
    compiled = alike(build, lambda s: text(*s), [(2, 4), (3, 9), (5, 17), (4, 8), (2, 16), (5, 5), (3, 17), (4, 4)])
    family = next(f for f in compiled._compiled.families.values() if f.program is not None)
    with pytest.raises(AssertionError):  # beyond what was seen the function itself is asked
        compiled(*text(3, 80))
    assert family.calls == 5


@pytest.mark.parametrize("function", [
    lambda x, w: (x @ w).sum(),
    lambda x, w: (x @ w).mean(0),
    lambda x, w: (x * w[:, 0]).var(0, unbiased=True).sum(),
    lambda x, w: torch.cat([x @ w, torch.zeros(x.shape[0], 1)], 1).std(),
    lambda x, w: x.reshape(-1).softmax(0).max() + w.sum(),
    lambda x, w: (x.t() @ x).logsumexp(0).sum() + w.mean(),
    lambda x, w: torch.arange(len(x), dtype=F32) @ (x @ w),
    lambda x, w: (x[1:] - x[:-1]).square().mean() + w.sum(),
    lambda x, w: x.cumsum(0).mean() * w.sum(),
    lambda x, w: torch.full((x.shape[0],), 2.5) @ (x @ w)[:, 0],
    lambda x, w: x.flip(0).view(2, -1).sum(1) * w.sum() if x.shape[0] > 0 else x,
    lambda x, w: x.sum() / x.numel() + w.sum() / x.shape[0],
])  # fmt: skip
def test_functions_of_one_argument(function):
    def make():
        torch.manual_seed(3)
        w = torch.randn(4, 3, requires_grad=True)

        def step(x):
            w.grad = None
            made = function(x, w).sum()
            made.backward()
            return made.detach(), w.grad + 0

        return step

    alike(make, lambda n: (torch.randn(n, 4),), (8, 16, 12, 8, 10, 14, 16))


def test_what_is_not_made_for_all_sizes():
    def halves():
        return lambda x: x[: len(x) // 2].sum()

    def parity():
        return lambda x: x.sum() if x.shape[0] % 2 else x.mean()

    def loop():
        def run(x):
            total = x[0]
            for i in range(1, x.shape[0]):
                total = total * 0.5 + x[i]
            return total

        return run

    for make in (halves, parity, loop):
        alike(make, lambda n: (torch.randn(n, 3),), (8, 16, 12, 9, 10, 7), want=False)


TABLE = torch.linspace(-1, 1, 400).reshape(100, 4)


@pytest.mark.parametrize("function, sizes", [
    (lambda x: x[:5] * 2, (7, 30, 20, 25, 3, 5, 2, 40)),  # Python's slices end where there is nothing left
    (lambda x: x[-3:].sum(0), (7, 30, 20, 25, 3, 2, 40)),
    (lambda x: x[2:4, :5].sum(1), (7, 30, 20, 25, 3, 2, 40)),
    (lambda x: x.T[:, 4:9].sum(1), (11, 30, 20, 25, 7, 3, 40)),
    (lambda x: x + TABLE[: len(x)], (7, 30, 20, 90, 101, 150, 40)),
    (lambda x: x * TABLE[len(x)], (7, 30, 20, 90, 100, 150, 40)),
    (lambda x: x[-4] * x[3], (7, 30, 20, 25, 4, 3, 40)),
    (lambda x: x.topk(5, 0).values, (7, 30, 20, 25, 5, 4, 40)),
    (lambda x: x.unfold(0, 4, 1).mean(-1), (7, 30, 20, 25, 4, 3, 40)),
    (lambda x: x.diagonal() * 2, (7, 30, 20, 25, 4, 3, 40)),
])  # fmt: skip
def test_sizes_for_which_a_step_does_something_else(function, sizes):
    compiled = torch.compile(function)
    for n in sizes:
        x = torch.arange(4.0 * n).reshape(n, 4)
        try:
            wanted = function(x)
        except (RuntimeError, IndexError) as error:
            with pytest.raises(type(error)):
                compiled(x)
        else:
            torch.testing.assert_close(compiled(x), wanted)
    assert general(compiled), why(compiled)


def test_a_branch_on_a_size_is_taken_as_it_is():
    def make():
        return lambda x: x.sum() if x.shape[0] > LIMIT * 5 else x.mean() * 2

    alike(make, lambda n: (torch.randn(n, 3) + 1,), (8, 16, 12, 9, 30, 10, 50, 20, 21))


def test_settings_change_between_sizes():
    def make():
        torch.manual_seed(0)
        m = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        calls = [0]

        def step(x):
            return m(x).sum().detach()

        def run(x):
            calls[0] += 1
            m.train(calls[0] % 7 < 4)
            return compiled(x)

        compiled = step
        return m, step, run

    for _ in range(1):
        m, plain, _ = make()
        n, other, _ = make()
        compiled = torch.compile(other)
        for k, size in enumerate((8, 16, 12, 9, 33, 7, 8, 16, 12, 9, 10, 11, 8, 9, 10, 11, 12, 13)):
            m.train(k % 9 < 5), n.train(k % 9 < 5)
            x = torch.randn(size, 4)
            torch.testing.assert_close(plain(x), compiled(x), rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_drawn_programs(data):
    """Chains of drawn operations, over drawn sizes."""
    ops = [
        lambda t, w: t @ w, lambda t, w: t.tanh(), lambda t, w: t - t.mean(0), lambda t, w: t / t.shape[0], lambda t, w: t.softmax(0), lambda t, w: t * t.sum(1, keepdim=True),
        lambda t, w: t.relu() + 1, lambda t, w: t.transpose(0, 1).contiguous().t(), lambda t, w: t.reshape(-1).view(-1, 4), lambda t, w: torch.cat([t, t * 2], 0)[: t.shape[0]],
        lambda t, w: t.log_softmax(1), lambda t, w: (t > 0).float() * t, lambda t, w: t.unsqueeze(0).expand(3, -1, -1).sum(0), lambda t, w: t + torch.ones(t.shape[0], 1),
        lambda t, w: torch.where(t > 0, t, t * 0.1), lambda t, w: t.clamp(-1, 1), lambda t, w: t.max(0).values + t, lambda t, w: t.norm(dim=1, keepdim=True) + t,
    ]  # fmt: skip
    chosen = data.draw(st.lists(st.integers(0, len(ops) - 1), min_size=1, max_size=5))
    sizes = data.draw(st.lists(st.integers(2, 40), min_size=6, max_size=9))

    def make():
        torch.manual_seed(1)
        w = (torch.randn(4, 4) * 0.5).requires_grad_()

        def step(x):
            w.grad = None
            h = x @ w
            for k in chosen:
                h = ops[k](h, w)
            loss = h.square().mean()
            loss.backward()
            return loss.detach(), w.grad + 0

        return step

    plain, compiled = make(), torch.compile(make())
    for n in sizes:
        x = torch.from_numpy(np.random.default_rng(n).standard_normal((n, 4)).astype(np.float32))
        for a, b in zip(plain(x), compiled(x)):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-5)
