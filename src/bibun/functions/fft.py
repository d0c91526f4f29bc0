"""The functions of ``torch.fft``: discrete Fourier transforms, their frequencies, and shifts of spectra.

In: tensors, sizes (``n``, ``s``: the signal is cut or padded with zeros to them), dims, and the scale (``norm``:
``backward`` divides the inverse by n, ``forward`` the forward transform, ``ortho`` both by √n). Out: complex tensors, or
real ones for the transforms of half spectra. Loaded when ``torch.fft`` is first touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.dispatch import apply
from ..backends import cpu, fourier
from ..dtypes import BY_NUMPY
from ..errors import normalize_dim
from ..ops import fft as ops
from ..ops import joining, shape
from ..ops.primitive import REGISTRY
from .creation import checked, finished
from .joining import roll
from .pointwise import conj_physical
from .register import function
from .shape import only_tensor, sizes_of

for _name in ("fft_c2c", "fft_r2c", "fft_c2r", "scale_middle"):
    setattr(cpu, _name, getattr(fourier, _name))

_fft: Any = {"space": "fft", "method": False}


# Arguments


def scale_of(norm: Any, forward: bool) -> int:
    """The scale's number (0: none, 1: √n, 2: n) of a transform in the given direction."""
    if norm is None or norm == "backward":
        return 0 if forward else 2
    if norm == "forward":
        return 2 if forward else 0
    if norm == "ortho":
        return 1
    raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def floating(x: Any, want_complex: bool = False) -> Any:
    """``x`` in a dtype that can be transformed: integers become the default float; complex where asked for."""
    d = x._a.dtype
    if d.kind in "biu":
        d = dtypes.default_np
    if d.kind not in "fc" or d.itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {BY_NUMPY[d].scalar_name}")
    if want_complex and d.kind == "f":
        d = np.dtype(np.complex64 if d.itemsize == 4 else np.complex128)
    return x if d is x._a.dtype or d == x._a.dtype else apply(REGISTRY["astype"], (x,), (d,))


def check_points(n: int) -> int:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def resized(x: Any, axes: tuple[int, ...], sizes: Any) -> Any:
    """``x`` cut, or padded with zeros at the end, to ``sizes`` along ``axes`` (-1: as it is)."""
    pad = [(0, 0)] * x._a.ndim
    for axis, n in zip(axes, sizes):
        if n == -1:
            continue
        have = x._a.shape[axis]
        if n < have:
            x = apply(shape.slice_axis, (x,), (axis, 0, n, 1))
        elif n > have:
            pad[axis] = (0, n - have)
    return x if not any(after for _, after in pad) else apply(joining.constant_pad, (x,), (tuple(pad), 0))


def _one(input: Any, n: Any, dim: int) -> tuple[int, Any]:
    if n is not None and n != -1:
        check_points(n)
    return normalize_one(dim, input._a.ndim), n


def normalize_one(dim: int, ndim: int) -> int:
    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return normalize_dim(dim, ndim)


def _several(input: Any, s: Any, dim: Any, name: str) -> tuple[tuple[int, ...], list[int]]:
    """(axes, sizes along them) of the transforms over several dims."""
    own = input._a.shape
    ndim = len(own)
    if dim is None:
        if s is None:
            axes = tuple(range(ndim))
        else:
            s = sizes_of((s,), name, "s")
            if len(s) > ndim:
                raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions.")
            axes = tuple(range(ndim - len(s), ndim))
    else:
        axes = tuple([normalize_one(d, ndim) for d in sizes_of((dim,), name, "dim")])
        if len(set(axes)) != len(axes):
            raise RuntimeError("FFT dims must be unique")
        if s is not None:
            s = sizes_of((s,), name, "s")
            if len(s) != len(axes):
                raise RuntimeError("When given, dim and shape arguments must have the same length")
            if len(s) > ndim:
                raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {ndim} dimensions.")
    sizes = [own[a] for a in axes] if s is None else [own[a] if n == -1 else n for a, n in zip(axes, s)]
    return axes, sizes


# One dimension


def _c2c(name: str, forward: bool) -> Any:
    def transform(input: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
        only_tensor(input, f"fft_{name}")
        axis, n = _one(input, n, dim)
        x = floating(input)
        scale = scale_of(norm, forward)
        if n is not None:
            x = resized(x, (axis,), (n,))
        check_points(x._a.shape[axis])
        if x._a.dtype.kind == "c":
            return apply(ops.fft_c2c, (x,), ((axis,), scale, forward))
        out = apply(ops.fft_r2c, (x,), ((axis,), scale, False))
        return out if forward else out.conj()  # of real numbers the inverse is the conjugate of the forward transform

    transform.__name__ = transform.__qualname__ = name
    return transform


fft = _c2c("fft", True)
ifft = _c2c("ifft", False)
fft.__doc__ = """The discrete Fourier transform along one dim.

    Args:
        n: the length of the signal, cut or padded with zeros to it. norm: the scale, see the module's page.

    >>> import bibun as torch
    >>> torch.fft.fft(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
ifft.__doc__ = "The inverse of `fft`."
function(fft, **_fft)
function(ifft, **_fft)


def _r2c(name: str, forward: bool) -> Any:
    def transform(input: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
        only_tensor(input, f"fft_{name}")
        if input._a.dtype.kind == "c":
            raise RuntimeError(f"{name} expects a real input tensor, but got {input.dtype.scalar_name}")
        x = floating(input)
        axis, n = _one(input, n, dim)
        scale = scale_of(norm, forward)
        if n is not None:
            x = resized(x, (axis,), (n,))
        check_points(x._a.shape[axis])
        out = apply(ops.fft_r2c, (x,), ((axis,), scale, True))
        return out if forward else out.conj()

    transform.__name__ = transform.__qualname__ = name
    return transform


rfft = _r2c("rfft", True)
ihfft = _r2c("ihfft", False)
rfft.__doc__ = """`fft` of real numbers: the first n // 2 + 1 values; the others are conjugates of these.

    >>> import bibun as torch
    >>> torch.fft.rfft(torch.ones(4))
    tensor([4.+0.j, 0.+0.j, 0.+0.j])
    """
ihfft.__doc__ = "The inverse of `hfft`: the first half of the spectrum of real numbers."
function(rfft, **_fft)
function(ihfft, **_fft)


def _c2r(name: str, forward: bool) -> Any:
    def transform(input: Any, n: Any = None, dim: int = -1, norm: Any = None) -> Any:
        only_tensor(input, f"fft_{name}")
        x = floating(input, True)
        axis = normalize_one(dim, x._a.ndim)
        points = check_points(2 * (x._a.shape[axis] - 1) if n is None or n == -1 else n)
        if n is not None and n != -1:
            x = resized(x, (axis,), (points // 2 + 1,))
        scale = scale_of(norm, forward)
        return apply(ops.fft_c2r, (x.conj() if forward else x,), ((axis,), scale, points))

    transform.__name__ = transform.__qualname__ = name
    return transform


irfft = _c2r("irfft", False)
hfft = _c2r("hfft", True)
irfft.__doc__ = (
    "The inverse of `rfft`: ``n`` real numbers (2 (m - 1) unless given) of the first half of their spectrum."
)
hfft.__doc__ = "`fft` of a Hermitian signal of which the first half is given: ``n`` real numbers."
function(irfft, **_fft)
function(hfft, **_fft)


# Several dimensions


def _c2cn(name: str, forward: bool) -> Any:
    def transform(input: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
        only_tensor(input, f"fft_{name}")
        axes, sizes = _several(input, s, dim, name)
        x = floating(input, True)
        for n in sizes:
            check_points(n)
        return apply(ops.fft_c2c, (resized(x, axes, sizes),), (axes, scale_of(norm, forward), forward))

    transform.__name__ = transform.__qualname__ = name
    return transform


def _rfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
    only_tensor(input, "fft_rfftn")
    if input._a.dtype.kind == "c":
        raise RuntimeError(f"rfftn expects a real-valued input tensor, but got {input.dtype.scalar_name}")
    x = floating(input)
    axes, sizes = _several(x, s, dim, "rfftn")
    if not axes:
        raise RuntimeError("rfftn must transform at least one axis")
    for n in sizes:
        check_points(n)
    return apply(ops.fft_r2c, (resized(x, axes, sizes),), (axes, scale_of(norm, True), True))


def _half(x: Any, s: Any, dim: Any, name: str) -> tuple[Any, tuple[int, ...], int]:
    """(the half spectrum resized, axes, the number of points of the last one)."""
    axes, sizes = _several(x, s, dim, name)
    if not axes:
        raise RuntimeError(f"{name} must transform at least one axis")
    given = s is not None and sizes_of((s,), name, "s")[-1] != -1
    points = sizes[-1] if given else 2 * (sizes[-1] - 1)
    for n in (*sizes[:-1], points):
        check_points(n)
    return resized(x, axes, (*sizes[:-1], points // 2 + 1)), axes, points


def _irfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
    x = floating(only_tensor(input, "fft_irfftn"), True)
    x, axes, points = _half(x, s, dim, "irfftn")
    return apply(ops.fft_c2r, (x,), (axes, scale_of(norm, False), points))


def _hfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
    x = floating(only_tensor(input, "fft_hfftn"), True)
    x, axes, points = _half(x, s, dim, "hfftn")
    scale = scale_of(norm, True)
    if len(axes) > 1:
        x = apply(ops.fft_c2c, (x,), (axes[:-1], scale, True))
    return apply(ops.fft_c2r, (x.conj(),), (axes[-1:], scale, points))


def _ihfftn(input: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
    only_tensor(input, "fft_ihfftn")
    if input._a.dtype.kind == "c":
        raise RuntimeError(f"Only supports floating-point dtypes, but found: {input.dtype.scalar_name}")
    x = floating(input)
    axes, sizes = _several(x, s, dim, "ihfftn")
    if not axes:
        raise RuntimeError("ihfftn must transform at least one axis")
    for n in sizes:
        check_points(n)
    scale = scale_of(norm, False)
    out = apply(ops.fft_r2c, (resized(x, axes, sizes),), (axes[-1:], scale, True))
    if len(axes) == 1:
        return out.conj()
    return apply(ops.fft_c2c, (conj_physical(out),), (axes[:-1], scale, False))


def _enter(general: Any, name: str, doc: str) -> tuple[Any, Any]:
    """The public functions ``<name>n`` and ``<name>2`` of a transform over several dims."""

    def over_two(input: Any, s: Any = None, dim: Any = (-2, -1), norm: Any = None) -> Any:
        return general(input, s, dim, norm)

    general.__name__ = general.__qualname__ = name + "n"
    over_two.__name__ = over_two.__qualname__ = name + "2"
    general.__doc__ = doc
    over_two.__doc__ = f"As `{name}n`, over the last two dims unless others are given."
    return function(general, **_fft), function(over_two, **_fft)


fftn, fft2 = _enter(_c2cn("fftn", True), "fft", "`fft` along several dims (None: all, or the last ``len(s)``).")
ifftn, ifft2 = _enter(_c2cn("ifftn", False), "ifft", "The inverse of `fftn`.")
rfftn, rfft2 = _enter(_rfftn, "rfft", "`fftn` of real numbers: half of it along the last dim.")
irfftn, irfft2 = _enter(_irfftn, "irfft", "The inverse of `rfftn`; ``s`` tells whether the last size was odd.")
hfftn, hfft2 = _enter(_hfftn, "hfft", "`fftn` of a signal that is Hermitian in the last dim, of which half is given.")
ihfftn, ihfft2 = _enter(_ihfftn, "ihfft", "The inverse of `hfftn`: half of the spectrum of real numbers.")


# Frequencies and shifts


def _frequencies(name: str, numbers: Any) -> Any:
    def frequencies(
        n: int,
        d: float = 1.0,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
    ) -> Any:
        np_dtype = checked(dtype, device, layout, name) or dtypes.default_np
        if np_dtype.kind not in "fcV":
            raise RuntimeError(f"{name} requires a floating point or complex dtype")
        if np_dtype.kind == "c":
            raise NotImplementedError(f"\"arange_cpu\" not implemented for '{BY_NUMPY[np_dtype].scalar_name}'")
        with np.errstate(all="ignore"):
            # multiplied in the tensor's precision by a factor rounded to it, as PyTorch does
            made = numbers(n).astype(np_dtype) * np.float64(1.0 / (np.float64(n) * d)).astype(np_dtype)
        return finished(made, requires_grad)

    frequencies.__name__ = frequencies.__qualname__ = name
    return function(frequencies, **_fft)


fftfreq = _frequencies("fftfreq", lambda n: np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)]))
rfftfreq = _frequencies("rfftfreq", lambda n: np.arange(n // 2 + 1))
fftfreq.__doc__ = """The frequencies of the values that `fft` of ``n`` samples at a distance of ``d`` gives.

    >>> import bibun as torch
    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
rfftfreq.__doc__ = "The frequencies of the values that `rfft` of ``n`` samples at a distance of ``d`` gives."


def _shifted(input: Any, dim: Any, name: str, by: Any) -> Any:
    only_tensor(input, name)
    own = input._a.shape
    axes = (
        tuple(range(len(own)))
        if dim is None
        else tuple([normalize_dim(d, len(own)) for d in sizes_of((dim,), name, "dim")])
    )
    return roll(input, [by(own[a]) for a in axes], axes)


def fftshift(input: Any, dim: Any = None) -> Any:
    """Frequency 0 moved to the middle."""
    return _shifted(input, dim, "fft_fftshift", lambda n: n // 2)


def ifftshift(input: Any, dim: Any = None) -> Any:
    """Frequency 0 moved from the middle to the front: the inverse of `fftshift`."""
    return _shifted(input, dim, "fft_ifftshift", lambda n: (n + 1) // 2)


function(fftshift, space="fft", method=False, out=False)
function(ifftshift, space="fft", method=False, out=False)
