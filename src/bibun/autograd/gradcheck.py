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
from .function import Function

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative is wrong."""


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


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
                try:
                    got = [o for o in _tuple(f(*inputs)) if isinstance(o, dispatch.Tensor)]
                    arrays = [np.array(o._a) for o in got]  # which may be x itself
                finally:
                    a[index] = before[index]
                if len(arrays) != len(outputs):
                    arrays = [x for x in arrays if x.dtype.kind in dispatch.DIFFERENTIABLE][:len(outputs)]
                for o, first in zip(arrays, outputs):
                    for what, x1, x2 in (("shape", o.shape, first._a.shape), ("dtype", o.dtype, first._a.dtype)):
                        if x1 != x2:
                            raise AssertionError(f"Expects `func` to return outputs with the same {what} when inputs are perturbed, but got: {x1} and {x2}.")
                values.append([o.astype(found[i].dtype).reshape(-1) for i, o in enumerate(arrays)])
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


def _complaint(kind: str, i: int, j: int, numerical: np.ndarray, analytical: np.ndarray, part: str = "") -> str:
    start = f"While considering the {part} part of complex outputs only, " if part else ""
    return f"{start}{kind} for output {i} with respect to input {j},\nnumerical:{wrap(numerical)}\nanalytical:{wrap(analytical)}\n"


def _compare(kind: str, i: int, j: int, numerical: np.ndarray, analytical: np.ndarray, complex_out: bool, rtol: float, atol: float) -> None:
    """Raise where two real matrices of one map differ; those of complex outputs part by part, as PyTorch does."""
    if not complex_out:
        if not _close(analytical, numerical, rtol, atol):
            raise GradcheckError(_complaint(kind, i, j, numerical, analytical))
        return
    half = numerical.shape[1] // 2
    for part, columns in (("imaginary", slice(half, None)), ("real", slice(0, half))):
        if analytical.shape != numerical.shape or not _close(analytical[:, columns], numerical[:, columns], rtol, atol):
            raise GradcheckError(_complaint(kind, i, j, numerical[:, columns], analytical[:, columns], part))


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
        _check(func, _tuple(inputs), eps, atol, rtol, nondet_tol, check_undefined_grad, check_batched_grad, check_batched_forward_grad, check_forward_ad,
               check_backward_ad)
        return True
    except GradcheckError:
        if raise_exception:
            raise
        return False


def _check(func: Any, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet_tol: float, undefined: bool, batched: bool, batched_forward: bool,
           forward: bool, backward: bool) -> None:
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
    if not outputs:
        for i in wanted:
            for jacobian in numerical_jacobian(func, inputs, i, every, eps):
                if np.abs(jacobian).max(initial=0) > atol:
                    raise GradcheckError("Numerical gradient for function expected to be zero")
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
                # Backward gives the transposed real matrix of the map, with the imaginary direction's sign as PyTorch's gradient has it.
                _compare("Jacobian mismatch", k, wanted.index(i), _real_rows(numerical), analytical, outputs[k]._a.dtype.kind == "c", rtol, atol)
                if not same:
                    raise GradcheckError(f"Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives different "
                                         f"values, although analytical gradient matches numerical gradient. The tolerance for nondeterminism was {nondet_tol}.")
    if forward:
        _check_forward(func, inputs, wanted, places, numericals, rtol, atol)
        if batched_forward:
            _check_batched_forward(func, inputs, wanted, places)
    if backward and batched:
        _check_batched(outputs, [inputs[i] for i in wanted])
    if undefined and backward:
        _check_undefined(func, inputs, wanted)
    if undefined and forward:
        _check_undefined_forward(func, inputs, wanted)


def _undefined_failure(text: str) -> GradcheckError:
    warnings.warn("Backwards compatibility: New undefined gradient support checking feature is enabled by default, but it may break existing callers of this "
                  "function. If this is true for you, you can call this function with \"check_undefined_grad=False\" to disable the feature", stacklevel=5)
    return GradcheckError(text)


def _check_undefined(func: Any, inputs: Any, wanted: list[int]) -> None:
    """Backward must take missing gradients of outputs, all of them or one, and with all missing give nothing or zeros."""
    outputs = _differentiable(func(*inputs))
    one = len(outputs) == 1

    def grads(missing: Any) -> Any:
        given = [Missing.apply(o) if k in missing else o for k, o in enumerate(outputs)]
        try:
            return api.grad(given, [inputs[i] for i in wanted], [wrap(np.ones(o._a.shape, o._a.dtype)) for o in outputs], retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise _undefined_failure("Expected backward function to handle undefined output grads. Please look at \"Notes about undefined output gradients\" in "
                                     "\"tools/autograd/derivatives.yaml\"") from error
    for g in grads(range(len(outputs))):
        if g is not None and not (g._a == 0).all():
            raise _undefined_failure("Expected all input grads to be undefined or zero when all output grads are undefined or zero. Please look at \"Notes about "
                                     "undefined output gradients\" in \"tools/autograd/derivatives.yaml\"")
    if not one:
        for k in range(len(outputs)):
            grads((k,))


class Missing(Function):
    """Hands its input on, and no gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return None



def in_gradcheck(error: Exception) -> str:
    """The words of an error under vmap, where the program has no flag of vmap's to change."""
    text = str(error)
    if text.startswith("vmap: called random operation"):
        return "vmap: We do not yet support calling random operations inside of vmap. Please perform random operations outside of vmap as a workaround"
    return text


FAILED_BATCHED = ("gradcheck or gradgradcheck failed while testing batched gradient computation. This could have been invoked in a number of ways (via a test that "
                  "calls gradcheck/gradgradcheck directly or via an autogenerated test). To disable this check, pass check_batched_grad=False.")


def _alike(expected: Any, got: Any, i: int, j: int) -> None:
    if (expected is None) != (got is None) or expected is not None and not np.allclose(expected, got, rtol=1e-5, atol=1e-8, equal_nan=True):
        raise GradcheckError(f"For output {i} and input {j}: the batched gradient is {got}, and a loop over the batch gives {expected}\n\n{FAILED_BATCHED}")


def _draw(rng: Any, a: Any, *batch: int) -> Any:
    v = rng.standard_normal((*batch, *a.shape))
    return np.asarray(v + 1j * rng.standard_normal(v.shape) if a.dtype.kind == "c" else v).astype(a.dtype)


def _check_batched(outputs: Sequence[Any], inputs: Sequence[Any]) -> None:
    """vmap over backward must give what a loop gives."""
    rng = np.random.default_rng(0)
    for k, o in enumerate(outputs):
        vs = _draw(rng, o._a, 2)
        loop = [api.grad([o], list(inputs), [wrap(v)], retain_graph=True, allow_unused=True) for v in vs]
        try:
            together = api.grad([o], list(inputs), [wrap(vs)], retain_graph=True, allow_unused=True, is_grads_batched=True)
        except RuntimeError as error:
            raise GradcheckError(f"While computing batched gradients, got: {in_gradcheck(error)}\n\n{FAILED_BATCHED}") from error
        for j, t in enumerate(together):
            for n in range(2):
                g = loop[n][j]
                _alike(None if g is None else g._a, None if t is None else t._a[n], k, j)


def _push(func: Any, inputs: Any, tangents: dict[int, Any]) -> list[Any]:
    """The tangents of the outputs by forward mode; inputs take no part in any graph."""
    forward_ad = importlib.import_module("bibun.func.forward_ad")
    with forward_ad.dual_level():
        given = []
        for i, x in enumerate(inputs):
            if isinstance(x, dispatch.Tensor):
                x = x.detach()
                if tangents.get(i) is not None:
                    x = forward_ad.make_dual(x, tangents[i])
            given.append(x)
        made = [o for o in _tuple(func(*given)) if isinstance(o, dispatch.Tensor)]
        return [forward_ad.unpack_dual(o).tangent for o in made]


def _check_forward(func: Any, inputs: Any, wanted: list[int], places: list[int], numericals: Any, rtol: float, atol: float) -> None:
    """Columns of the Jacobian from forward mode."""
    for i in wanted:
        a = inputs[i]._a
        rows: list[list[np.ndarray]] = [[] for _ in places]
        for direction in (1.0, 1j) if a.dtype.kind == "c" else (1.0,):
            for j in range(a.size):
                t = np.zeros(a.size, a.dtype)
                t[j] = direction
                zeros = {k: wrap(np.zeros_like(inputs[k]._a)) for k in wanted}
                tangents = _push(func, inputs, {**zeros, i: wrap(t.reshape(a.shape))})
                for k, place in enumerate(places):
                    got = tangents[place]
                    rows[k].append(np.zeros(numericals[i][k].shape[-1]) if got is None else got._a.reshape(-1))
        for k, made in enumerate(rows):
            numerical = numericals[i][k]
            if not made:
                continue
            complex_out = np.iscomplexobj(numerical)
            analytical = np.stack(made).astype(numerical.dtype if complex_out else np.float64).reshape(numerical.shape)
            _compare("Jacobian computed with forward mode mismatch", k, wanted.index(i), _real_rows(numerical), _real_rows(analytical), complex_out, rtol, atol)


def _check_undefined_forward(func: Any, inputs: Any, wanted: list[int]) -> None:
    """A tangent of zeros and none at all must give the same."""
    rng = np.random.default_rng(0)
    tangents = {i: wrap(_draw(rng, inputs[i]._a)) for i in wanted}
    for i in wanted:
        zeros = _push(func, inputs, {**tangents, i: wrap(np.zeros_like(inputs[i]._a))})
        none = _push(func, inputs, {**tangents, i: None})
        for k, (x, y) in enumerate(zip(zeros, none)):
            a, b = (0.0 if t is None else t._a for t in (x, y))
            if not np.allclose(a, b):
                raise GradcheckError(f"Expected the tangent of output {k} to be the same for a tangent of zeros of input {i} as for none at all")


def _check_batched_forward(func: Any, inputs: Any, wanted: list[int], places: list[int]) -> None:
    """vmap over forward mode must give what a loop gives."""
    rng = np.random.default_rng(0)
    vmap = importlib.import_module("bibun.func").vmap
    for i in wanted:
        vs = _draw(rng, inputs[i]._a, 2)

        def push(t: Any, i: int = i) -> Any:
            made = _push(func, inputs, {i: t})
            return tuple(made[place] for place in places if made[place] is not None)
        loop = [push(wrap(v)) for v in vs]
        try:
            together = vmap(push)(wrap(vs))
        except RuntimeError as error:
            raise GradcheckError(f"While computing batched gradients, got: {in_gradcheck(error)}\n\n{FAILED_BATCHED}") from error
        for k, t in enumerate(together):
            for n in range(2):
                _alike(loop[n][k]._a, t._a[n], k, i)


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
