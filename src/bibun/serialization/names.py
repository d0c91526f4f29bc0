"""Under which names things stand in files: PyTorch's, so that either library reads what the other wrote.

In comes a class, function or dtype on the way into a pickle, and out goes the pair (module, name) that PyTorch would
write; in comes such a pair on the way back, and out goes the object here. Most names differ by their first word alone,
and both directions check what they found.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from .. import dtypes
from ..dtypes import BY_NAME
from ..dtypes import dtype as Dtype
from ..placement import layout, memory_format
from ..storage import CLASSES, TypedStorage, UntypedStorage

__all__ = ["of_file", "to_file"]

#: Where PyTorch keeps what lies elsewhere here: (module, name) there -> "module:name" here.
MOVED: dict[tuple[str, str], str] = {
    ("torch", "Size"): "size:Size",
    ("torch", "device"): "placement:device",
    ("torch", "Tensor"): "tensor:Tensor",
    ("torch._tensor", "Tensor"): "tensor:Tensor",
    ("torch.storage", "UntypedStorage"): "storage:UntypedStorage",
    ("torch", "UntypedStorage"): "storage:UntypedStorage",
    ("torch.storage", "TypedStorage"): "storage:TypedStorage",
    ("torch.storage", "_TypedStorage"): "storage:TypedStorage",
    ("torch.storage", "_UntypedStorage"): "storage:UntypedStorage",
    ("torch.storage", "_load_from_bytes"): "serialization:_load_from_bytes",
    ("torch.serialization", "_get_layout"): "serialization.rebuild:_get_layout",
    ("torch._tensor", "_rebuild_from_type_v2"): "serialization.rebuild:_rebuild_from_type_v2",
    ("torch._utils", "_rebuild_parameter"): "nn.parameter:_rebuild_parameter",
    ("torch._utils", "_rebuild_parameter_with_state"): "nn.parameter:_rebuild_parameter_with_state",
    ("torch", "dtype"): "dtypes:dtype",
    ("torch", "finfo"): "dtypes:finfo",
    ("torch", "iinfo"): "dtypes:iinfo",
    ("torch", "layout"): "placement:layout",
    ("torch", "memory_format"): "placement:memory_format",
    ("torch.autograd.grad_mode", "no_grad"): "autograd.modes:no_grad",
    ("torch.autograd.grad_mode", "set_grad_enabled"): "autograd.modes:set_grad_enabled",
    ("torch.utils.hooks", "RemovableHandle"): "autograd.hooks:RemovableHandle",
    ("torch.nn.modules.module", "_WrappedHook"): "nn.modules.hooks:_WrappedHook",
    ("torch._C", "Generator"): ":Generator",
    ("torch", "Generator"): ":Generator",
    **{
        ("torch._utils", name): f"serialization.rebuild:{name}"
        for name in (
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_meta_tensor_no_storage",
            "_rebuild_sparse_tensor",
            "_rebuild_qtensor",
            "_rebuild_nested_tensor",
            "_rebuild_wrapper_subclass",
            "_rebuild_device_tensor_from_numpy",
            "_rebuild_device_tensor_from_cpu_tensor",
        )
    },
}

#: The first of several names for one thing is the one that files get.
_HERE: dict[str, tuple[str, str]] = {}
for _there, _place in MOVED.items():
    _HERE.setdefault(_place, _there)

#: Where a function is public, in the order in which PyTorch would own it.
PUBLIC = ("torch.nn.functional", "torch", "torch.nn.init", "torch.linalg", "torch.special", "torch.fft")

#: A name's other homes here, tried where the natural one lacks it: module prefix there -> module here.
FALLBACK = (
    ("torch.nn.modules", "nn"),
    ("torch.nn.parameter", "nn"),
    ("torch.optim", "optim"),
    ("torch._C._nn", "nn.functional"),
    ("torch._C._VariableFunctions", ""),
    ("torch", ""),
)


def to_file(obj: Any, name: str | None = None) -> tuple[str, str] | None:
    """The pair under which `obj`, one of bibun's, stands in a file; None for what is not ours."""
    kind = obj.__class__
    if kind is Dtype:
        return "torch", obj.name
    if kind is memory_format or kind is layout:
        return "torch", obj.name
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str):
        return None
    if module.startswith("torch.") and _is_ours(obj, module):  # a named tuple of `return_types`
        return module, obj.__qualname__
    if module != "bibun" and not module.startswith("bibun."):
        return None
    name = name or getattr(obj, "__qualname__", None) or obj.__name__
    if kind is type(CLASSES[dtypes.float32]):
        return "torch", name
    module = module[6:]
    moved = _HERE.get(f"{module}:{name}") or (_HERE.get(f":{name}") if name == "Generator" else None)
    if moved is not None:
        return moved
    if module.partition(".")[0] in ("functions", "autograd", "ops"):
        short = getattr(obj, "__name__", name)  # many are made in other functions, and public all the same
        for public in PUBLIC:
            try:
                if getattr(import_module("bibun" + public[5:]), short, None) is obj:
                    return public, short
            except ImportError:
                pass
    return f"torch.{module}" if module else "torch", name


def _is_ours(obj: Any, module: str) -> bool:
    try:
        return getattr(import_module("bibun" + module[5:]), obj.__qualname__, None) is obj
    except ImportError:
        return False


def of_file(module: str, name: str) -> Any:
    """What a file's pair means here; pairs outside ``torch`` are imported as pickle does.

    Raises:
        AttributeError: for a name of PyTorch's that is not in bibun.
        ImportError: for other modules that are not there.
    """
    if module != "torch" and not module.startswith("torch."):
        __import__(module)
        return _get(sys.modules[module], name)
    if module == "torch":
        found = BY_NAME.get(name)
        if found is not None:
            return found
        if name.endswith("Storage"):
            for each in CLASSES.values():
                if each.__name__ == name:
                    return each
    place = MOVED.get((module, name))
    if place is not None:
        home, _, name = place.partition(":")
        return getattr(import_module(f"bibun.{home}" if home else "bibun"), name)
    if (module, name) == ("torch._C", "_VariableFunctionsClass"):
        return import_module("bibun")  # PyTorch pickles its functions as attributes of that
    real = "bibun" + module[5:]
    tried: ModuleNotFoundError | AttributeError
    try:
        return _get(import_module(real), name)
    except ModuleNotFoundError as error:
        if error.name is None or not (real + ".").startswith(error.name + "."):
            raise  # the module is there and lacks something itself
        tried = error
    except AttributeError as error:
        tried = error
    for prefix, home in FALLBACK:
        if module == prefix or module.startswith(prefix + "."):
            try:
                return _get(import_module(f"bibun.{home}" if home else "bibun"), name)
            except (AttributeError, ModuleNotFoundError):
                pass
    raise AttributeError(
        f"Can't get attribute {name!r} of {module!r}: the file was made with PyTorch, and bibun has no {module}.{name}"
    ) from tried


def _get(holder: Any, name: str) -> Any:
    for part in name.split("."):
        if part == "<locals>":
            raise AttributeError(f"Can't get local attribute {name!r} of {holder!r}")
        holder = getattr(holder, part)
    return holder


STORAGES: dict[str, Any] = {
    **{f"torch.{each.__name__}": each for each in CLASSES.values()},
    "torch.storage.UntypedStorage": UntypedStorage,
    "torch.storage.TypedStorage": TypedStorage,
}
"""Full names of the storage classes that a file may mention."""
