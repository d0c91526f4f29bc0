"""L-BFGS: quasi-Newton steps from the last few changes of gradient and parameters.

Nocedal, "Updating Quasi-Newton Matrices With Limited Storage" (1980); the line search for the strong Wolfe conditions
is algorithms 3.5 and 3.6 of Nocedal and Wright, "Numerical Optimization" (2006), with the safeguards of Schmidt's
minFunc, which PyTorch follows too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.dispatch import user_frame
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.modes import no_grad
from ..autograd.versions import written
from ..tensor import Tensor, wrap
from .arithmetic import F32, F64
from .elementwise import check_lr
from .optimizer import Optimizer, ParamsT, run_closure
from .scratch import BLOCK, Scratch

__all__ = ["LBFGS"]


class Point(NamedTuple):
    """Where a line search has been: step length, loss, gradient, and slope along the direction."""

    t: Any
    loss: float
    gradient: Any
    slope: Any


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, within ``bounds`` (by default, between them)."""
    low, high = bounds or (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2.0
    d2 = np.sqrt(square)
    left, right = (a, b) if a.t <= b.t else (b, a)
    least = right.t - (right.t - left.t) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2))
    return min(max(least, low), high)


def strong_wolfe(
    evaluate: Callable[[Any], Point],
    t: Any,
    start: Point,
    extent: float,
    tolerance_change: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_steps: int = 25,
) -> tuple[Point, int]:
    """A step length with enough decrease (c1) and a slope flat enough (c2): the point there, and all evaluations.

    Args:
        evaluate: computes the point at a step length.
        t: the length to try first.
        start: the point at length 0.
        extent: the direction's largest component; brackets that move no parameter by `tolerance_change` are left.
    """

    def too_high(x: Point) -> bool:
        return bool(x.loss > start.loss + c1 * x.t * start.slope)

    def flat(x: Point) -> bool:
        return bool(abs(x.slope) <= -c2 * start.slope)

    # Go out until a minimum lies between the last two points.
    before, here = start, evaluate(t)
    steps, evaluations = 0, 1
    bracket: list[Point] = [start, here]
    while steps < max_steps:
        if too_high(here) or (steps > 1 and here.loss >= before.loss):
            bracket = [before, here]
            break
        if flat(here):
            return here, evaluations
        if here.slope >= 0:
            bracket = [before, here]
            break
        t = cubic_minimum(before, here, (here.t + 0.01 * (here.t - before.t), here.t * 10))
        before, here = here, evaluate(t)
        evaluations += 1
        steps += 1
    else:
        bracket = [start, here]

    # Close in on it.
    stuck = False
    low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
    while steps < max_steps:
        left, right = min(bracket[0].t, bracket[1].t), max(bracket[0].t, bracket[1].t)
        if abs(bracket[1].t - bracket[0].t) * extent < tolerance_change:
            break
        t = cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:
            # Too near an end: once is forgiven, then the point is moved inside.
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        here = evaluate(t)
        evaluations += 1
        steps += 1
        if too_high(here) or here.loss >= bracket[low].loss:
            bracket[high] = here
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        done = flat(here)
        if not done and here.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = here
        if done:
            break
    return bracket[low], evaluations


class LBFGS(Optimizer):
    """L-BFGS (Nocedal, 1980), over all parameters as one vector; each step evaluates the closure several times.

    Args:
        params: tensors, or (name, tensor) pairs; one group only.
        lr: length of a step, a number or a tensor of one element.
        max_iter: iterations in a step.
        max_eval: evaluations of the closure in a step; 1.25·``max_iter`` by default.
        tolerance_grad: stop where the gradient's largest component is not above.
        tolerance_change: stop where loss and parameters change by less.
        history_size: how many changes are remembered.
        line_search_fn: ``"strong_wolfe"``, or None for steps of length ``lr``.

    >>> import bibun as torch
    >>> x = torch.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = torch.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (x * x).sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = optimizer.step(closure)
    >>> float(loss), float(closure()) < 1e-6
    (13.0, True)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]
        self._numel_cache: int | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]
        self._numel_cache = None

    # all parameters as one vector; complex ones as pairs of reals

    def _numel(self) -> int:
        if self._numel_cache is None:
            self._numel_cache = sum(2 * p.numel() if p.is_complex() else p.numel() for p in self._params)
        return self._numel_cache

    def _gather_flat_grad(self) -> Any:
        parts = []
        for p in self._params:
            part = np.zeros_like(p._a) if p.grad is None else p.grad._a
            if part.dtype.kind == "c":
                part = np.ascontiguousarray(part).view(part.real.dtype)
            elif part.dtype != F32 and part.dtype != F64:
                part = part.astype(F32)
            parts.append(part.reshape(-1))
        return np.concatenate(parts)

    def _add(self, length: Any, direction: Any, line: tuple[Any, int]) -> None:
        """Move the parameters by ``length`` along ``direction``."""
        offset = 0
        for p in self._params:
            a = p._a
            n = 2 * a.size if a.dtype.kind == "c" else a.size
            part = direction[offset : offset + n]
            offset += n
            if a.dtype.kind == "c":
                a += (part * length).view(a.dtype).reshape(a.shape) if n else 0
            elif a.size:
                words = self._scratch.for_array(a)
                words.run(_move, None, words.numbers((float(length),)), a, part.reshape(a.shape))
            written(a, *line)

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimise for up to ``max_iter`` iterations; the closure's first result is returned.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and returns the loss.
        """
        frame = user_frame(2)
        self._scratch = Scratch()
        token = quiet(IGNORE)
        try:
            with no_grad():
                return self._minimise(closure, (frame.f_code, frame.f_lasti))
        finally:
            restore(token)
            del self._scratch

    def _minimise(self, closure: Callable[[], Any], line: tuple[Any, int]) -> Any:
        group = self.param_groups[0]
        lr, max_iter, max_eval = group["lr"], group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        search, limit = group["line_search_fn"], group["history_size"]
        if isinstance(lr, Tensor):
            lr = lr._a.reshape(-1)[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first = run_closure(closure)
        loss = float(first)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._gather_flat_grad()
        if _largest(gradient) <= tolerance_grad:
            return first

        direction, t, previous_gradient = (
            _array(state.get("d")),
            _number(state.get("t")),
            _array(state.get("prev_flat_grad")),
        )
        changes = [_array(y) for y in state.get("old_dirs") or ()]
        moves = [_array(s) for s in state.get("old_stps") or ()]
        inverses = [_number(r) for r in state.get("ro") or ()]
        scale, previous_loss = _number(state.get("H_diag")), state.get("prev_loss")
        factors: list[Any] = [_number(f) for f in state.get("al") or ()]

        for n in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                direction, changes, moves, inverses, scale = -gradient, [], [], [], gradient.dtype.type(1)
            else:
                change, move = gradient - previous_gradient, direction * gradient.dtype.type(t)
                curvature = np.dot(change, move)
                if curvature > 1e-10:
                    if len(changes) == limit:
                        del changes[0], moves[0], inverses[0]
                    changes.append(change)
                    moves.append(move)
                    inverses.append(1.0 / curvature)
                    scale = curvature / np.dot(change, change)
                factors = factors or state.setdefault("al", [None] * limit)[:]
                direction = self._direction(gradient, changes, moves, inverses, scale, factors)
            previous_gradient, previous_loss = gradient, loss
            t = min(1.0, 1.0 / np.abs(gradient).sum()) * lr if state["n_iter"] == 1 else lr
            slope = np.dot(gradient, direction)
            if slope > -tolerance_change:
                break
            calls = 0
            if search is not None:
                if search != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [np.array(p._a) for p in self._params]

                def evaluate(length: Any, start: Any = start, direction: Any = direction) -> Point:
                    self._add(length, direction, line)
                    value = float(run_closure(closure))
                    g = self._gather_flat_grad()
                    for p, a in zip(self._params, start):
                        p._a[...] = a
                    return Point(length, value, g, np.dot(g, direction))

                here, calls = strong_wolfe(
                    evaluate, t, Point(0, loss, gradient, slope), float(_largest(direction)), tolerance_change
                )
                t, loss, gradient = here.t, here.loss, here.gradient
                self._add(t, direction, line)
            else:
                self._add(t, direction, line)
                if n != max_iter:
                    loss = float(run_closure(closure))
                    gradient = self._gather_flat_grad()
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                n == max_iter
                or evaluations >= max_eval
                or (calls and _largest(gradient) <= tolerance_grad)
                or _largest(direction * gradient.dtype.type(t)) <= tolerance_change
                or abs(loss - previous_loss) < tolerance_change
            ):
                break

        state.update(
            d=wrap(direction),
            t=t if isinstance(t, (int, float)) else wrap(np.array(t)),
            old_dirs=[wrap(y) for y in changes],
            old_stps=[wrap(s) for s in moves],
            ro=[wrap(np.array(r)) for r in inverses],
            H_diag=wrap(np.array(scale)),
            prev_flat_grad=wrap(previous_gradient),
            prev_loss=previous_loss,
        )
        if factors:
            state["al"] = [f if f is None else wrap(np.array(f)) for f in factors]
        return first

    def _direction(
        self, gradient: Any, changes: list[Any], moves: list[Any], inverses: list[Any], scale: Any, factors: list[Any]
    ) -> Any:
        """The approximate inverse Hessian times −gradient, by the two-loop recursion."""
        q = -gradient
        add = self._axpy(q)
        for i in range(len(changes) - 1, -1, -1):
            factors[i] = np.dot(moves[i], q) * inverses[i]
            add(q, changes[i], -factors[i])
        r = q * scale
        for i in range(len(changes)):
            add(r, moves[i], factors[i] - np.dot(changes[i], r) * inverses[i])
        return r

    def _axpy(self, a: Any) -> Callable[[Any, Any, Any], None]:
        """a ← a + s·b for vectors like ``a``."""
        if 1 < a.size <= BLOCK:
            return self._scratch.words(a.shape, a.dtype).add_

        def add(a: Any, b: Any, s: Any) -> None:
            a += b * s

        return add


def _move(x: Any, flags: Any, numbers: Any, p: Any, direction: Any) -> None:
    x.add_(p, direction, numbers[0])


def _largest(a: Any) -> Any:
    """The largest magnitude; NaN where there is one."""
    return np.abs(a).max() if a.size else 0.0


def _array(t: Any) -> Any:
    return t._a if isinstance(t, Tensor) else t


def _number(t: Any) -> Any:
    return t._a[()] if isinstance(t, Tensor) else t
