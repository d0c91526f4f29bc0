"""The errors that several modules raise, in one wording each: PyTorch's exception type and its sentence first, then
what was given, what was expected and what to do.

In come the offending values; out comes an exception for the caller to raise (`raise broadcast_error(...)`), so that
the traceback ends in the caller. The `normalize_*` functions, `check_strided_example` and `require` check and raise by
themselves; nothing else here is on a path that succeeds.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Iterable, Sequence
from typing import Any


class LinAlgError(RuntimeError):
    """A matrix that a decomposition or a solver cannot work on (singular, not positive definite, not converging):
    `torch.linalg.LinAlgError`."""


class OutOfMemoryError(RuntimeError):
    """There was no memory for a tensor: `torch.OutOfMemoryError`."""


# -------------------------------------------------------------------------------------------------------- warnings

_given: set[str] = set()
_always = [False]


def warn_once(text: str, stacklevel: int = 2) -> None:
    """Give a UserWarning the first time in a process; each time after ``set_warn_always(True)``."""
    if _always[0] or text not in _given:
        import warnings

        _given.add(text)
        warnings.warn(text, stacklevel=stacklevel + 1)


def set_warn_always(mode: bool) -> None:
    """Whether warnings that are given once in a process are given each time: for tests of warnings."""
    _always[0] = bool(mode)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` set."""
    return _always[0]


# ------------------------------------------------------------------------------------------------------ dimensions


def normalize_dim(dim: Any, ndim: int) -> int:
    """A dimension number as one that is not negative. A 0-d tensor takes 0 and -1, as PyTorch's does.

    Raises:
        IndexError: out of range.
        TypeError: no integer.
    """
    if type(dim) is not int:
        try:
            dim = operator.index(dim)
        except TypeError:
            raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    if 0 <= dim < ndim:
        return dim
    if -ndim <= dim < 0:
        return dim + ndim
    if ndim == 0 and (dim == 0 or dim == -1):
        return 0
    raise dim_error(dim, ndim)


def normalize_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """One dimension number, or several, as a tuple of distinct ones that are not negative.

    Raises:
        IndexError: out of range.
        RuntimeError: one named twice.
        TypeError: not integers.
    """
    if type(dims) is int:
        return (normalize_dim(dims, ndim),)
    found = (
        tuple([normalize_dim(d, ndim) for d in dims]) if isinstance(dims, Iterable) else (normalize_dim(dims, ndim),)
    )
    if len(set(found)) != len(found):
        twice = next(d for i, d in enumerate(found) if d in found[:i])
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims (given {list(dims)})")
    return found


def dim_error(dim: int, ndim: int) -> IndexError:
    """A dimension number that the tensor does not have."""
    n = max(ndim, 1)
    return IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")


def index_error(index: int, dim: int, size: int) -> IndexError:
    """An index past the end of a dimension."""
    return IndexError(f"index {index} is out of bounds for dimension {dim} with size {size}")


# ---------------------------------------------------------------------------------------------------------- shapes


def aligned(shapes: Sequence[Sequence[int]], names: Sequence[str], marked: int | None = None) -> str:
    """Shapes one below the other, aligned at the last dimension as broadcasting aligns them, with a mark below the
    column `marked` (a dimension of the longest shape)."""
    longest = max(len(shape) for shape in shapes)
    rows = [[""] * (longest - len(shape)) + [str(n) for n in shape] for shape in shapes]
    if marked is not None:
        rows.append(["^" if i == marked else "" for i in range(longest)])
    widths = [max(len(row[i]) for row in rows) for i in range(longest)]
    margin = max(map(len, names)) + 1
    lines = []
    for row, name in zip(rows, [f"{each}:" for each in names] + [""], strict=False):
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"  {name:<{margin}}  {cells}".rstrip())
    return "\n".join(lines)


def broadcast_error(a: Sequence[int], b: Sequence[int], names: tuple[str, str] = ("a", "b")) -> RuntimeError:
    """Two shapes that do not broadcast, shown aligned with the dimension at fault marked.

    >>> print(broadcast_error((2, 3), (5, 1, 4)))
    The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 2
      a:     2  3
      b:  5  1  4
                ^
    """
    longest = max(len(a), len(b))
    for back in range(1, longest + 1):
        m, n = a[-back] if back <= len(a) else 1, b[-back] if back <= len(b) else 1
        if m != n and m != 1 and n != 1:
            break
    else:
        return RuntimeError(f"The shapes {list(a)} and {list(b)} could not be broadcast together")
    dim = longest - back
    return RuntimeError(
        f"The size of tensor {names[0]} ({m}) must match the size of tensor {names[1]} ({n}) at non-singleton "
        f"dimension {dim}\n{aligned((a, b), names, dim)}"
    )


def expand_error(sizes: Sequence[int], shape: Sequence[int]) -> RuntimeError:
    """A shape that cannot be expanded to the sizes asked for."""
    extra = len(sizes) - len(shape)
    if extra < 0:
        return RuntimeError(
            f"expand: the number of sizes provided ({len(sizes)}) must be greater or equal to the number of dimensions "
            f"in the tensor ({len(shape)}): sizes {list(sizes)}, tensor {list(shape)}"
        )
    for dim in reversed(range(len(sizes))):
        wanted, held = sizes[dim], shape[dim - extra] if dim >= extra else 1
        if wanted < 0 and dim < extra:
            return RuntimeError(
                f"The expanded size of the tensor ({wanted}) isn't allowed in a leading, non-existing dimension {dim}"
            )
        if wanted not in (held, -1) and held != 1:
            return RuntimeError(
                f"The expanded size of the tensor ({wanted}) must match the existing size ({held}) at non-singleton "
                f"dimension {dim}.  Target sizes: {list(sizes)}.  Tensor sizes: {list(shape)}"
            )
    return RuntimeError(f"a tensor of sizes {list(shape)} cannot be expanded to {list(sizes)}")


def reshape_error(sizes: Sequence[int], numel: int) -> RuntimeError:
    """Sizes whose product is not the number of elements."""
    return RuntimeError(f"shape '{list(sizes)}' is invalid for input of size {numel}")


# ------------------------------------------------------------------------------------------------- arguments, dtypes


def argument_error(function: str, argument: str, position: int | None, expected: str, given: Any) -> TypeError:
    """An argument of the wrong type; `position` counts from 1 and is None for one given by keyword.

    >>> argument_error("sin", "input", 1, "Tensor", "a")
    TypeError("sin(): argument 'input' (position 1) must be Tensor, not str")
    """
    where = "" if position is None else f" (position {position})"
    return TypeError(f"{function}(): argument '{argument}'{where} must be {expected}, not {type(given).__name__}")


def combination_error(
    function: str, args: Sequence[Any], kwargs: dict[str, Any], signatures: Sequence[str]
) -> TypeError:
    """Arguments that fit none of a function's signatures."""
    got = [type(each).__name__ for each in args] + [f"{name}={type(each).__name__}" for name, each in kwargs.items()]
    return TypeError(
        f"{function}() received an invalid combination of arguments - got ({', '.join(got)}), but expected one of:\n"
        + "".join(f" * ({each})\n" for each in signatures)
    )


def unsupported_dtype(function: str, dtype: Any) -> NotImplementedError:
    """An operation that has no meaning for a dtype."""
    return NotImplementedError(f"\"{function}\" not implemented for '{dtype.scalar_name}' (a tensor of {dtype})")


def cast_error(result: Any, out: Any) -> RuntimeError:
    """A result that may not be written into a tensor of a lower kind of dtype."""
    return RuntimeError(f"result type {result.scalar_name} can't be cast to the desired output type {out.scalar_name}")


# ---------------------------------------------------------------------------------------------------------- extras


def missing_extra(library: str, extra: str, why: str) -> ModuleNotFoundError:
    """A library of an extra that is not installed: what needs it and the command that installs it.

    >>> print(missing_extra("scipy", "all", "torch.special.zeta"))
    torch.special.zeta needs scipy, which is not installed. Install it with: pip install "bibun[all]"
    """
    return ModuleNotFoundError(
        f'{why} needs {library}, which is not installed. Install it with: pip install "bibun[{extra}]"', name=library
    )


def require(module: str, extra: str, why: str) -> Any:
    """Import a module of an extra where it is needed: `special = require("scipy.special", "all", "torch.erfcx")`.

    Raises:
        ModuleNotFoundError: `missing_extra`, where the library is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is there, and lacks something of its own
        raise missing_extra(library, extra, why) from None


def check_strided_example(shape: Any, strides: Any, offset: int, sizes: Any, own: Any, start: int) -> None:
    """Refuse strides that leave the memory of one example of a batch, of ``sizes`` and strides ``own``, from ``start`` on."""
    if 0 in shape:
        return
    last, room = (sum([(n - 1) * s for n, s in zip(*each)]) for each in ((shape, strides), (sizes, own)))
    if offset < 0 or offset + last > room or 0 in sizes:
        at = start + offset
        raise RuntimeError(
            f"result = tensor.as_strided({list(shape)}, {list(strides)}, {at}) can access memory outside of `tensor`. `result` "
            f"can access some memory in range [{at}, {at + last + 1}], but `tensor` can only access some memory in range "
            f"[{start}, {start + room + 1}]. This is not supported inside of vmap, please try to rewrite the `as_strided` call "
            "as a sequence of PyTorch view operations"
        )
