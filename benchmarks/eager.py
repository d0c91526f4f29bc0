"""Small steps, run eagerly, against PyTorch: what an operation costs beside its arithmetic.

    python benchmarks/eager.py [--only mlp]
"""

from __future__ import annotations

from typing import Any

import contest


def scalar_wx_b(t: Any) -> contest.Step:
    """``w*x + b`` on scalars, forward and backward."""
    x, w, b = (t.tensor(value, requires_grad=True) for value in (2.0, 3.0, 1.0))

    def step() -> None:
        y = w * x + b
        y.backward()
        x.grad = w.grad = b.grad = None

    return step


def scalar_nograd(t: Any) -> contest.Step:
    """The same twenty times, under no_grad."""
    x, w, b = (t.tensor(value, requires_grad=True) for value in (2.0, 3.0, 1.0))

    def step() -> None:
        with t.no_grad():
            for _ in range(20):
                w * x + b

    return step


def seed_loop(t: Any) -> contest.Step:
    """A step of the first tutorial's training loop: Linear(1, 1), MSELoss, SGD."""
    t.manual_seed(0)
    model, criterion = t.nn.Linear(1, 1), t.nn.MSELoss()
    optimizer = t.optim.SGD(model.parameters(), lr=0.01)
    x, y = t.tensor([[1.0], [2.0], [3.0]]), t.tensor([[2.0], [4.0], [6.0]])

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def chain_64(t: Any) -> contest.Step:
    """64 elementwise operations in a row on 16 numbers, forward and backward."""
    t.manual_seed(0)
    x = t.randn(16).requires_grad_()

    def step() -> None:
        y = x
        for _ in range(16):
            y = (y * 0.9 + x).tanh().sin()
        x.grad = None
        y.sum().backward()

    return step


def _mlp(t: Any) -> tuple[Any, Any]:
    t.manual_seed(0)
    return t.nn.Sequential(t.nn.Linear(784, 128), t.nn.ReLU(), t.nn.Linear(128, 10)), t.randn(1, 784)


def mlp_train_b1(t: Any) -> contest.Step:
    """A training step of a 784-128-10 network on one image, with Adam."""
    model, x = _mlp(t)
    y = t.randint(0, 10, (1,))
    optimizer, criterion = t.optim.Adam(model.parameters(), lr=1e-3), t.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()

    return step


def mlp_infer_b1(t: Any) -> contest.Step:
    """The same network's answer to one image."""
    model, x = _mlp(t)

    def step() -> None:
        with t.no_grad():
            model(x)

    return step


WORKLOADS = {f.__name__: f for f in (scalar_wx_b, scalar_nograd, seed_loop, chain_64, mlp_train_b1, mlp_infer_b1)}
BOUNDS = {
    "scalar_wx_b": 0.40, "scalar_nograd": 0.90, "seed_loop": 0.45, "chain_64": 0.60, "mlp_train_b1": 0.70,
    "mlp_infer_b1": 0.80,
}

if __name__ == "__main__":
    contest.main(__file__, WORKLOADS, BOUNDS)
