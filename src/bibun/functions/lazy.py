"""Public names that load their module when first asked for: those that few programs use or that are heavy to import."""

from __future__ import annotations

import importlib
from typing import Any

#: name -> module under the package.
HOMES: dict[str, str] = {
    "save": "serialization",
    "load": "serialization",
    "Generator": "functions.random",
    "vmap": "func",
    "stft": "functions.stft",
    "istft": "functions.stft",
    **dict.fromkeys(
        ("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"), "functions.windows"
    ),
    **dict.fromkeys(("sparse_csc", "sparse_bsr", "sparse_bsc"), "placement"),
    **dict.fromkeys(
        (
            "DoubleTensor FloatTensor HalfTensor BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor"
        ).split(),
        "functions.typed",
    ),
    "set_warn_always": "errors",
    "is_warn_always_enabled": "errors",
    "compile": "compiler",
    "primitive": "extending",
    "is_anomaly_enabled": "autograd.anomaly",
    "is_anomaly_check_nan_enabled": "autograd.anomaly",
    **dict.fromkeys(
        (
            "UntypedStorage",
            "TypedStorage",
            "DoubleStorage",
            "FloatStorage",
            "HalfStorage",
            "LongStorage",
            "IntStorage",
            "ShortStorage",
            "CharStorage",
            "ByteStorage",
            "BoolStorage",
            "BFloat16Storage",
            "ComplexDoubleStorage",
            "ComplexFloatStorage",
        ),
        "storage",
    ),
    **dict.fromkeys(
        "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc convolution".split(),
        "functions.conv",
    ),
    **dict.fromkeys(
        (
            "avg_pool1d max_pool1d max_pool1d_with_indices max_pool2d max_pool3d adaptive_avg_pool1d "
            "adaptive_max_pool1d"
        ).split(),
        "functions.pooling",
    ),
    **dict.fromkeys(
        ("grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "affine_grid_generator"), "functions.resampling"
    ),
    **dict.fromkeys(
        (
            "binary_cross_entropy_with_logits cosine_embedding_loss hinge_embedding_loss kl_div margin_ranking_loss "
            "poisson_nll_loss triplet_margin_loss"
        ).split(),
        "functions.numbered",
    ),
    **dict.fromkeys(
        "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell".split(), "nn.recurrent"
    ),
    **dict.fromkeys(
        "sym_float sym_int sym_ite sym_max sym_min sym_not sym_sqrt sym_sum".split(), "functions.symbolic"
    ),
    "autocast": "amp",
    "set_printoptions": "printing",
    "get_printoptions": "printing",
    **dict.fromkeys(
        (
            "autocast_decrement_nesting",
            "autocast_increment_nesting",
            "clear_autocast_cache",
            "get_autocast_cpu_dtype",
            "get_autocast_dtype",
            "get_autocast_gpu_dtype",
            "is_autocast_cache_enabled",
            "is_autocast_cpu_enabled",
            "is_autocast_enabled",
            "set_autocast_cache_enabled",
            "set_autocast_cpu_dtype",
            "set_autocast_cpu_enabled",
            "set_autocast_dtype",
            "set_autocast_enabled",
            "set_autocast_gpu_dtype",
        ),
        "amp.autocast_mode",
    ),
}


#: Modules under names of their own: `from torch import torch` is written, and works.
MODULES = {"torch": "bibun", "_VF": "bibun._VF"}


def find(name: str) -> Any:
    """The public object of that name, or None."""
    if name in MODULES:
        return importlib.import_module(MODULES[name])
    home = HOMES.get(name)
    if home is None:
        return None
    try:
        module = importlib.import_module(f"bibun.{home}")
    except ModuleNotFoundError as error:
        if error.name != f"bibun.{home}":
            raise
        return None
    return getattr(module, name)
