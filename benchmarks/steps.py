"""Whole steps, eagerly and compiled, against PyTorch's (and JAX's), under the roofs of the machine.

    python benchmarks/steps.py [--only gpt] [--plot steps.png] [--no-compile]

For each step: its time in bibun and in PyTorch, run in turn; the same of `bibun.compile` and `torch.compile`; jitted JAX where it is
installed and the step is written for it; and the least time that the machine could do it in, from the step's floating-point operations
and the bytes that it cannot but move (see `roofs.py`). `--plot` draws the times, with the roofs as lines.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import contest

#: name -> (builder, operations, bytes): the operations of all products and about those of elementwise work; the bytes of arrays that no
#: cache holds, each read or written once.
STEPS: dict[str, tuple[contest.Workload, float, float]] = {}


def step(name: str, operations: float, moved: float = 0.0) -> Callable[[contest.Workload], contest.Workload]:
    def keep(build: contest.Workload) -> contest.Workload:
        STEPS[name] = build, operations, moved
        return build

    return keep


def training(t: Any, model: Any, loss_of: Callable[[Any], Any], optimizer: Any) -> contest.Step:
    def run() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        return loss

    return run


def perceptron(batch: int) -> contest.Workload:
    """784-128-10 with Adam."""

    def build(t: Any) -> contest.Step:
        t.manual_seed(0)
        model = t.nn.Sequential(t.nn.Linear(784, 128), t.nn.ReLU(), t.nn.Linear(128, 10))
        x, y = t.randn(batch, 784), t.randint(0, 10, (batch,))
        return training(t, model, lambda m: t.nn.functional.cross_entropy(m(x), y), t.optim.Adam(model.parameters()))

    return build


for _batch in (1, 32, 256):
    STEPS[f"perceptron, {_batch} images"] = perceptron(_batch), 2.0 * _batch * (2 * 784 * 128 + 3 * 1280) + 12 * 101_770, 0.0


@step("convolutions, 64 images", 3 * 64 * 2.0 * (26 * 26 * 32 * 9 + 24 * 24 * 64 * 288 + 9216 * 128))
def convolutions(t: Any) -> contest.Step:
    """Two convolutions, a pool and two linear layers on images of 28 x 28."""
    nn = t.nn
    t.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip
    x, y = t.randn(64, 1, 28, 28), t.randint(0, 10, (64,))
    return training(t, model, lambda m: nn.functional.cross_entropy(m(x), y), t.optim.SGD(model.parameters(), lr=0.01))


@step("residual block", 3 * 2 * 8 * 2.0 * 64 * 64 * 9 * 32 * 32)
def residual(t: Any) -> contest.Step:
    """Two convolutions with batch normalisation around a shortcut, on 8 images of 64 channels, 32 x 32."""
    nn = t.nn
    t.manual_seed(0)
    parts = [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)]
    inner = nn.Sequential(*parts)
    x = t.randn(8, 64, 32, 32)
    return training(t, inner, lambda m: (x + m(x)).relu().square().mean(), t.optim.SGD(inner.parameters(), lr=0.01))


@step("transformer, 12 x 64 tokens", 3 * 768 * 2.0 * (4 * 12 * 128 * 128 + 4 * 64 * 128 + 128 * 256) + 12 * 860_000)
def transformer(t: Any) -> contest.Step:
    """Four blocks of width 128 with causal attention, AdamW."""
    nn = t.nn
    t.manual_seed(0)

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.before, self.between = nn.LayerNorm(128), nn.LayerNorm(128)
            self.three, self.out = nn.Linear(128, 384), nn.Linear(128, 128)
            self.wide, self.narrow = nn.Linear(128, 512), nn.Linear(512, 128)

        def forward(self, x: Any) -> Any:
            n, length, _ = x.shape
            q, k, v = (z.view(n, length, 4, 32).transpose(1, 2) for z in self.three(self.before(x)).split(128, 2))
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(n, length, 128))
            return x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))

    model = nn.Sequential(nn.Embedding(256, 128), *[Block() for _ in range(4)], nn.LayerNorm(128), nn.Linear(128, 256, bias=False))
    tokens, y = t.randint(0, 256, (12, 64)), t.randint(0, 256, (768,))
    return training(t, model, lambda m: nn.functional.cross_entropy(m(tokens).view(-1, 256), y), t.optim.AdamW(model.parameters()))


@step("LSTM, 32 x 35", 3 * 32 * 35 * 2.0 * 4 * 128 * (64 + 128))
def lstm(t: Any) -> contest.Step:
    """One layer, 64 -> 128, with a linear head."""
    nn = t.nn
    t.manual_seed(0)
    model = nn.ModuleList([nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 64)])
    x, y = t.randn(32, 35, 64), t.randint(0, 64, (32 * 35,))
    return training(t, model, lambda m: nn.functional.cross_entropy(m[1](m[0](x)[0]).reshape(-1, 64), y), t.optim.Adam(model.parameters()))


@step("GELU, 4M", 60 * 4.2e6, 3 * 16.8e6)
def gelu(t: Any) -> contest.Step:
    """gelu(x·w + b), summed up, and its gradients in w and b."""
    t.manual_seed(0)
    x, w, b = t.randn(4096, 1024), t.randn(1024).requires_grad_(), t.randn(1024).requires_grad_()

    def run() -> Any:
        w.grad = b.grad = None
        total = t.nn.functional.gelu(x * w + b).sum()
        total.backward()
        return total

    return run


@step("layer normalisation, 3M", 20 * 3.1e6, 3 * 12.6e6)
def layer_norm(t: Any) -> contest.Step:
    """4096 rows of 768, the mean of squares, and all gradients."""
    t.manual_seed(0)
    x, layer = t.randn(4096, 768).requires_grad_(), t.nn.LayerNorm(768)

    def run() -> Any:
        x.grad = None
        layer.zero_grad()
        total = layer(x).square().mean()
        total.backward()
        return total

    return run


@step("cross-entropy, 32k classes", 30 * 16.4e6, 3 * 65.5e6)
def cross_entropy(t: Any) -> contest.Step:
    """512 rows of 32,000 scores, and their gradient."""
    t.manual_seed(0)
    z, y = t.randn(512, 32000).requires_grad_(), t.randint(0, 32000, (512,))

    def run() -> Any:
        z.grad = None
        loss = t.nn.functional.cross_entropy(z, y)
        loss.backward()
        return loss

    return run


@step("matrix product, 1024", 2.0 * 1024**3)
def product(t: Any) -> contest.Step:
    t.manual_seed(0)
    a, b = t.randn(1024, 1024), t.randn(1024, 1024)
    return lambda: a @ b


@step("Adam, 10M", 12 * 1e7, 7 * 4e7)
def adam(t: Any) -> contest.Step:
    """One step over ten million parameters in eight tensors."""
    t.manual_seed(0)
    tensors = [t.randn(1_250_000).requires_grad_() for _ in range(8)]
    for p in tensors:
        p.grad = t.randn(1_250_000)
    return t.optim.Adam(tensors).step  # type: ignore[no-any-return]


@step("second derivatives, 1-32-32-1", 12 * 100 * 2.0 * 32 * 34)
def second(t: Any) -> contest.Step:
    """A small network's second derivative in its input, in the loss: a double backward in each step."""
    nn = t.nn
    t.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    x = t.linspace(0, 1, 100).reshape(-1, 1).requires_grad_()

    def loss_of(m: Any) -> Any:
        u = m(x)
        (du,) = t.autograd.grad(u.sum(), x, create_graph=True)
        (ddu,) = t.autograd.grad(du.sum(), x, create_graph=True)
        return (ddu + u).square().mean()

    return training(t, model, loss_of, t.optim.Adam(model.parameters()))


# The same in JAX, jitted


def with_jax(name: str) -> contest.Step | None:
    """A step as JAX would have it, for those that are written here."""
    import jax
    import jax.numpy as jnp

    key = jax.random.PRNGKey(0)
    if name.startswith("perceptron"):
        batch = int(name.split()[1])
        sizes = [(784, 128), (128,), (128, 10), (10,)]
        weights = [0.05 * jax.random.normal(key, s) for s in sizes]
        x, y = jax.random.normal(key, (batch, 784)), jax.random.randint(key, (batch,), 0, 10)

        def loss_of(w: Any) -> Any:
            z = jax.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]
            return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()

        @jax.jit
        def one(w: Any, m: Any, v: Any, n: Any) -> Any:
            loss, g = jax.value_and_grad(loss_of)(w)
            m = [0.9 * a + 0.1 * b for a, b in zip(m, g)]
            v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g)]
            w = [a - 1e-3 * (b / (1 - 0.9**n)) / (jnp.sqrt(c / (1 - 0.999**n)) + 1e-8) for a, b, c in zip(w, m, v)]
            return loss, w, m, v, n + 1

        held: list[Any] = [weights, [jnp.zeros(s) for s in sizes], [jnp.zeros(s) for s in sizes], 1.0]

        def run() -> Any:
            loss, *held[:] = one(*held)
            return loss.block_until_ready()

        return run
    if name.startswith("GELU"):
        x, w = jax.random.normal(key, (4096, 1024)), jax.random.normal(key, (1024,))
        made = jax.jit(jax.value_and_grad(lambda w, b: jax.nn.gelu(x * w + b, approximate=False).sum(), (0, 1)))
        return lambda: jax.block_until_ready(made(w, w))
    if name.startswith("layer"):
        x, w = jax.random.normal(key, (4096, 768)), jnp.ones(768)

        def mean(x: Any, w: Any, b: Any) -> Any:
            c = x - x.mean(1, keepdims=True)
            return jnp.square(c * jax.lax.rsqrt(jnp.square(c).mean(1, keepdims=True) + 1e-5) * w + b).mean()

        normal = jax.jit(jax.value_and_grad(mean, (0, 1, 2)))
        return lambda: jax.block_until_ready(normal(x, w, w))
    if name.startswith("cross"):
        z, y = jax.random.normal(key, (512, 32000)), jax.random.randint(key, (512,), 0, 32000)
        entropy = jax.jit(jax.value_and_grad(lambda z: -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()))
        return lambda: jax.block_until_ready(entropy(z))
    if name.startswith("matrix"):
        a = jax.random.normal(key, (1024, 1024))
        times = jax.jit(jnp.matmul)
        return lambda: times(a, a).block_until_ready()
    return None


def served() -> dict[str, contest.Workload]:
    """What a side can be asked for: each step as it is, ``compiled: `` it, and (of JAX's side) its own form of it."""
    made: dict[str, contest.Workload] = {}
    for name, (build, _, _) in STEPS.items():
        made[name] = lambda t, build=build, name=name: with_jax(name) if t.__name__ == "jax" else build(t)  # type: ignore[misc]
        made["compiled: " + name] = lambda t, build=build: t.compile(build(t))  # type: ignore[misc]
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", help="steps whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds a pair, about")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--plot", help="a PNG to draw")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return contest.serve(options.serve, served())
    import roofs

    peak, moving = roofs.peak(), roofs.bandwidth()
    print(f"roofs: {peak / 1e9:.0f} GFLOP/s, {moving / 1e9:.0f} GB/s")
    ours, theirs = contest.Side(__file__, "bibun"), contest.Side(__file__, "torch")
    third = contest.Side(__file__, "jax") if importlib.util.find_spec("jax") else None
    print(f"{'microseconds':32}{'roof':>10}{'bibun':>10}{'PyTorch':>10}{'ratio':>7}{'compiled':>10}{'PyTorch':>10}{'ratio':>7}{'JAX':>10}", flush=True)
    rows: list[tuple[str, float, dict[str, float]]] = []
    for name, (_, operations, moved) in STEPS.items():
        if options.only and not any(part in name for part in options.only):
            continue
        roof = max(operations / peak, moved / moving)
        found: dict[str, float] = {}
        found["bibun"], found["PyTorch"] = contest.race(ours, theirs, name, options.rounds, options.budget)
        if not options.no_compile:
            try:
                found["bibun, compiled"], found["PyTorch, compiled"] = contest.race(ours, theirs, "compiled: " + name, options.rounds, options.budget)
            except contest.Failed as failure:
                print(f"  ({failure})")
        if third is not None:
            try:
                found["JAX"], _ = contest.race(third, ours, name, options.rounds, options.budget)
            except contest.Failed:
                pass
        rows.append((name, roof, found))
        text = f"{name:32}{roof * 1e6:10.1f}{found['bibun'] * 1e6:10.1f}{found['PyTorch'] * 1e6:10.1f}{found['bibun'] / found['PyTorch']:7.2f}"
        if "bibun, compiled" in found:
            text += f"{found['bibun, compiled'] * 1e6:10.1f}{found['PyTorch, compiled'] * 1e6:10.1f}{found['bibun, compiled'] / found['PyTorch, compiled']:7.2f}"
        print(text + (f"{found['JAX'] * 1e6:10.1f}" if "JAX" in found else ""), flush=True)
    for side in (ours, theirs, *([third] if third else [])):
        side.close()
    if options.plot:
        draw(rows, options.plot)


def draw(rows: list[tuple[str, float, dict[str, float]]], path: str) -> None:
    """Bars of all times on a logarithmic scale, and each step's roof as a line across them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [k for k in ("bibun", "PyTorch", "bibun, compiled", "PyTorch, compiled", "JAX") if any(k in found for _, _, found in rows)]
    colours = {"bibun": "#1f77b4", "bibun, compiled": "#7fb3d9", "PyTorch": "#d62728", "PyTorch, compiled": "#eb9394", "JAX": "#9467bd"}
    figure, axes = plt.subplots(figsize=(10, 0.6 * len(rows) + 1.5))
    height = 0.8 / len(kinds)
    for i, (_, roof, found) in enumerate(rows):
        for j, kind in enumerate(kinds):
            if kind in found:
                axes.barh(i + (j - (len(kinds) - 1) / 2) * height, found[kind] * 1e6, height, color=colours[kind], label=kind if i == 0 else None)
        axes.plot([roof * 1e6] * 2, [i - 0.42, i + 0.42], color="black", linewidth=2, label="roof" if i == 0 else None)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("microseconds a step")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
