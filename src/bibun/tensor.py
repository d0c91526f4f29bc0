"""Tensor: an ndarray, its place in the graph, and PyTorch's face over both.

A tensor looks at the memory of its ndarray (``_a``), whose shape, strides and offset are its own; views share memory as
NumPy's do. ``_node`` is its place in the graph: None (requires no grad), `LEAF`, a `Node`, or an `Output` of one.
Arithmetic and functions are entered from `bibun.functions` by `attach`; this file holds what a tensor *is*: its
properties, conversions, protocols and gradient state.
"""

from __future__ import annotations

import copy as _copy
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes
from .autograd import api, dispatch, hooks, versions
from .autograd.dispatch import wrap
from .autograd.modes import of_inference, state
from .autograd.node import LEAF
from .dtypes import BY_NUMPY, Size, size_of

ndarray = np.ndarray
_tuple_new = tuple.__new__
CPU = dtypes.device("cpu")


class Tensor:
    """A multi-dimensional array that remembers how it was computed.

    >>> import bibun as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__dict__", "__weakref__", "_a", "_grad", "_node", "_story", "_view")
    _a: Any
    _grad: Any
    _node: Any
    _story: Any
    _view: Any

    #: A tensor in the graph is a leaf; nodes have positive numbers here.
    _seq = 0
    _has_hooks = False
    _is_param = False
    _is_buffer = False
    __array_priority__ = 1000

    def __new__(cls, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        return legacy_constructor(cls, dtypes.default, args, kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    if TYPE_CHECKING:  # only there: a class with ``__getattr__`` has every read of an attribute slowed

        def __getattr__(self, name: str) -> Any: ...

    def as_edge(self) -> tuple[Any, int]:
        """(node, output number) that stands for this leaf where a graph is looked at."""
        return api.accumulate_node(self), 0

    # shape, dtype, memory

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return _tuple_new(Size, self._a.shape)  # `size_of`, in line

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        shape = self._a.shape
        if dim is None:
            return size_of(shape)
        if dim.__class__ is int and -len(shape) <= dim < len(shape):
            return shape[dim]
        return shape[dtypes_dim(dim, len(shape))]

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    def dim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._a.size

    nelement = numel

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return BY_NUMPY[self._a.dtype]

    @property
    def device(self) -> Any:
        """Where the memory is: the processor."""
        return CPU

    @property
    def layout(self) -> Any:
        """``torch.strided``."""
        return dtypes.strided

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._a.itemsize

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._a.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """Steps in memory, in elements, from one element to the next along each dimension (or one of them)."""
        a = self._a
        n = a.itemsize
        if not a.size:  # NumPy keeps no strides of empty arrays
            strides = contiguous_strides(a.shape)
            return strides if dim is None else strides[dtypes_dim(dim, a.ndim)]
        if dim is not None:
            return a.strides[dtypes_dim(dim, a.ndim)] // n
        return tuple([s // n for s in a.strides])

    def storage_offset(self) -> int:
        """Elements from the start of the storage to the first element."""
        a = self._a
        if a.base is None or not a.size:
            return 0
        from .storage import offset_of

        return offset_of(a) // a.itemsize

    def data_ptr(self) -> int:
        """The address of the first element; 0 for an empty tensor."""
        return self._a.__array_interface__["data"][0] if self._a.size else 0

    def is_contiguous(self, memory_format: Any = dtypes.contiguous_format) -> bool:
        """Whether the elements lie in memory in the order that ``memory_format`` names."""
        a = self._a
        if memory_format is dtypes.channels_last:
            return a.ndim == 4 and a.transpose(0, 2, 3, 1).flags.c_contiguous
        if memory_format is dtypes.channels_last_3d:
            return a.ndim == 5 and a.transpose(0, 2, 3, 4, 1).flags.c_contiguous
        return a.flags.c_contiguous

    def untyped_storage(self) -> Any:
        """The bytes that this tensor and its views look at."""
        from .storage import storage_of

        return storage_of(self)

    def storage(self) -> Any:
        """The elements of the memory that this tensor and its views look at."""
        from .storage import typed_storage_of

        return typed_storage_of(self)

    def _typed_storage(self) -> Any:
        return self.storage()

    def storage_type(self) -> Any:
        return type(self.storage())

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self._a.dtype.kind == "c"

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_conj(self) -> bool:
        """False: conjugation is done at once here."""
        return False

    def is_neg(self) -> bool:
        """False: negation is done at once here."""
        return False

    def resolve_conj(self) -> Tensor:
        """The tensor itself."""
        return self

    def resolve_neg(self) -> Tensor:
        """The tensor itself."""
        return self

    def is_inference(self) -> bool:
        """Whether the tensor was made under `inference_mode`."""
        return of_inference(self._a)

    is_cuda = is_mps = is_xpu = is_meta = is_sparse = is_quantized = is_mkldnn = is_nested = is_sparse_csr = is_ipu = (
        is_vulkan
    ) = False
    is_cpu = True
    names: Any = property(lambda self: (None,) * self._a.ndim)

    def has_names(self) -> bool:
        return False

    def get_device(self) -> int:
        """-1, PyTorch's number for the processor."""
        return -1

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def pin_memory(self, device: Any = None) -> Tensor:
        return self

    def is_shared(self) -> bool:
        """Whether other processes see this memory."""
        return "_shared" in self.__dict__

    def share_memory_(self) -> Tensor:
        """Move the elements to memory that processes forked or spawned later share."""
        if "_shared" not in self.__dict__:
            import mmap

            a = self._a
            memory = mmap.mmap(-1, max(1, a.nbytes))
            shared = np.ndarray(a.shape, a.dtype, memory)
            shared[...] = a
            self._a = shared
            self.__dict__["_shared"] = True
        return self

    # the graph

    @property
    def requires_grad(self) -> bool:
        """Whether gradients of this tensor are computed; as in PyTorch, also of a view made under `no_grad` of one whose are."""
        view = self._view
        if view is None:
            return self._node is not None
        if view.__class__ is not tuple:
            return self._node is not None or view[0]._node is not None and not of_inference(self._a)
        dispatch.refresh(self)
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @requires_grad.deleter
    def requires_grad(self) -> None:
        raise RuntimeError("cannot delete requires_grad of a tensor: set it to False")

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Have operations on this tensor recorded (or not); returns the tensor."""
        if not isinstance(requires_grad, (bool, np.bool_)):
            raise TypeError(
                f"requires_grad_(): argument 'requires_grad' must be bool, not {type(requires_grad).__name__}"
            )
        n = self._node
        if requires_grad:
            if n is None:
                if of_inference(self._a) and not state.inference:
                    raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
                if self._a.dtype.kind not in dispatch.DIFFERENTIABLE:
                    raise RuntimeError(
                        f"only Tensors of floating point and complex dtype can require gradients; this one is {self.dtype}"
                    )
                self._node = LEAF
                if self._view is not None and self._view.__class__ is tuple:
                    self._view = None
        elif n is not None:
            if n is not LEAF:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                    "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            self._node = None
            self._story = dispatch.Cut("freezing (requires_grad = False)")
        return self

    @property
    def grad_fn(self) -> Any:
        """The graph node that computed this tensor; None for a leaf."""
        if self._view is not None:
            dispatch.refresh(self)
            if self._view.__class__ is not tuple:
                dispatch.refuse_stale(self)
        n = self._node
        return None if n is None or n is LEAF else n.as_edge()[0]

    @property
    def output_nr(self) -> int:
        """Which of its node's outputs this tensor is."""
        n = self._node
        return 0 if n is None or n is LEAF else n.as_edge()[1]

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user and not by a recorded operation."""
        if self._view is not None:
            dispatch.refresh(self)
            if self._view.__class__ is not tuple:
                dispatch.refuse_stale(self)
        n = self._node
        return n is None or n is LEAF

    @property
    def grad(self) -> Any:
        """The accumulated gradient, or None."""
        g = self._grad
        if g is None and self._node is not None and self._node is not LEAF and not hooks.is_retained(self):
            import warnings

            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
                "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, use "
                ".retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the leaf "
                "Tensor instead.",
                UserWarning,
                stacklevel=2,
            )
        return g

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._a.dtype != self._a.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: a {value.dtype} gradient for a {self.dtype} tensor"
                )
            if value._a.shape != self._a.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: {list(value._a.shape)} for a tensor of size {list(self._a.shape)}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def _grad_fn(self) -> Any:
        return self.grad_fn

    @_grad_fn.deleter
    def _grad_fn(self) -> None:
        raise RuntimeError("cannot delete the grad_fn of a tensor: use detach_()")

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add the gradient of this tensor to the ``.grad`` of the leaves it was computed from; see `bibun.autograd.backward`."""
        if gradient is None and inputs is None and not create_graph:
            api.backward_from(self, bool(retain_graph))
            return
        if gradient is not None and not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        api.backward((self,), (gradient,), retain_graph, create_graph, inputs=inputs)

    def detach(self) -> Tensor:
        """A tensor that shares this one's memory and is out of its graph."""
        t = wrap(self._a)
        t._story = dispatch.Cut("detach()") if self._node is not None else self._story
        return t

    def detach_(self) -> Tensor:
        """Take this tensor out of its graph: it becomes a leaf."""
        if self._view is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training, and "
                "gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
                "these gradients."
            )
        n = self._node
        if n is not None and n is not LEAF:
            versions.detached(*n.as_edge())
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory, out of the graph and out of sight of its version counter."""
        a = self._a
        d = a.dtype
        hidden = np.asarray(_Exposed(a))  # whose owner storages find, as they would not a buffer's
        if hidden.dtype != d:
            hidden = hidden.view(d)
        t = wrap(hidden)
        t._story = dispatch.Cut(".data") if self._node is not None else self._story
        return t

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if value._a.dtype.kind not in dispatch.DIFFERENTIABLE and self._node is not None:
            raise RuntimeError(
                f"data set to a tensor that requires gradients must be floating point or complex dtype, not {value.dtype}"
            )
        if value._a is not self._a:
            versions.count_together(self._a, value._a)
        self._a = value._a

    @data.deleter
    def data(self) -> None:
        raise RuntimeError("cannot delete the data of a tensor")

    @property
    def volatile(self) -> bool:
        """False: an old name, from before `no_grad`."""
        import warnings

        warnings.warn("volatile was removed (Variable.volatile is always False)", UserWarning, stacklevel=2)
        return False

    @property
    def _version(self) -> int:
        """How often this tensor's memory was written in place."""
        if of_inference(self._a):
            raise RuntimeError("Inference tensors do not track version counter.")
        return versions.version_of(self._a)

    def _is_view(self) -> bool:
        return self._view is not None and not of_inference(self._a)

    @property
    def _base(self) -> Any:
        """The tensor this one is a view of, or None."""
        return self._view[0] if self._is_view() else None

    def _view_func(self, new_base: Any) -> Any:
        """What this view would be as a view of ``new_base``; None where this is no view, or ``new_base`` is not laid out as its base."""
        from .autograd.inplace import of_other

        return of_other(self, new_base, True)

    def _view_func_unsafe(self, new_base: Any) -> Any:
        """The same for a ``new_base`` of any layout."""
        from .autograd.inplace import of_other

        return of_other(self, new_base, False)

    def retain_grad(self) -> None:
        """Have backward leave this non-leaf tensor's gradient in its ``.grad``."""
        if self._view is not None:
            dispatch.refresh(self)
        if self._node is None:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._node is not LEAF:
            hooks.retain(self)

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this non-leaf tensor."""
        return hooks.is_retained(self)

    def register_hook(self, hook: Any) -> Any:
        """Have ``hook(grad)`` called with this tensor's gradient; what it returns replaces the gradient."""
        if self._view is not None:
            dispatch.refresh(self)
        if self._node is LEAF:
            self.__dict__["_has_hooks"] = True
        return hooks.add_tensor_hook(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        """Have ``hook(tensor)`` called after a gradient was added to this leaf's ``.grad``."""
        if self._node is None:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not LEAF:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        self.__dict__["_has_hooks"] = True
        table = self.__dict__.setdefault("_post_accumulate_hooks_", hooks.HookDict())
        handle = hooks.RemovableHandle(table)
        table[handle.id] = hook
        return handle

    @property
    def _backward_hooks(self) -> Any:
        return self.__dict__.get("_backward_hooks_")

    @_backward_hooks.setter
    def _backward_hooks(self, value: Any) -> None:
        table = hooks.HookDict(value or ())
        self.__dict__["_backward_hooks_"] = table
        if self._node is not None:
            self.__dict__["_has_hooks"] = True

    @_backward_hooks.deleter
    def _backward_hooks(self) -> None:
        raise RuntimeError("cannot delete the hooks of a tensor: remove them by their handles")

    # values

    def item(self) -> Any:
        """The one element as a Python number."""
        a = self._a
        if a.size != 1:
            raise RuntimeError(f"a Tensor with {a.size} elements cannot be converted to Scalar")
        if a.dtype.kind == "V" or a.dtype in dispatch.NARROW:
            return float(a.reshape(())[()])
        return a.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers (a number for a 0-d tensor)."""
        a = self._a
        if a.dtype in dispatch.NARROW:
            a = a.astype(np.float64)
        return a.tolist()

    def numpy(self, *, force: bool = False) -> ndarray:
        """The elements as an ndarray that shares this tensor's memory."""
        if force:
            return self._a
        if self._node is not None and state.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self._a

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            return a.astype(dtype)
        return a.copy() if copy else a

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .functions.interop import array_ufunc

        return array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from .functions.interop import array_function

        return array_function(function, args, kwargs)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        if self._node is not None:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        options: dict[str, Any] = {} if max_version is None else {"max_version": max_version}
        return self._a.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._a.__dlpack_device__()

    def __bool__(self) -> bool:
        a = self._a
        if a.size != 1:
            raise RuntimeError(
                "Boolean value of Tensor with no values is ambiguous"
                if not a.size
                else "Boolean value of Tensor with more than one value is ambiguous"
            )
        return bool(a.reshape(())[()])

    def _number(self, kind: type) -> Any:
        if self._a.size != 1:
            raise (
                RuntimeError(f"a Tensor with {self._a.size} elements cannot be converted to Scalar")
                if kind is not int
                else ValueError("only one element tensors can be converted to Python scalars")
            )
        return kind(self.item())

    def __float__(self) -> float:
        return self._number(float)

    def __int__(self) -> int:
        return self._number(int)

    def __complex__(self) -> complex:
        return self._number(complex)

    def __index__(self) -> int:
        a = self._a
        if a.size != 1 or a.dtype.kind not in "biu":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(a.reshape(())[()])

    def __len__(self) -> int:
        if not self._a.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._a.shape[0]

    def __iter__(self) -> Any:
        if not self._a.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Tensor, int, float, complex)):
            return bool(wrap(np.equal(self._a, getattr(element, "_a", element)))._a.any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    __hash__ = object.__hash__

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from .printing import format_tensor

        return format_tensor(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        if not self._a.ndim and type(self) is Tensor:
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        return sorted(set(object.__dir__(self)))

    # copies

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. If you were "
                "attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        known = memo.get(id(self))
        if known is not None:
            return known
        a = self._a
        root = versions.root_of(a)
        roots = memo.setdefault("bibun.roots", {})  # type: ignore[call-overload]
        if root is a:
            fresh = roots.get(id(root))
            if fresh is None:
                fresh = roots[id(root)] = np.array(a, order="K")
                memo[id(root)] = root  # kept alive: its id must stay its own
            made_a = fresh
        else:
            from .storage import like_view

            fresh = roots.get(id(root))
            if fresh is None:
                fresh = roots[id(root)] = np.array(root, order="K")
                memo[id(root)] = root
            made_a = like_view(a, root, fresh)
        made = object.__new__(type(self))
        made._a, made._node, made._view = made_a, self._node, None
        made._grad = made._story = None
        memo[id(self)] = made
        if self._grad is not None:
            made._grad = _copy.deepcopy(self._grad, memo)
        for key, value in self.__dict__.items():
            if not key.startswith(("_backward_hooks_", "_post_accumulate", "_accumulate_grad_", "_has_hooks")):
                made.__dict__[key] = _copy.deepcopy(value, memo)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        import importlib  # a floor above: reached by name, where it is asked for

        return importlib.import_module("bibun.serialization").reduce_tensor(self, protocol)

    def __setstate__(self, given: Any) -> None:
        self.__dict__.update(given)

    # __torch_function__

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "__torch_dispatch__") and cls.__module__.partition(".")[0] != "bibun":
            import importlib

            importlib.import_module("bibun.library.dispatching").met(cls)
        if cls.__module__.partition(".")[0] != "bibun" and cls.__torch_function__ is not _disabled_torch_function_impl:
            _overriding().met(cls)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called with each function of the library called on a tensor of a subclass; this default makes the results tensors of the subclass."""
        return _overriding().default(cls, func, types, args, kwargs)

    def as_subclass(self, cls: type) -> Any:
        """A tensor of class ``cls`` that looks at this one and stands in its graph."""
        return _overriding().as_subclass(self, cls)

    @staticmethod
    def _make_subclass(cls: type, data: Any, require_grad: bool = False, **options: Any) -> Any:
        """A leaf of class ``cls`` that looks at the elements of ``data``."""
        made = _overriding().as_subclass(data.detach(), cls)
        made._view = None
        made._node = LEAF if require_grad else None
        return made


def _disabled_torch_function_impl(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The ``__torch_function__`` of a class that does not want to see functions: it runs them."""
    return func(*args, **(kwargs or {}))


def _overriding() -> Any:
    import importlib  # a floor above: reached by name, where a program has subclasses

    return importlib.import_module("bibun.overriding")


class _Exposed:
    """Memory handed on without its owner: an ndarray made from this has a root, and so a version, of its own."""

    def __init__(self, a: ndarray):
        self.owner = a
        self.__array_struct__ = a.__array_struct__


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor of that shape in row-major order; a dimension of no elements counts as one."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 1, 0, -1):
        strides[i - 1] = strides[i] * max(shape[i], 1)
    return tuple(strides)


def dtypes_dim(dim: int, ndim: int) -> int:
    """A dimension number as a non-negative one, with PyTorch's error."""
    from .errors import normalize_dim

    return normalize_dim(dim, ndim)


def legacy_constructor(cls: Any, dtype: Any, args: Any, kwargs: Any) -> Any:
    """``torch.Tensor(...)``: an empty tensor of the given sizes, or one with the given data."""
    from .functions.creation import legacy_tensor

    if cls is not Tensor and len(args) == 1 and isinstance(args[0], Tensor) and not kwargs:
        return _overriding().as_subclass(args[0], cls)
    t = legacy_tensor(dtype, args, kwargs)
    if cls is Tensor:
        return t
    made = object.__new__(cls)
    made._a = t._a
    made._node = made._grad = made._view = made._story = None
    return made


def twin(f: Any) -> Any:
    """A function object of its own with the code of ``f``."""
    made = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    made.__kwdefaults__, made.__doc__, made.__qualname__ = f.__kwdefaults__, f.__doc__, f.__qualname__
    made.__dict__.update(f.__dict__)
    return made


def attach() -> None:
    """Enter the public functions into the class."""
    from .functions import register

    functions = register.FUNCTIONS
    for name, value in register.METHODS.items():
        if name not in Tensor.__dict__:
            if type(value) is FunctionType and functions.get(name) is value:
                value = twin(value)  # `torch.x` and `Tensor.x` are two for `__torch_function__`
            setattr(Tensor, name, value)


dispatch.register(Tensor)
api.Tensor = Tensor

__all__ = ["Tensor", "attach", "state", "wrap"]
