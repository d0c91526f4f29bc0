"""`torch._tensor_str`, by which programs reach the printing options and the printer."""

from .printing import PRINT_OPTS, format_tensor, get_printoptions, printoptions, set_printoptions

_str = format_tensor

__all__ = ["PRINT_OPTS", "_str", "get_printoptions", "printoptions", "set_printoptions"]
