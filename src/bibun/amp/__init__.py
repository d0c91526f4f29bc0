"""``torch.amp``: automatic mixed precision. `autocast` keeps books, computes in full precision; `GradScaler` works."""

from .autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from .grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
