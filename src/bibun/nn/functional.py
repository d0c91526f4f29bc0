"""``torch.nn.functional``: the functions that layers and losses are made of.

The functions themselves stand by subject in `bibun.functions`; this module gathers their names. What every network
needs is bound here at once; the subjects of the table `LATER` load when one of their names is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..functions.activation import (  # noqa: F401
    alpha_dropout,
    celu,
    celu_,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    elu,
    elu_,
    feature_alpha_dropout,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from ..functions.register import FUNCTIONS
from ..tensor import Tensor  # noqa: F401

_POOLS = (
    "avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d lp_pool3d max_unpool1d max_unpool2d max_unpool3d "
    + " ".join(
        f"{name} {name}_with_indices"
        for name in (
            "max_pool1d",
            "max_pool2d",
            "max_pool3d",
            "adaptive_max_pool1d",
            "adaptive_max_pool2d",
            "adaptive_max_pool3d",
        )
    )
    + " adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)

#: subject (a module of `bibun.functions`) -> the names that it holds.
LATER: dict[str, str] = {
    "conv": "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc fold unfold",
    "pooling": _POOLS,
    "fractional": "fractional_max_pool2d fractional_max_pool2d_with_indices fractional_max_pool3d "
    "fractional_max_pool3d_with_indices",
    "resampling": "affine_grid grid_sample interpolate upsample upsample_bilinear upsample_nearest",
    "joining": "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "padding": "pad",
    "loss": "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits nll_loss "
    "cross_entropy kl_div poisson_nll_loss gaussian_nll_loss soft_margin_loss",
    "margin": "hinge_embedding_loss cosine_embedding_loss margin_ranking_loss multi_margin_loss multilabel_margin_loss "
    "multilabel_soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss",
    "ctc": "ctc_loss",
    "norm": "layer_norm rms_norm group_norm batch_norm instance_norm local_response_norm normalize",
    "linear": "linear bilinear linear_cross_entropy",
    "distance": "cosine_similarity pairwise_distance pdist",
    "embedding": "embedding embedding_bag one_hot",
}
_HOMES = {name: home for home, names in LATER.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is not None:
        module = f"bibun.functions.{home}"
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            found = None
        found = found or FUNCTIONS.get(name)
        if found is not None:
            globals()[name] = found
            return found
    raise AttributeError(f"module 'torch.nn.functional' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
