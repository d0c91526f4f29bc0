"""`gradcheck` and `gradgradcheck`: derivatives held against finite differences.

In goes a function of tensors and float64 inputs; out comes True, or an error that shows the numerical and the analytical
Jacobian where they part. Central differences: (f(x + eps) - f(x - eps)) / 2 eps, for complex inputs along both parts.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import api, dispatch
from .dispatch import wrap

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative is wrong."""


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _tensors(x: Any) -> list[Any]:
    return [t for t in _tuple(x) if isinstance(t, dispatch.Tensor)]


def _differentiable(outputs: Any) -> tuple[Any, ...]:
    return tuple(o for o in _tuple(outputs) if isinstance(o, dispatch.Tensor) and o.requires_grad)


def numerical_jacobian(f: Callable[..., Any], inputs: Sequence[Any], which: int, outputs: Sequence[Any], eps: float) -> list[np.ndarray]:
    """df/dx by central differences for one input: for each output an (input elements × output elements) array.

    For complex inputs the first array of a pair is the derivative along the real part, the second along the imaginary:
    they are returned stacked, the conjugate Wirtinger form that PyTorch compares is made by the caller.
    """
    x = inputs[which]
    a = x._a
    flat_index = list(np.ndindex(*a.shape))
    parts = (1.0, 1j) if a.dtype.kind == "c" else (1.0,)
    found = [np.zeros((len(parts), len(flat_index), o._a.size), np.complex128 if o._a.dtype.kind == "c" else np.float64) for o in outputs]
    before = a.copy()
    for j, index in enumerate(flat_index):
        for k, direction in enumerate(parts):
            values = []
            for sign in (1, -1):
                a[index] = before[index] + sign * eps * direction
                got = [o for o in _tuple(f(*inputs)) if isinstance(o, dispatch.Tensor)]
                got = got if len(got) == len(outputs) else [o for o in got if o._a.dtype.kind in dispatch.DIFFERENTIABLE][:len(outputs)]
                values.append([o._a.astype(found[i].dtype).reshape(-1) for i, o in enumerate(got)])
                a[index] = before[index]
            for i, (plus, minus) in enumerate(zip(*values)):
                found[i][k, j] = (plus - minus) / (2 * eps)
    return found


def _real_rows(jacobian: np.ndarray) -> np.ndarray:
    """A real-linear map as a real matrix: rows are (real, imaginary) input directions, columns (real, imaginary) output parts."""
    k, n, m = jacobian.shape
    rows = jacobian.reshape(k * n, m)
    return np.concatenate([rows.real, rows.imag], axis=1) if np.iscomplexobj(rows) else rows


def analytical_jacobian(outputs: Sequence[Any], i: int, x: Any, nondet_tol: float) -> tuple[np.ndarray, bool]:
    """The same real matrix from backward, row by row; and whether a second run gave the same."""
    o = outputs[i]
    complex_in, complex_out = x._a.dtype.kind == "c", o._a.dtype.kind == "c"
    n, m = x._a.size, o._a.size
    columns = []
    same = True
    for direction in (1.0, 1j) if complex_out else (1.0,):
        for j in range(m):
            v = np.zeros(m, o._a.dtype)
            v[j] = direction
            v = v.reshape(o._a.shape)
            g, = api.grad([o], [x], [wrap(v)], retain_graph=True, allow_unused=True)
            again, = api.grad([o], [x], [wrap(v.copy())], retain_graph=True, allow_unused=True)
            value = np.zeros(n, x._a.dtype) if g is None else g._a.reshape(-1)
            if g is not None and again is not None and g._a.size and not np.all(np.abs(g._a - again._a) <= nondet_tol):
                same = False
            columns.append(np.concatenate([value.real, value.imag]) if complex_in else value)
    if not columns:
        return np.zeros((n * (2 if complex_in else 1), 0)), same
    return np.stack(columns, axis=1), same


def _close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True))


def _complaint(kind: str, i: int, j: int, numerical: np.ndarray, analytical: np.ndarray) -> str:
    return (f"{kind} for output {i} with respect to input {j},\nnumerical:{wrap(numerical)}\nanalytical:{wrap(analytical)}\n")


def gradcheck(func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
              nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_batched_forward_grad: bool = False, check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
              masked: bool | None = None) -> bool:
    """Hold backward (and forward mode) of ``func`` at ``inputs`` against finite differences.

    Args:
        inputs: tensors; those that require grad are checked, and should be float64 or complex128.
        eps, atol, rtol: the step, and the tolerances of the comparison.
        raise_exception: raise `GradcheckError` with the Jacobians; False: return False.
        nondet_tol: by how much two runs of backward may differ.
        fast_mode: accepted; all entries are compared all the same.

    >>> import bibun as torch
    >>> x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    if not (check_forward_ad or check_backward_ad):
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad to be True")
    if check_batched_grad and not check_backward_ad:
        raise AssertionError("Setting check_batched_grad=True requires check_backward_ad to be True")
    if check_batched_forward_grad and not check_forward_ad:
        raise AssertionError("Setting check_batched_forward_grad=True requires check_forward_ad to be True")
    try:
        _check(func, _tuple(inputs), eps, atol, rtol, nondet_tol, check_undefined_grad, check_grad_dtypes, check_batched_grad, check_forward_ad,
               check_backward_ad)
        return True
    except GradcheckError:
        if raise_exception:
            raise
        return False


def _check(func: Any, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet_tol: float, undefined: bool, dtypes_too: bool,
           batched: bool, forward: bool, backward: bool) -> None:
    wanted = [i for i, x in enumerate(inputs) if isinstance(x, dispatch.Tensor) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True.")
    for i in wanted:
        x = inputs[i]
        if x._a.dtype.kind not in dispatch.DIFFERENTIABLE or x._a.dtype.itemsize < (16 if x._a.dtype.kind == "c" else 8):
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will likely fail if all the "
                          "inputs are not of double precision floating point or complex. ", stacklevel=4)
        if any(s == 0 and n > 1 for s, n in zip(x._a.strides, x._a.shape)):
            raise RuntimeError(f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs that are non-overlapping to be able to compute the "
                               "numerical gradients correctly. You should call .contiguous on the input before passing it to gradcheck.")
        x.retain_grad()
    given = func(*inputs)
    outputs = _differentiable(given)
    every = [o for o in _tuple(given) if isinstance(o, dispatch.Tensor)]
    if not every:
        raise ValueError("gradcheck: the function returned no tensor")
    from .modes import no_grad
    with no_grad():
        if not outputs:
            for i in wanted:
                for k, jacobian in enumerate(numerical_jacobian(func, inputs, i, every, eps)):
                    if np.abs(jacobian).max(initial=0) > atol:
                        raise GradcheckError("Numerical gradient for function expected to be zero" if len(every) else f"output {k}")
            return
        places = [k for k, o in enumerate(every) if o.requires_grad]
        numericals = {}
        for i in wanted:
            found = numerical_jacobian(func, inputs, i, every, eps)
            numericals[i] = [found[k] for k in places]
    if backward:
        for i in wanted:
            for k, numerical in enumerate(numericals[i]):
                analytical, same = analytical_jacobian(outputs, k, inputs[i], nondet_tol)
                rows = _real_rows(numerical)
                # Backward gives the transposed real matrix of the map, with the imaginary direction's sign as PyTorch's gradient has it.
                if not _close(analytical, rows, rtol, atol):
                    raise GradcheckError(_complaint("Jacobian mismatch", k, wanted.index(i), rows, analytical))
                if not same:
                    raise GradcheckError(f"Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different "
                                         f"values, although analytical gradient matches numerical gradient. The tolerance for nondeterminism was {nondet_tol}.")
        if undefined:
            _check_undefined(func, inputs, wanted)
        if batched:
            _check_batched(outputs, [inputs[i] for i in wanted])
    if forward:
        _check_forward(func, inputs, wanted, places, numericals, rtol, atol)


def _check_undefined(func: Any, inputs: Any, wanted: list[int]) -> None:
    """Backward must take zeros as it takes any gradient, and give zeros."""
    outputs = _differentiable(func(*inputs))
    zeros = [wrap(np.zeros(o._a.shape, o._a.dtype)) for o in outputs]
    grads = api.grad(outputs, [inputs[i] for i in wanted], zeros, allow_unused=True)
    if not all(g is None or (g._a == 0).all() for g in grads):
        raise GradcheckError("Backward does not give zero input gradients for zero output gradients. If this is a custom function, handle that case.")


def _check_batched(outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
    """vmap over backward must give what a loop gives."""
    rng = np.random.default_rng(0)
    for o in outputs:
        vs = rng.standard_normal((2, *o._a.shape)).astype(o._a.dtype)
        loop = [api.grad([o], list(inputs), [wrap(v)], retain_graph=True, allow_unused=True) for v in vs]
        together = api.grad([o], list(inputs), [wrap(vs)], retain_graph=True, allow_unused=True, is_grads_batched=True)
        for j, t in enumerate(together):
            for n in range(2):
                g = loop[n][j]
                if (g is None) != (t is None) or g is not None and not np.allclose(g._a, t._a[n]):
                    raise GradcheckError(f"Batched gradients differ from those of a loop for input {j}")


def _check_forward(func: Any, inputs: Any, wanted: list[int], places: list[int], numericals: Any, rtol: float, atol: float) -> None:
    """Columns of the Jacobian from forward mode."""
    jvp = importlib.import_module("bibun.func").jvp
    for i in wanted:
        x = inputs[i]
        a = x._a
        for k_direction, direction in enumerate((1.0, 1j) if a.dtype.kind == "c" else (1.0,)):
            for j in range(a.size):
                t = np.zeros(a.size, a.dtype)
                t[j] = direction

                def one(v: Any, i: int = i) -> Any:
                    full = [y.detach() if isinstance(y, dispatch.Tensor) and n != i else y for n, y in enumerate(inputs)]
                    full[i] = v
                    return tuple(o for o in _tuple(func(*full)) if isinstance(o, dispatch.Tensor))
                _, tangents = jvp(one, (x.detach(),), (wrap(t.reshape(a.shape)),))
                for k, place in enumerate(places):
                    got = tangents[place]._a.reshape(-1)
                    expected = numericals[i][k][k_direction, j]
                    if not np.allclose(got, expected, rtol=rtol, atol=atol):
                        raise GradcheckError(_complaint("Jacobian computed with forward mode mismatch", k, wanted.index(i), np.asarray(expected), np.asarray(got)))


def gradgradcheck(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
                  check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
                  fast_mode: bool = False, masked: bool = False) -> bool:
    """Hold second derivatives of ``func`` at ``inputs`` against finite differences of the first."""
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    inputs = _tuple(inputs)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        made = []
        for o in _differentiable(func(*inputs)):
            v = rng.standard_normal(o._a.shape)
            v = (v + 1j * rng.standard_normal(o._a.shape) if o._a.dtype.kind == "c" else v).astype(o._a.dtype)
            made.append(wrap(np.asarray(v)).requires_grad_())
        grad_outputs = tuple(made)
    grad_outputs = _tuple(grad_outputs)
    n = len(inputs)

    def gradient(*args: Any) -> Any:
        xs, vs = args[:n], args[n:]
        xs = tuple(x.requires_grad_() if isinstance(x, dispatch.Tensor) and x.is_leaf and x._a.dtype.kind in dispatch.DIFFERENTIABLE and w else x
                   for x, w in zip(xs, wanted))
        outputs = tuple(o for o in _tuple(func(*xs)) if isinstance(o, dispatch.Tensor))
        live = [(o, v) for o, v in zip((o for o in outputs if o._a.dtype.kind in dispatch.DIFFERENTIABLE and o.requires_grad), vs)]
        from .modes import enable_grad
        with enable_grad():
            return api.grad([o for o, _ in live], [x for x, w in zip(xs, wanted) if w], [v for _, v in live], create_graph=True, allow_unused=True,
                            materialize_grads=True)
    wanted = [isinstance(x, dispatch.Tensor) and x.requires_grad for x in inputs]
    from .modes import enable_grad

    def recorded(*args: Any) -> Any:
        with enable_grad():
            return gradient(*args)
    return gradcheck(recorded, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
                     check_undefined_grad=False, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
                     check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode, masked=masked)


class _CallableModule(types.ModuleType):
    """``torch.autograd.gradcheck`` is a function and a module: whoever imports the module may still call it."""

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        return gradcheck(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
