"""Brackets, gathers and scatters: random keys on random shapes against PyTorch, and the rules told one by one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bibun

torch = pytest.importorskip("torch")

QUICK = settings(max_examples=150, deadline=None)


@st.composite
def shapes_and_keys(draw):
    """A shape and a key as plain data: ("int", 3), ("slice", a, b, c), ("none",), ("ellipsis",), ("list", nested), ("mask", seed)."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=0, max_size=4)))
    items, dim, dots = [], 0, False
    while dim < len(shape) and draw(st.integers(0, 4)):
        kind = draw(
            st.sampled_from(["int", "slice", "slice", "none", "ellipsis", "list", "list", "mask", "bool", "tensor0"])
        )
        n = shape[dim]
        if kind in ("int", "tensor0"):
            items.append((kind, draw(st.integers(-n - 1, n))))
            dim += 1
        elif kind == "slice":
            bound = st.none() | st.integers(-n - 2, n + 2)
            items.append(("slice", draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
            dim += 1
        elif kind == "ellipsis":
            if dots:
                continue
            dots = True
            items.append(("ellipsis",))
            dim = draw(st.integers(dim, len(shape)))
        elif kind == "list":
            size = draw(st.sampled_from([(2,), (2,), (1,), (2, 2), (0,)])) if n else (0,)
            values = draw(
                st.lists(
                    st.integers(-n, n - 1) if n else st.just(0),
                    min_size=int(np.prod(size)),
                    max_size=int(np.prod(size)),
                )
            )
            items.append(("list", np.array(values, dtype=np.int64).reshape(size)))
            dim += 1
        elif kind == "mask":
            k = draw(st.integers(1, len(shape) - dim))
            items.append(("mask", np.random.RandomState(draw(st.integers(0, 99))).rand(*shape[dim : dim + k]) > 0.5))
            dim += k
        elif kind == "bool":
            items.append(("bool", draw(st.booleans())))
        else:
            items.append(("none",))
    return shape, items, draw(st.booleans())


def build(m, items, single):
    key = []
    for item in items:
        kind = item[0]
        key.append(
            item[1]
            if kind in ("int", "bool")
            else slice(*item[1:])
            if kind == "slice"
            else None
            if kind == "none"
            else Ellipsis
            if kind == "ellipsis"
            else m.tensor(item[1])
        )
    return key[0] if single and len(key) == 1 else tuple(key)


def outcome(call):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(), None
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        return None, error


def values(shape):
    return np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)


@QUICK
@given(shapes_and_keys())
def test_getting_is_pytorchs(case):
    shape, items, single = case
    out = []
    for m in (torch, bibun):
        x = m.tensor(values(shape), requires_grad=True)

        def run(m=m, x=x):
            y = x[build(m, items, single)]
            (g,) = m.autograd.grad((y * y).sum(), x) if y.requires_grad else (None,)
            return y.detach().numpy(), y.stride(), g.numpy()

        out.append(outcome(run))
    (want, fault), (got, own_fault) = out
    assert (fault is None) == (own_fault is None), (items, fault, own_fault)
    if fault is not None:
        assert type(own_fault) is type(fault), (fault, own_fault)
        return
    assert got[0].shape == want[0].shape, items
    if want[0].size and 1 not in want[0].shape:  # of a copy's dimensions of size 1 nobody knows the stride
        assert got[1] == want[1], (shape, items)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[2], want[2])


@QUICK
@given(shapes_and_keys(), st.sampled_from(["number", "full", "row", "bad"]))
def test_setting_is_pytorchs(case, what):
    shape, items, single = case
    out = []
    for m in (torch, bibun):
        x = m.tensor(values(shape))

        def run(m=m, x=x):
            key = build(m, items, single)
            part = tuple(x[key].shape)
            given = {
                "number": -1.5,
                "full": -values(part) - 1,
                "row": -values(part[-1:]) - 1,
                "bad": np.ones((7, *part)),
            }[what]
            x[key] = given if what == "number" else m.tensor(given)
            return x.numpy()

        out.append(outcome(run))
    (want, fault), (got, own_fault) = out
    assert (fault is None) == (own_fault is None), (items, fault, own_fault)
    if fault is None:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "key",
    [
        5,
        -4,
        (0, 0, 0, 0),
        slice(None, None, -1),
        "a",
        0.5,
        {0},
        10**20,
        ([0, 1], [0, 1, 2]),
        [0, 5],
        (slice(None), [True, False]),
        np.bool_(True),
        slice(0.0, 1),
        (slice(1), slice(1), Ellipsis, slice(1), slice(1)),
        (0, 0, Ellipsis, slice(1), slice(1)),
        (Ellipsis, 0, 0, 0, 0),
    ],
)
def test_errors_say_what_pytorchs_say(key):
    faults = [outcome(lambda m=m: m.zeros(3, 3, 4)[key])[1] for m in (torch, bibun)]
    assert type(faults[0]) is type(faults[1])
    assert str(faults[0]).split(" (Trig")[0] == str(faults[1])


@pytest.mark.parametrize(
    "key, name",
    [
        (0, "Select"),
        (slice(1), "Slice"),
        (slice(None), "Slice"),
        (None, "Unsqueeze"),
        (Ellipsis, "Alias"),
        ((), "Alias"),
        ([0, 1], "Index"),
        ((slice(None), 0), "Select"),
        ((0, Ellipsis, None), "Unsqueeze"),
        (True, "Index"),
    ],
)
def test_nodes_bear_pytorchs_names(key, name):
    x = bibun.zeros(3, 4, requires_grad=True)
    assert type(x[key].grad_fn).__name__ == name + "Backward0"


def test_views_share_memory_and_copies_do_not():
    x = bibun.zeros(3, 4)
    x[0][1] = 5.0
    assert x[0, 1] == 5.0
    x[bibun.tensor([0])][0] = 7.0
    assert x[0, 0] == 0.0
    x[:, 1:3][x[:, 1:3] == 5.0] = 9.0
    assert x[0, 1] == 0.0 or x[0, 1] == 9.0


def test_assignment_is_differentiable():
    for m in (torch, bibun):
        a = m.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        b = m.tensor([10.0, 20.0], requires_grad=True)
        x = a * 1
        x[0] = b
        x[m.tensor([1, 1]), m.tensor([0, 1])] = b * 2
        x[x > 30] = 0.0
        (x * x).sum().backward()
        if m is torch:
            want = a.grad.numpy(), b.grad.numpy()
    np.testing.assert_allclose(a.grad.numpy(), want[0])
    np.testing.assert_allclose(b.grad.numpy(), want[1])


def test_writing_counts_versions():
    x = bibun.zeros(3)
    x[0] = 1
    x[bibun.tensor([1])] = 2.0
    x[x == 0] = 3.0
    assert x._version == 3 and x.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "shape, index",
    [((5, 3), (40,)), ((7,), (30,)), ((4, 130), (90,)), ((2, 200), (500,)), ((300, 130), (600,)), ((3, 2, 2), (4, 3))],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.int64])
def test_rows_are_added_where_the_index_says(shape, index, dtype):
    from bibun.backends import cpu

    random = np.random.RandomState(0)
    at = random.randint(-shape[0], shape[0], index)
    given = (
        random.randn(*index, *shape[1:]).astype(dtype)
        if dtype != np.int64
        else random.randint(0, 9, (*index, *shape[1:]))
    )
    want = np.zeros(shape, np.complex128 if dtype == np.complex64 else np.float64)
    np.add.at(want, at, given)
    got = cpu.scatter_add_rows(shape, at, given)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_rows_out_of_range_are_refused():
    from bibun.backends import cpu

    for bad in (3, -4):
        with pytest.raises(IndexError):
            cpu.scatter_add_rows((3, 2), np.array([0, bad]), np.ones((2, 2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, i: x.gather(0, i),
        lambda m, x, i: x.scatter(0, i, x),
        lambda m, x, i: x.scatter(0, i, 2.0),
        lambda m, x, i: x.scatter_add(0, i, x),
        *[
            lambda m, x, i, r=r, s=s: x.scatter_reduce(0, i, x * 2, r, include_self=s)
            for r in ("sum", "prod", "mean", "amax", "amin")
            for s in (True, False)
        ],
        lambda m, x, i: x.index_select(1, i[0]),
        lambda m, x, i: x.index_add(0, i[0], x[:3] * 2, alpha=3),
        lambda m, x, i: x.index_copy(0, i[0][:1], x[:1]),
        lambda m, x, i: x.take(i),
        lambda m, x, i: x.masked_fill(x > 0, 1.5),
        lambda m, x, i: x.masked_select(x > 0),
        lambda m, x, i: m.take_along_dim(x, i, 1),
        lambda m, x, i: x.index_put((i[0], i[1]), x[0], accumulate=True),
    ],
)
def test_values_gradients_and_second_derivatives_are_pytorchs(call):
    out = []
    for m in (torch, bibun):
        x = m.tensor(np.random.RandomState(1).randn(3, 3), requires_grad=True)
        i = m.tensor([[0, 2, 1], [1, 1, 0], [0, 0, 0]])
        y = call(m, x, i)
        (g,) = m.autograd.grad((y**3).sum(), x, create_graph=True)
        (h,) = m.autograd.grad((g * g).sum(), x)
        out.append([v.detach().numpy() for v in (y, g, h)])
    for want, got in zip(*out):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_resizing_keeps_memory_and_counts():
    x = bibun.arange(6.0).view(2, 3).t()
    x.resize_(3, 2)
    assert x.stride() == (1, 3) and x._version == 0
    x.resize_(2, 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and x._version == 1
    part = bibun.arange(10.0)[2:5]
    assert part.resize_(4).tolist() == [2, 3, 4, 5]
    assert part.resize_(20)[:8].tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert bibun.empty(24).resize_(1, 2, 3, 4, memory_format=bibun.channels_last).stride() == (24, 1, 8, 2)
    like = bibun.empty(2, 3, 4, 5).to(memory_format=bibun.channels_last)
    assert bibun.empty(120).resize_as_(like, memory_format=bibun.preserve_format).stride() == like.stride()
    assert bibun.empty(120).resize_as_(like).stride() == (60, 20, 5, 1)
    for shape, complaint in (((2**31, 2**33), "numel: integer multiplication overflow"), ((2**31, 2**31 - 1), "Storage size calculation overflowed"),
                             ((0, 4, 2**61), "Stride calculation overflowed")):
        with pytest.raises(RuntimeError, match=complaint):
            bibun.empty(4).resize_(shape)


def test_expanding_by_dimensions_of_size_one_is_unsqueezing():
    assert bibun.ones(5).expand(1, 1, 5).stride() == (5, 5, 1)
    assert bibun.ones(5, 2).expand(1, 3, 5, 2).stride() == (0, 0, 2, 1)
    assert bibun.ones(2, 1).expand(1, 2, 3).stride() == (2, 1, 0)
    assert bibun.ones(()).expand(1, 2).stride() == (0, 0)


@pytest.mark.parametrize("name", ["scatter_reduce", "index_reduce"])
def test_products_with_several_zeros_have_second_derivatives(name):
    """(PyTorch refuses them.) Of x·a·b·3 at a = b = 0 the derivative in a and b is 3x."""
    x = bibun.tensor([1.5, 0.0], dtype=bibun.float64, requires_grad=True)
    values = bibun.tensor([0.0, 0.0, 2.0, 3.0, 1.0], dtype=bibun.float64, requires_grad=True)
    index = bibun.tensor([0, 0, 1, 0, 1])

    def product(x, values):
        return getattr(bibun, name)(x, 0, index, values, "prod")

    assert bibun.autograd.gradcheck(product, (x, values)) and bibun.autograd.gradgradcheck(product, (x, values))
    second = bibun.autograd.functional.hessian(lambda v: product(x, v).sum(), values)
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = 4.5
    np.testing.assert_allclose(second.detach().numpy(), expected)
