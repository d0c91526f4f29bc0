"""Views, joining, padding: values, strides, shared memory, gradients and errors against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bibun

torch = pytest.importorskip("torch")


@st.composite
def chains(draw):
    """A shape and a few view steps, drawn for the shape that each step meets."""
    x = torch.zeros(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    start, steps = tuple(x.shape), []
    for _ in range(draw(st.integers(1, 4))):
        n = x.dim()
        kind = draw(
            st.sampled_from(
                [
                    "transpose",
                    "permute",
                    "unsqueeze",
                    "squeeze",
                    "squeeze1",
                    "expand",
                    "select",
                    "narrow",
                    "slice",
                    "diagonal",
                    "unfold",
                    "reshape",
                    "flatten",
                    "view",
                    "movedim",
                    "T",
                ]
            )
        )
        if not n and kind not in ("unsqueeze", "reshape"):
            continue
        d = draw(st.integers(-n, n - 1)) if n else 0
        e = draw(st.integers(-n, n - 1)) if n else 0
        step = {
            "transpose": ("transpose", d, e),
            "permute": ("permute", draw(st.permutations(range(n)))),
            "unsqueeze": ("unsqueeze", draw(st.integers(-n - 1, n))),
            "squeeze": ("squeeze",),
            "squeeze1": ("squeeze", d),
            "expand": ("expand", (2, *x.shape)),
            "select": ("select", d, 0),
            "narrow": ("narrow", d, 0, max(1, x.shape[d] - 1) if n else 1),
            "diagonal": ("diagonal", draw(st.integers(-1, 1))),
            "unfold": ("unfold", d, draw(st.integers(1, x.shape[d] if n else 1)), draw(st.integers(1, 2))),
            "reshape": ("reshape", (-1,)),
            "flatten": ("flatten", min(d % max(n, 1), e % max(n, 1))),
            "view": ("view", (-1, x.shape[-1] if n else 1)),
            "movedim": ("movedim", d, e),
        }.get(kind)
        if kind == "slice":
            step = ("__getitem__", (slice(None),) * (d % n) + (slice(0, None, 2),))
        if kind == "T":
            step = ("permute", tuple(range(n))[::-1])
        if kind == "diagonal" and n < 2:
            continue
        try:
            x = getattr(x, step[0])(*step[1:])
        except RuntimeError:
            pass
        steps.append(step)
        if x.numel() == 0 or x.dim() > 5:
            break
    return start, steps


@settings(max_examples=200, deadline=None)
@given(chains())
def test_chains_of_views_are_pytorchs(case):
    shape, steps = case
    out = []
    for m in (torch, bibun):
        x = y = m.tensor(np.arange(float(np.prod(shape))).reshape(shape), requires_grad=True)
        faults = []
        for name, *args in steps:
            try:
                y = getattr(y, name)(*args)
            except RuntimeError as error:
                faults.append(str(error).split(" (The tensor")[0])
        (g,) = m.autograd.grad((y * y).sum(), x)
        out.append(
            (
                faults,
                y.detach().numpy(),
                y.stride(),
                y.storage_offset(),
                g.numpy(),
                type(y.grad_fn).__name__ if y is not x else "",
            )
        )
    want, got = out
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(got[4], want[4])
    assert got[5] == want[5]
    if want[1].size:
        assert got[2] == want[2], steps
        assert got[3] == want[3], steps


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.t(),
        lambda x: x.T,
        lambda x: x.view(4, 3),
        lambda x: x[0],
        lambda x: x.unsqueeze(1),
        lambda x: x.expand(2, 3, 4),
        lambda x: x.diagonal(),
        lambda x: x.unfold(0, 2, 1),
        lambda x: x.unbind()[1],
        lambda x: x.split(2)[0],
        lambda x: x.chunk(2, 1)[1],
        lambda x: x.narrow(1, 1, 2),
        lambda x: x.squeeze(),
        lambda x: x.as_strided((2, 2), (1, 4), 1),
        lambda x: x.movedim(0, 1),
        lambda x: x.flatten(),
        lambda x: x.reshape(-1),
        lambda x: x.t().unsqueeze(2),
        lambda x: x[::2, ::2].expand(3, 2, 2),
        lambda x: bibun.view_as_complex(x.view(3, 2, 2)).real,
    ],
)
def test_views_share_memory(make):
    x = bibun.zeros(3, 4)
    y = make(x)
    assert y._is_view() and y._base is x
    assert np.shares_memory(y._a, x._a)
    before = x._version
    y[(0,) * y.dim()] = 1
    assert x.abs().sum() != 0 and x._version == y._version == before + 1


def test_copies_do_not_share_memory():
    x = bibun.zeros(3, 4)
    for y in (
        x.t().reshape(-1),
        x.flip(0),
        x.repeat(1, 1),
        bibun.cat([x]),
        x.tril(),
        x.roll(0),
        bibun.stack([x]),
        x.diag(),
        x.t().contiguous(),
    ):
        assert not np.shares_memory(y._a, x._a)


@pytest.mark.parametrize(
    "size, stride, offset", [((2, 2), (1, 1), 0), ((3,), (0,), 2), ((2, 3), (3, 1), 1), ((2, 2, 2), (1, 2, 3), 0)]
)
@pytest.mark.parametrize("overlapping", [False, True])
def test_overlapping_strides_have_pytorchs_gradient(size, stride, offset, overlapping):
    out = []
    for m in (torch, bibun):
        a = m.tensor(np.arange(9.0).reshape(3, 3), requires_grad=True)
        x = a[:1].expand(3, 3) if overlapping else a * 1
        if overlapping and offset + sum((n - 1) * s for n, s in zip(size, stride)) > 8:
            return
        y = x.as_strided(size, stride, offset)
        (g,) = m.autograd.grad((y**3).sum(), a, create_graph=True)
        (h,) = m.autograd.grad((g**2).sum(), a)
        out.append((y.detach().numpy(), g.detach().numpy(), h.numpy()))
    for want, got in zip(*out):
        np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_paddings_are_pytorchs(mode, data):
    n = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=n + 2, max_size=n + 2)))
    pad = tuple(data.draw(st.lists(st.integers(-1, 3), min_size=2 * n, max_size=2 * n)))
    if mode == "circular" and any(
        max(pad[i : i + 2]) > shape[-1 - i // 2] + min(pad[i], 0) + min(pad[i + 1], 0) for i in range(0, 2 * n, 2)
    ):
        return  # PyTorch reads memory that nobody set
    out = []
    for m in (torch, bibun):
        x = m.tensor(np.random.RandomState(0).randn(*shape), requires_grad=True)
        try:
            y = m.nn.functional.pad(x, pad, mode=mode)
            (g,) = m.autograd.grad((y**2).sum(), x) if y.numel() else (m.zeros(()),)
            out.append((y.detach().numpy(), g.numpy()))
        except (RuntimeError, NotImplementedError):
            out.append(None)
    assert (out[0] is None) == (out[1] is None), (shape, pad)
    if out[0] is not None:
        np.testing.assert_allclose(out[1][0], out[0][0])
        np.testing.assert_allclose(out[1][1], out[0][1], atol=1e-12)


ERRORS = """
x = torch.zeros(3, 4); y = torch.zeros(2, 3, 4); s = torch.tensor(1.0)
x.view(5, 2)
x.view(-1, -1)
x.view(-2, 4)
x.t().view(12)  # type
torch.zeros(0, 3).view(-1, 0)
x.permute(0)
x.permute(0, 0)
x.transpose(0, 2)
y.t()
y.H
x.unsqueeze(3)
x.unsqueeze(-4)
x.squeeze(2)
x.expand(4, 4)
x.expand(4)
x.expand(-1, 3, 4)
x.select(0, 3)
s.select(0, 0)
x.narrow(0, 1, 3)
x.narrow(0, 4, 0)
x.split(0)
x.split([1, 1])
x.chunk(0)
s.unbind()
x.tensor_split(0)
x.hsplit(3)
torch.vsplit(s, 1)
x.unfold(0, 5, 1)
x.unfold(0, 2, 0)
x.diagonal(0, 0, 0)
x.movedim((0, 1), (0,))
x.movedim((0, 0), (0, 1))
x.flatten(1, 0)
x.unflatten(1, (3, 2))
x.as_strided((5, 5), (5, 1))
s.view(torch.int16)
torch.view_as_complex(x)
torch.imag(x)
torch.cat([])
torch.cat([x, y])
torch.cat([x, torch.zeros(2, 5)])
torch.cat([s, s])
torch.cat([x, 1])
torch.stack([])
torch.stack([x, x[0]])
x.flip(5)
x.roll((1, 2), 0)
x.rot90(1, [0, 0])
x.repeat(2)
x.repeat(-1, 1)
x.repeat_interleave(-1)
s.tril()
y.diag()
y.trace()
torch.meshgrid(x[0], x[0], indexing="a")
torch.block_diag(y)
torch.broadcast_shapes((2, 3), (3, 1))
torch.pixel_shuffle(y, 2)
nn.functional.pad(x, (1,))
nn.functional.pad(y, (5, 1), mode="reflect")
nn.functional.pad(x, (1, 1), mode="foo")
"""


def test_errors_are_pytorchs(same_outcomes):
    same_outcomes(ERRORS)


def test_joining_promotes_and_splits_gradients():
    for m in (torch, bibun):
        a, b = m.tensor([[1.0, 2.0]], requires_grad=True), m.tensor([[3.0, 4.0]], dtype=m.float64, requires_grad=True)
        y = m.cat([a, b, m.zeros(0)])
        assert y.dtype == m.float64
        (y * m.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
        assert a.grad.dtype == m.float32 and a.grad.tolist() == [[1.0, 2.0]] and b.grad.tolist() == [[3.0, 4.0]]


def test_a_tensor_may_turn_itself():
    x = bibun.arange(6.0).view(2, 3) * 1
    assert x.t_() is x and x.shape == (3, 2) and x.stride() == (1, 3)
    assert x.unsqueeze_(0).squeeze_(0).transpose_(0, 1).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    a = bibun.ones(2, 3, requires_grad=True)
    y = (a * 2).t_()
    (y * bibun.arange(6.0).view(3, 2)).sum().backward()
    assert a.grad.tolist() == [[0.0, 4.0, 8.0], [2.0, 6.0, 10.0]]
