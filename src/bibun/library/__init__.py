"""``torch.library``: operators of your own, registered by name.

`custom_op` wraps a function on tensors so that the graph and the transforms see one operator; its backward, batching rule and
stand-in for shapes are registered afterwards. `Library`, `define` and `impl` do the same from a schema in text. An operation
that is written on arrays, and wants to be differentiated to any order, is better declared with `bibun.primitive`.
"""

from __future__ import annotations

from typing import Any

from .checking import OpCheckError, opcheck
from .custom import CustomOpDef, custom_op
from .definitions import (
    Library,
    define,
    fallthrough_kernel,
    get_ctx,
    impl,
    impl_abstract,
    register_autocast,
    register_autograd,
    register_fake,
    register_kernel,
    register_torch_dispatch,
    register_vmap,
)
from .definitions import (
    _scoped_library as _scoped_library,
)
from .operators import Operator as OpOverload
from .schema import infer_schema

__all__ = [
    "CustomOpDef", "Library", "OpCheckError", "OpOverload", "custom_op", "define", "fallthrough_kernel", "get_ctx", "impl", "impl_abstract",
    "infer_schema", "opcheck", "register_autocast", "register_autograd", "register_fake", "register_kernel",
    "register_torch_dispatch", "register_vmap",
]


def triton_op(name: str, fn: Any = None, /, *, mutates_args: Any, schema: str | None = None) -> Any:
    """Refused: Triton kernels need PyTorch's compiler and a GPU."""
    raise NotImplementedError("triton_op: Triton kernels need PyTorch's compiler and a GPU; write the operator with custom_op or bibun.primitive")


wrap_triton = triton_op
