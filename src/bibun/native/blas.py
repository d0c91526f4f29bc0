"""Products of matrices by a BLAS of our own choosing, its work shared out among the pool's threads; large ones in float32 by a kernel of our
own where that is faster (`kernels.gemm`).

The library is OpenBLAS from the ``scipy-openblas64`` wheel, apart from the one that NumPy has loaded: with the kernels that fit the
processor (on AVX-512 processors that OpenBLAS does not know it would choose those for AVX2, at half the speed where vectors are 512 bits wide), and without threads of
its own, which would fight with the pool's. A product is cut into tiles, always the same for its shape, and the pool walks them, so the
result does not depend on the number of threads. Matrices whose rows or columns are contiguous go in as they are.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache, partial
from typing import Any

import numpy as np

from . import build
from .kernel import kernel, usable
from .lang import Ptr, T, Vec, external, f32, f64, first_lanes, i32, i64, load_where, minimum, spread, store_where, void

__all__ = ["addmm", "available", "layer_gradients", "matmul", "processor"]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
#: Multiplications that a tile should hold at least, and from how many on a product is cut in one tile for each core: each tile packs its
#: matrices anew. Smaller ones are cut in twice as many, which OpenBLAS multiplies without packing. (The number of threads in use has no
#: say: results would depend on it.)
_TILE, _WIDE = 1 << 19, 1 << 24
_CORES = os.cpu_count() or 1
#: Processors that do 512 bits in two halves, where the kernels for AVX2 are a tenth faster than those for AVX-512.
_HALVES = {"znver4": "Zen"}


@cache
def _library() -> Any:
    if not usable():
        return None
    try:
        import scipy_openblas64
    except ImportError:
        return None
    folder = scipy_openblas64.get_lib_dir()
    names = [n for n in os.listdir(folder) if "openblas" in n and n.rpartition(".")[2] in ("so", "dylib", "dll")]
    wanted = {"OPENBLAS_NUM_THREADS": "1"}
    name, _, on = build.features()
    if "avx512f" in on and "OPENBLAS_CORETYPE" not in os.environ:
        wanted["OPENBLAS_CORETYPE"] = _HALVES.get(name, "SkylakeX")
    before = {k: os.environ.get(k) for k in wanted}
    os.environ.update(wanted)
    try:
        library = ctypes.CDLL(os.path.join(folder, names[0]))
    except (OSError, IndexError):
        return None
    finally:
        for k, v in before.items():
            if v is None:
                del os.environ[k]
            else:
                os.environ[k] = v
    try:
        for letter in "sd":
            call = getattr(library, f"scipy_cblas_{letter}gemm64_")
            build.symbol(f"bibun_{letter}gemm", ctypes.cast(call, ctypes.c_void_p).value or 0)
        library.scipy_openblas_set_num_threads64_(1)
    except AttributeError:
        return None
    return library


def available() -> bool:
    """Whether products can be made here."""
    return _library() is not None


def processor() -> str | None:
    """Which processor's kernels the library has chosen."""
    library = _library()
    if library is None:
        return None
    ask = library.scipy_openblas_get_corename64_
    ask.restype = ctypes.c_char_p
    return ask().decode()


_ints = (i32, i32, i32, i64, i64, i64)
_sgemm = external("bibun_sgemm", void, *_ints, f32, Ptr[f32], i64, Ptr[f32], i64, f32, Ptr[f32], i64)
_dgemm = external("bibun_dgemm", void, *_ints, f64, Ptr[f64], i64, Ptr[f64], i64, f64, Ptr[f64], i64)


@kernel(fast="", explicit=True)
def tiles(  # type: ignore[no-untyped-def]
    a: Ptr[T], b: Ptr[T], c: Ptr[T], bias: Ptr[T], gemm, at: i64, bt: i64, m: i64, n: i64, k: i64, lda: i64, ldb: i64, ldc: i64, rows: i64, columns: i64,
    inner: i64, a0: i64, a1: i64, b0: i64, b1: i64, bias_row: i64, bias_column: i64, alpha: T, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """Items are tiles of ``rows`` x ``columns`` of the matrices of a batch, whose two dimensions are a0, a1 (b0, b1) elements apart."""
    down = (m + rows - 1) // rows
    across = (n + columns - 1) // columns
    for item in range(begin, end):
        which = item // (down * across)
        tile = item - which * (down * across)
        i = (tile // across) * rows
        j = (tile - (tile // across) * across) * columns
        outer = which // inner
        here = which - outer * inner
        tall = minimum(rows, m - i)
        wide = minimum(columns, n - j)
        x = a + (outer * a0 + here * a1 + (i if at == 111 else i * 0) * lda + (i * 0 if at == 111 else i))
        y = b + (outer * b0 + here * b1 + (j * 0 if bt == 111 else j) * ldb + (j if bt == 111 else j * 0))
        z = c + (which * m * ldc + i * ldc + j)
        beta = T(0)
        if i64(bias) != 0:
            beta = T(1)
            for r in range(tall):
                row = bias + ((i + r) * bias_row + j * bias_column)
                for q in range(0, wide, W):
                    some = first_lanes(wide - q, W)
                    v = spread(row[0], Vec[T, W])
                    if bias_column != 0:
                        v = load_where(row + q, Vec[T, W], some)
                    store_where(z + (r * ldc + q), v, some)
        gemm(i32(101), i32(at), i32(bt), tall, wide, k, alpha, x, lda, y, ldb, beta, z, ldc)


def _layout(a: Any, item: int) -> Any:
    """(how BLAS reads the last two dimensions, rows apart), or None where neither is contiguous."""
    rows, columns = a.shape[-2:]
    s, t = a.strides[-2:]
    if t == item and (s >= columns * item or rows == 1) and s % item == 0:
        return 111, max(s // item, columns, 1)
    if s == item and (t >= rows * item or columns == 1) and t % item == 0:
        return 112, max(t // item, rows, 1)
    if columns == 1 and s >= item and s % item == 0:
        return 111, s // item
    if rows == 1 and t >= item and t % item == 0:
        return 112, t // item
    return None


@cache
def _kernels() -> Any:
    from .kernels import gemm

    return gemm


@cache
def _cut(m: int, n: int, k: int, batch: int) -> tuple[int, int]:
    """Rows and columns of a tile."""
    rows, columns, count = m, n, batch
    most = _CORES if m * n * k >= _WIDE else 2 * _CORES
    while count < most and rows * columns * k >= 2 * _TILE:
        if rows >= columns and rows >= 64:
            rows = (rows // 2 + 15) // 16 * 16
        elif columns >= 64:
            columns = (columns // 2 + 15) // 16 * 16
        else:
            break
        count = batch * -(-m // rows) * -(-n // columns)
    return max(rows, 1), max(columns, 1)


def _batch_strides(a: Any, lead: tuple[int, ...], item: int) -> Any:
    """(outer, inner) steps in elements of a batch of two dimensions."""
    strides = np.broadcast_to(a, lead + a.shape[-2:]).strides[:-2] if a.shape[:-2] != lead else a.strides[:-2]
    if any(s % item or s < 0 for s in strides):
        return None
    s0, s1 = ((0,) * (2 - len(strides)) + tuple(strides))[-2:]
    return s0 // item, s1 // item


def _own(m: int, n: int, k: int, across: bool) -> bool:
    """Whether a product is made faster by the kernel of our own than by OpenBLAS, which multiplies small ones without packing them;
    ``across``: the sums go along the rows of both, which it does not like."""
    return build.vector_bytes() == 64 and m >= 48 and n >= 64 and k >= 32 and m * n * k >= (1 << 20 if across else 1 << 22)


def _own_cut(m: int, n: int, k: int, batch: int, turned: bool) -> tuple[int, int]:
    """Rows and columns of a part for the kernel of our own: as many parts as cores, in which least is multiplied and packed; where that is
    the same, parts of rows, as other kernels share out arrays.

    Where few rows meet a large ``turned`` matrix it is a layer's weight, which optimizers update by parts of its rows: the columns are cut, so
    that a thread reads what it wrote and nobody else has, and need not ask for it back."""
    parts = min(-(-_CORES // batch), max(m * n * k // _TILE, 1))
    if turned and batch == 1 and m <= 2 * min(n, k):
        for down in range(1, parts):
            columns = -(-n // (parts // down) // 32) * 32
            if columns >= 64 and columns * (parts // down) <= 1.1 * n:
                return -(-m // down // 4) * 4, columns
    best, chosen = float("inf"), (m, n)
    for down in range(parts, 0, -1):
        rows, columns = -(-m // down), -(-n // (parts // down))
        rows, columns = -(-rows // 4) * 4, -(-columns // 32) * 32
        cost = rows * columns + 4 * rows + (6 if turned else 2) * columns
        if cost < best:
            best, chosen = cost, (rows, columns)
    return chosen


def _plan(a: Any, b: Any, d: Any, alpha: float, bias: Any) -> Any:
    """(shape of the product, what multiplies, its arguments after the arrays, the parts where it is the kernel of our own, whether the bias
    must be copied) for arrays that lie as these do; None where one of them must be copied, NotImplemented where BLAS has no form for them."""
    item = d.itemsize
    first, second = _layout(a, item), _layout(b, item)
    if first is None or second is None:
        return None
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if a.ndim == 2 and b.ndim == 2:
        shape: tuple[int, ...] = (m, n)
        batch, inner, steps = 1, 1, (0, 0, 0, 0)
    else:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        sa, sb = _batch_strides(a, lead, item), _batch_strides(b, lead, item)
        if sa is None or sb is None:
            return NotImplemented
        shape = (*lead, m, n)
        inner = lead[-1]
        batch = inner * (lead[0] if len(lead) == 2 else 1)
        steps = (*sa, *sb)
    row = column = 0
    copied = False
    if bias is not None:
        row, column = (s // item for s in np.broadcast_to(bias, (m, n)).strides)
        if column not in (0, 1) or row < 0 or any(s % item for s in bias.strides):
            row, column, copied = n, 1, True
    if d is F32 and alpha == 1 and _own(m, n, k, first[0] == 111 and second[0] == 112):
        gemm = _kernels()
        if bias is not None and column != 1:
            row, copied = n, True
        rows, columns = _own_cut(m, n, k, batch, second[0] == 112)
        items = batch * -(-m // rows) * -(-n // columns)
        call: Any = partial(gemm.multiply, gemm.made(first[0] == 112, second[0] == 112))
        return shape, call, (m, n, k, first[1], second[1], n, row, rows, columns, inner, *steps), items, copied
    rows, columns = _cut(m, n, k, batch)
    items = batch * -(-m // rows) * -(-n // columns)
    call = tiles(T=f32, gemm=_sgemm, W=build.vector_bytes() // 4) if d is F32 else tiles(T=f64, gemm=_dgemm, W=build.vector_bytes() // 8)
    return shape, call, (first[0], second[0], m, n, k, first[1], second[1], n, rows, columns, inner, *steps, row, column, alpha, items, 1), 0, copied


#: What `_plan` has found, by how the arrays lie.
_plans: dict[Any, Any] = {}


def _multiply(a: Any, b: Any, d: Any, alpha: float = 1.0, bias: Any = None) -> Any:
    lies = None if bias is None else (bias.shape, bias.strides)
    key = a.shape, a.strides, b.shape, b.strides, d, alpha, lies
    plan = _plans.get(key)
    if plan is None:
        if a.ndim > 4 or b.ndim > 4:
            lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
            c, e = (np.broadcast_to(x, lead + x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (a, b))
            return _multiply(c, e, d, alpha, bias).reshape(*lead, a.shape[-2], b.shape[-1])
        if len(_plans) >= 4096:
            _plans.clear()
        plan = _plan(a, b, d, alpha, bias)
        if plan is None:
            a, b = (x if _layout(x, d.itemsize) else np.ascontiguousarray(x) for x in (a, b))
            return _multiply(a, b, d, alpha, bias)
        _plans[key] = plan
    if plan is NotImplemented:
        return plan
    shape, call, numbers, items, copied = plan
    out = np.empty(shape, d)
    if copied:
        bias = np.ascontiguousarray(np.broadcast_to(bias, shape[-2:]))
    if items:
        call(a, b, out, bias, numbers, items)
    else:
        call(a, b, out, bias, *numbers)
    return out


def matmul(a: Any, b: Any) -> Any:
    """The product of arrays of two or more dimensions, of one dtype, float32 or float64; NotImplemented where BLAS has no form for them."""
    d = a.dtype
    if _library() is None or a.shape[-1] != b.shape[-2]:
        return NotImplemented
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:
        made = _multiply(a.reshape(-1, a.shape[-1]), b, d)
        return made if made is NotImplemented else made.reshape(*a.shape[:-1], b.shape[-1])
    return _multiply(a, b, d)


def layer_gradients(g: Any, x: Any, weight: Any, wanted: Any, shape: Any, more: Any = None) -> Any:
    """Of a linear layer's rows ``g`` and ``x``, the gradients of x (in ``shape``, with ``more`` added), the weight and the bias that are wanted, made in as many parts
    of the rows as there are cores; NotImplemented where that is not how they are made best."""
    (m, n), rows = weight.shape, len(g)
    share = rows // _CORES
    if share < 128 or not _own(share, n, m, False) or not _own(m, n, share, False) or m * n > min(rows * (m + n), 1 << 20):
        return NotImplemented
    dx, dw, db = _kernels().gradients(g, x, weight, _CORES, wanted, more)
    return [None if dx is None else dx.reshape(shape), dw, db]


def addmm(bias: Any, a: Any, b: Any, alpha: float = 1.0) -> Any:
    """``bias + alpha * (a @ b)`` of two matrices; the bias is broadcast."""
    if _library() is None or a.shape[1] != b.shape[0]:
        return NotImplemented
    return _multiply(a, b, a.dtype, alpha, bias)
