"""The state of a module as a flat dict, out and back in.

In: a module tree; or a dict of tensors named by their paths. Out: `Stateful`, the part of `Module` that writes
``state_dict()`` and reads it in ``load_state_dict()``, with the hooks around both.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...autograd.modes import no_grad
from ...tensor import Tensor
from ...utils.hooks import RemovableHandle
from ..parameter import Parameter, is_lazy
from .hooks import _enter, _WrappedHook
from .members import LazyHooks

__all__ = ["Stateful"]

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"

_UNREACHABLE = (
    "Reached a code path in Module.{}() that should never be called. A module that has extra state must define both "
    "get_extra_state() and set_extra_state()."
)


class _KeyNames(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class _IncompatibleKeys(_KeyNames):
    """What ``load_state_dict`` gives: the names missing in the dict, and those it has beyond the module's."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__() if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"

    __str__ = __repr__


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


class Stateful:
    """``state_dict`` and ``load_state_dict``."""

    _version: int = 1
    _state_dict_hooks: Any = LazyHooks()
    _state_dict_pre_hooks: Any = LazyHooks()
    _load_state_dict_pre_hooks: Any = LazyHooks()
    _load_state_dict_post_hooks: Any = LazyHooks()

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    def get_extra_state(self) -> Any:
        """What else than tensors ``state_dict`` should hold; define it together with `set_extra_state`."""
        raise RuntimeError(_UNREACHABLE.format("get_extra_state"))

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(_UNREACHABLE.format("set_extra_state"))

    # out

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, state_dict, prefix, local_metadata)`` called after `state_dict`; it may give another."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered via "
                "register_state_dict_post_hook"
            )
        return _enter(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, state_dict, prefix, local_metadata)`` called after `state_dict`, to change it."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return _enter(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, prefix, keep_vars)`` called before `state_dict`."""
        return _enter(self._state_dict_pre_hooks, hook)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Enter the module's own tensors (not its submodules') into `destination`."""
        transient = self._non_persistent_buffers_set
        for members, left_out in ((self._parameters, ()), (self._buffers, transient)):
            for name, tensor in members.items():
                if tensor is not None and name not in left_out:
                    destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """An ordered dict of all parameters and persistent buffers by their paths, sharing their memory.

        Args:
            destination: a dict to fill instead of a new one. prefix: what every name starts with.
            keep_vars: give the parameters themselves, not tensors detached from the graph.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            if destination is None:
                destination = args[0]
            if len(args) > 1 and prefix == "":
                prefix = args[1]
            if len(args) > 2 and keep_vars is False:
                keep_vars = args[2]
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if replaced is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif replaced is not None:
                destination = replaced
        return destination

    # back in

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """`register_load_state_dict_pre_hook`, with the module as the first argument or without."""
        return _enter(self._load_state_dict_pre_hooks, _WrappedHook(hook, self if with_module else None))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have a hook called before the module's own tensors are loaded.

        Its arguments: ``(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
        error_msgs)``.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, incompatible_keys)`` called after loading; it may change the two lists in place."""
        return _enter(self._load_state_dict_post_hooks, hook)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load the module's own tensors (not its submodules') from the entries of `state_dict` under `prefix`.

        What goes wrong is added to the three lists.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = {name: param for name, param in self._parameters.items() if param is not None}
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                own[name] = buffer
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, current in own.items():
            key = prefix + name
            if key in state_dict:
                message = self._load_tensor(name, current, key, state_dict[key], assign)
                if message is not None:
                    error_msgs.append(message)
            elif strict:
                missing_keys.append(key)

        extra_key = prefix + _EXTRA_STATE_KEY_SUFFIX
        has_extra = type(self).set_extra_state is not Stateful.set_extra_state
        if extra_key in state_dict:
            if has_extra:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                unexpected_keys.append(extra_key)
        elif has_extra and strict:
            missing_keys.append(extra_key)

        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    head, dot, _ = key[len(prefix) :].partition(".")
                    if head not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_tensor(self, name: str, current: Any, key: str, given: Any, assign: bool) -> str | None:
        """Load one tensor; the message of what went wrong, or None."""
        if not isinstance(given, Tensor) and not hasattr(type(given), "__torch_function__"):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(given)}"
            )
        if not is_lazy(current):
            if current.dim() == 0 and given.dim() == 1:  # scalars were saved as one-element vectors long ago
                given = given[0]
            if given.shape != current.shape:
                return (
                    f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
                    f"the shape in current model is {current.shape}."
                )
        try:
            with no_grad():
                if not assign:
                    current.copy_(given)
                    return None
                if isinstance(current, Parameter):
                    if isinstance(given, Parameter):
                        given.requires_grad_(current.requires_grad)
                    else:
                        given = Parameter(given, requires_grad=current.requires_grad)
                setattr(self, name, given)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are {current.size()} and '
                f"whose dimensions in the checkpoint are {given.size()}, an exception occurred : {error.args}."
            )
        return None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy tensors by their paths into the module and its submodules.

        Args:
            strict: raise unless the names are exactly those of this module's `state_dict`.
            assign: put the given tensors themselves in the place of the present ones, dtypes and memory included.

        Returns:
            ``(missing_keys, unexpected_keys)``.

        Raises:
            RuntimeError: names (if strict) or sizes do not match; what does match has been loaded then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        given: Any = OrderedDict(state_dict)  # hooks may change it: not the caller's
        if metadata is not None:
            given._metadata = metadata
        _load_tree(self, given, "", metadata, assign, missing, unexpected, errors)
        if strict:
            if missing:
                errors.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
            if unexpected:
                errors.insert(1 if missing else 0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return _IncompatibleKeys(missing, unexpected)


def _load_tree(
    module: Any,
    entries: Any,
    prefix: str,
    metadata: Any,
    assign: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Load `module` and what is under it; `entries` are those of the dict whose names start with `prefix`."""
    local_metadata = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
    if assign:
        local_metadata["assign_to_params_buffers"] = assign
    module._load_from_state_dict(entries, prefix, local_metadata, True, missing, unexpected, errors)
    children: dict[str, dict[str, Any]] = {}
    start = len(prefix)
    for key, value in entries.items():
        head, dot, _ = key[start:].partition(".")
        if dot and key.startswith(prefix):
            children.setdefault(head, {})[key] = value
    for name, child in module._modules.items():
        if child is not None:
            mine = children.get(name, {})
            _load_tree(child, mine, f"{prefix}{name}.", metadata, assign, missing, unexpected, errors)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, _IncompatibleKeys(missing, unexpected)) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, "
                "if incompatible_keys need to be modified, it should be done inplace."
            )
