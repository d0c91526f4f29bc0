"""Primitives under the names of PyTorch's operators: which ``torch.ops.aten`` overload a call of a primitive is.

In: a primitive and the operands of a call. Out: the object that ``torch.ops.aten.name.overload`` gives, so that programs
that are shown operators (the policies of selective checkpoints) can compare them with those they name.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ..ops.primitive import Primitive
from .operators import Borrowed, borrowed

__all__ = ["overload_of"]

#: Primitives whose graph nodes do not say PyTorch's name: name of the primitive -> name in ``aten``.
_NAMES = {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "bitwise_invert": "bitwise_not",
          "heaviside": "heaviside", "igamma": "igamma", "igammac": "igammac", "cross_entropy": "nll_loss_forward", "nll_loss": "nll_loss_forward",
          "copy_into": "copy_", "softmax_backward": "_softmax_backward_data", "log_softmax_backward": "_log_softmax_backward_data", "zero": "zero_", "isclose": "isclose"}
#: Names that ``aten`` writes with an underscore, which nodes do not show.
_INNER = frozenset(("to_copy", "softmax", "log_softmax", "prelu_kernel", "unsafe_view", "safe_softmax", "scaled_dot_product_flash_attention_for_cpu",
                    "linalg_svd", "linalg_eigh", "linalg_det", "linalg_slogdet", "linalg_solve_ex"))
#: The overload, by name and the number at the end of the node's name, else by name alone.
_NUMBERED = {("sum", "1"): "dim_IntList", ("mean", "1"): "dim", ("prod", "1"): "dim_int", ("max", "0"): "dim", ("min", "0"): "dim", ("median", "1"): "dim",
             ("nanmedian", "1"): "dim", ("pow", "0"): "Tensor_Scalar", ("pow", "1"): "Tensor_Tensor", ("lerp", "0"): "Scalar", ("lerp", "1"): "Tensor",
             ("squeeze", "1"): "dim", ("masked_fill", "0"): "Scalar", ("masked_fill", "1"): "Tensor", ("scatter", "0"): "src", ("scatter", "1"): "value",
             ("clamp", "0"): "Tensor", ("round", "1"): "decimals", ("div", "2"): "Tensor_mode", ("transpose", "0"): "int", ("std", "0"): "correction"}
_OVERLOADS = dict.fromkeys(("add", "sub", "mul", "div", "rsub", "xlogy", "index", "slice", "split", "bitwise_and", "bitwise_or", "bitwise_xor",
                            "bitwise_left_shift", "bitwise_right_shift"), "Tensor")
_OVERLOADS |= {"var": "correction", "std": "correction", "var_mean": "correction", "std_mean": "correction", "select": "int", "unbind": "int", "where": "self",
               "scatter_reduce": "two", "index_fill": "int_Scalar"}
_EITHER = frozenset(("eq", "ne", "lt", "le", "gt", "ge", "remainder", "fmod"))  # with a tensor or a number


@cache
def name_of(primitive: str, node: str) -> tuple[str, str]:
    """(the name in ``aten``, the number at the end of the node's name).

    >>> name_of("max_pool", "MaxPool2DWithIndicesBackward0")
    ('max_pool2d_with_indices', '0')
    """
    stem, _, number = node.rpartition("Backward")
    name = _NAMES.get(primitive) or re.sub(r"(?<=[a-zA-Z])(?=[A-Z][a-z0-9])", "_", stem).lower()
    return "_" + name if name in _INNER else name, number


def overload_of(prim: Primitive, arrays: Any) -> Borrowed:
    """The operator of PyTorch that a call of ``prim`` on ``arrays`` is."""
    name, number = name_of(prim.name, prim.grad_name)
    if name in _EITHER:
        overload = "Tensor" if hasattr(arrays[1], "_a") else "Scalar"
    elif name == "pow" and not hasattr(arrays[0], "_a"):
        overload = "Scalar"
    else:
        overload = _NUMBERED.get((name, number)) or _OVERLOADS.get(name, "default")
    return getattr(borrowed(name, of_primitive=True), overload)
