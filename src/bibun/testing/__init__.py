"""``torch.testing``: comparison of tensors within tolerances, and tensors of random numbers; loads when first touched."""

from .comparison import assert_allclose, assert_close
from .creation import make_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
