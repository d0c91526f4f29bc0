"""Operators that programs register by name: what is known of each, how a call runs, and where ``torch.ops`` finds them.

In: a schema and functions (kernels, a backward, a batching rule, a stand-in that computes shapes only). Out: an `Operator`,
called on tensors: its arguments are checked against the schema, the kernel runs out of sight of the graph, and one node
that bears the operator's name stands for it.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from ..autograd import dispatch, versions
from ..autograd.function import FORWARD, Function
from ..autograd.modes import state
from ..tensor import Tensor
from .schema import Schema

__all__ = ["SPACES", "Operator", "Packet", "Space", "find", "lookup"]

#: Namespace -> the operators in it.
SPACES: dict[str, Space] = {}
_warned: set[str] = set()


class _Call:
    """One call: positional arguments with tensors taken out, keyword-only ones, and how the outputs were nested."""

    __slots__ = ("args", "kwargs", "nested")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.args, self.kwargs = args, kwargs
        self.nested: list[Any] = []


class _Place(int):
    """Where a tensor was among a call's arguments: its number among the tensors."""


def taken_out(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """(the arguments with places for tensors, the tensors)."""
    tensors: list[Any] = []

    def out(x: Any) -> Any:
        if isinstance(x, Tensor):
            tensors.append(x)
            return _Place(len(tensors) - 1)
        return [out(v) for v in x] if isinstance(x, list) and any(isinstance(v, Tensor) for v in x) else x

    return tuple([out(a) for a in args]), tensors


def put_back(args: Any, values: Any) -> Any:
    """The arguments with ``values`` in the places; None for what is no place where ``values`` are not tensors."""
    if isinstance(args, _Place):
        return values[args]
    if isinstance(args, (list, tuple)):
        return type(args)([put_back(a, values) for a in args])
    return args


def in_places(args: tuple[Any, ...], values: Any, other: Any) -> tuple[Any, ...]:
    """For each argument what ``values`` says of its tensors, ``other`` where it has none."""

    def of(a: Any) -> Any:
        if isinstance(a, _Place):
            return values[a]
        return [of(x) for x in a] if isinstance(a, list) and any(isinstance(x, _Place) for x in a) else other

    return tuple([of(a) for a in args])


class Operator:
    """One operator (an overload of a name in a namespace), called like a function."""

    def __init__(self, schema: Schema, opaque: bool):
        space, _, name = schema.name.partition("::")
        self.space, self.name, self.overload = space, name, schema.overload_name or "default"
        self._schema = schema
        #: Whether the graph sees the operator as one node (`custom_op`), or what its kernel does (`Library`).
        self.opaque = opaque
        self.kernels: dict[str, Any] = {}
        self.disabled: set[str] = set()
        self.composite: Any = None
        self.fake: Any = None
        self.backward: Any = None
        self.setup: Any = None
        self.vmap_rule: Any = None
        self.autocast: dict[str, Any] = {}
        self.function = generated(self)
        self.__name__ = f"{name}.{self.overload}"
        self.__qualname__ = f"{space}.{name}.{self.overload}"

    @property
    def qualname(self) -> str:
        """``namespace::name``, with the overload's name where it has one."""
        return self._schema.name + (f".{self._schema.overload_name}" if self._schema.overload_name else "")

    def __str__(self) -> str:
        return f"{self.space}.{self.name}.{self.overload}"

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.space}.{self.name}', overload='{self.overload}')>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        values, named = self._schema.bind(args, kwargs)
        if self.autocast:
            values = cast_for_autocast(self, values)
        if self.composite is not None:
            return self.composite(*values, **named)
        places, tensors = taken_out(values)
        if self._schema.is_mutable:
            return self._mutating(values, named)
        seen = self.backward is not None or self.opaque
        if seen and (dispatch.busy[0] or state.grad and any(t.requires_grad for t in tensors)):
            call = _Call(places, named)
            flat = self.function.apply(*tensors, call)
            return put_back(call.nested[0], flat if isinstance(flat, tuple) else (flat,))
        return self.checked(self.kernel()(*values, **named), [*tensors, *(v for v in named.values() if isinstance(v, Tensor))])

    def kernel(self) -> Any:
        """The function that computes the operator here."""
        for key in ("cpu", "default"):
            if key in self.kernels and key not in self.disabled:
                return self.kernels[key]
        if not self.kernels:
            raise NotImplementedError(f"Could not run '{self.qualname}' with arguments from the 'CPU' backend: the operator has a schema but no kernel. "
                                      f"Give it one with torch.library.impl or register_kernel.")
        raise NotImplementedError(f"Could not run '{self.qualname}' with arguments from the 'CPU' backend. '{self.qualname}' is only available for these "
                                  f"backends: [{', '.join(sorted(k.upper() for k in self.kernels if k not in self.disabled))}].")

    def checked(self, out: Any, inputs: list[Any]) -> Any:
        """What a kernel gave, if it is what the schema says and looks at nobody else's memory."""
        returns = self._schema.returns
        if self._schema.several and not returns:
            if out is not None:
                raise RuntimeError(f"{self.qualname} gives nothing by its schema ({self._schema}), and its kernel returned {type(out).__name__}")
            return None
        several = self._schema.several
        if several and not isinstance(out, (tuple, list)) or several and len(out) != len(returns):
            got = f"{len(out)} values" if isinstance(out, (tuple, list)) else type(out).__name__
            raise TypeError(f"Object of type '{type(out).__name__}' is not an instance of 'sequence': {self.qualname} must return {len(returns)} values "
                            f"({self._schema}), and its kernel returned {got}")
        parts = tuple(out) if several else (out,)
        for kind, o in zip(returns, parts):
            if kind == "Tensor" and not isinstance(o, Tensor) or kind == "Tensor[]" and not isinstance(o, (list, tuple)):
                raise RuntimeError(f"Unable to cast {o!r} to {kind}: {self.qualname} must return {kind} by its schema ({self._schema})")
        if self.opaque:
            arrays = [t._a for t in inputs if isinstance(t._a, np.ndarray)]
            for o in taken_out(tuple(list(p) if isinstance(p, tuple) else p for p in parts))[1]:
                if any(np.may_share_memory(o._a, a) for a in arrays):
                    raise RuntimeError(
                        f"{self.qualname} (with implementation in {getattr(self.kernel(), '__module__', '???')}): The output of this custom operator (1) must not "
                        "also be an input to this custom operator and (2) may not alias any inputs to this custom operator or other returns. The most common "
                        "way to trigger this error is if we have y = custom_op(x) and y and x are the same Tensor. Please instead return a clone of the "
                        "offending output tensor(s) (e.g. return x.clone()) or refactor the custom operator to not return y."
                    )
                arrays.append(o._a)
        return tuple(out) if several else out

    def _mutating(self, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A call that writes to arguments: out of the graph's sight, and noted as a write."""
        before, state.grad = state.grad, FORWARD if state.grad else state.grad
        try:
            out = self.kernel()(*values, **named)
        finally:
            state.grad = before
        f = dispatch.user_frame(2)
        given = [*values, *named.values()]
        for a, value in zip(self._schema.arguments, given):
            if a.is_write:
                for t in value if isinstance(value, list) else (value,):
                    if t is not None:
                        versions.written(t._a, f.f_code, f.f_lasti)
        return self.checked(out, [])


def cast_for_autocast(op: Operator, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments in the dtype that `register_autocast` asked for, where autocast is on."""
    from ..amp.autocast_mode import is_autocast_enabled

    wanted = op.autocast.get("cpu")
    if wanted is None or not is_autocast_enabled("cpu"):
        return values

    def cast(v: Any) -> Any:
        if isinstance(v, list):
            return [cast(x) for x in v]
        return v.to(wanted) if isinstance(v, Tensor) and v.is_floating_point() and v.dtype != wanted else v

    return tuple([cast(v) for v in values])


def generated(op: Operator) -> Any:
    """The `Function` through which the graph and the transforms see an operator: ``apply(*tensors, call)``."""

    def forward(*inputs: Any) -> Any:
        *tensors, call = inputs
        values = put_back(call.args, tensors)
        if dispatch.busy[0] and state.watchers:
            made = dispatch.select_operator(op, values, call.kwargs)
        else:
            made = op.kernel()(*values, **call.kwargs)
        out = op.checked(made, list(tensors))
        parts = tuple(out) if op._schema.several else (out,)
        places, flat = taken_out(tuple([list(p) if isinstance(p, tuple) else p for p in parts]))
        call.nested[:] = [places if op._schema.several else places[0] if places else None]
        return tuple(flat) if len(flat) != 1 else flat[0]

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, call = inputs
        ctx._call = call
        if op.setup is None:
            return
        flat = ctx.needs_input_grad
        ctx.needs_input_grad = in_places(call.args, flat, False)
        made = put_back(call.nested[0], output if isinstance(output, tuple) else (output,))
        try:
            if any(a.kwarg_only for a in op._schema.arguments):
                op.setup(ctx=ctx, inputs=put_back(call.args, tensors), keyword_only_inputs=call.kwargs, output=made)
            else:
                op.setup(ctx=ctx, inputs=put_back(call.args, tensors), output=made)
        finally:
            ctx.needs_input_grad = flat

    def backward(ctx: Any, *grads: Any) -> Any:
        if op.backward is None:
            raise RuntimeError(f"Trying to backward through {op} but no autograd formula was registered. Please use register_autograd to add one.")
        call = ctx._call
        flat = ctx.needs_input_grad
        ctx.needs_input_grad = in_places(call.args, flat, False)
        nested = put_back(call.nested[0], grads)
        try:
            made = op.backward(ctx, *nested) if op._schema.several else op.backward(ctx, nested)
        finally:
            ctx.needs_input_grad = flat
        made = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        count = len(call.args)
        name = f"{op.function.__name__}Backward"
        if len(made) != count and (len(made) < count or any(g is not None for g in made[count:])):
            raise RuntimeError(f"function {name} returned an incorrect number of gradients (expected {count}, got {len(made)})")
        found: list[Any] = [None] * (len(flat) - 1)

        def place(a: Any, g: Any, position: int) -> None:
            if isinstance(a, _Place):
                if g is not None and not isinstance(g, Tensor):
                    raise RuntimeError(f"expected Variable or None (got {type(g).__name__}) from {name} at position {position + 1}")
                found[a] = g
            elif isinstance(a, list) and any(isinstance(x, _Place) for x in a):
                if g is None:
                    return
                if not isinstance(g, (list, tuple)) or len(g) != len(a):
                    raise RuntimeError(f"{name} must return a list of {len(a)} gradients (or None) for the list of tensors at position {position + 1}, and returned "
                                       + (f"{len(g)} of them" if isinstance(g, (list, tuple)) else type(g).__name__))
                for x, y in zip(a, g):
                    place(x, y, position)
            elif g is not None:
                raise RuntimeError(f"function {name} returned a gradient different than None at position {position + 1}, but the corresponding forward input was "
                                   "not a Variable")

        for i, (a, g) in enumerate(zip(call.args, made)):
            place(a, g, i)
        return (*found, None)

    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        *tensors, call = inputs
        *dims, _ = in_dims
        args = put_back(call.args, tensors)
        if op.vmap_rule is not None:
            out, out_dims = op.vmap_rule(info, in_places(call.args, dims, None), *args, **call.kwargs)
        else:
            out, out_dims = by_loop(op, info.batch_size, dims, call, tensors)
        several = op._schema.several
        parts = tuple(out) if several else (out,)
        given = tuple(out_dims) if isinstance(out_dims, (tuple, list)) and several else (out_dims,) * len(parts)
        places, flat = taken_out(tuple([list(p) if isinstance(p, tuple) else p for p in parts]))
        call.nested[:] = [places if several else places[0] if places else None]
        flat_dims: list[Any] = []
        for p, d in zip(places, given):
            if isinstance(p, list):
                flat_dims.extend(d if isinstance(d, (list, tuple)) else [d] * len(p))
            elif isinstance(p, _Place):
                flat_dims.append(d)
        return (tuple(flat), tuple(flat_dims)) if len(flat) != 1 else (flat[0], flat_dims[0])

    name = f"GeneratedBackwardFor_{op.space}_{op.name}_{op.overload}"
    return type(name, (Function,), {
        "forward": staticmethod(forward), "setup_context": staticmethod(setup_context), "backward": staticmethod(backward),
        "vmap": staticmethod(vmap), "__module__": __name__,
    })


def by_loop(op: Operator, size: int, dims: Any, call: _Call, tensors: Any) -> tuple[Any, Any]:
    """Example by example, for want of a batching rule."""
    if op.qualname not in _warned:
        _warned.add(op.qualname)
        warnings.warn(f"There is a performance drop because we have not yet implemented the batching rule for {op.qualname}: it runs example by example. "
                      "Give it one with register_vmap.", UserWarning, stacklevel=2)
    outs = []
    for i in range(size):
        row = [t if d is None else t.select(d, i) for t, d in zip(tensors, dims)]
        outs.append(op(*put_back(call.args, row), **call.kwargs))
    from ..functions.register import FUNCTIONS

    stack = FUNCTIONS["stack"]
    if not op._schema.several:
        return (stack(outs), 0) if isinstance(outs[0], Tensor) else ([stack(list(o)) for o in zip(*outs)], 0)
    return tuple(stack(list(o)) if isinstance(o[0], Tensor) else [stack(list(p)) for p in zip(*o)] for o in zip(*outs)), (0,) * len(outs[0])


class Packet:
    """All overloads of one name: ``torch.ops.space.name``."""

    def __init__(self, space: str, name: str):
        self._space, self.__name__ = space, name
        self._overloads: dict[str, Operator] = {}

    def overloads(self) -> list[str]:
        """The names of the overloads."""
        return list(self._overloads)

    def __getattr__(self, name: str) -> Operator:
        if name in self.__dict__.get("_overloads", ()):
            return self._overloads[name]
        raise AttributeError(f"The underlying op of '{self._space}.{self.__name__}' has no overload name '{name}'")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        found = list(self._overloads.values())
        for i, op in enumerate(found):
            if i + 1 < len(found):
                try:
                    op._schema.bind(args, kwargs)
                except RuntimeError:
                    continue
            return op(*args, **kwargs)
        raise AttributeError(f"{self} has no overloads")

    def __str__(self) -> str:
        return f"{self._space}.{self.__name__}"

    def __repr__(self) -> str:
        return f"<OpOverloadPacket(op='{self}')>"

    def __dir__(self) -> list[str]:
        return [*self._overloads, "overloads"]


class Space:
    """The operators of one namespace: ``torch.ops.space``."""

    def __init__(self, name: str):
        self._name = name
        self._packets: dict[str, Packet] = {}

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__.get("_packets", {}).get(name)
        if found is not None:
            return found
        if self.__dict__.get("_name") == "aten":
            return borrowed(name)
        raise AttributeError(f"'_OpNamespace' '{self._name}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return f"<module 'torch.ops.{self._name}' from 'torch.ops'>"

    def __dir__(self) -> list[str]:
        return list(self._packets)

    def _enter(self, op: Operator) -> None:
        """Enter an operator, in place of one that has its name."""
        self._packets.setdefault(op.name, Packet(op.space, op.name))._overloads[op.overload] = op


class Borrowed:
    """``torch.ops.aten.name``: a public function of the library under PyTorch's inner name, whatever the overload."""

    def __init__(self, name: str, function: Any, overload: str = ""):
        self._function, self._overload = function, overload
        self.__name__ = f"{name}.{overload}" if overload else name
        self._op_name, self._overloadname = name, overload
        #: What has all overloads: ``torch.ops.aten.name``.
        self.overloadpacket: Borrowed = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        made = self.__dict__[name] = Borrowed(self._op_name, self._function, name)  # one object, whenever it is asked for
        made.overloadpacket = self
        return made

    def overloads(self) -> list[str]:
        """The one overload that takes all forms."""
        return ["default"]

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if dispatch.busy[0]:
            done = dispatch.run_below(self, args, kwargs)
            if done is not NotImplemented:
                return done
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<OpOverload(op='aten.{self._op_name}', overload='{self._overload}')>" if self._overload else f"<OpOverloadPacket(op='aten.{self._op_name}')>"

    def __str__(self) -> str:
        return f"aten.{self._op_name}" + (f".{self._overload}" if self._overload else "")


#: What ``torch.ops.aten`` has given, so that each operator is one object.
_borrowed: dict[str, Borrowed] = {}
#: Operators that public functions call under another name, which programs list as the expensive ones.
_BENEATH = frozenset((
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_fused_attention_overrideable", "_softmax", "_log_softmax", "_to_copy", "convolution", "gelu",
    "silu", "elu", "leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "softplus", "mish", "native_layer_norm", "native_batch_norm", "native_group_norm",
    "max_pool2d_with_indices", "avg_pool2d", "nll_loss_forward", "mse_loss", "sym_size", "sym_stride", "sym_numel", "index",
))


def borrowed(name: str, of_primitive: bool = False) -> Borrowed:
    """The public function, or method, of that name; an operator that can only be named where there is none."""
    known = _borrowed.get(name)
    if known is not None:
        return known
    from ..functions.register import FUNCTIONS, METHODS

    function = FUNCTIONS.get(name) or METHODS.get(name) or FUNCTIONS.get(f"special.{name.removeprefix('special_')}") or \
        FUNCTIONS.get(f"linalg.{name.removeprefix('linalg_')}")
    if function is None:
        from .beneath import BENEATH

        function = BENEATH.get(name)
    if function is None or isinstance(function, property):
        if not of_primitive and name not in _BENEATH:
            raise AttributeError(f"'_OpNamespace' 'aten' object has no attribute '{name}'")

        def function(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"torch.ops.aten.{name} can be named here (in the policy of a checkpoint), not called: call the public function over it")
    made = _borrowed[name] = Borrowed(name, function)
    return made


def enter(op: Operator) -> Operator:
    """Make an operator known to ``torch.ops``."""
    SPACES.setdefault(op.space, Space(op.space))._enter(op)
    return op


def find(qualname: str) -> Operator | None:
    """The operator named ``space::name`` or ``space::name.overload``."""
    space, _, rest = qualname.partition("::")
    name, _, overload = rest.partition(".")
    found = SPACES.get(space)
    packet = found._packets.get(name) if found is not None else None
    if packet is None:
        return None
    return packet._overloads.get(overload or "default") or (next(iter(packet._overloads.values())) if not overload else None)


def lookup(op: Any) -> Operator:
    """The `Operator` that a name, an operator, a packet or a `CustomOpDef` means."""
    if isinstance(op, Operator):
        return op
    if isinstance(op, Packet):
        return next(iter(op._overloads.values()))
    if isinstance(op, str):
        found = find(op)
        if found is None:
            space, _, name = op.partition("::")
            raise AttributeError(f"'_OpNamespace' '{space}' object has no attribute '{name}'")
        return found
    inner = getattr(op, "_opoverload", None)
    if isinstance(inner, Operator):
        return inner
    raise ValueError(f"an operator is asked for: its name, torch.ops.space.name or what custom_op gave; got {type(op)}")


class Operators:
    """``torch.ops``: namespaces of operators as attributes; also the package of primitives, under the same name."""

    __name__ = "torch.ops"

    def __getattr__(self, name: str) -> Any:
        if name in SPACES:
            return SPACES[name]
        inner = sys.modules.get(f"bibun.ops.{name}")
        if inner is not None:
            return inner
        if name.startswith("__"):
            raise AttributeError(name)
        return Space(name)

    def load_library(self, path: Any) -> None:
        """Refused: libraries of compiled operators are PyTorch's."""
        raise OSError(f"{path}: compiled operator libraries are built against PyTorch and cannot be loaded; register the operators with torch.library.custom_op")

    def __repr__(self) -> str:
        return "<module 'torch.ops' from '_ops.py'>"


SPACES["aten"] = Space("aten")
