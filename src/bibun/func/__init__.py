"""`torch.func`: function transforms that compose: grad, vjp, jvp, vmap, Jacobians, Hessians, functional calls."""

from __future__ import annotations

from . import forward
from .batching import vmap
from .stateless import functional_call, stack_module_state
from .transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "stack_module_state", "vjp", "vmap"]
