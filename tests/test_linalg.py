"""Products, einsum and linear algebra: values and derivatives against PyTorch, and identities that hold without it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bibun

torch = pytest.importorskip("torch")

RANDOM = np.random.RandomState(0)
A = RANDOM.randn(3, 3)
SPD = A @ A.T + 3 * np.eye(3)
TALL, WIDE, BATCH = RANDOM.randn(4, 3), RANDOM.randn(3, 4), RANDOM.randn(2, 3, 3)
COMPLEX = RANDOM.randn(3, 3) + 1j * RANDOM.randn(3, 3)
HERMITIAN = COMPLEX @ COMPLEX.conj().T + 3 * np.eye(3)
SINGULAR = np.outer([1.0, 2.0, 3.0], [1.0, 0.0, 2.0])


def both(call, *values, second=True):
    out = []
    for m in (torch, bibun):
        given = [m.tensor(v, requires_grad=True) for v in values]
        y = call(m, *given)
        y = y.abs() if y.is_complex() else y
        weight = m.tensor(np.random.RandomState(1).randn(*y.shape))
        first = m.autograd.grad((y * weight).sum(), given, create_graph=True, allow_unused=True)
        found = [y, *first]
        if second:
            total = sum((g.abs() ** 2).sum() for g in first if g is not None)
            found += m.autograd.grad(total, given, allow_unused=True)
        out.append([None if t is None else t.numpy(force=True) for t in found])
    return out


def agree(pair, rtol=1e-7):
    for want, got in zip(*pair):
        if want is None or got is None:
            assert want is None or not np.abs(want).max(initial=0) or got is not None
            continue
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-8)


SIZES = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((4, 1, 2, 3), (5, 3, 2)),
    ((1, 3), (3, 1)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 2)),
    ((2, 1, 3), (3, 3)),
    ((1, 1, 3), (4, 3, 1)),
]


@pytest.mark.parametrize("a, b", SIZES)
@pytest.mark.parametrize("complex_", [False, True])
def test_matmul_in_all_its_shapes(a, b, complex_):
    x, y = RANDOM.randn(*a), RANDOM.randn(*b)
    if complex_:
        x, y = x + 1j * RANDOM.randn(*a), y + 1j * RANDOM.randn(*b)
    agree(both(lambda m, x, y: x @ y, x, y))


@pytest.mark.parametrize("a, b", [s for s in SIZES if 0 not in s[0]][:-1])
def test_matmul_makes_pytorchs_nodes(a, b):
    names = []
    for m in (torch, bibun):
        y = m.zeros(a, requires_grad=True) @ m.zeros(b, requires_grad=True)
        names.append((type(y.grad_fn).__name__, y.stride()))
    assert names[0] == names[1] or names[0][0] == "CloneBackward0"


def test_the_backward_of_a_product_copies_nothing():
    from bibun.backends import cpu
    from bibun.ops import products

    x, g = np.ones((300, 200), np.float32), np.ones((300, 100), np.float32)
    seen = []
    spy = type(
        "Spy",
        (),
        {"mm": staticmethod(lambda a, b: seen.append((a, b)) or a @ b), "permute_dims": staticmethod(cpu.permute_dims)},
    )
    products.mm.derivatives["y"].call(spy, g, x)
    assert np.shares_memory(seen[0][0], x) and seen[0][1] is g


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, a, b: m.addmm(x, a, b, beta=0.5, alpha=2),
        lambda m, x, a, b: m.addmm(x[0], a, b),
        lambda m, x, a, b: m.addmm(x * float("nan"), a, b, beta=0),
        lambda m, x, a, b: m.baddbmm(x, a.expand(2, 3, 3), b.expand(2, 3, 3), alpha=3),
        lambda m, x, a, b: m.addbmm(x, a.expand(2, 3, 3), b.expand(2, 3, 3)),
        lambda m, x, a, b: m.addmv(x[0], a, b[0]),
        lambda m, x, a, b: m.addr(x, a[0], b[0], beta=2),
        lambda m, x, a, b: m.outer(x[0], a[1]),
        lambda m, x, a, b: m.inner(x, a),
        lambda m, x, a, b: m.tensordot(x, a, dims=([0], [1])),
        lambda m, x, a, b: m.kron(x, a[:2]),
        lambda m, x, a, b: m.linalg.cross(x, a),
        lambda m, x, a, b: m.linalg.multi_dot([x, a, b, a[0]]),
        lambda m, x, a, b: m.linalg.vecdot(x, b),
        lambda m, x, a, b: m.linalg.matrix_power(x, 3),
        lambda m, x, a, b: m.linalg.matrix_power(x, -2),
    ],
)
@pytest.mark.parametrize("complex_", [False, True])
def test_products_and_their_derivatives(call, complex_):
    values = [RANDOM.randn(3, 3) + (1j * RANDOM.randn(3, 3) if complex_ else 0) for _ in range(3)]
    agree(both(call, *values))


@pytest.mark.parametrize("p", [0.0, 1.0, 1.5, 2.0, 3.0, float("inf")])
def test_distances_of_pairs(p):
    agree(both(lambda m, x, y: m.cdist(x, y, p), TALL, RANDOM.randn(5, 3), second=False))
    agree(both(lambda m, x: m.nn.functional.pdist(x, p), TALL, second=False))
    assert bibun.cdist(bibun.ones(30, 4), bibun.zeros(0, 4)).shape == (30, 0)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6))
def test_einsum_on_random_equations(seed):
    draw = random.Random(seed)
    letters, sizes = "abcde", {c: draw.randint(1, 3) for c in "abcde"}
    terms = ["".join(draw.choice(letters) for _ in range(draw.randint(0, 3))) for _ in range(draw.randint(1, 3))]
    known = sorted(set("".join(terms)))
    dots = draw.random() < 0.3
    equation = ",".join(("..." if dots else "") + t for t in terms)
    if draw.random() < 0.7:
        equation += "->" + ("..." if dots else "") + "".join(draw.sample(known, draw.randint(0, len(known))))
    values = [
        np.asarray(
            np.random.RandomState(seed % 1000).randn(
                *((2,) if dots and draw.random() < 0.7 else ()),
                *[sizes[c] if draw.random() < 0.9 or t.count(c) > 1 else 1 for c in t],
            )
        )
        for t in terms
    ]
    out = []
    for m in (torch, bibun):
        given_ = [m.tensor(v, requires_grad=True) for v in values]
        try:
            y = m.einsum(equation, *given_)
        except RuntimeError:
            out.append(None)
            continue
        grads = m.autograd.grad((y**2).sum(), given_)
        out.append([y.detach().numpy(), *[g.numpy() for g in grads]])
    assert (out[0] is None) == (out[1] is None), equation
    if out[0] is not None:
        for want, got in zip(*out):
            assert want.shape == got.shape, equation
            np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9, err_msg=equation)


def test_einsum_by_numbers():
    x = bibun.tensor(TALL)
    np.testing.assert_allclose(bibun.einsum(x, [0, 1], x, [2, 1], [0, 2]).numpy(), TALL @ TALL.T)
    np.testing.assert_allclose(bibun.einsum(x, [..., 1], x, [..., 1]).numpy(), np.einsum("...b,...b", TALL, TALL))


FACTORS = {
    "inv": (lambda m, a: m.linalg.inv(a), [A, BATCH, COMPLEX]),
    "det": (lambda m, a: m.linalg.det(a), [A, BATCH, COMPLEX]),
    "slogdet": (lambda m, a: m.linalg.slogdet(a)[1], [A, BATCH, COMPLEX]),
    "logdet": (lambda m, a: m.logdet(a), [SPD]),
    "cholesky": (lambda m, a: m.linalg.cholesky(a), [SPD, HERMITIAN]),
    "cholesky_upper": (lambda m, a: m.linalg.cholesky(a, upper=True), [SPD]),
    "qr": (lambda m, a: m.linalg.qr(a)[0], [A, TALL, WIDE, BATCH]),
    "qr_r": (lambda m, a: m.linalg.qr(a)[1].abs(), [A, TALL, WIDE, COMPLEX]),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(a), [SPD, HERMITIAN]),
    "eigh": (lambda m, a: m.linalg.eigh(a)[1].abs(), [SPD, HERMITIAN]),
    "eig": (lambda m, a: m.linalg.eig(a)[0].abs().sort()[0], [A, COMPLEX]),
    "eig_vectors": (lambda m, a: m.linalg.eig(a)[1].abs().sum(), [A, COMPLEX]),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), [A, TALL, WIDE, COMPLEX]),
    "svd_u": (lambda m, a: m.linalg.svd(a, full_matrices=False)[0].abs(), [A, TALL, WIDE, COMPLEX]),
    "svd_v": (lambda m, a: m.linalg.svd(a, full_matrices=False)[2].abs(), [TALL, WIDE, COMPLEX]),
    "pinv": (lambda m, a: m.linalg.pinv(a), [A, TALL, WIDE, COMPLEX]),
    "lu": (lambda m, a: sum(t.abs().sum() for t in m.linalg.lu(a)), [A, TALL, WIDE, COMPLEX]),
    "lu_factor": (lambda m, a: m.linalg.lu_factor(a)[0], [A, TALL, WIDE]),
    "matrix_exp": (lambda m, a: m.linalg.matrix_exp(a), [A, BATCH, COMPLEX]),
    "cond": (lambda m, a: m.linalg.cond(a), [A]),
    **{
        f"norm_{o}": (lambda m, a, o=o: m.linalg.matrix_norm(a, o), [A, TALL])
        for o in ("fro", "nuc", 1, -1, 2, -2, float("inf"))
    },
}


@pytest.mark.parametrize("name", FACTORS)
def test_factorizations_and_their_derivatives(name):
    call, values = FACTORS[name]
    for value in values:
        agree(both(call, value, second=name not in ("eig_vectors",)), rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, a, b: m.linalg.solve(a, b),
        lambda m, a, b: m.linalg.solve(a, b[:, 0]),
        lambda m, a, b: m.linalg.solve(a, b.mT, left=False),
        lambda m, a, b: m.linalg.solve_triangular(a.tril(), b, upper=False),
        lambda m, a, b: m.linalg.solve_triangular(a, b, upper=True, unitriangular=True),
        lambda m, a, b: m.linalg.lstsq(a, b)[0],
        lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b),
        lambda m, a, b: m.cholesky_solve(b, m.linalg.cholesky(a @ a.mH)),
    ],
)
@pytest.mark.parametrize("a", [A + 3 * np.eye(3), COMPLEX + 3 * np.eye(3)])
def test_solutions_and_their_derivatives(call, a):
    agree(both(call, a, RANDOM.randn(3, 2).astype(a.dtype)), rtol=1e-6)


def test_the_gradient_of_a_singular_determinant():
    a = bibun.tensor(SINGULAR + np.diag([0.0, 1.0, 0.0]), requires_grad=True)  # of rank 2: PyTorch gives zeros
    bibun.linalg.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[6.0, 0.0, -3.0], [0.0, 0.0, 0.0], [-2.0, 0.0, 1.0]], atol=1e-9)


@pytest.mark.parametrize("n", [1, 5, 16, 17, 40, 100])
def test_own_factors_multiply_back(n):
    from bibun.backends import cpu

    a = np.random.RandomState(n).randn(2, n, n)
    packed, pivots, info = cpu.lu_factor(a)
    p = cpu.permutation(pivots, n)
    np.testing.assert_allclose(p @ (np.tril(packed, -1) + np.eye(n)) @ np.triu(packed), a, atol=1e-9)
    assert not info.any()
    low = np.tril(a) + n * np.eye(n)
    b = np.random.RandomState(1).randn(2, n, 3)
    np.testing.assert_allclose(low @ cpu.solve_triangular(a * 1 + n * np.eye(n), b, False), b, atol=1e-8)
    np.testing.assert_allclose(cpu.matrix_exp(a / n), np.linalg.inv(cpu.matrix_exp(-a / n)), rtol=1e-6, atol=1e-8)


ERRORS = """
A = torch.zeros(3, 3); x = torch.zeros(3, 4); v = torch.zeros(3); y = torch.zeros(2, 3, 4)
x @ x
x @ v
v @ x[0]
torch.tensor(1.0) @ x
x @ x.double().T
y @ y
torch.mm(x, v)
torch.bmm(x, x)
torch.mv(x, x)
torch.dot(x, x)
torch.addmm(x, x, x)
torch.addmm(x[:, :2], x[:, :3], x)
torch.outer(x, v)
torch.tensordot(x, x, dims=1)
torch.einsum("ij,jk->ik", x, x)
torch.einsum("ij->k", x)
torch.einsum("i", x)
torch.einsum("ij", x, x)
torch.einsum("ij->iij", x)
torch.einsum("I1", x)
torch.matrix_power(x, 2)
torch.cdist(x, v)
torch.linalg.inv(x)
torch.linalg.inv(v)
torch.linalg.inv(A.long())
torch.linalg.inv(A.bfloat16())
torch.linalg.solve(A + torch.eye(3), torch.zeros(2))
torch.linalg.qr(x, "foo")
torch.linalg.matrix_norm(x, 3)
torch.linalg.matrix_norm(v)
torch.linalg.norm(x, "foo")
torch.linalg.cond(x, 1)
torch.linalg.lu_factor(A)
torch.linalg.multi_dot([x])
x @ 1
"""


def test_errors_are_pytorchs(same_outcomes):
    same_outcomes(ERRORS)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.linalg.inv(m.zeros(3, 3)),
        lambda m: m.linalg.inv(m.zeros(2, 3, 3)),
        lambda m: m.linalg.solve(m.zeros(3, 3), m.zeros(3)),
        lambda m: m.linalg.cholesky(-m.eye(3)),
        lambda m: m.linalg.cholesky(m.stack([m.eye(2), -m.eye(2)])),
    ],
)
def test_singular_matrices_raise_linalg_errors(call):
    with pytest.raises(torch.linalg.LinAlgError) as want:
        call(torch)
    with pytest.raises(bibun.linalg.LinAlgError) as got:
        call(bibun)
    assert str(got.value) == str(want.value)
    assert bibun.linalg.inv_ex(bibun.zeros(3, 3)).info.item() == 1


def test_low_rank_sketches_follow_pytorchs_random_numbers():
    out = []
    for m in (torch, bibun):
        m.manual_seed(3)
        u, s, v = m.pca_lowrank(m.tensor(RANDOM.__class__(5).randn(20, 8)), 3)
        out.append([u.abs().numpy(), s.numpy(), v.abs().numpy()])
    for want, got in zip(*out):
        np.testing.assert_allclose(got, want, rtol=1e-6)
