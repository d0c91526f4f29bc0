"""Batching: of every operation on shapes, positions, sums and matrices, `vmap` gives what a loop gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bibun as torch
from bibun.func import vmap

torch.manual_seed(0)
F64 = torch.float64
A, B, C = torch.randn(3, 4, 5, dtype=F64), torch.randn(3, 5, 2, dtype=F64), torch.randn(3, 4, 2, dtype=F64)
S = torch.randn(3, 4, 4, dtype=F64)
S = S @ S.mT + torch.eye(4, dtype=F64)
V, W, X2 = torch.randn(3, 5, dtype=F64), torch.randn(5, dtype=F64), torch.randn(4, 5, dtype=F64)
I, G, J, M = torch.randint(0, 4, (3, 2)), torch.randint(0, 4, (3, 4, 5)), torch.tensor([0, 2]), A > 0
CASES = dict(
    view=(lambda a: a.view(20), A),
    reshape=(lambda a: a.t().reshape(-1), A),
    permute=(lambda a: a.permute(1, 0), A),
    t=(lambda a: a.t(), A),
    unsq=(lambda a: a.unsqueeze(-1), A),
    sq=(lambda a: a.unsqueeze(1).squeeze(), A),
    sq1=(lambda a: a.unsqueeze(1).squeeze(1), A),
    expand=(lambda a: a.expand(2, 4, 5), A),
    sel=(lambda a: a.select(1, 0), A),
    narrow=(lambda a: a.narrow(1, 1, 2), A),
    diag=(lambda a: a.diagonal(), A),
    unfold=(lambda a: a.unfold(1, 2, 1), A),
    unbind=(lambda a: a.unbind(1), A),
    split=(lambda a: a.split(2, 1), A),
    cat=(lambda a: torch.cat([a, a], 1), A),
    stack=(lambda a: torch.stack([a, a], 1), A),
    catmix=(lambda a: torch.cat([a, X2], 0), A),
    flip=(lambda a: a.flip(0), A),
    roll=(lambda a: a.roll(1), A),
    roll1=(lambda a: a.roll(1, 0), A),
    rot=(lambda a: a.rot90(), A),
    rep=(lambda a: a.repeat(2, 1, 1), A),
    tril=(lambda a: a.tril(), A),
    trace=(lambda a: a[:, :4].trace(), A),
    diag_embed=(lambda a: torch.diag_embed(a), A),
    bd=(lambda a: torch.block_diag(a, a), A),
    pad=(lambda a: torch.nn.functional.pad(a, (1, 1)), A),
    padr=(lambda a: torch.nn.functional.pad(a, (1, 1), mode="reflect"), A),
    asst=(lambda a: torch.as_strided(a, (2, 2), (1, 2)), A),
    sum=(lambda a: a.sum(), A),
    sum1=(lambda a: a.sum(1), A),
    mean=(lambda a: a.mean(0, keepdim=True), A),
    prod=(lambda a: a.prod(), A),
    prod1=(lambda a: a.prod(1), A),
    amax=(lambda a: a.amax(1), A),
    max=(lambda a: a.max(), A),
    max1=(lambda a: a.max(1), A),
    median=(lambda a: a.median(1), A),
    argmax=(lambda a: a.argmax(), A),
    argmax1=(lambda a: a.argmax(1, keepdim=True), A),
    all=(lambda a: (a > 0).all(0), A),
    var=(lambda a: a.var(0), A),
    std_mean=(lambda a: torch.std_mean(a), A),
    lse=(lambda a: a.logsumexp(1), A),
    norm=(lambda a: a.norm(), A),
    norm1=(lambda a: a.norm(1, dim=0), A),
    cumsum=(lambda a: a.cumsum(1), A),
    cumprod=(lambda a: a.cumprod(0), A),
    cummax=(lambda a: a.cummax(0), A),
    lcse=(lambda a: a.logcumsumexp(0), A),
    kth=(lambda a: a.kthvalue(2, 1), A),
    sort=(lambda a: a.sort(0), A),
    topk=(lambda a: a.topk(2, 1), A),
    msort=(lambda a: a.msort(), A),
    aminmax=(lambda a: torch.aminmax(a, dim=1), A),
    quantile=(lambda a: a.quantile(0.5, 1), A),
    mm=(lambda a, b: a @ b, A, B),
    mmu=(lambda a: a @ X2.t(), A),
    mv=(lambda a, v: a @ v, A, V),
    mvu=(lambda a: a @ W, A),
    vm=(lambda v, b: v @ b, V, B),
    dot=(lambda v: v @ W, V),
    dot2=(lambda v: v @ v, V),
    outer=(lambda v: torch.outer(v, W), V),
    umv=(lambda v: X2 @ v, V),
    bmm=(lambda a: torch.bmm(a.expand(2, 4, 5), a.t().expand(2, 5, 4)), A),
    addmm=(lambda a, b: torch.addmm(torch.ones(2, dtype=F64), a, b), A, B),
    addmmx=(lambda x, a, b: torch.addmm(x, a, b, beta=0.5, alpha=2), C, A, B),
    addmmu=(lambda x: torch.addmm(x, X2, B[0]), C),
    addmv=(lambda a, v: torch.addmv(torch.zeros(4, dtype=F64), a, v), A, V),
    addr=(lambda v: torch.addr(torch.zeros(5, 5, dtype=F64), v, v), V),
    baddbmm=(lambda a: torch.baddbmm(torch.zeros(2, 4, 4, dtype=F64), a.expand(2, 4, 5), a.t().expand(2, 5, 4)), A),
    einsum=(lambda a, b: torch.einsum("ij,jk->ki", a, b), A, B),
    kron=(lambda a: torch.kron(a, a), A),
    cross=(lambda a: torch.linalg.cross(a[:3], a[:3].flip(0), dim=0), A),
    cdist=(lambda a: torch.cdist(a, X2), A),
    inv=(lambda s: torch.linalg.inv(s), S),
    det=(lambda s: torch.linalg.det(s), S),
    slogdet=(lambda s: torch.linalg.slogdet(s), S),
    solve=(lambda s, c: torch.linalg.solve(s, c), S, C),
    solveu=(lambda c: torch.linalg.solve(S[0], c), C),
    solvev=(lambda s: torch.linalg.solve(s, W[:4]), S),
    chol=(lambda s: torch.linalg.cholesky(s), S),
    qr=(lambda a: torch.linalg.qr(a), A),
    eigh=(lambda s: torch.linalg.eigh(s), S),
    svd=(lambda a: torch.linalg.svd(a, full_matrices=False), A),
    svdvals=(lambda a: torch.linalg.svdvals(a), A),
    pinv=(lambda a: torch.linalg.pinv(a), A),
    lu=(lambda s: torch.linalg.lu(s), S),
    mexp=(lambda s: torch.linalg.matrix_exp(s * 0.1), S),
    tri=(lambda s, c: torch.linalg.solve_triangular(s, c, upper=False), S, C),
    idx=(lambda a: a[J], A),
    idx1=(lambda a: a[:, J], A),
    idxb=(lambda a, i: a[i], A, I),
    idxb1=(lambda a, i: a[:, i], A, I),
    idxb2=(lambda a, i: a[i, i], A, I),
    idxu=(lambda i: X2[i], I),
    idx2=(lambda a: a[J, J], A),
    idx3=(lambda a: a.expand(2, 4, 5)[J - 1, :, J], A),
    slice=(lambda a: a[1:, 0], A),
    none=(lambda a: a[None, ..., 0], A),
    gather=(lambda a, g: a.gather(0, g), A, G),
    scatter=(lambda a, g: torch.zeros(4, 5, dtype=F64).scatter(0, g, a), A, G),
    scadd=(lambda a, g: a.scatter_add(0, g, a), A, G),
    isel=(lambda a: a.index_select(0, J), A),
    iselb=(lambda a, i: a.index_select(0, i), A, I),
    iadd=(lambda a: a.index_add(0, J, a[:2]), A),
    icopy=(lambda a: a.index_copy(0, J, a[:2]), A),
    ifill=(lambda a: a.index_fill(0, J, 1.0), A),
    take=(lambda a: a.take(J), A),
    mfill=(lambda a, m: a.masked_fill(m, 0.0), A, M),
    mfillu=(lambda a: a.masked_fill(X2 > 0, 0.0), A),
    iput=(lambda a: a.index_put((J,), torch.ones(5, dtype=F64)), A),
    sscat=(lambda a: a.select_scatter(W, 0, 1), A),
    tad=(lambda a, g: torch.take_along_dim(a, g, 0), A, G),
    srch=(lambda v: torch.searchsorted(W.sort()[0], v), V),
    cumtr=(lambda a: torch.trapezoid(a), A),
    cov=(lambda a: a.cov(), A),
    diff=(lambda a: a.diff(), A),
    mscat=(lambda a: a.masked_scatter(X2 > 0, torch.ones(20, dtype=F64)), A),
    sreduce=(lambda a, g: a.scatter_reduce(0, g, a, "amax"), A, G),
    median0=(lambda a: a.median(), A),
    mode=(lambda a: a.mode(1), A),
    nansum=(lambda a: a.nansum(1), A),
    renorm=(lambda a: a.renorm(2, 0, 1.0), A),
    tensordot=(lambda a: torch.tensordot(a, X2, dims=([1], [1])), A),
    isin=(lambda a: torch.isin(a, W), A),
    pixel=(lambda a: torch.pixel_shuffle(a[:, :4].reshape(4, 2, 2), 2), A),
    chs=(lambda a: torch.channel_shuffle(a.reshape(1, 4, 5, 1), 2), A),
    viewr=(lambda a: torch.view_as_real(torch.complex(a, a)), A),
    cplx=(lambda a: torch.view_as_complex(a[:, :4].contiguous().view(4, 2, 2)), A),
    swap=(lambda a: a.swapaxes(0, 1), A),
    mat=(lambda a: a.matmul(X2.t().expand(3, 5, 4)), A),
    ifillv=(lambda v, c: v.index_fill(0, J, c[0, 0]), V, C),
    sortd=(lambda a: a.sort(0, descending=True), A),
    eigvalsh=(lambda s: torch.linalg.eigvalsh(s), S),
)


def leaves(x):
    return [y for z in x for y in leaves(z)] if isinstance(x, (tuple, list)) else [x]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dim", [0, 1])
def test_a_batch_is_a_loop(name, dim):
    f, *args = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = leaves(vmap(f, in_dims=dim)(*[a.movedim(0, dim) for a in args]))
    want = [leaves(f(*[a[k] for a in args])) for k in range(3)]
    for j, g in enumerate(got):
        w = torch.stack([r[j] for r in want])
        assert g.shape == w.shape and g.dtype == w.dtype
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-9, atol=1e-12)
