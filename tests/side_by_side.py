"""The same expression in PyTorch and in bibun: value, dtype, shape, name of the node, gradients, or error and warnings.

In: a dictionary of named NumPy arrays (names beginning with ``g`` require grad) and an expression over ``torch``, ``F`` and
these names. Out: nothing, or an AssertionError that says where the two differ.
"""

from __future__ import annotations

import warnings

import numpy as np


def evaluated(module, arrays, expression):
    """(result or exception, texts of warnings, leaves) of an expression in one of the two modules."""
    leaves = {}
    names = {"torch": module, "F": module.nn.functional, "inf": float("inf")}
    for name, a in arrays.items():
        names[name] = t = module.tensor(a)
        if name[0] == "g":
            t.requires_grad_()
            leaves[name] = t
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = eval(expression, names)
        except Exception as error:
            result = error
    return result, [str(w.message) for w in caught], leaves


def numbers(t):
    return (t.detach().double() if t.dtype.is_floating_point else t.detach()).numpy(force=True)


def compare(torch, bibun, arrays, expression, second=True, tolerance=1e-9):
    """Hold the expression's outcome in ``bibun`` against that in ``torch``; first and second derivatives too."""
    want, want_warnings, leaves = evaluated(torch, arrays, expression)
    have, have_warnings, own = evaluated(bibun, arrays, expression)
    if isinstance(want, Exception):
        assert isinstance(have, Exception), f"{expression}: no error, expected {type(want).__name__}: {want}"
        assert type(have).__name__ == type(want).__name__, f"{type(have).__name__}: {have}; expected {type(want).__name__}: {want}"
        assert str(want).split("\n")[0] in str(have), f"{have!s} / {want!s}"
        return
    if isinstance(have, Exception):
        raise have
    assert have_warnings == want_warnings
    for w, h in zip(want, have, strict=True) if isinstance(want, tuple) else [(want, have)]:
        assert str(h.dtype) == str(w.dtype)
        assert tuple(h.shape) == tuple(w.shape)
        close = max(tolerance, 1e-5 if "float32" in str(w.dtype) else 0)
        np.testing.assert_allclose(numbers(h), numbers(w), rtol=close, atol=close)
    if isinstance(want, tuple):
        want, have = want[0], have[0]
    assert (have.grad_fn is None) == (want.grad_fn is None)
    if want.grad_fn is None:
        return
    assert have.grad_fn.name() == want.grad_fn.name()
    order = list(leaves)
    weights = np.cos(np.arange(want.numel(), dtype=np.float64)).reshape(want.shape) + 2
    grads = []
    for module, out, inputs in ((torch, want, leaves), (bibun, have, own)):
        made = module.autograd.grad((out * module.tensor(weights)).sum(), [inputs[n] for n in order], create_graph=second, allow_unused=True)
        again = None
        if second:
            total = sum((g * g * 0.5 + g).sum() for g in made if g is not None)
            if total.requires_grad:
                again = module.autograd.grad(total, [inputs[n] for n in order], allow_unused=True)
        grads.append((made, again))
    (g_want, gg_want), (g_have, gg_have) = grads
    for n, w, h in zip(order, g_want, g_have):
        assert (w is None) == (h is None), n
        if w is not None:
            np.testing.assert_allclose(numbers(h), numbers(w), rtol=tolerance * 10, atol=tolerance * 10, err_msg=f"gradient of {n}")
    if gg_want is not None or gg_have is not None:
        none = [None] * len(order)
        for n, w, h in zip(order, gg_want or none, gg_have or none):
            zero = np.zeros(leaves[n].shape)
            np.testing.assert_allclose(zero if h is None else numbers(h), zero if w is None else numbers(w), rtol=tolerance * 100, atol=tolerance * 100,
                                       err_msg=f"second derivative of {n}")
