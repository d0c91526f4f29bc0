"""Short-time Fourier transforms: a signal cut into overlapping frames, each transformed; and the signal put together again.

In: signals (length,) or (batch, length). Out: spectra (batch, frequencies, frames), and back. `torch.stft`, `torch.istft`
and the tensor's methods of these names load this file when first used.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..autograd.dispatch import apply, wrap
from ..ops import fft as transforms
from ..ops.primitive import REGISTRY
from .fft import check_points  # noqa: F401  (that file gives the backend its transforms)
from .padding import pad as pad_edges
from .register import FUNCTIONS
from .shape import only_tensor

_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, UserWarning, stacklevel=3)


NO_WINDOW = (
    "A window was not provided. A rectangular window will be applied,which is known to cause spectral leakage. Other windows "
    "such as torch.hann_window or torch.hamming_window are recommended to reduce spectral leakage.To suppress this warning and "
    "use a rectangular window, explicitly set `window=torch.ones(n_fft, device=<device>)`."
)
NO_WINDOW_BACK = (
    "A window was not provided. A rectangular window will be applied.Please provide the same window used by stft to make the "
    "inversion lossless.To suppress this warning and use a rectangular window, explicitly set "
    "`window=torch.ones(n_fft, device=<device>)`."
)
REAL_PAIRS = (
    "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex tensors for all "
    "inputs, and return_complex=False will raise an error.\nNote: you can still call torch.view_as_real on the complex output "
    "to recover the old return format."
)


def _kind(t: Any) -> str:
    return (
        f"CPU{t.dtype.scalar_name}Type{list(t.shape)}"
        if t.is_complex()
        else f"torch.{t.dtype.scalar_name}Tensor{list(t.shape)}"
    )


def _said(x: Any) -> Any:
    return x.__class__ is bool and int(x) or (0 if x is False else x)


def _framed_window(window: Any, win_length: int, n_fft: int, d: Any) -> Any:
    """The window with zeros on both sides, or ones where there is none."""
    if win_length == n_fft:
        return window
    if window is None:
        window = wrap(np.ones(win_length, d))
    left = (n_fft - win_length) // 2
    return apply(REGISTRY["constant_pad"], (window,), (((left, n_fft - win_length - left),), 0))


def stft(
    input: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: Any = None,
    return_complex: Any = None,
    align_to_window: Any = None,
) -> Any:
    """The transforms of overlapping frames of a signal.

    Args:
        n_fft: the length of a frame. hop_length: from frame to frame (n_fft // 4). win_length: the window's (n_fft).
        center: pad the signal so that frame t is centred at t * hop_length. normalized: divide by √n_fft. onesided: half
        the spectrum (for real signals). return_complex: complex numbers (needed for real signals).

    Shape: (length,) or (batch, length) gives (frequencies, frames) or (batch, frequencies, frames).

    >>> import bibun as torch
    >>> torch.stft(torch.ones(8), 4, window=torch.ones(4), return_complex=True).shape
    torch.Size([3, 9])
    """
    only_tensor(input, "stft")
    if center:
        if align_to_window is not None:
            raise RuntimeError("stft align_to_window should only be set when center = false")
        own = tuple(input.shape)
        sides = (int(n_fft) // 2, int(n_fft) // 2)
        if len(own) < 3:
            input = pad_edges(input.view((1,) * (3 - len(own)) + own), sides, pad_mode)
            input = input.view(tuple(input.shape[3 - len(own) :]))
        else:
            input = pad_edges(input, sides, pad_mode)
    if window is None:
        _warn_once(NO_WINDOW)
    complex_in = input.is_complex() or window is not None and window.is_complex()
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length

    def refuse(why: str) -> RuntimeError:
        shown = None if window is None else f"{_kind(window).split('[')[0]}{{{list(window.shape)}}}"
        return RuntimeError(
            f"stft({_kind(input)}, n_fft={n_fft}, hop_length={hop}, win_length={width}, window={shown}, "
            f"normalized={int(normalized)}, onesided={_said(onesided)}, return_complex={_said(return_complex)}, "
            f"align_to_window={_said(align_to_window)}) : {why}"
        )

    if return_complex is None:
        if not complex_in:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        as_complex = True
    else:
        as_complex = bool(return_complex)
        if not as_complex:
            _warn_once(REAL_PAIRS)
    if not (input.is_floating_point() or input.is_complex()):
        raise refuse("expected a tensor of floating point or complex values")
    if input.dim() not in (1, 2):
        raise refuse("expected a 1D or 2D tensor")
    single = input.dim() == 1
    if single:
        input = input.unsqueeze(0)
    length = input.shape[1]
    if n_fft <= 0 or n_fft > length:
        raise refuse(f"expected 0 < n_fft < {length}, but got n_fft={n_fft}")
    if hop <= 0:
        raise refuse(f"expected hop_length > 0, but got hop_length={hop}")
    if width <= 0 or width > n_fft:
        raise refuse(f"expected 0 < win_length <= n_fft, but got win_length={width}")
    if window is not None and (window.dim() != 1 or window.shape[0] != width):
        raise refuse(
            f"expected a 1D window tensor of size equal to win_length={width}, but got window with size {list(window.shape)}"
        )
    whole = _framed_window(window, width, n_fft, input._a.dtype)
    if align_to_window:
        count = 1 + (length - width) // hop
        if (count - 1) * hop + n_fft > length:
            raise RuntimeError(
                f"stft: {count} frames of {n_fft} points at steps of {hop} reach beyond a signal of {length}"
            )
    frames = input.unfold(1, n_fft, hop)
    if whole is not None:
        frames = frames * whole
    half = not complex_in if onesided is None else bool(onesided)
    scale = 1 if normalized else 0
    if complex_in:
        if half:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        out = apply(transforms.fft_c2c, (frames,), ((2,), scale, True))
    else:
        out = apply(transforms.fft_r2c, (frames,), ((2,), scale, half))
    out = out.transpose(1, 2)
    if single:
        out = out.squeeze(0)
    return out if as_complex else FUNCTIONS["view_as_real"](out)


def istft(
    input: Any,
    n_fft: int,
    hop_length: Any = None,
    win_length: Any = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: Any = None,
    length: Any = None,
    return_complex: bool = False,
) -> Any:
    """The signal whose `stft` is ``input``: frames transformed back, added, and divided by the sum of squared windows.

    Shape: (frequencies, frames) or (batch, frequencies, frames) gives (length,) or (batch, length).

    Raises:
        RuntimeError: no complex tensor; sizes that do not fit; windows that leave a gap.
    """
    only_tensor(input, "istft")
    if window is None:
        _warn_once(NO_WINDOW_BACK)
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length

    def refuse(why: str) -> RuntimeError:
        shown = None if window is None else f"{_kind(window).split('[')[0]}{{{list(window.shape)}}}"
        return RuntimeError(
            f"istft({_kind(input)}, n_fft={n_fft}, hop_length={hop}, win_length={width}, window={shown}, "
            f"center={int(center)}, normalized={int(normalized)}, onesided={_said(onesided)}, length={length}, "
            f"return_complex={int(return_complex)}) {why}"
        )

    if not input.numel():
        raise refuse(": input tensor cannot be empty.")
    if input.dim() not in (2, 3):
        if input.dim() < 2:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-2, 1], but got -3): {list(input.shape)}"
            )
        raise refuse(f": expected a tensor with 3 or 4 dimensions, but got {input.dim() + 1}")
    bins, count = input.shape[-2:]
    half = bins != n_fft if onesided is None else bool(onesided)
    if half and n_fft // 2 + 1 != bins:
        raise refuse(
            ": expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 when "
            f"onesided=True, but got {bins}"
        )
    if not half and n_fft != bins:
        raise refuse(
            ": expected the frequency dimension (3rd to the last) of the input tensor to match n_fft when onesided=False, "
            f"but got {bins}"
        )
    if not 0 < hop <= width:
        raise refuse(": expected 0 < hop_length <= win_length")
    if not 0 < width <= n_fft:
        raise refuse(": expected 0 < win_length <= n_fft")
    if window is not None and (window.dim() != 1 or window.shape[0] != width):
        raise refuse(": Invalid window shape. window has to be 1D and length of `win_length`")
    d = input._a.dtype if return_complex else input._a.real.dtype
    whole = _framed_window(window if window is not None else wrap(np.ones(width, input._a.real.dtype)), width, n_fft, d)
    single = input.dim() == 2
    frames = (input.unsqueeze(0) if single else input).transpose(1, 2)
    scale = 1 if normalized else 2
    if return_complex:
        if half:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        frames = apply(transforms.fft_c2c, (frames,), ((2,), scale, False))
    else:
        if whole.is_complex():
            raise RuntimeError("Complex windows are incompatible with return_complex=False")
        if not half:
            frames = frames.narrow(2, 0, n_fft // 2 + 1)
        frames = apply(transforms.fft_c2r, (frames,), ((2,), scale, n_fft))
    expected = n_fft + hop * (count - 1)
    add_up = REGISTRY["unfold_backward"]
    made = frames * whole
    y = apply(add_up, (made,), ((made.shape[0], expected), 1, n_fft, hop))
    weights = apply(add_up, (whole.pow(2).expand(1, count, n_fft),), ((1, expected), 1, n_fft, hop))
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else expected - n_fft // 2 if center else expected
    stop = max(start, min(end, expected))
    y, weights = y[:, start:stop], weights[:, start:stop]
    if weights.numel() and float(np.abs(weights._a).min()) < 1e-11:
        raise refuse("window overlap add min: 1")
    y = y / weights
    if single:
        y = y.squeeze(0)
    if end > expected:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. "
            "Please check your center and hop_length settings.",
            UserWarning,
            stacklevel=2,
        )
        y = pad_edges(y, (0, end - expected))
    return y
