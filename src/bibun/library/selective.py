"""Selective checkpoints: a policy says, operator by operator, what a checkpoint keeps and what it computes again.

In: a policy, or a list of operators to keep. Out: the two contexts that `checkpoint` takes from its ``context_fn``: under the
first the policy is asked and results are kept; under the second they are given back in the same order. Both are dispatch modes
(`library.dispatching`), which stand below the graph: the second run records its nodes as the first did, and only the kernels
are spared.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from ..autograd import dispatch, versions
from .dispatching import TorchDispatchMode, shows_view
from .operators import Borrowed, Operator, borrowed

__all__ = ["SAC_IGNORED_OPS", "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts"]


class CheckpointPolicy(enum.Enum):
    """What a policy answers: keep an operator's result, or compute it again.

    Nothing here overrules a policy: "must" and "prefer" mean the same.
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4  # results are in the processor's memory already: the same as saving
    PREFER_CPU_OFFLOAD = 5


_RECOMPUTED = frozenset((CheckpointPolicy.MUST_RECOMPUTE, CheckpointPolicy.PREFER_RECOMPUTE))

#: Operators that no policy is asked about.
SAC_IGNORED_OPS = {
    borrowed(name, of_primitive=True).default
    for name in ("detach", "numel", "size", "stride", "dim", "storage_offset", "is_contiguous", "alias", "sym_size", "sym_stride", "sym_numel")
}


class SelectiveCheckpointContext:
    """What a policy is given first: ``is_recompute`` says whether this is the second run."""

    def __init__(self, *, is_recompute: bool):
        self.is_recompute = is_recompute


class _Kept:
    """One tensor that is kept: detached, with the number of writes its memory had seen."""

    __slots__ = ("val", "version")

    def __init__(self, t: Any):
        self.val = dispatch.wrap(t._a)
        self.version = versions.version_of(t._a)

    def get(self, may_change: bool) -> Any:
        if not may_change and versions.version_of(self.val._a) != self.version:
            raise RuntimeError("Tensor cached during selective activation checkpoint has been mutated")
        return self.val


class Keeping(TorchDispatchMode):
    """The first run: ``storage[operator]`` gets, for each call, what it gave (None where it is to be computed again)."""

    def __init__(self, policy: Callable[..., Any], storage: dict[Any, list[Any]]):
        self.policy, self.storage = policy, storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SAC_IGNORED_OPS:
            return func(*args, **kwargs)
        answer = self.policy(SelectiveCheckpointContext(is_recompute=False), func, *args, **kwargs)
        if isinstance(answer, bool):
            answer = CheckpointPolicy.MUST_SAVE if answer else CheckpointPolicy.PREFER_RECOMPUTE
        out = func(*args, **kwargs)
        keeps = answer not in _RECOMPUTED and not shows_view()
        self.storage.setdefault(func, []).append(_mapped(_Kept, out) if keeps else None)
        return out


class Giving(TorchDispatchMode):
    """The second run: what was kept is given back, once, in the order in which the operators run."""

    def __init__(self, storage: dict[Any, list[Any]], may_change: bool):
        self.storage, self.may_change = storage, may_change
        self.counts: dict[Any, int] = {}

    def __enter__(self) -> Any:
        self.counts.clear()
        return super().__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SAC_IGNORED_OPS:
            return func(*args, **kwargs)
        i = self.counts.get(func, 0)
        self.counts[func] = i + 1
        calls = self.storage.get(func, ())
        if i >= len(calls):
            raise RuntimeError(f"{func} encountered during backward, but not found in storage: the second run of the checkpoint calls it {i + 1} times, "
                               f"the first called it {len(calls)} times")
        kept = calls[i]
        if kept is _GONE:
            raise RuntimeError("Trying to backward an extra time. You are only allowed to backward once on any region computed under selective activation "
                               "checkpoint.")
        if kept is None:
            return func(*args, **kwargs)
        calls[i] = _GONE  # type: ignore[index]
        return _mapped(lambda k: k.get(self.may_change), kept)


_GONE = object()


def _mapped(f: Callable[[Any], Any], x: Any) -> Any:
    """``f`` of the tensors, or of what is kept of them, in tuples and lists."""
    if isinstance(x, (tuple, list)):
        return type(x)([_mapped(f, v) for v in x])
    return f(x) if isinstance(x, (dispatch.Tensor, _Kept)) else x


def create_selective_checkpoint_contexts(policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False) -> tuple[Any, Any]:
    """The contexts of a checkpoint that keeps the results of some operators: for ``checkpoint(..., context_fn=...)``.

    Args:
        policy_fn_or_list: ``policy(ctx, op, *args, **kwargs)``, which gives a `CheckpointPolicy` (or True to keep), or a list of
            the operators whose results are kept: ``torch.ops.aten.mm.default``.
        allow_cache_entry_mutation: do not refuse results that were written to in between.

    >>> import functools
    >>> import bibun as torch
    >>> from bibun.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
    >>> keep_products = functools.partial(create_selective_checkpoint_contexts, [torch.ops.aten.mm.default])
    >>> x = torch.ones(2, 2, requires_grad=True)
    >>> y = checkpoint(lambda x: x.mm(x).sin().sum(), x, use_reentrant=False, context_fn=keep_products)
    >>> y.backward()
    """
    if isinstance(policy_fn_or_list, list):
        for op in policy_fn_or_list:
            if not (isinstance(op, Operator) or isinstance(op, Borrowed) and op._overload):
                said = f"Expected op in `op_list` to be an OpOverload but got: {op} of type {type(op)}. "
                if hasattr(op, "overloads"):
                    said += ("Please update the OpOverloadPacket to a specific OpOverload. For example, if you have `torch.ops.aten.mm`, change it to "
                             "`torch.ops.aten.mm.default`.")
                raise ValueError(said)
        listed = list(policy_fn_or_list)

        def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
            return CheckpointPolicy.MUST_SAVE if op in listed else CheckpointPolicy.PREFER_RECOMPUTE
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    storage: dict[Any, list[Any]] = {}
    return Keeping(policy, storage), Giving(storage, allow_cache_entry_mutation)
