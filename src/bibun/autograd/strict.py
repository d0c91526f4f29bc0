"""Two policies that PyTorch does not have: zero gradients that stay zero, and in-place writes that backward survives."""

from __future__ import annotations

from typing import Any

from .graph import saved_tensors_hooks
from .modes import ModeDecorator, state, strict_users

__all__ = ["inplace_policy", "strict_zero"]


class strict_zero(ModeDecorator):
    """Have a gradient that is exactly zero stay zero through every derivative: 0·∞ is 0 here, not NaN.

    It is for functions with a branch that is masked out where its derivative is infinite.

    >>> import bibun as torch
    >>> x = torch.tensor([0.0, 4.0], requires_grad=True)
    >>> with torch.autograd.strict_zero():
    ...     torch.where(x > 0, x.sqrt(), x).sum().backward()
    >>> x.grad
    tensor([1.0000, 0.2500])
    """

    def __enter__(self) -> None:
        self.before, state.strict = state.strict, True
        strict_users[0] += 1

    def __exit__(self, *_: object) -> None:
        state.strict = self.before
        strict_users[0] -= 1


class inplace_policy(ModeDecorator):
    """What an in-place write to a value that backward needs means: an ``"error"`` in backward, or a ``"clone"`` kept for it.

    >>> import bibun as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> with torch.autograd.inplace_policy("clone"):
    ...     y = x * 2
    ...     z = y * y
    ...     y += 1
    >>> z.backward(); x.grad
    tensor(24.)
    """

    def __init__(self, policy: str):
        if policy not in ("error", "clone"):
            raise ValueError(f"inplace_policy takes 'error' or 'clone', not {policy!r}")
        self.policy = policy
        self.hooks: Any = None

    def __enter__(self) -> None:
        if self.policy == "clone":
            self.hooks = saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t)
            self.hooks.__enter__()

    def __exit__(self, *_: object) -> None:
        if self.hooks is not None:
            self.hooks.__exit__()
            self.hooks = None

    def clone(self) -> inplace_policy:
        return type(self)(self.policy)
