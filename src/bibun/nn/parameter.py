"""Parameters and buffers: tensors that a `Module` enters into its own lists when they are assigned to it.

In: a tensor, whose memory is shared. Out: a `Parameter` (a tensor subclass that requires grad by default), or a tensor
marked as a `Buffer`. The uninitialised kinds stand in for tensors whose shape the first forward will tell.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..autograd.node import LEAF
from ..tensor import Tensor, _disabled_torch_function_impl

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]

_array_slot: Any = Tensor.__dict__["_a"]
_new = object.__new__


def _leaf_of(cls: Any, array: Any, requires_grad: bool) -> Any:
    """A leaf of class `cls` looking at `array`."""
    if requires_grad.__class__ is not bool:
        raise TypeError(f"Parameter(): argument 'requires_grad' must be bool, not {type(requires_grad).__name__}")
    if requires_grad and array.dtype.kind not in dispatch.DIFFERENTIABLE:
        raise RuntimeError(
            "Only Tensors of floating point and complex dtype can require gradients, "
            f"got {dtypes.BY_NUMPY[array.dtype]}"
        )
    made = _new(cls)
    _array_slot.__set__(made, array)
    made._node = LEAF if requires_grad else None
    made._grad = made._view = made._story = None
    return made


class _ParameterMeta(type):
    """Counts tensors of another subclass that were made parameters as instances of `Parameter`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and instance._is_param


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that is to be trained: assigned to a `Module`, it appears in ``parameters()``.

    Args:
        data: the tensor whose memory the parameter shares (its graph is left behind); none gives an empty one.
        requires_grad: whether its gradient is wanted, under `no_grad` as well.

    >>> import bibun as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()
    __torch_function__ = _disabled_torch_function_impl  # type: ignore[assignment]

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            return _leaf_of(cls, np.empty(0, dtypes.default_np), requires_grad)
        kind = type(data)
        if kind is Tensor or kind is Parameter or kind is cls:
            return _leaf_of(cls, data._a, requires_grad)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter() takes a Tensor, not {kind.__name__}; bibun.tensor(data) makes one of numbers or arrays"
            )
        # A tensor of a subclass stays one of that subclass, and is marked.
        marked = _leaf_of(kind, data._a, requires_grad)
        marked.__dict__.update(data.__dict__)
        marked._is_param = True
        return marked

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(wrap(np.array(self._a, order="K")), self.requires_grad)
        return known

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__(**options)

    def __reduce_ex__(self, protocol: Any) -> Any:
        hooks: OrderedDict[int, Any] = OrderedDict()  # backward hooks are not kept
        state = {k: v for k, v in self.__dict__.items() if k not in _NOT_PICKLED}
        if state:
            return _rebuild_parameter_with_state, (wrap(self._a), self.requires_grad, hooks, state)
        return _rebuild_parameter, (wrap(self._a), self.requires_grad, hooks)


#: What the engine keeps in a leaf's ``__dict__``.
_NOT_PICKLED = frozenset(
    ("_backward_hooks_", "_post_accumulate_hooks_", "_has_hooks", "_accumulate_grad_", "_inference", "_shared")
)


def _rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Any:
    """A parameter out of a pickle."""
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(data: Any, requires_grad: bool, backward_hooks: Any, state: Any) -> Any:
    """A parameter with attributes of its own, out of a pickle."""
    param = Parameter(data, requires_grad)
    param.__dict__.update(state if isinstance(state, dict) else state[0])
    return param


class _BufferMeta(type):
    """Counts tensors that were marked as buffers as instances of `Buffer`."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and instance.__dict__.get("_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that belongs to a module's state and is not trained, such as a running mean.

    What comes out is an ordinary tensor sharing the memory of `data`, marked so that a `Module` registers it when it
    is assigned. `persistent` says whether it is part of the module's ``state_dict``.
    """

    __slots__ = ()

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = wrap(np.empty(0, dtypes.default_np))
        elif not isinstance(data, Tensor):
            raise TypeError(f"Buffer() takes a Tensor, not {type(data).__name__}")
        marked = data.detach().requires_grad_(data.requires_grad)
        marked.persistent = persistent
        marked._is_buffer = True
        return marked


def is_lazy(tensor: Any) -> bool:
    """Whether `tensor` is a parameter or buffer that has no shape yet."""
    return isinstance(tensor, UninitializedTensorMixin)


def _through_empty(name: str) -> Any:
    """A conversion method of a tensor without a shape: it converts the empty array that carries its dtype."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        empty = wrap(_array_slot.__get__(self))
        converted = getattr(empty, name)(*args, **kwargs)
        return self if converted is empty else converted

    method.__name__ = name
    return method


class UninitializedTensorMixin:
    """What the uninitialised parameter and buffer share: no array to compute with until `materialize`."""

    __slots__ = ()
    cls_to_become: Any = None

    @property
    def _a(self) -> Any:
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {sys._getframe(1).f_code.co_name}. This error happens "
            "when you are using a `LazyModule` or explicitly manipulating `torch.nn.parameter.UninitializedParameter` "
            "objects. When using LazyModules Call `forward` with a dummy batch to initialize the parameters before "
            "calling torch functions"
        )

    @property
    def data(self: Any) -> Any:
        return wrap(_array_slot.__get__(self))

    @data.setter
    def data(self: Any, value: Any) -> None:
        _array_slot.__set__(self, value._a)

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    @property
    def dtype(self: Any) -> Any:
        return dtypes.BY_NUMPY[_array_slot.__get__(self).dtype]

    def is_floating_point(self: Any) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self: Any) -> bool:
        return self.dtype.is_complex

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary parameter or buffer of `shape`, its elements not set."""
        if isinstance(shape, int):
            shape = (shape,)
        self.data = wrap(np.empty(tuple(shape), (dtype or self.dtype).np))
        self.__class__ = self.cls_to_become

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self, **options: Any) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return type(self), (self.requires_grad,)

    __hash__ = object.__hash__


for _name in "to type cpu cuda half float double bfloat16 char short int long".split():
    setattr(UninitializedTensorMixin, _name, _through_empty(_name))
del _name


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known yet; every use but conversion raises until `materialize`."""

    __slots__ = ()
    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _leaf_of(cls, np.empty(0, dtype.np if dtype else dtypes.default_np), requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(self.requires_grad, dtype=self.dtype)
        return known


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer whose shape is not known yet; every use but conversion raises until `materialize`."""

    __slots__ = ()
    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        made = _leaf_of(cls, np.empty(0, dtype.np if dtype else dtypes.default_np), requires_grad)
        made.__dict__.update(persistent=persistent, _is_buffer=True)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        known = memo.get(id(self))
        if known is None:
            known = memo[id(self)] = type(self)(
                self.requires_grad, dtype=self.dtype, persistent=self.__dict__["persistent"]
            )
        return known


dispatch.register(None, Parameter)
