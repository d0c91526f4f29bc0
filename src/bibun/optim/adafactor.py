"""Adafactor: mean squares of a matrix's gradient kept as one row and one column.

Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost" (2018). For a matrix, square ≈
row·column / mean(row); a vector keeps its own. The step is relative to the parameter's root mean square.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.dispatch import user_frame
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.versions import written
from ..tensor import Tensor, wrap
from .elementwise import check_lr_named, counter
from .optimizer import Optimizer, ParamsT, run_closure

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018).

    Args:
        params: tensors, (name, tensor) pairs, or dicts of them with options of their own.
        lr: upper bound of the relative step, a number or a tensor of one element.
        beta2_decay: exponent with which the running mean square's weight of the new gradient falls.
        eps: smallest mean square (None: the dtype's epsilon) and smallest root mean square of a parameter.
        d: the largest root mean square of an update.
        weight_decay: factor of the parameter's own shrinking.
        foreach: PyTorch's choice of implementation; there is one here.
        maximize: go up the gradient.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        check_lr_named(lr)
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            for p in group["params"]:
                kept = self.state.get(p)
                if kept and not isinstance(kept["step"], Tensor):
                    kept["step"] = counter(float(kept["step"]))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients; ``closure`` computes the loss anew and returns it."""
        loss = None if closure is None else run_closure(closure)
        frame = user_frame(2)
        token = quiet(IGNORE)
        try:
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        if p.is_complex():
                            raise RuntimeError("Adafactor does not support complex parameters")
                        self._update(p, group)
                        written(p._a, frame.f_code, frame.f_lasti)
        finally:
            restore(token)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        a, g = p._a, p.grad._a
        state = self.state[p]
        if not state:
            state["step"] = counter()
            if g.ndim > 1:
                state["row_var"] = wrap(np.zeros((*g.shape[:-1], 1), g.dtype))
                state["col_var"] = wrap(np.zeros((*g.shape[:-2], 1, g.shape[-1]), g.dtype))
            else:
                state["variance"] = wrap(np.zeros_like(g))
        count = state["step"]._a
        count.fill(count.item() + 1.0)
        n = count.item()
        (eps1, eps2), lr = group["eps"], float(group["lr"])
        if eps1 is None:
            eps1 = dtypes.finfo(p.dtype).eps
        new = n ** group["beta2_decay"]
        rate = max(eps2, _norm(a) / a.size**0.5) * min(lr, 1 / n**0.5) if a.size else 0.0
        if group["weight_decay"] != 0:
            _store(a, _wide(a) * _same(a, 1 - lr * group["weight_decay"]))
        g = _wide(g)
        if group["maximize"]:
            g = -g
        if g.ndim > 1:
            row, column = state["row_var"]._a, state["col_var"]._a
            _move(row, _mean_square(g, -1), new)
            _move(column, _mean_square(g, -2), new)
            row, column = _wide(row), _wide(column)
            square = np.matmul(row, column)
            square /= np.maximum(row.mean(axis=-2, keepdims=True), _same(square, eps1))
        else:
            _move(state["variance"]._a, g * g, new)
            square = np.array(_wide(state["variance"]._a))
        update = np.maximum(square, _same(square, eps1 * eps1))
        update = g * (1 / np.sqrt(update))
        threshold = max(1.0, _norm(update) / (a.size**0.5 * group["d"])) if a.size else 1.0
        _store(a, _wide(a) + update * _same(update, -rate / threshold))


def _wide(a: Any) -> Any:
    """``a`` in a dtype that NumPy computes with: narrow ones in float32."""
    return a if a.dtype in (np.float32, np.float64) else a.astype(np.float32)


def _same(a: Any, value: float) -> Any:
    return a.dtype.type(value) if a.dtype in (np.float32, np.float64) else np.float32(value)


def _store(a: Any, value: Any) -> None:
    a[...] = value


def _norm(a: Any) -> float:
    a = _wide(a).reshape(-1)
    return float(np.sqrt(np.dot(a, a)))


def _mean_square(g: Any, axis: int) -> Any:
    root = np.sqrt((g * g).sum(axis=axis, keepdims=True))
    return root * root / _same(root, g.shape[axis])


def _move(mean: Any, value: Any, weight: float) -> None:
    """mean ← mean + weight·(value − mean), from the nearer end."""
    old, w = _wide(mean), _same(value, weight)
    mean[...] = old + w * (value - old) if abs(weight) < 0.5 else value - (value - old) * (1 - w)
