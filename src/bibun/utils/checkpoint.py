"""`torch.utils.checkpoint`: trade computation for memory: throw away what a piece saved, and run it again for backward."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..autograd import api, dispatch, graph, running
from ..autograd.function import Function
from ..autograd.modes import enable_grad, state

__all__ = ["CheckpointError", "CheckpointFunction", "checkpoint", "checkpoint_sequential", "noop_context_fn", "set_checkpoint_debug_enabled",
           "set_checkpoint_early_stop"]

#: What selective checkpoints add; operators are known on the floor of `bibun.library`, which is loaded when one is asked for.
_SELECTIVE = frozenset(("SAC_IGNORED_OPS", "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts"))
__all__ += sorted(_SELECTIVE)


def __getattr__(name: str) -> Any:
    if name in _SELECTIVE:
        return getattr(import_module("bibun.library.selective"), name)
    raise AttributeError(f"module 'torch.utils.checkpoint' has no attribute {name!r}")


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did not do what the first did."""


#: What `set_checkpoint_early_stop` says; None where it says nothing.
_early_stop: list[bool | None] = [None]


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Any:
    """Whether a second run stops as soon as everything that backward needs has been computed."""
    before, _early_stop[0] = _early_stop[0], enable
    try:
        yield
    finally:
        _early_stop[0] = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Any:
    """Accepted; errors name the operations that differ anyway."""
    yield


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: for the first run and the second."""
    return contextlib.nullcontext(), contextlib.nullcontext()


class _Stop(Exception):
    """Ends a second run early."""


def _random_state() -> Any:
    import bibun
    return bibun.get_rng_state()


@contextlib.contextmanager
def _replayed(random_state: Any) -> Any:
    """The random stream as it was, and back as it is now afterwards."""
    if random_state is None:
        yield
        return
    import bibun
    now = bibun.get_rng_state()
    bibun.set_rng_state(random_state)
    try:
        yield
    finally:
        bibun.set_rng_state(now)


class CheckpointFunction(Function):
    """The reentrant form: backward of a piece inside the backward of the whole."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        ctx.run_function = run_function
        ctx.precision = _mixed_precision()
        ctx.random_state = _random_state() if preserve_rng_state else None
        ctx.inputs = [None if isinstance(a, dispatch.Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, dispatch.Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if not running.ExecutionEngine.is_checkpoint_valid():
            raise RuntimeError("When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to .backward(). To "
                               "resolve this error, you can either set use_reentrant=False, or call .backward() without passing the `inputs` argument.")
        inputs = list(ctx.inputs)
        for i, t in zip(ctx.places, ctx.saved_tensors):
            x = t.detach()
            if t.requires_grad:
                x.requires_grad_()
            inputs[i] = x
        with _replayed(ctx.random_state), ctx.precision(), enable_grad():
            outputs = ctx.run_function(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        live = [(o, g) for o, g in zip(outputs, grads) if isinstance(o, dispatch.Tensor) and o.requires_grad]
        if not live:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        api.backward([o for o, _ in live], [g for _, g in live])
        return (None, None, *[x._grad if isinstance(x, dispatch.Tensor) else None for x in inputs])


class _Piece:
    """One call of the form that is not reentrant: what it saved, by number, and how to compute it again.

    What was computed again is kept for the backward that needs it (each by the number of its run), each tensor until it is
    asked for.
    """

    def __init__(self, run: Callable[[], Any], random_state: Any, recompute_context: Any, early_stop: bool, check: bool):
        self.run, self.random_state, self.recompute_context = run, random_state, recompute_context
        self.early_stop, self.check = early_stop, check
        self.shapes: list[Any] = []
        self.found: dict[int, dict[int, Any]] = {}
        self.precision = _mixed_precision()
        self.complete = False  # whether the first run has ended: a backward inside it finds that more is saved the second time

    def pack(self, t: Any) -> int:
        self.shapes.append((tuple(t._a.shape), t._a.dtype))
        return len(self.shapes) - 1

    def unpack(self, i: int) -> Any:
        number = running.run_number()
        found = self.found.get(number)
        if found is None:
            found = self.recompute()
            if number >= 0:
                self.found[number] = found
                running.queue_callback(lambda: self.found.pop(number, None))
        if i not in found:
            raise CheckpointError("torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. If you are calling "
                                  "ctx.saved_tensors in backward, make sure to do so only once. Otherwise please open an issue with details on your use case.")
        return found.pop(i)

    def recompute(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        count = 0

        def keep(t: Any) -> Any:
            nonlocal count
            i = count
            count += 1
            if self.check and i < len(self.shapes) and self.shapes[i] != (tuple(t._a.shape), t._a.dtype):
                raise CheckpointError("torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during the forward "
                                      f"pass.\ntensor at position {i}:\nsaved metadata: {self.shapes[i]}\nrecomputed metadata: {(tuple(t._a.shape), t._a.dtype)}")
            found[i] = t.detach() if t.requires_grad or state.watchers else t
            if self.early_stop and count == len(self.shapes):
                raise _Stop
            return t.detach()

        def give(t: Any) -> Any:
            return t
        with _replayed(self.random_state), self.recompute_context, self.precision(), enable_grad(), graph.saved_tensors_hooks(keep, give):
            with contextlib.suppress(_Stop):
                self.run()
        if count != len(self.shapes) and (self.complete or count < len(self.shapes)):
            raise CheckpointError("torch.utils.checkpoint: A different number of tensors was saved during the original forward and recomputation.\n"
                                  f"Number of tensors saved during forward: {len(self.shapes)}\nNumber of tensors saved during recomputation: {count}")
        return found


def _mixed_precision() -> Callable[[], Any]:
    """What gives a context of mixed precision as it is now: programs that never load it pay nothing."""
    amp: Any = sys.modules.get("bibun.amp.autocast_mode")
    if amp is None:
        return contextlib.nullcontext
    enabled, dtype, cache = amp.is_autocast_enabled("cpu"), amp.get_autocast_dtype("cpu"), amp.is_autocast_cache_enabled()
    return lambda: amp.autocast("cpu", dtype=dtype, enabled=enabled, cache_enabled=cache)


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, context_fn: Callable[[], Any] = noop_context_fn,
               determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any) -> Any:
    """Run ``function(*args)`` without keeping what it saves; backward runs it again.

    Args:
        use_reentrant: True for the older form, which needs an input that requires grad; False is recommended.
        context_fn: gives two contexts, for the first run and for the second.
        preserve_rng_state: (keyword) have the second run draw the random numbers of the first; True.
    """
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling checkpoint without "
                      "use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to preserve the current default behavior, you "
                      "can pass use_reentrant=True. Refer to docs for more details on the differences between the two variants.", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if state.grad and not any(isinstance(a, dispatch.Tensor) and a.requires_grad for a in args):
            warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
        return CheckpointFunction.apply(function, preserve, *args)
    forward_context, recompute_context = context_fn()
    if not state.grad:
        return function(*args, **kwargs)
    stop = early_stop if _early_stop[0] is None else _early_stop[0]
    piece = _Piece(lambda: function(*args, **kwargs), _random_state() if preserve else None, recompute_context, stop, determinism_check != "none")
    with graph.saved_tensors_hooks(piece.pack, piece.unpack), forward_context:
        made = function(*args, **kwargs)
    piece.complete = True
    return made


def checkpoint_sequential(functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Run a Sequential (or list of functions) in ``segments`` pieces, all but the last checkpointed."""
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly.", stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def piece(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for f in steps[start:end]:
                x = f(x)
            return x
        return run
    size = len(steps) // segments
    end = 0
    for start in range(0, size * (segments - 1), max(size, 1)):
        end = start + size
        input = checkpoint(piece(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return piece(end, len(steps))(input)


