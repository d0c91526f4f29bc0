"""Array kernels of convolutions: windows of a padded image copied into columns, then one matrix product a group.

In: images (N, C, *), weights (O, C / groups, *kernel), and stride, padding and dilation for each spatial dimension. The
images are taken a few at a time, so that the columns stay in the cache instead of passing through memory. Out: images.

With stride 1 the columns are *wide*: the windows' places are numbered along the padded image as it lies in memory, so
that a column's copy is one run instead of many short rows; the places between two rows, which are no windows, are
dropped from the product. Where that would be much waste, or the stride is not 1, rows are copied one by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .large import native
from .products import matmul
from .reduce import NARROW

__all__ = [
    "convolution",
    "convolution_weight_gradient",
    "fold_windows",
    "unfold_windows",
]

F32 = np.dtype(np.float32)
#: Bytes of columns that are worked on at a time.
BUFFER = 1 << 20
#: How many places, windows or not, a window may cost before rows are copied one by one.
WASTE = 1.3
#: Below this many windows an image, several images share one product.
FEW = 128
#: Multiplications from which a native kernel is asked.
WORK = 1 << 19

Sizes = tuple[int, ...]


def wide(x: Any) -> Any:
    return x.astype(F32) if x is not None and x.dtype in NARROW else x


def places(spatial: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """How many windows there are along each dimension."""
    return tuple(
        [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(spatial, kernel, stride, padding, dilation)]
    )


def inside(padding: Sizes, spatial: Sizes) -> tuple[Any, ...]:
    """The index of the image in the padded image."""
    return (Ellipsis, *[slice(p, p + n) for p, n in zip(padding, spatial)])


class Windows:
    """The sliding windows over images of one size: copies them into columns, adds columns up to images.

    ``columns(x)`` gives, for images i to j, an array (j - i, C, *kernel, places); ``step`` is how many images fit the
    buffer. ``run`` is the number of places of a column, ``row`` that with which the places of an output are numbered.
    """

    def __init__(
        self,
        n: int,
        channels: int,
        spatial: Sizes,
        kernel: Sizes,
        out: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        dtype: Any,
        merge: bool = True,
    ):
        self.channels, self.spatial, self.kernel, self.out = channels, spatial, kernel, out
        self.stride, self.padding, self.dilation, self.dtype = stride, padding, dilation, dtype
        self.padded = padded = tuple([n + 2 * p for n, p in zip(spatial, padding)])
        self.count = math.prod(out)
        steps = [1] * len(padded)
        for i in range(len(padded) - 1, 0, -1):
            steps[i - 1] = steps[i] * padded[i]
        self.steps = steps
        self.run = run = sum([(o - 1) * s for o, s in zip(out, steps)]) + 1
        self.wide = all([s == 1 for s in stride]) and run <= WASTE * self.count
        #: The shape in which an output's places are numbered: that of the padded image, but for the first dimension.
        self.frame = (out[0], *padded[1:]) if self.wide else out
        self.row = math.prod(self.frame)
        if not self.wide:
            self.run = self.count
        self.merged = merge and self.count < FEW and n > 1 and not self.wide
        if merge and self.count < FEW and n > 1 and self.wide:
            self.wide, self.merged, self.frame, self.row, self.run = False, True, out, self.count, self.count
        each = max(channels * math.prod(kernel) * self.run * dtype.itemsize, 1)
        self.step = max(1, min(n, (4 * BUFFER if self.merged else BUFFER) // each))
        self.pads = any(padding)
        self.image: Any = None
        self.buffer: Any = None

    def padded_images(self, x: Any) -> Any:
        """A few images with their margins, as one row-major array."""
        if not self.pads:
            return np.ascontiguousarray(x)
        if self.image is None:
            self.image = np.zeros((self.step, self.channels, *self.padded), self.dtype)
        image = self.image[: len(x)]
        image[inside(self.padding, self.spatial)] = x
        return image

    def view(self, image: Any) -> Any:
        """The windows of padded images: (n, C, *kernel, run) where they are wide, else (n, C, *kernel, *out)."""
        size, strides = image.dtype.itemsize, image.strides
        inner = [s * d for s, d in zip(strides[2:], self.dilation)]
        if self.wide:
            return as_strided(
                image, (*image.shape[:2], *self.kernel, self.run), (*strides[:2], *inner, size), writeable=False
            )
        outer = [s * t for s, t in zip(strides[2:], self.stride)]
        return as_strided(
            image, (*image.shape[:2], *self.kernel, *self.out), (*strides[:2], *inner, *outer), writeable=False
        )

    def columns(self, x: Any, groups: int) -> Any:
        """The columns of a few images: (n, groups, C / groups · ∏kernel, run); merged ones (groups, ..., n · run)."""
        windows = self.view(self.padded_images(x))
        n = len(x)
        if self.merged:
            k = len(self.kernel)
            windows = windows.transpose((*range(1, k + 2), 0, *range(k + 2, 2 * k + 2)))
        if self.buffer is None or self.buffer.shape != windows.shape:
            self.buffer = np.empty(windows.shape, self.dtype)
        np.copyto(self.buffer, windows)
        rows = self.channels // groups * math.prod(self.kernel)
        return self.buffer.reshape((groups, rows, n * self.run) if self.merged else (n, groups, rows, self.run))


def convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    transposed: bool,
    output_padding: Sizes,
    groups: int,
) -> Any:
    """The convolution (cross-correlation) of (N, C, *) with (O, C / groups, *kernel), or the transposed one: that of
    (N, C, *) with (C, O / groups, *kernel), plus ``bias``."""
    d = x.dtype
    if d in NARROW:
        x, weight, bias = wide(x), wide(weight), wide(bias)
    if not transposed:
        out = correlate(x, weight, bias, stride, padding, dilation, groups)
    else:
        kernel = weight.shape[2:]
        spatial = tuple(
            [
                (n - 1) * s - 2 * p + t * (k - 1) + 1 + o
                for n, k, s, p, t, o in zip(x.shape[2:], kernel, stride, padding, dilation, output_padding)
            ]
        )
        out = spread(x, weight, spatial, stride, padding, dilation, groups)
        if bias is not None:
            np.add(out, bias.reshape((-1, *(1,) * len(kernel))), out=out)
    return out if out.dtype == d else out.astype(d)


def only_one(out: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> bool:
    """Whether there is a single window that is one block of the image: then a product of matrices is all."""
    return groups == 1 and all([n == 1 for n in out]) and not any(padding) and all([d == 1 for d in dilation])


def block(x: Any, kernel: Sizes) -> Any:
    """The only window of images as rows."""
    return x[(slice(None), slice(None), *[slice(k) for k in kernel])].reshape(len(x), -1)


def correlate(
    x: Any, weight: Any, bias: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    n, channels = x.shape[:2]
    outputs, kernel, spatial = weight.shape[0], weight.shape[2:], x.shape[2:]
    out = places(spatial, kernel, stride, padding, dilation)
    shift = None if bias is None else bias.reshape((-1, *(1,) * len(kernel)))
    if not channels or not n or not math.prod(out) or not outputs:
        made = np.zeros((n, outputs, *out), x.dtype)
        return made if shift is None else np.add(made, shift, out=made)
    if only_one(out, padding, dilation, groups):
        made = matmul(block(x, kernel), weight.reshape(outputs, -1).T).reshape(n, outputs, *out)
        return made if shift is None else np.add(made, shift, out=made)
    if x.dtype == F32 and math.prod(out) * n * weight.size >= WORK and native():
        from ..native.kernels import conv

        made = conv.correlate(x, weight, bias, out, stride, padding, dilation, groups)
        if made is not NotImplemented:
            return made
    rows = weight.reshape(groups, outputs // groups, -1)
    if math.prod(kernel) == 1 and not any(padding) and (groups == 1 or channels != groups):
        if any([s != 1 for s in stride]):
            x = x[(slice(None), slice(None), *[slice(None, None, s) for s in stride])]
        made = np.matmul(rows, x.reshape(n, groups, channels // groups, -1)).reshape(n, outputs, *out)
        return made if shift is None else np.add(made, shift, out=made)
    if channels == groups == outputs and x.dtype.kind in "fc":
        return each_channel(x, weight, shift, out, stride, padding, dilation)
    windows = Windows(n, channels, spatial, kernel, out, stride, padding, dilation, x.dtype)
    made = np.empty((n, outputs, *out), x.dtype)
    step, count, run = windows.step, windows.count, windows.run
    product = None
    for i in range(0, n, step):
        columns = windows.columns(x[i : i + step], groups)
        m = min(step, n - i)
        part = made[i : i + m]
        if windows.merged:
            got = np.matmul(rows, columns).reshape(outputs, m, *out).swapaxes(0, 1)
            np.copyto(part, got) if shift is None else np.add(got, shift, out=part)
        elif windows.row == count:  # no places between the rows
            np.matmul(rows, columns, out=part.reshape(m, groups, outputs // groups, count))
            if shift is not None:
                np.add(part, shift, out=part)
        else:
            if product is None:
                product = np.empty((step, groups, outputs // groups, windows.row), x.dtype)
            np.matmul(rows, columns, out=product[:m, ..., :run])
            got = product[:m].reshape(m, outputs, *windows.frame)[(Ellipsis, *[slice(o) for o in out])]
            np.copyto(part, got) if shift is None else np.add(got, shift, out=part)
    return made


def offsets(kernel: Sizes, out: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """For each place in the kernel, it and the index of what it meets in the padded images (..., *padded)."""
    for place in np.ndindex(*kernel):
        yield place, (Ellipsis, *[slice(i * d, i * d + (o - 1) * s + 1, s) for i, d, o, s in zip(place, dilation, out, stride)])


def pad(x: Any, padding: Sizes) -> Any:
    if not any(padding):
        return x
    made = np.zeros((*x.shape[:2], *[n + 2 * p for n, p in zip(x.shape[2:], padding)]), x.dtype)
    made[inside(padding, x.shape[2:])] = x
    return made


def each_channel(
    x: Any, weight: Any, shift: Any, out: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Any:
    """A convolution with one kernel a channel: no product of matrices, but scaled images added."""
    made = np.empty((*x.shape[:2], *out), x.dtype)
    kernel = weight.shape[2:]
    rank = (1,) * len(kernel)
    step = max(1, BUFFER // max(made[0].nbytes, 1))
    for i in range(0, len(x), step):
        padded, part = pad(x[i : i + step], padding), made[i : i + step]
        scaled = None
        for place, index in offsets(kernel, out, stride, dilation):
            factor = weight[(slice(None), 0, *place)].reshape(-1, *rank)
            if scaled is None:
                np.multiply(padded[index], factor, out=part)
                scaled = np.empty_like(part)
            else:
                np.multiply(padded[index], factor, out=scaled)
                np.add(part, scaled, out=part)
        if shift is not None:
            np.add(part, shift, out=part)
    return made


def spread(
    g: Any, weight: Any, spatial: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    """The transpose of `correlate` in its images: from (N, O, *) and (O, C / groups, *kernel) to (N, C, *spatial)."""
    n, outputs = g.shape[:2]
    kernel, out = weight.shape[2:], g.shape[2:]
    each = weight.shape[1]
    channels = each * groups
    made_shape = (n, channels, *spatial)
    if not g.size or not weight.size or not math.prod(spatial):
        return np.zeros(made_shape, g.dtype)
    if only_one(out, padding, dilation, groups):
        columns = matmul(g.reshape(n, outputs), weight.reshape(outputs, -1)).reshape(n, channels, *kernel)
        if kernel == spatial:
            return columns
        made = np.zeros(made_shape, g.dtype)
        made[(Ellipsis, *[slice(k) for k in kernel])] = columns
        return made
    if g.dtype == F32 and math.prod(out) * n * weight.size >= WORK and native():
        from ..native.kernels import conv

        made = conv.spread(g, weight, spatial, stride, padding, dilation, groups)
        if made is not NotImplemented:
            return made
    flat = math.prod(kernel)
    unit = all([s == 1 for s in stride])
    if flat == 1 and unit and not any(padding) and spatial == out and (groups == 1 or each != 1):
        columns = weight.reshape(groups, outputs // groups, each).swapaxes(1, 2)
        return np.matmul(columns, g.reshape(n, groups, outputs // groups, -1)).reshape(made_shape)
    margins = tuple([d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation)])
    if (
        unit
        and all([m >= 0 for m in margins])
        and all([a == b + m * 2 - d * (k - 1) for a, b, m, d, k in zip(spatial, out, margins, dilation, kernel)])
        and (outputs <= 2 * channels or channels == groups)
    ):
        # The same convolution with the kernel turned around, and inputs and outputs exchanged.
        turned = weight.reshape(groups, outputs // groups, each, *kernel).swapaxes(1, 2)
        turned = turned[(Ellipsis, *[slice(None, None, -1)] * len(kernel))]
        turned = turned.reshape(channels, outputs // groups, *kernel)
        return correlate(g, turned, None, stride, margins, dilation, groups)
    rows = weight.reshape(groups, outputs // groups, each * flat).swapaxes(1, 2)
    padded = tuple([n + 2 * p for n, p in zip(spatial, padding)])
    count = math.prod(out)
    step = max(1, min(n, BUFFER // max(channels * flat * count * g.dtype.itemsize, 1)))
    made = np.zeros(made_shape, g.dtype) if not any(padding) else np.empty(made_shape, g.dtype)
    tiled = stride == kernel and all([d == 1 for d in dilation])
    for i in range(0, n, step):
        part = g[i : i + step]
        m = len(part)
        columns = np.matmul(rows, part.reshape(m, groups, outputs // groups, count))
        columns = columns.reshape(m, channels, *kernel, *out)
        image = np.zeros((m, channels, *padded), g.dtype) if any(padding) else made[i : i + m]
        add_up(image, columns, kernel, out, stride, dilation, tiled)
        if any(padding):
            made[i : i + m] = image[inside(padding, spatial)]
    return made


def add_up(image: Any, columns: Any, kernel: Sizes, out: Sizes, stride: Sizes, dilation: Sizes, tiled: bool) -> None:
    """Add columns (n, C, *kernel, *out) into images (n, C, *padded), which are zero where the windows do not overlap."""
    for place, index in offsets(kernel, out, stride, dilation):
        target, source = image[index], columns[(slice(None), slice(None), *place)]
        if tiled:
            np.copyto(target, source)
        else:
            np.add(target, source, out=target)


def convolution_weight_gradient(
    x: Any, g: Any, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    """The gradient (of shape ``size``) of a convolution of images ``x`` in its weight, given ``g``, that of its output."""
    d = x.dtype
    if d in NARROW:
        return convolution_weight_gradient(wide(x), wide(g), size, stride, padding, dilation, groups).astype(d)
    n, channels = x.shape[:2]
    outputs, kernel, out = size[0], tuple(size[2:]), g.shape[2:]
    if not x.size or not g.size or not math.prod(size):
        return np.zeros(size, d)
    if only_one(out, padding, dilation, groups):
        return matmul(g.reshape(n, outputs).T, block(x, kernel)).reshape(size)
    if d == F32 and math.prod(out) * n * math.prod(size) >= WORK and native():
        from ..native.kernels import conv

        made = conv.weight_gradient(x, g, size, stride, padding, dilation, groups)
        if made is not NotImplemented:
            return made
    if math.prod(kernel) == 1 and not any(padding) and (groups == 1 or channels != groups):
        x = x[(slice(None), slice(None), *[slice(0, (o - 1) * s + 1, s) for o, s in zip(out, stride)])]
        rows = g.reshape(n, groups, outputs // groups, -1)
        columns = x.reshape(n, groups, channels // groups, -1)
        return np.add.reduce(np.matmul(rows, columns.swapaxes(2, 3)), 0).reshape(size)
    if channels == groups == outputs and d.kind in "fc":
        made = np.empty(size, d)
        padded = pad(x, padding)
        letters = "xyz"[: len(kernel)]
        sums = f"nc{letters},nc{letters}->nc"
        for place, index in offsets(kernel, out, stride, dilation):
            # Rows of one image first: sums in two steps, which loses fewer digits.
            made[(slice(None), 0, *place)] = np.einsum(sums, padded[index], g).sum(0)
        return made
    windows = Windows(n, channels, x.shape[2:], kernel, out, stride, padding, dilation, d)
    made = weight_sum(windows, x, g, groups)
    if windows.wide and not np.isfinite(made).all():
        # Zeros of the places between rows may have met infinities there.
        windows.__init__(n, channels, x.shape[2:], kernel, out, stride, padding, dilation, d)  # type: ignore[misc]
        windows.wide, windows.frame, windows.row, windows.run = False, out, windows.count, windows.count
        made = weight_sum(windows, x, g, groups)
    return made.reshape(size)


def weight_sum(windows: Windows, x: Any, g: Any, groups: int) -> Any:
    """The sum over images and windows of the outer products of ``g`` there and the window."""
    n, outputs = g.shape[:2]
    step, count, run = windows.step, windows.count, windows.run
    total: Any = None
    rows = None
    for i in range(0, n, step):
        columns = windows.columns(x[i : i + step], groups)
        m = min(step, n - i)
        part = g[i : i + m]
        if windows.merged:
            part = part.reshape(m, groups, outputs // groups, count).transpose(1, 2, 0, 3)
            got = np.matmul(part.reshape(groups, outputs // groups, m * count), columns.swapaxes(1, 2))
        else:
            if windows.row == count:
                part = part.reshape(m, groups, outputs // groups, count)
            else:
                if rows is None:
                    rows = np.zeros((step, groups, outputs // groups, windows.row), g.dtype)
                framed = rows[:m].reshape(m, outputs, *windows.frame)
                framed[(Ellipsis, *[slice(o) for o in windows.out])] = part
                part = rows[:m, ..., :run]
            got = np.matmul(part, columns.swapaxes(2, 3))
            got = got[0] if m == 1 else np.add.reduce(got, 0)
        if total is None:
            total = got
        else:
            total += got
    return total


# Windows as columns


def unfold_windows(x: Any, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The windows of images (N, C, *) as columns (N, C · ∏kernel, places)."""
    n, channels, *spatial = x.shape
    out = places(tuple(spatial), kernel, stride, padding, dilation)
    padded = np.ascontiguousarray(pad(x, padding))
    strides = padded.strides
    view = as_strided(
        padded,
        (n, channels, *kernel, *out),
        (*strides[:2], *[s * d for s, d in zip(strides[2:], dilation)], *[s * t for s, t in zip(strides[2:], stride)]),
        writeable=False,
    )
    return view.copy().reshape(n, channels * math.prod(kernel), math.prod(out))


def fold_windows(columns: Any, size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Any:
    """The transpose of `unfold_windows`: columns added up to images (N, C, *size)."""
    d = columns.dtype
    columns = wide(columns)
    n, rows, _ = columns.shape
    channels = rows // math.prod(kernel)
    out = places(size, kernel, stride, padding, dilation)
    image = np.zeros((n, channels, *[m + 2 * p for m, p in zip(size, padding)]), columns.dtype)
    add_up(image, columns.reshape(n, channels, *kernel, *out), kernel, out, stride, dilation, False)
    if any(padding):
        image = np.ascontiguousarray(image[inside(padding, size)])
    return image if image.dtype == d else image.astype(d)
