"""`torch.autograd.forward_ad`: forward mode by hand: dual tensors inside a dual level.

A dual level is a jvp level that the program opens itself; dual tensors made in it carry their tangent through every
operation, until `unpack_dual` takes it out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import dispatch
from ..autograd.function import FORWARD
from ..autograd.modes import state
from ..autograd.versions import root_of
from ..backends.strides import offset_in, strided
from ..ops.shape import alias
from .levels import Dual, Level, Wrapper, end_by_hand, stack, view_of_dual, wrapped_dual

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """The two parts of a dual tensor; ``tangent`` is None where there is none."""

    primal: Any
    tangent: Any


_open: list[Level] = []


def enter_dual_level() -> int:
    """Open a level by hand; gives its number. Only one may be open."""
    if _open:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    level = Level("jvp", by_hand=True)
    level.__enter__()
    _open.append(level)
    dispatch.forward_levels[0] += 1
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level that was opened last."""
    if not _open or level not in (None, 0):
        raise RuntimeError("Trying to exit a forward AD level that was not the last one that was created. This is not supported.")
    ended = _open.pop()
    ended.__exit__()
    dispatch.forward_levels[0] -= 1
    end_by_hand(ended)


class dual_level:
    """A ``with`` block in which dual tensors live."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: object) -> None:
        exit_dual_level()


def _level(level: int | None) -> Level:
    if not _open or level not in (None, 0):
        raise RuntimeError("Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first.")
    return _open[-1]


def _alike(tensor: Any, tangent: Any) -> bool:
    """Whether every view of ``tensor`` has a counterpart among those of ``tangent``: the same strides, in as much memory."""
    a, b = tensor._a, tangent._a
    if not a.size or a is b:
        return True
    if isinstance(tensor, Wrapper) or isinstance(tangent, Wrapper):  # whose memory is not one example's own
        return all(n == 1 or x == y for n, x, y in zip(a.shape, tensor.stride(), tangent.stride()))
    if any(n > 1 and x != y for n, x, y in zip(a.shape, a.strides, b.strides)):
        return False
    if a.base is None and b.base is None:
        return True
    p, q = root_of(a), root_of(b)
    return p.nbytes == q.nbytes and offset_in(a, p) == offset_in(b, q)


def _laid_out_as(tensor: Any, tangent: Any) -> Any:
    """A copy of ``tangent`` that lies in memory as ``tensor`` does."""
    a = tensor._a
    owner = root_of(a)
    if isinstance(tensor, Wrapper) or isinstance(tangent, Wrapper) or tangent.requires_grad or not owner.flags.forc or 0 in a.strides:
        return tangent.clone()
    made = np.zeros(owner.nbytes // a.itemsize, a.dtype)
    part = strided(made, a.shape, a.strides, offset_in(a, owner))
    part[...] = tangent._a
    return dispatch.wrap(part)


def make_dual(tensor: Any, tangent: Any, *, level: int | None = None) -> Any:
    """``tensor`` with a tangent of the same shape and dtype.

    >>> import bibun as torch
    >>> import bibun.autograd
    >>> fwad = torch.autograd.forward_ad
    >>> with fwad.dual_level():
    ...     x = fwad.make_dual(torch.tensor(3.0), torch.tensor(1.0))
    ...     fwad.unpack_dual(x * x)
    UnpackedDualTensor(primal=tensor(9.), tangent=tensor(6.))
    """
    here = _level(level)
    if tensor._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {tensor.dtype}")
    if tangent._a.dtype.kind not in dispatch.DIFFERENTIABLE:
        raise ValueError(f"Expected tangent to be floating point or complex, but got: {tangent.dtype}")
    if tensor._a.shape != tangent._a.shape:
        raise RuntimeError(f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is not supported. Tensor is of "
                           f"size {list(tensor._a.shape)} while the given forward gradient is of size {list(tangent._a.shape)}.")
    if isinstance(tangent, Dual) and tangent.level is here and tangent.tangent is not None:
        raise RuntimeError("Setting a forward grad that itself has a forward gradient at the same level0 is not supported.")
    if isinstance(tensor, Dual) and tensor.level is here:
        tensor = tensor.value
    if not _alike(tensor, tangent):
        tangent = _laid_out_as(tensor, tangent)
    made = wrapped_dual(here, dispatch.apply(alias, (tensor,)), tangent)
    made._owned = True
    return made


def unpack_dual(tensor: Any, *, level: int | None = None) -> UnpackedDualTensor:
    """(primal, tangent) of a tensor; the tangent is None where the tensor has none."""
    if level is None and not _open:
        return UnpackedDualTensor(tensor, None)
    here = _level(level)
    view_of_dual(tensor)
    if isinstance(tensor, Dual) and tensor.level is here:
        return UnpackedDualTensor(tensor.value.view_as(tensor.value), tensor.tangent)
    return UnpackedDualTensor(tensor, None)


def _is_fwd_grad_enabled() -> bool:
    return stack.forward and state.grad is not FORWARD


class _set_fwd_grad_enabled:
    """Forward mode on or off from now on; as it was before at the end of a ``with`` block."""

    def __init__(self, mode: bool):
        self.before, stack.forward = stack.forward, mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        stack.forward = self.before



def __getattr__(name: str) -> Any:
    if name == "_current_level":
        return len(_open) - 1
    raise AttributeError(f"module 'torch.autograd.forward_ad' has no attribute {name!r}")
