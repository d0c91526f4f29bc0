"""Modules as functions of their parameters: `functional_call` and `stack_module_state`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..tensor import Tensor

#: Stands for what was not there.
MISSING: Any = object()


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:
    """Call ``module`` with the given tensors in place of its parameters and buffers; the module is left as it was.

    Args:
        parameter_and_buffer_dicts: {name: tensor}, or several such dictionaries without common names.
        tie_weights: a parameter that the module holds twice is replaced in both places.
        strict: every parameter and buffer must be given, and nothing else.
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, (list, tuple)):
        if not all(isinstance(d, dict) for d in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        keys = [k for d in parameter_and_buffer_dicts for k in d]
        repeated = sorted({k for k in keys if keys.count(k) > 1})
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {k: v for d in parameter_and_buffer_dicts for k, v in d.items()}
    else:
        raise ValueError(f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(parameter_and_buffer_dicts)}")
    with replaced(module, given, tie_weights, strict):
        arguments = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*arguments, **(kwargs or {}))


@contextlib.contextmanager
def replaced(module: Any, given: dict[str, Any], tie_weights: bool, strict: bool) -> Iterator[None]:
    """The module with other tensors in it, for the length of a ``with`` block."""
    own: dict[str, Any] = {}
    groups: dict[int, list[str]] = {}
    for source in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, t in source:
            own[name] = t
            groups.setdefault(id(t), []).append(name)
    if strict:
        missing, unexpected = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        if tie_weights:
            missing = [m for m in missing if not any(n in given for n in groups[id(own[m])])]
        if missing or unexpected:
            raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:"
                               + (f"\n\tUnexpected key(s): {', '.join(map(repr, unexpected))}." if unexpected else "")
                               + (f"\n\tMissing key(s): {', '.join(map(repr, missing))}." if missing else ""))
    full = dict(given)
    if tie_weights:
        for name in given:
            if name in own:
                for twin in groups[id(own[name])]:
                    if twin not in given:
                        full[twin] = given[name]
    undo = []
    try:
        for name, value in full.items():
            path, _, last = name.rpartition(".")
            holder = module.get_submodule(path) if path else module
            if not isinstance(value, Tensor):
                raise TypeError(f"{value} is not an instance of torch.Tensor")
            # What the module has no place for goes where an attribute of that name would be looked for.
            table = next((t for t in (holder._parameters, holder._buffers) if last in t), holder.__dict__)
            undo.append((holder, table, last, table.get(last, MISSING)))
            table[last] = value
        yield
    finally:
        for _, table, last, before in reversed(undo):
            if before is MISSING:
                del table[last]
            else:
                table[last] = before


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of several alike modules, stacked along a new first dimension, for `vmap`.

    >>> import bibun as torch
    >>> models = [torch.nn.Linear(3, 2) for _ in range(4)]
    >>> parameters, buffers = torch.func.stack_module_state(models)
    >>> parameters["weight"].shape
    torch.Size([4, 2, 3])
    >>> def predict(p, x):
    ...     return torch.func.functional_call(models[0], p, (x,))
    >>> torch.vmap(predict, in_dims=(0, None))(parameters, torch.ones(5, 3)).shape
    torch.Size([4, 5, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if not all(type(m) is type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    return _stacked([dict(m.named_parameters()) for m in models]), _stacked([dict(m.named_buffers()) for m in models])


def _stacked(states: list[dict[str, Any]]) -> dict[str, Any]:
    """The tensors of one name of all, stacked: leaves that require grad where they do; in the graph where they are not leaves."""
    import bibun
    made = {}
    for name in states[0]:
        tensors = [s[name] for s in states]
        wants = tensors[0].requires_grad
        if any(t.requires_grad != wants for t in tensors):
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        if all(t.is_leaf for t in tensors):
            made[name] = bibun.stack([t.detach() for t in tensors]).requires_grad_(wants)
        else:
            made[name] = bibun.stack(tensors)
    return made


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Have all batch normalisations in ``root`` use the statistics of their batch alone, so that they work under `vmap`; gives ``root``."""
    for m in root.modules():
        if any(c.__name__ == "_BatchNorm" for c in type(m).__mro__):  # (this floor does not know of modules)
            m.running_mean = m.running_var = m.num_batches_tracked = None
            m.track_running_stats = False
    return root
