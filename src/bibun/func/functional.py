"""`torch.autograd.functional`: Jacobians, Hessians and products with them, in the older, graph-based interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import api
from ..autograd.dispatch import wrap
from ..autograd.modes import enable_grad, set_grad_enabled
from ..tensor import Tensor
from . import transforms

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _as_tuple(x: Any, name: str, function: str) -> tuple[bool, tuple[Any, ...]]:
    """(was it a tuple?, the tensors)."""
    many = isinstance(x, tuple)
    tensors = x if many else tuple(x) if isinstance(x, list) else (x,)
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            if many:
                raise TypeError(f"The {name} given to {function} must be either a Tensor or a tuple of Tensors but the value at index {i} has type {type(t)}.")
            raise TypeError(f"The {name} given to {function} must be either a Tensor or a tuple of Tensors but the given {name} has type {type(t)}.")
    return many, tensors


def _prepared(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate in: connected to the user's graph with ``create_graph``, fresh leaves without."""
    return tuple(t.view_as(t) if create_graph and t.requires_grad else t.detach().clone().requires_grad_() if not create_graph or not t.requires_grad
                 else t for t in inputs)


NOT_CONNECTED = {
    "outputs": "Output {} of the user-provided function does not require gradients. The outputs must be computed in a differentiable manner from the input when "
               "running in strict mode.",
    "grad_inputs": "The gradient with respect to input {} is independent of the inputs of the user-provided function. This is not allowed in strict mode.",
    "jacobian": "While computing the hessian, found that the jacobian of the user-provided function with respect to input {} is independent of the input. This is "
                "not allowed in strict mode. You should ensure that your function is twice differentiable and that the jacobian depends on the inputs (this would "
                "be violated by a linear function for example).",
}
MISSING = {
    "back": "The output of the user-provided function is independent of input {}. This is not allowed in strict mode.",
    "back_trick": "The gradient with respect to the input is independent of entry {} in the grad_outputs when using the double-backward trick to compute forward "
                  "mode gradients. This is not allowed in strict mode.",
    "double_back": "The jacobian of the user-provided function is independent of input {}. This is not allowed in strict mode.",
    "double_back_trick": "The hessian of the user-provided function is independent of entry {} in the grad_jacobian. This is not allowed in strict mode as it "
                         "prevents from using the double-backward trick to replace forward mode AD.",
}


def _checked(tensors: Any, strict: bool, what: str) -> None:
    """Raise in strict mode where one of them is not connected to the inputs; ``what`` they are."""
    if strict:
        for i, t in enumerate(tensors):
            if t is None:
                raise RuntimeError(MISSING["back"].format(i))
            if not t.requires_grad:
                raise RuntimeError(NOT_CONNECTED[what].format(i))


def _filled(grads: Any, refs: tuple[Any, ...], strict: bool, create_graph: bool, stage: str) -> tuple[Any, ...]:
    """Gradients with zeros for those that are missing; in strict mode an error."""
    made = []
    for i, (g, r) in enumerate(zip(grads, refs)):
        if g is None:
            if strict:
                raise RuntimeError(MISSING[stage].format(i))
            g = wrap(np.zeros(r._a.shape, r._a.dtype))
        elif strict and create_graph and not g.requires_grad:
            raise RuntimeError(f"The {'hessian' if 'double' in stage else 'jacobian'} of the user-provided function is independent of input {i}. This is not "
                               "allowed in strict mode when create_graph=True.")
        made.append(g)
    return tuple(made)


def _graded(outputs: Any, inputs: Any, vectors: Any = None, create_graph: bool = False) -> Any:
    """Gradients of those outputs that are connected to anything; None where there are none."""
    live = [k for k, o in enumerate(outputs) if o is not None and o.requires_grad]
    if not live:
        return [None] * len(inputs)
    return api.grad([outputs[k] for k in live], inputs, None if vectors is None else [vectors[k] for k in live], create_graph=create_graph, allow_unused=True)


def _given(v: Any, refs: tuple[Any, ...], name: str, function: str, many: bool) -> tuple[Any, ...]:
    if v is None:
        if len(refs) != 1 or refs[0]._a.size != 1:
            raise RuntimeError("The vector v can only be None if the user-provided function returns a single Tensor with a single element."
                               if function == "vjp" else "The vector v can only be None if the input to the user-provided function is a single Tensor with a "
                               "single element.")
        return (wrap(np.ones(refs[0]._a.shape, refs[0]._a.dtype)),)
    _, vs = _as_tuple(v, name, function)
    if len(vs) != len(refs):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(refs)} but got {len(vs)}." if many else "The given v should contain a single Tensor.")
    for i, (x, r) in enumerate(zip(vs, refs)):
        if x._a.shape != r._a.shape:
            raise RuntimeError(f"Entry {i} in v has invalid size: should be {r.shape} but got {x.shape}." if many or len(refs) > 1 else
                               f"v has invalid size: should be {r.shape} but got {x.shape}.")
    return vs


def _construct_standard_basis_for(tensors: Any, numels: Any) -> tuple[Any, ...]:
    """The unit vectors of the space of all tensors together: for each tensor its columns of the identity matrix."""
    total = sum(numels)
    made, at = [], 0
    for t, n in zip(tensors, numels):
        made.append(wrap(np.eye(total, n, -at, dtype=t._a.dtype)))
        at += n
    return tuple(made)


def _result(values: Any, many: bool, create_graph: bool) -> Any:
    done = tuple(v if create_graph or not isinstance(v, Tensor) else v.detach() for v in values)
    return done if many else done[0]


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(``func(*inputs)``, the product of ``v`` with the Jacobian).

    >>> import bibun as torch
    >>> torch.autograd.functional.vjp(lambda x: x ** 2, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 10.0]))
    (tensor([1., 4.]), tensor([ 2., 40.]))
    """
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "vjp")
        ins = _prepared(ins, create_graph)
        many_out, outs = _as_tuple(func(*ins), "outputs of the user-provided function", "vjp")
        _checked(outs, strict, "outputs")
        vs = _given(v, outs, "v", "vjp", many_out)
        with set_grad_enabled(create_graph):
            grads = _filled(_graded(outs, ins, vs, create_graph), ins, strict, create_graph, "back")
    return _result(outs, many_out, create_graph), _result(grads, many_in, create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(``func(*inputs)``, the product of the Jacobian with ``v``), by differentiating the vector-Jacobian product in its vector."""
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "jvp")
        vs = _given(v, ins, "v", "jvp", many_in)
        ins = _prepared(ins, create_graph)
        many_out, outs = _as_tuple(func(*ins), "outputs of the user-provided function", "jvp")
        _checked(outs, strict, "outputs")
        dummies = tuple(wrap(np.zeros(o._a.shape, o._a.dtype)).requires_grad_() for o in outs)
        grads = _filled(_graded(outs, ins, dummies, True), ins, strict, create_graph, "back")
        _checked(grads, strict, "grad_inputs")
        made = _filled(_graded(grads, dummies, vs, create_graph), outs, strict, create_graph, "back_trick")
    return _result(outs, many_out, create_graph), _result(made, many_out, create_graph)


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:
    """The Jacobian of ``func`` at ``inputs``: tensors of shape (*output, *input), nested as outputs and inputs are.

    With ``vectorize`` rows are computed at once by `vmap`; ``strategy`` "forward-mode" computes columns instead.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs than inputs, '
                             '"forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".')
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError("torch.autograd.functional.jacobian: `create_graph=True` and `strategy=\"forward-mode\"` are not supported together (yet). "
                                      "Please either set `create_graph=False` or `strategy=\"reverse-mode\"`.")
        if not vectorize:
            raise NotImplementedError("Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for `vectorize=True`.")
        many_in, ins = _as_tuple(inputs, "inputs", "jacobian")
        made = transforms.jacfwd(func, tuple(range(len(ins))))(*ins)
        single_out = isinstance(made, tuple) and made and isinstance(made[0], Tensor)
        if single_out:
            return made if many_in else made[0]
        return tuple(m if many_in else m[0] for m in made)
    if strict and vectorize:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. Please either set "
                           "`strict=False` or `vectorize=False`.")
    with enable_grad():
        many_in, ins = _as_tuple(inputs, "inputs", "jacobian")
        ins = _prepared(ins, create_graph)
        many_out, outs = _as_tuple(func(*ins), "outputs of the user-provided function", "jacobian")
        _checked(outs, strict, "outputs")
        import bibun
        rows = []
        for number, o in enumerate(outs):
            n = o._a.size
            basis = np.eye(n, dtype=o._a.dtype).reshape(n, *o._a.shape)
            if not o.requires_grad:
                rows.append(tuple(wrap(np.zeros((*o._a.shape, *x._a.shape), x._a.dtype)) for x in ins))
                continue
            if vectorize and n:
                grads = api.grad(o, ins, wrap(basis), retain_graph=True, create_graph=create_graph, allow_unused=True, is_grads_batched=True)
                rows.append(tuple(wrap(np.zeros((*o._a.shape, *x._a.shape), x._a.dtype)) if g is None else g.reshape((*o._a.shape, *x._a.shape))
                                  for g, x in zip(grads, ins)))
                continue
            parts: list[list[Any]] = [[] for _ in ins]
            for k in range(n):
                grads = api.grad(o, ins, wrap(basis[k]), retain_graph=True, create_graph=create_graph, allow_unused=True)
                for i, (column, g, x) in enumerate(zip(parts, grads, ins)):
                    if g is None:
                        if strict:
                            raise RuntimeError(f"Output {number} of the user-provided function is independent of input {i}. This is not allowed in strict mode.")
                        g = wrap(np.zeros(x._a.shape, x._a.dtype))
                    elif strict and create_graph and not g.requires_grad:
                        raise RuntimeError(f"The jacobian of the user-provided function is independent of input {i}. This is not allowed in strict mode when "
                                           "create_graph=True.")
                    column.append(g)
            rows.append(tuple(bibun.stack(p).reshape((*o._a.shape, *x._a.shape)) if p else wrap(np.zeros((*o._a.shape, *x._a.shape), x._a.dtype))
                              for p, x in zip(parts, ins)))
    done = tuple(tuple(r if create_graph else r.detach() for r in row) for row in rows)
    made = tuple(row if many_in else row[0] for row in done)
    return made if many_out else made[0]


def _scalar(func: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*inputs: Any) -> Any:
        out = func(*inputs)
        many, outs = _as_tuple(out, "outputs of the user-provided function", name)
        if many or not isinstance(outs[0], Tensor):
            raise RuntimeError(f"The function given to {name} should return a single Tensor")
        if outs[0]._a.size != 1:
            raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
        return outs[0].squeeze() if outs[0]._a.ndim else outs[0]
    return call


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The Hessian of a scalar ``func`` at ``inputs``."""
    many_in, ins = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    scalar = _scalar(func, "hessian")
    if outer_jacobian_strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError("torch.autograd.functional.hessian: forward-mode with create_graph=True is not supported")
        made = transforms.jacfwd(transforms.jacrev(scalar, tuple(range(len(ins)))), tuple(range(len(ins))))(*ins)
        return made if many_in else made[0][0]

    def gradient(*xs: Any) -> Any:
        def checked(*ys: Any) -> Any:
            out = scalar(*ys)
            _checked((out,), strict, "outputs")
            return out
        made = jacobian(checked, xs, create_graph=True)
        _checked(made, strict, "jacobian")
        return made
    made = jacobian(gradient, ins, create_graph=create_graph, strict=strict, vectorize=vectorize)
    return made if many_in else made[0][0]


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(``func(*inputs)``, the product of ``v`` with the Hessian)."""
    with enable_grad():
        many_in, ins, out, vs, jac = _first(func, inputs, v, create_graph, strict, "vhp")
        with set_grad_enabled(create_graph):
            made = _filled(_graded(jac, ins, vs, create_graph), ins, strict, create_graph, "double_back")
    return (out if create_graph else out.detach()), _result(made, many_in, create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> Any:
    """(``func(*inputs)``, the product of the Hessian with ``v``); `vhp` is faster, and the same where the Hessian is symmetric."""
    with enable_grad():
        many_in, ins, out, vs, jac = _first(func, inputs, v, create_graph, strict, "hvp")
        dummies = tuple(wrap(np.zeros(x._a.shape, x._a.dtype)).requires_grad_() for x in ins)
        twice = _filled(_graded(jac, ins, dummies, True), ins, strict, create_graph, "double_back")
        _checked(twice, strict, "grad_inputs")
        made = _filled(_graded(twice, dummies, vs, create_graph), ins, strict, create_graph, "double_back_trick")
    return (out if create_graph else out.detach()), _result(made, many_in, create_graph)


def _first(func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool, name: str) -> Any:
    """(were the inputs a tuple?, the inputs, the output, v, the first derivatives) for a product with the Hessian."""
    many_in, ins = _as_tuple(inputs, "inputs", name)
    vs = _given(v, ins, "v", name, many_in)
    ins = _prepared(ins, create_graph)
    out = _scalar(func, name)(*ins)
    _checked((out,), strict, "outputs")
    jac = _filled(_graded((out,), ins, None, True), ins, strict, False, "back")
    _checked(jac, strict, "jacobian")
    return many_in, ins, out, vs, jac
