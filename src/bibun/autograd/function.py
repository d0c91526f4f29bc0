"""`Function`: operations whose forward and backward the user writes.

``apply`` runs the user's forward without recording and makes one node, which is the ``ctx`` that both halves share, as in
PyTorch: ``output.grad_fn`` is that object. Its backward runs on tensors, recorded when gradients must be differentiable
themselves.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import cpu
from . import dispatch, versions
from .dispatch import user_frame, wrap
from .modes import Off, state
from .node import LEAF, Freed, Node, Output, fit
from .versions import tick

__all__ = ["BackwardCFunction", "Function", "FunctionCtx", "InplaceFunction", "NestedIOFunction", "once_differentiable"]


class _Nesting(threading.local):
    depth = 0


#: How many backwards of user functions this thread is inside of: a backward may itself run backward.
nesting = _Nesting()
#: At every so many of them the next runs in a thread of its own, whose stack is fresh: Python's has a limit.
DEEP = 30


def elsewhere(call: Callable[[], Any]) -> Any:
    """``call()`` in another thread, under this one's modes, while this one waits."""
    modes, depth = dict(state.__dict__), nesting.depth
    made: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        state.__dict__.update(modes)
        nesting.depth = depth
        try:
            made.append(call())
        except BaseException as error:
            errors.append(error)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors.pop()
    return made[0]


class _Plan:
    """What the engine reads of a plan, for nodes that apply themselves."""

    direct = single = None
    adds = False
    rules = ()
    takes = ()

    def __init__(self, keeps: bool):
        self.keeps = keeps


#: Recording is off while the user's forward runs.
FORWARD = Off()
FORWARD.kind, FORWARD.code, FORWARD.lasti = "running inside the forward of an autograd.Function", None, 0
#: The same for a backward that is not to be differentiated.
BACKWARD = Off()
BACKWARD.kind, BACKWARD.code, BACKWARD.lasti = "running inside the backward of an autograd.Function", None, 0

KEEPS, KEEPS_NOTHING = _Plan(True), _Plan(False)


class FunctionCtx(Node):
    """What forward and backward share; the node in the graph."""

    __slots__ = ()

    function: Any = None        # the user's Function subclass
    _to_save: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _non_differentiable: tuple[Any, ...] = ()
    _materialize = True
    _materialize_non_diff_grads = True
    _undefined: Any = ()        # the outputs whose gradients are not made, for want of a derivative
    _for_forward: Any = None
    _level: Any = None          # the function transform to whose graph the node belongs
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (or None) for backward, where ``ctx.saved_tensors`` gives them back."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, dispatch.Tensor):
                raise TypeError(f"save_for_backward can only save variables, but argument {i} is of type {type(t).__name__}")
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for ``jvp``."""
        self._for_forward = tensors

    def mark_dirty(self, *args: Any) -> None:
        """Say which inputs forward changed in place."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Say which outputs have no derivative."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that nobody computed reach backward as zeros (True) or as None."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` was given."""
        saved: Any = getattr(self, "saved", ())  # not set before forward is done
        if saved.__class__ is Freed:
            from .complaints import second_backward
            raise second_backward(self)
        if self._for_forward is not None:
            return self._for_forward
        return self._to_save if saved.__class__ is tuple else saved.unpack(self)

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """The old name of ``saved_tensors``."""
        import warnings

        warnings.warn("'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2)
        return self.saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple[Any, ...]:
        from .saved import raw_saved_tensors

        return raw_saved_tensors(self)

    @property
    def saved_for_forward(self) -> Any:
        """What ``save_for_forward`` was given."""
        return self._for_forward

    def apply(self, g: Any, xp: Any, create: bool, only: Any = None) -> Any:
        grads = list(g) if g.__class__ is list else [g]
        outs = self.outs
        grads = [None if x is None else x if isinstance(x, dispatch.Tensor) else wrap(x) for x in grads]
        if self._materialize:
            grads = [wrap(np.zeros(*outs[i])) if x is None and outs[i] is not None else x for i, x in enumerate(grads)]
            if self._undefined:
                grads = [None if i in self._undefined else x for i, x in enumerate(grads)]
        before, depth = state.grad, nesting.depth
        if create:
            if dispatch.recording() is None:  # a recording's backward works on tensors in the mode that the program asked for
                state.grad = True
        elif xp is cpu:     # on tensors, recording is as the levels below have it
            state.grad = BACKWARD
        try:
            nesting.depth = depth + 1
            if nesting.depth % DEEP or dispatch.busy[0]:
                made = self.function._call_backward(self, grads)
            else:
                made = elsewhere(lambda: self.function._call_backward(self, grads))
        finally:
            nesting.depth = depth
            state.grad = before
        made = made if isinstance(made, tuple) else tuple(made) if isinstance(made, list) else (made,)
        n = len(self.next)
        if len(made) != n:
            if len(made) < n or any(x is not None for x in made[n:]):
                raise RuntimeError(f"function {self.name()} returned an incorrect number of gradients (expected {n}, got {len(made)})")
            made = made[:n]
        result: list[Any] = []
        for i, (target, x) in enumerate(zip(self.next, made)):
            if x is not None and self.metas[i] is None:
                raise RuntimeError(f"function {self.name()} returned a gradient different than None at position {i + 1}, but the corresponding forward input "
                                   "was not a Variable")
            if x is not None and not isinstance(x, dispatch.Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(x).__name__}) from {self.name()} at position {i + 1}")
            if target is None or x is None:
                result.append(None)
                continue
            if self._level is not None and getattr(x, "level", None) is self._level:
                x = x.value
            shape, dtype = self.metas[i]
            value: Any = x if create or xp is not cpu else x._a
            if x._a.shape != shape:
                if not _expandable(x._a.shape, shape):
                    raise RuntimeError(f"Function {self.name()} returned an invalid gradient at index {i} - got {list(x._a.shape)} but expected shape "
                                       f"compatible with {list(shape)}")
                value = fit(value, shape, dtype, xp)
            elif x._a.dtype != dtype:
                value = fit(value, shape, dtype, xp)
            result.append(value)
        return result


#: PyTorch's name for the class of the nodes.
BackwardCFunction = FunctionCtx


def _expandable(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether a gradient of ``shape`` can be summed to ``to``."""
    if len(shape) < len(to):
        return False
    return all(b == a or b == 1 for a, b in zip(shape[len(shape) - len(to):], to))


class _Saved:
    """Saved tensors of a user function: inputs as they are, outputs without their node (which would be a cycle)."""

    __slots__ = ("entries",)

    def __init__(self, tensors: Any, outputs: list[Any]):
        from .graph import current_saved_hooks, pack_one
        hooks = current_saved_hooks()
        #: (tensor, or what a hook made of it; number of the output that it is; its memory; the hook that unpacks it)
        self.entries: list[Any] = []
        for t in tensors:
            if t is None:
                self.entries.append((None, None, None, None))
                continue
            place = next((i for i, o in enumerate(outputs) if o is t), None)
            if hooks is not None:
                self.entries.append((pack_one(t.detach() if place is not None else t, *hooks).held, place, None, hooks[1]))
            elif place is not None:
                self.entries.append((None, place, t._a, None))
            else:
                self.entries.append((t, None, t._a, None))

    def __iter__(self) -> Any:
        return iter(())         # nothing that the engine should look at

    def pack(self, node: Any, i: int, hooks: Any) -> None:
        """Pack one of the tensors, by hooks of its own."""
        from .graph import pack_one
        from .saved import ALREADY
        t, place, a, unpack = self.entries[i]
        if unpack is not None:
            raise RuntimeError(ALREADY)
        if a is None:
            raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
        self.entries[i] = (pack_one(wrap(a) if t is None else t, *hooks).held, place, None, hooks[1])

    def unpack(self, node: Any) -> tuple[Any, ...]:
        found: list[Any] = []
        for t, place, a, unpack in self.entries:
            if unpack is not None:
                t = unpack(t)
                if place is not None:
                    t = wrap(t._a)
                    t._node = Output(node, place) if len(node.outs) > 1 else node
                found.append(t)
                continue
            if a is None:
                found.append(None)
                continue
            if versions.last_write[0] > node._seq:
                write = versions.written_since(a, node._seq)
                if write is not None:
                    from .complaints import overwritten
                    raise overwritten(node, "i" if place is None else "o", place or 0, a, write)
            if place is not None:
                t = wrap(a)
                t._node = Output(node, place) if len(node.outs) > 1 else node
            found.append(t)
        return tuple(found)


class FunctionMeta(type):
    """Gives each Function its own class of nodes, named as PyTorch names them."""

    def __init__(cls, name: str, bases: Any, attributes: Any):
        super().__init__(name, bases, attributes)
        cls._node_class = type(f"{name}Backward", (FunctionCtx,), {"function": cls, "__module__": cls.__module__})
        cls._backward_cls = cls._node_class
        made: Any = cls
        forward = made.forward
        code = getattr(forward, "__code__", None)
        if code is not None and forward.__defaults__ and made.setup_context is not Function.setup_context:
            cls._defaults, cls._count = forward.__defaults__, code.co_argcount - hasattr(forward, "__self__")


class Function(metaclass=FunctionMeta):
    """Base of operations with a derivative of their own: subclass it, and call ``Sub.apply(…)``.

    >>> import bibun as torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x ** 3
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         x, = ctx.saved_tensors
    ...         return 3 * x ** 2 * g
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    _node_class: Any = None
    _backward_cls: Any = None  # PyTorch's name for the class of nodes
    _defaults: Any = None       # of forward, where setup_context is to see them, and how many arguments forward takes
    _count = 0
    generate_vmap_rule = False
    is_traceable = False

    def __init__(self, *args: Any, **kwargs: Any):
        import warnings

        warnings.warn(f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke them on the class itself. "
                      "Instantiating an autograd function will raise an error in a future version of PyTorch.", DeprecationWarning, stacklevel=2)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with static forward "
                           "method: @staticmethod def forward(ctx, ...), called as " + type(self).__name__ + ".apply(...).")

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the output: ``forward(ctx, *args)``, or ``forward(*args)`` with a separate ``setup_context``."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Save what backward needs, given forward's inputs and output."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the inputs, given those of the outputs."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD.")

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangents of the outputs, given those of the inputs."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with forward mode AD.")

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """The batched operation."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or set generate_vmap_rule=True.")

    @classmethod
    def _call_backward(cls, ctx: Any, grads: list[Any]) -> Any:
        backward, vjp = cls.backward, cls.vjp
        if backward is not Function.backward and vjp is not Function.vjp:
            raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only implement one of them.")
        return (vjp if vjp is not Function.vjp else backward)(ctx, *grads)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the operation and record it."""
        if kwargs:
            import inspect

            separate = cls.setup_context is not Function.setup_context
            bound = inspect.signature(cls.forward).bind(*(() if separate else (None,)), *args, **kwargs)
            named = {k: v for k, v in bound.kwargs.items() if k in kwargs}
            if named:       # what forward takes by keyword alone has no place among the inputs that are differentiated
                if dispatch.busy[0]:
                    raise NotImplementedError("Run vmap on autograd.Function with kwarg-only Tensor args. Please do not pass kwarg-only Tensors to "
                                              f"autograd.Function. Got: {named}")
                raise TypeError(f"forward() got an unexpected keyword argument '{next(iter(named))}'")
            bound.apply_defaults()
            args = bound.args if separate else bound.args[1:]
        elif cls._defaults is not None and len(args) < cls._count:
            missing = cls._count - len(args)
            if missing <= len(cls._defaults):
                args = (*args, *cls._defaults[-missing:])
        if dispatch.busy[0]:
            done = dispatch.intercept_function(cls, args)
            if done is not NotImplemented:
                return done
        return cls._run(cls._node_class(), args)

    @classmethod
    def _run(cls, ctx: Any, args: tuple[Any, ...]) -> Any:
        """Call forward with ``ctx``, which becomes the node of what comes out."""
        Tensor = dispatch.Tensor
        targets: list[Any] = []
        metas: list[Any] = []
        wanted = False
        for a in args:
            target = None
            if isinstance(a, Tensor):
                if a._view is not None:
                    dispatch.refresh(a)
                target = a if a._node is LEAF else a._node
                metas.append((a._a.shape, a._a.dtype))
            else:
                metas.append(None)
            wanted = wanted or target is not None
            targets.append(target)
        record = wanted and state.grad is True
        ctx.needs_input_grad = tuple([t is not None for t in targets])
        before, state.grad = state.grad, FORWARD
        try:
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
                if ctx._to_save or ctx._for_forward:
                    refuse_as_is(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        finally:
            state.grad = before
        single = not isinstance(output, tuple)
        outs = [output] if single else list(output)
        return ctx._finish(args, outs, targets, metas, record, single)


def as_is(x: Any) -> Any:
    """``x.view_as(x)``, unrecorded."""
    before, state.grad = state.grad, FORWARD
    try:
        return x.view_as(x)
    finally:
        state.grad = before


def refuse_as_is(ctx: Any, args: Any, output: Any) -> None:
    """Raise where ``setup_context`` saved an input that was given back as it is: it would be saved without its place in the graph."""
    given_back = {id(o) for o in (output if isinstance(output, tuple) else (output,))}
    same = {id(a) for a in args if id(a) in given_back} - {id(t) for t in ctx._dirty}
    for t in (*(ctx._to_save or ()), *(ctx._for_forward or ())):
        if isinstance(t, dispatch.Tensor) and id(t) in same:
            raise RuntimeError("An input that has been returned as-is as output is being saved for backward. This is not supported if you override "
                               "setup_context. You should return and save a view of the input instead, e.g. with x.view_as(x) or setup ctx inside the forward "
                               "function itself.")


def _finish(ctx: Any, args: Any, outs: list[Any], targets: list[Any], metas: list[Any], record: bool, single: bool) -> Any:
    """Hang the node on the outputs; gives what ``apply`` returns."""
    from .inplace import rebase
    from .views import OfFunction, OneOfSeveral, unrecorded
    Tensor = dispatch.Tensor
    recording = state.grad is True
    dirty = {id(t) for t in ctx._dirty}
    inputs = {id(a) for a in args if isinstance(a, Tensor)}
    given_back = {id(o) for o in outs}
    for t in ctx._dirty:
        if record and t._node is LEAF:
            raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
        if not isinstance(t, Tensor) or id(t) not in inputs:
            import warnings

            warnings.warn("Only input Tensors should be given to ctx.mark_dirty(). If a Tensor is not an input, there is no need to pass it to mark_dirty().",
                          UserWarning, stacklevel=4)
            continue
        if id(t) not in given_back:
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. The inputs that are modified inplace "
                               "must all be outputs of the Function.")
        if record and t._view is not None and len(outs) > 1:
            raise RuntimeError("If your Function modifies inplace an input that is a view of another Tensor, your Function cannot return more than one Tensor. "
                               "This is not supported by the current autograd engine. You should either make sure the input is not a view (using .clone() for "
                               "example) or make your Function only return one Tensor (potentially splitting it into two Functions: one doing the inplace that "
                               "returns a single Tensor and a second one that does the other operations).")
        f = user_frame(3)
        versions.written(t._a, f.f_code, f.f_lasti)
    fixed = {id(t) for t in ctx._non_differentiable}
    result: list[Any] = []
    views: dict[int, Any] = {}      # output number -> the tensor that it is a view of
    for o in outs:
        if isinstance(o, Tensor) and id(o) not in dirty:
            if o._view is not None:
                views[len(result)] = o._view[0]
            elif id(o) in inputs:
                views[len(result)] = o
        if isinstance(o, Tensor) and id(o) in inputs and id(o) not in dirty:
            # An input given back unchanged is a view of it; a class that overrides functions says what a view of it is.
            alias = wrap(o._a) if getattr(o.__class__.__torch_function__, "__func__", None) is Tensor.__torch_function__.__func__ else as_is(o)
            if id(o) in fixed:
                fixed.add(id(alias))
            o = alias
        elif isinstance(o, Tensor) and id(o) not in dirty and o._node is not None:
            o = wrap(o._a)
        result.append(o)
    for i, base in views.items():
        view = (base, base._node, ())
        if recording:
            guard = (OfFunction if len(result) == 1 else OneOfSeveral)(view)
            guard.output, guard.of = i, ctx.function.__name__
            result[i]._view = guard
        else:
            result[i]._view = unrecorded(view)
    if not record:
        for o in result:
            if isinstance(o, Tensor) and id(o) not in dirty:
                o._node = None
        return result[0] if single else tuple(result)
    ctx.next, ctx.metas = tuple(targets), metas
    ctx.outs = [(o._a.shape, o._a.dtype) if isinstance(o, Tensor) else None for o in result]
    ctx.fix = ctx.hooks = None
    if fixed and not ctx._materialize_non_diff_grads:
        ctx._undefined = {i for i, (o, given) in enumerate(zip(result, outs)) if id(o) in fixed or id(given) in fixed}
    f = user_frame(3)
    ctx.code, ctx.lasti, ctx._seq = f.f_code, f.f_lasti, tick()
    if dispatch.anomaly[0]:
        from .anomaly import remember

        remember(ctx)
    for i, (o, given) in enumerate(zip(result, outs)):
        if not isinstance(o, Tensor) or id(o) in fixed or id(given) in fixed or o._a.dtype.kind not in dispatch.DIFFERENTIABLE:
            continue
        node = ctx if len(result) == 1 else Output(ctx, i)
        if id(o) in dirty:
            made = wrap(o._a)
            made._node = node
            rebase(o, made)
        else:
            o._node = node
    ctx.saved = _Saved(ctx._to_save, result) if ctx._to_save else ()
    ctx.plan = KEEPS if ctx._to_save else KEEPS_NOTHING
    for name in ("_to_save", "_dirty", "_non_differentiable", "_for_forward"):
        ctx.__dict__.pop(name, None)
    return result[0] if single else tuple(result)


FunctionCtx._finish = _finish  # type: ignore[attr-defined]
_SingleLevelFunction = Function


class InplaceFunction(Function):
    """A Function that was told whether to work in place (kept for old programs)."""


class NestedIOFunction(Function):
    """A Function on nested inputs and outputs (kept for old programs)."""


def once_differentiable(backward: Any) -> Any:
    """Decorate a backward that cannot be differentiated again: doing so raises."""
    import functools

    @functools.wraps(backward)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        before, state.grad = state.grad, BACKWARD
        try:
            made = backward(ctx, *grads)
        finally:
            state.grad = before
        if state.grad is not True or not any(isinstance(g, dispatch.Tensor) and g._node is not None for g in grads):
            return made
        outputs = made if isinstance(made, tuple) else (made,)
        Tensor = dispatch.Tensor
        node: Any = Error()
        leaves = [wrap(o._a) if isinstance(o, Tensor) and o._a.dtype.kind in dispatch.DIFFERENTIABLE else None for o in outputs]
        marked = list(outputs)
        node.next, node.outs = tuple(leaves), [None if o is None else (o._a.shape, o._a.dtype) for o in leaves]
        node.saved, node.plan, node.fix, node.hooks = (), KEEPS_NOTHING, None, None
        f = user_frame(2)
        node.code, node.lasti, node._seq = f.f_code, f.f_lasti, tick()
        for i, leaf in enumerate(leaves):
            if leaf is not None:
                leaf._node = LEAF   # as in PyTorch: what the results were computed from is out of reach
                marked[i] = wrap(leaf._a)
                marked[i]._node = node if len(outputs) == 1 else Output(node, i)
        return tuple(marked) if isinstance(made, tuple) else marked[0]
    return wrapper


class Error(Node):
    """Stands behind the results of a once-differentiable backward."""

    __slots__ = ()

    def name(self) -> str:
        return "torch::autograd::Error"

    def apply(self, g: Any, xp: Any, create: bool, only: Any = None) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
