"""Gradient scaling: a loss is multiplied before backward, its gradients divided after it, and a step whose gradients
overflowed is left out while the factor shrinks.

In go losses and optimizers, out come scaled losses and steps taken or left out. For device type ``cpu`` all of it
works; for others it warns and passes everything through, as in a PyTorch that lacks the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import bibun

__all__ = ["GradScaler"]

_READY, _UNSCALED, _STEPPED = range(3)


class GradScaler:
    """Scale losses so that small gradients survive in half precision.

    >>> import bibun as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = torch.optim.SGD([w], lr=0.5), torch.amp.GradScaler("cpu", init_scale=1024.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> scaler.step(optimizer); scaler.update()
    >>> w.item(), scaler.get_scale()
    (0.0, 1024.0)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:
        if enabled and device != "cpu":
            warnings.warn(
                f"torch.{device}.amp.GradScaler is enabled, but {device.upper()} is not available.  Disabling.",
                stacklevel=2)
            enabled = False
        self._device = device
        self._enabled = enabled
        if enabled:
            if not growth_factor > 1.0:
                raise AssertionError("The growth factor must be > 1.0.")
            if not backoff_factor < 1.0:
                raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._scale: Any = None
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        #: optimizer id -> where it stands in this iteration, and whether its gradients overflowed
        self._stages: dict[int, tuple[int, bool | None]] = {}

    def _need_scale(self, function: str) -> None:
        if self._scale is None:
            raise AssertionError(f"Attempted {function} but _scale is None.  This may indicate your script did not use "
                                 "scaler.scale(loss or outputs) earlier in the iteration.")

    def scale(self, outputs: Any) -> Any:
        """The tensor(s) times the factor: call backward on what comes out."""
        if not self._enabled:
            return outputs
        if self._scale is None:
            self._scale = bibun.scalar_tensor(self._init_scale, dtype=bibun.float32)
        if isinstance(outputs, bibun.Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def _unscale(self, optimizer: Any) -> bool | None:
        """Divide the gradients; True where one overflowed, None where there are none."""
        overflowed = None
        factor = self._scale.double().reciprocal().float()
        with bibun.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    grad = parameter.grad
                    if grad is None:
                        continue
                    if grad.dtype is bibun.float16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    grad.mul_(factor)
                    overflowed = bool(overflowed) or not bool(bibun.isfinite(grad).all())
        return overflowed

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients now, to clip or inspect them before `step`."""
        if not self._enabled:
            return
        self._need_scale("unscale_")
        stage, _ = self._stages.get(id(optimizer), (_READY, None))
        if stage == _UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        self._stages[id(optimizer)] = _UNSCALED, self._unscale(optimizer)

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(*args, **kwargs)`` if every gradient is finite; its result, or None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._need_scale("step")
        stage, overflowed = self._stages.get(id(optimizer), (_READY, None))
        if stage == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if stage == _READY:
            overflowed = self._unscale(optimizer)
        if overflowed is None:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        self._stages[id(optimizer)] = _STEPPED, overflowed
        return None if overflowed else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Fit the factor to what the last steps met, or set it; a new iteration begins."""
        if not self._enabled:
            return
        self._need_scale("update")
        if new_scale is not None:
            self._scale.fill_(new_scale)
        else:
            met = [overflowed for _, overflowed in self._stages.values() if overflowed is not None]
            if not met:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(met):
                self._scale.mul_(self._backoff_factor)
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    grown = self._scale * self._growth_factor
                    if bool(bibun.isfinite(grown)):
                        self._scale.copy_(grown)
                    self._growth_tracker = 0
        self._stages.clear()

    def get_scale(self) -> float:
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes up again; empty where scaling is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance "
                               "of GradScaler.")
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval, self._growth_tracker = state_dict["growth_interval"], state_dict["_growth_tracker"]
