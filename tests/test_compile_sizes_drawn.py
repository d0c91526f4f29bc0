"""Functions drawn of steps that look at sizes, compiled and called with one size after another, beside themselves uncompiled."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bibun as torch
from bibun import nn
from bibun.nn import functional as F

torch.manual_seed(0)
TABLE, W = torch.randn(200, 6), torch.randn(6, 6)
CONV, STRIDED, GRU, NORM = nn.Conv1d(6, 6, 3, padding=1), nn.Conv1d(6, 6, 3, stride=2), nn.GRU(6, 6), nn.LayerNorm(6)

STEPS = {
    "half": lambda x: x[: len(x) // 2],
    "differences": lambda x: x[1:] - x[:-1],
    "last": lambda x: x[-3:],
    "first": lambda x: x[:5],
    "every second": lambda x: x[::2],
    "positions": lambda x: x + TABLE[: len(x)],
    "counted": lambda x: x * torch.arange(len(x), dtype=torch.float32)[:, None] / len(x),
    "spaced": lambda x: x * torch.linspace(0, 1, len(x))[:, None],
    "lower": lambda x: torch.tril(x @ x.T) @ x,
    "masked": lambda x: (x @ x.T).masked_fill(torch.triu(torch.ones(len(x), len(x)), 1).bool(), -1e9).softmax(-1) @ x,
    "variance": lambda x: x.var(0, keepdim=True) + x,
    "mean": lambda x: x.mean(0).expand(len(x), 6) + x,
    "norm": lambda x: x / x.norm(),
    "largest": lambda x: x.topk(min(5, len(x)), 0).values,
    "largest three": lambda x: x.topk(3, 0).values,
    "running": lambda x: x.cumsum(0) / (torch.arange(len(x))[:, None] + 1),
    "split": lambda x: sum(p.sum(0, keepdim=True) for p in x.split(2)),
    "chunks": lambda x: torch.cat([c.mean(0, keepdim=True) for c in x.chunk(3)]),
    "joined": lambda x: torch.cat([x, x[:2], torch.zeros(1, 6)]),
    "padded": lambda x: F.pad(x, (0, 0, 0, (-len(x)) % 4)),
    "padded to": lambda x: F.pad(x, (0, 0, 0, max(0, 40 - len(x)))),
    "conv": lambda x: CONV(x.T[None])[0].T,
    "strided": lambda x: STRIDED(F.pad(x, (0, 0, 1, 1)).T[None])[0].T,
    "pool": lambda x: F.max_pool1d(F.pad(x, (0, 0, 0, 1)).T[None], 2)[0].T,
    "adaptive": lambda x: F.adaptive_avg_pool1d(x.T[None], 4)[0].T,
    "resized": lambda x: F.interpolate(x.T[None], scale_factor=2)[0].T,
    "attention": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True)[0],
    "gru": lambda x: GRU(x)[0],
    "layer norm": lambda x: NORM(x),
    "loop": lambda x: torch.stack([x[i] * i for i in range(len(x))]),
    "branch": lambda x: x * 2 if len(x) > 20 else x * 3,
    "parity": lambda x: x * 2 if len(x) % 2 else x * 3,
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 0),
    "gram": lambda x: (x.T @ x)[:4],
    "outer": lambda x: (x[:, None, :] * x[None, :, :]).sum(1),
    "sort": lambda x: x.sort(0).values,
    "eye": lambda x: (torch.eye(len(x)) + x @ x.T) @ x,
    "full": lambda x: torch.full((len(x), 6), float(len(x))) + x,
    "pairs": lambda x: x.reshape(2, -1, 6).sum(0),
    "view": lambda x: x.reshape(-1)[: len(x) * 3].view(-1, 3).repeat(1, 2),
    "repeat": lambda x: x.repeat(2, 1),
    "dropout": lambda x: F.dropout(x, 0.2),
    "noise": lambda x: x + torch.rand(len(x), 1),
    "scaled": lambda x: x / math.sqrt(len(x)),
    "classes": lambda x: x * F.cross_entropy(x, torch.arange(len(x)) % 6),
    "gather": lambda x: x.gather(0, (torch.arange(len(x))[:, None] * 3 % len(x)).expand(-1, 6)),
    "backwards": lambda x: x[torch.arange(len(x) - 1, -1, -1)],
    "windows": lambda x: x.unfold(0, 2, 1).mean(-1),
    "less the last": lambda x: x - x[len(x) - 1],
    "layer": lambda x: (x @ W).tanh(),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4), st.lists(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 17, 30, 31, 64, 100, 150]), min_size=6, max_size=14), st.booleans())
@settings(max_examples=60, deadline=None)
def test_functions_of_sizes(steps, sizes, trains):
    w = torch.ones(6, requires_grad=True)

    def function(x):
        for name in steps:
            x = STEPS[name](x)
        return x

    def step(x):
        w.grad = None
        made = function(x * w)
        loss = made.square().mean()
        loss.backward()
        return made.detach(), loss.detach(), w.grad.clone()

    plain = step if trains else lambda x: (function(x),)
    compiled = torch.compile(plain)
    for n in sizes:
        x = torch.randn(n, 6, generator=torch.Generator().manual_seed(n))
        torch.manual_seed(n)
        try:
            wanted = plain(x.clone())
        except (RuntimeError, IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                torch.manual_seed(n)
                compiled(x.clone())
            continue
        torch.manual_seed(n)
        for a, b in zip(compiled(x.clone()), wanted):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4, equal_nan=True)
