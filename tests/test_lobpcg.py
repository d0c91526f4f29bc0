"""`lobpcg`: the outermost eigenpairs, and their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import bibun as torch


def close(a, b):
    return np.allclose(np.asarray(getattr(a, "detach", lambda: a)()), np.asarray(getattr(b, "detach", lambda: b)()))


def pair_of(n, lead=(), complex=False):
    r = np.random.default_rng(n)
    a, b = (r.normal(size=(*lead, n, n)) + (1j * r.normal(size=(*lead, n, n)) if complex else 0) for _ in range(2))
    return torch.tensor(a + a.conj().swapaxes(-1, -2)), torch.tensor(b @ b.conj().swapaxes(-1, -2) / n + np.eye(n))


@pytest.mark.parametrize("largest", [True, False, None])
def test_lobpcg_gives_the_outermost_pairs(largest):
    for lead, complex in ((), False), ((2, 2), False), ((2,), True):
        A, B = pair_of(7, lead, complex)
        w, v = torch.lobpcg(A, 2, largest=largest)
        every = torch.linalg.eigvalsh(A)
        assert close(w, every[..., :2] if largest is False else every.flip(-1)[..., :2])
        assert close(A @ v, v * w[..., None, :]) and close(v.mH @ v, np.eye(2))
        w, v = torch.lobpcg(A, 2, B, largest=largest)
        assert close(A @ v, B @ v * w[..., None, :]) and close(v.mH @ B @ v, np.eye(2))
    assert torch.lobpcg(A, X=torch.ones(2, 7, 1))[1].shape == (2, 7, 1) and torch.lobpcg(A)[0].shape == (2, 1)


def test_lobpcg_is_differentiable_also_where_other_eigenvalues_are_equal():
    signs = lambda v: v * v.gather(-2, v.abs().max(-2, keepdim=True)[1]).sign()
    A, B = pair_of(6)
    pairs = lambda *given: [f(x) for f, x in zip((lambda w: w, signs), torch.lobpcg(given[0], 2, *given[1:]))]
    assert torch.autograd.gradcheck(pairs, (A.requires_grad_(),), check_batched_grad=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(pairs, (A,), atol=1e-4)
    assert torch.autograd.gradcheck(pairs, (A, B.requires_grad_()))
    D = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0, 2.0], dtype=torch.float64)).requires_grad_()
    w, v = torch.lobpcg(D, 2)
    (w.sum() + (v[0] * v[4]).sum()).backward()
    assert np.isfinite(D.grad.numpy()).all() and close(D.grad, D.grad.mT)
    assert D.grad[4, 4] == 1 and abs(D.grad[0, 4] - 0.25) < 1e-12  # v₀ grows by dA₀₄/(3 - 1), halved by symmetry


def test_lobpcg_refuses_what_does_not_fit():
    A, _ = pair_of(6)
    for given, error, words in (
        (dict(A=A[:5]), AssertionError, "must be square"),
        (dict(A=A, B=A[:5, :5]), AssertionError, "same shape"),
        (dict(A=A, X=torch.ones(5, 2)), AssertionError, "X shape mismatch"),
        (dict(A=A, k=3), ValueError, "not applicable"),
        (dict(A=A, k=0), ValueError, "at least one"),
        (dict(A=A, k=1, tracker=print), NotImplementedError, "tracker"),
    ):
        with pytest.raises(error, match=words):
            torch.lobpcg(**given)
