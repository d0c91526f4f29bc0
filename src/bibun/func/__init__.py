"""`torch.func`: function transforms that compose: grad, vjp, jvp, vmap, Jacobians, Hessians, functional calls."""

from __future__ import annotations

from . import forward
from .batching import vmap
from .levels import debug_unwrap
from .rearrangement import rearrange
from .stateless import functional_call, replace_all_batch_norm_modules_, stack_module_state
from .transforms import functionalize, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "rearrange",
    "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]
