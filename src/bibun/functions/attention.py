"""Scaled dot-product attention and attention in several heads, with the signatures of ``torch.nn.functional``.

In: queries, keys and values, perhaps masks. Out: for each query the values' mean, weighted by softmax(query · key), and
from `multi_head_attention_forward` the weights too. This subject is loaded when one of its names is first asked for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.direct import make_many, make_two
from ..backends import attention as kernels
from ..backends import cpu
from ..backends.large import native
from ..errors import argument_error
from ..ops import attention as ops
from ..ops import products
from .activation import dropout, softmax
from .linear import linear
from .register import FUNCTIONS

for _name in kernels.__all__:  # they join the array functions with this subject
    setattr(cpu, _name, getattr(kernels, _name))

_scores = make_two(ops.attention_scores, kernels.attention_scores)
_weights = make_many(ops.attention_weights, kernels.attention_weights)
_flash = make_many(ops.flash_attention, kernels.flash_attention)
_fused = make_two(products.matmul.named("ScaledDotProductFlashAttentionForCpuBackward0"), cpu.matmul)
_product = make_two(products.matmul.named("UnsafeViewBackward0"), cpu.matmul)
_matrix = make_two(products.matmul.named("MmBackward0"), cpu.matmul)

#: From so many weights on, there is one native kernel for all of it.
FLASH = 1 << 12

_SCALARS = {"Float": "float", "Double": "double", "BFloat16": "c10::BFloat16", "Half": "c10::Half", "Int": "int"}
_SCALARS["Long"] = "long int"


def _said(t: Any) -> str:
    return _SCALARS.get(t.dtype.scalar_name, t.dtype.scalar_name)


def _refuse(query: Any, key: Any, value: Any, mask: Any) -> None:
    """PyTorch's refusals."""
    for position, (name, t) in enumerate((("query", query), ("key", key), ("value", value)), 1):
        if not isinstance(t, dispatch.Tensor):
            raise argument_error("scaled_dot_product_attention", name, position, "Tensor", t)
    q, k, v = query._a, key._a, value._a
    if not q.dtype == k.dtype == v.dtype:
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {_said(query)} key.dtype: "
            f"{_said(key)} and value.dtype: {_said(value)} instead."
        )
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{q.ndim} key.dim: {k.ndim} and value.dim: {v.ndim} instead."
        )
    if q.dtype.kind in "biu":
        raise RuntimeError(f"expected scalar type Float but found {query.dtype.scalar_name}")
    if mask is not None:
        m = mask._a
        if m.dtype.kind != "b" and m.dtype != q.dtype and m.dtype != np.float32:
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{_said(mask)} and  query.dtype: {_said(query)} instead."
            )
    if q.shape[-1] != k.shape[-1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[k.shape[-2], q.shape[-1]]} but got: "
            f"{[k.shape[-2], k.shape[-1]]}."
        )
    if k.shape[-2] != v.shape[-2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[k.shape[-2], v.shape[-1]]} but got: "
            f"{[v.shape[-2], v.shape[-1]]}."
        )


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query @ key.mT · scale + attn_mask) @ value (Vaswani and others 2017).

    Shape: query (N, ..., L, E), key (N, ..., S, E), value (N, ..., S, Ev), attn_mask broadcasting to (N, ..., L, S);
    output (N, ..., L, Ev).

    Args:
        attn_mask: of booleans (False: not attended to) or of numbers that are added.
        is_causal: no query sees the keys after it.
        scale: 1/√E unless given.
        enable_gqa: several heads of the query (dimension -3) share one of key and value.

    >>> import bibun as torch
    >>> q = torch.eye(2)
    >>> torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    tensor([[1.0000, 0.0000],
            [0.3302, 0.6698]])
    """
    try:
        q, k, v = query._a, key._a, value._a
    except AttributeError:
        _refuse(query, key, value, attn_mask)
        raise
    d = q.dtype
    if (
        k.dtype != d
        or v.dtype != d
        or d.kind in "biu"
        or q.ndim < 2
        or k.ndim < 2
        or v.ndim < 2
        or q.shape[-1] != k.shape[-1]
        or k.shape[-2] != v.shape[-2]
        or attn_mask is not None
    ):
        _refuse(query, key, value, attn_mask)
    if enable_gqa and q.ndim > 2 and (q.shape[-3] != k.shape[-3] or q.shape[-3] != v.shape[-3]):
        heads = q.shape[-3]
        if not k.shape[-3] or not v.shape[-3] or heads % k.shape[-3] or heads % v.shape[-3]:
            raise RuntimeError("Number of heads in key and value must divide the number of heads in query")
        key = key.repeat_interleave(heads // k.shape[-3], -3)
        value = value.repeat_interleave(heads // v.shape[-3], -3)
        k, v = key._a, value._a
    usual = q.ndim == 4 and q.shape[-1] == v.shape[-1]
    if q.shape[:-2] != k.shape[:-2] or q.shape[:-2] != v.shape[:-2]:
        usual = False
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
        query, key, value = [t.expand((*lead, *t._a.shape[-2:])) for t in (query, key, value)]
    narrow = d in cpu.NARROW
    if narrow:
        kept = query.dtype
        query, key, value = query.float(), key.float(), value.float()
    if attn_mask is not None:
        scores_shape = (*query._a.shape[:-1], key._a.shape[-2])
        m = attn_mask._a
        for i, (have, want) in enumerate(zip(m.shape[::-1], scores_shape[::-1])):
            if have not in (1, want):
                raise RuntimeError(
                    f"The size of tensor a ({want}) must match the size of tensor b ({have}) at non-singleton dimension "
                    f"{len(scores_shape) - 1 - i}"
                )
        if m.dtype.kind != "b" and m.dtype != query._a.dtype:
            attn_mask = attn_mask.to(query.dtype)
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    if usual and not dropout_p and (attn_mask is None or attn_mask._node is None):
        a = query._a
        if a.dtype == np.float32 and a.size // max(a.shape[-1], 1) * key._a.shape[-2] >= FLASH and native():
            from ..native.kernels.attention import suits

            if suits(a, key._a, value._a) and not dispatch.transformed():
                made = _flash((query, key, value, attn_mask), (float(scale), bool(is_causal)))[0]
                return made.to(kept) if narrow else made
    weights = _weights((_scores(query, key), attn_mask), (float(scale), bool(is_causal)))
    if dropout_p:
        usual = False
        weights = dropout(weights, dropout_p)
    out = (_fused if usual else _matrix if q.ndim == 2 else _product)(weights, value)
    return out.to(kept) if narrow else out


# Several heads


def _checked_mask(mask: Any, name: str, other: Any, other_name: str, target: Any, check_other: bool = True) -> Any:
    """A mask as numbers to add (None stays)."""
    if mask is None:
        return None
    kind = mask._a.dtype.kind
    if kind != "b" and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if check_other and other is not None and mask.dtype != other.dtype:
        import warnings

        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            UserWarning,
            stacklevel=3,
        )
    if kind != "b":
        return mask
    return FUNCTIONS["zeros_like"](mask, dtype=target).masked_fill_(mask, -math.inf)


def _projected(query: Any, key: Any, value: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """Queries, keys and values through the three parts of one weight."""
    width = query._a.shape[-1]
    if key is value:
        if query is key:
            made = linear(query, weight, bias)
            return made[..., :width], made[..., width : 2 * width], made[..., 2 * width :]
        biases = (None, None) if bias is None else (bias[:width], bias[width:])
        both = linear(key, weight[width:], biases[1])
        return linear(query, weight[:width], biases[0]), both[..., :width], both[..., width:]
    parts = []
    for i, t in enumerate((query, key, value)):
        part = slice(i * width, (i + 1) * width)
        parts.append(linear(t, weight[part], None if bias is None else bias[part]))
    return parts[0], parts[1], parts[2]


def _check_shapes(query: Any, key: Any, value: Any, padding: Any, mask: Any, heads: int) -> bool:
    """Whether there is a batch dimension."""
    rank = query.dim()
    if rank not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor"
        )
    word = "batched" if rank == 3 else "unbatched"
    if key.dim() != rank or value.dim() != rank:
        raise AssertionError(
            f"For {word} ({rank}-D) `query`, expected `key` and `value` to be {rank}-D but found {key.dim()}-D and "
            f"{value.dim()}-D tensors respectively"
        )
    if padding is not None and padding.dim() != rank - 1:
        raise AssertionError(
            f"For {word} ({rank}-D) `query`, expected `key_padding_mask` to be `None` or {rank - 1}-D but found "
            f"{padding.dim()}-D tensor instead"
        )
    if mask is not None:
        if mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {word} ({rank}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{mask.dim()}-D tensor instead"
            )
        if rank == 2 and mask.dim() == 3 and tuple(mask.shape) != (heads, query.shape[0], key.shape[0]):
            raise AssertionError(
                f"Expected `attn_mask` shape to be {(heads, query.shape[0], key.shape[0])} but got {tuple(mask.shape)}"
            )
    return rank == 3


def multi_head_attention_forward(
    query: Any,
    key: Any,
    value: Any,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Any,
    in_proj_bias: Any,
    bias_k: Any,
    bias_v: Any,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Any,
    out_proj_bias: Any,
    training: bool = True,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Any = None,
    k_proj_weight: Any = None,
    v_proj_weight: Any = None,
    static_k: Any = None,
    static_v: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """What `torch.nn.MultiheadAttention` computes: (output (L, N, E), weights (N, L, S) or None).

    Shape: query (L, N, E), key and value (S, N, E), or all without N; key_padding_mask (N, S); attn_mask (L, S) or
    (N·num_heads, L, S). True in a mask, or -inf, is not attended to.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_qk, same_kv = query is key, key is value
        query = query.unsqueeze(1)
        key = query if same_qk else key.unsqueeze(1)
        value = key if same_kv else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, width = query._a.shape
    sources = key._a.shape[0]
    key_padding_mask = _checked_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask", query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _checked_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        if key_padding_mask is not None:
            is_causal = False
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    size = width // num_heads
    if size * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        if key._a.shape[:2] != value._a.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
        for name, weight in (("q", q_proj_weight), ("k", k_proj_weight), ("v", v_proj_weight)):
            if weight is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
        q = linear(query, q_proj_weight, biases[0])
        k = linear(key, k_proj_weight, biases[1])
        v = linear(value, v_proj_weight, biases[2])
    else:
        if key._a.shape != value._a.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    if attn_mask is not None:
        shape = attn_mask._a.shape
        wanted = (length, sources) if len(shape) == 2 else (batch * num_heads, length, sources)
        if shape != wanted:
            raise RuntimeError(
                f"The shape of the {len(shape)}D attn_mask is {attn_mask.shape}, but should be {wanted}."
            )
        if len(shape) == 2:
            attn_mask = attn_mask.unsqueeze(0)
    pad = FUNCTIONS["nn.functional.pad"]
    extra = 0
    if bias_k is not None and bias_v is not None:
        k = FUNCTIONS["cat"]([k, bias_k.repeat(1, batch, 1)])
        v = FUNCTIONS["cat"]([v, bias_v.repeat(1, batch, 1)])
        extra = 1
    q = q.reshape(length, batch * num_heads, size).transpose(0, 1)
    k = k.reshape(-1, batch * num_heads, size).transpose(0, 1) if static_k is None else static_k
    v = v.reshape(-1, batch * num_heads, size).transpose(0, 1) if static_v is None else static_v
    if add_zero_attn:
        zero = FUNCTIONS["zeros"]((batch * num_heads, 1, size), dtype=k.dtype)
        k, v = FUNCTIONS["cat"]([k, zero], 1), FUNCTIONS["cat"]([v, zero], 1)
        extra += 1
    if extra:
        if attn_mask is not None:
            attn_mask = pad(attn_mask, (0, extra))
        if key_padding_mask is not None:
            key_padding_mask = pad(key_padding_mask, (0, extra))
    sources = k._a.shape[1]
    if key_padding_mask is not None:
        if key_padding_mask._a.shape != (batch, sources):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(batch, sources)}, but got {tuple(key_padding_mask.shape)}"
            )
        spread = key_padding_mask.reshape(batch, 1, 1, sources).expand(-1, num_heads, -1, -1)
        spread = spread.reshape(batch * num_heads, 1, sources)
        attn_mask = spread if attn_mask is None else attn_mask + spread
    if not training:
        dropout_p = 0.0
    if need_weights:
        scaled = q * math.sqrt(1.0 / size)
        scores = scaled @ k.transpose(-2, -1)
        if attn_mask is not None:
            scores = scores + attn_mask
        weights = softmax(scores, -1)
        if dropout_p > 0.0:
            weights = dropout(weights, dropout_p)
        out = weights @ v
    else:
        if attn_mask is not None:
            if attn_mask._a.shape[0] == 1:
                attn_mask = attn_mask.unsqueeze(0)
            else:
                attn_mask = attn_mask.reshape(batch, num_heads, -1, sources)
        out = scaled_dot_product_attention(
            q.reshape(batch, num_heads, length, size),
            k.reshape(batch, num_heads, sources, size),
            v.reshape(batch, num_heads, sources, size),
            attn_mask,
            dropout_p,
            is_causal,
        ).reshape(batch * num_heads, length, size)
        weights = None
    out = linear(out.transpose(0, 1).reshape(length * batch, width), out_proj_weight, out_proj_bias)
    out = out.reshape(length, batch, -1)
    if weights is not None:
        weights = weights.reshape(batch, num_heads, length, sources)
        if average_attn_weights:
            weights = weights.mean(1)
    if not batched:
        out = out.squeeze(1)
        if weights is not None:
            weights = weights.squeeze(0)
    return out, weights
