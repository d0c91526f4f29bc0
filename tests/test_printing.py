"""Printing, character by character: PyTorch's own text on thousands of drawn arrays, and by hand where it is absent."""

import math
import time

import numpy as np
import pytest

from bibun import dtypes as D
from bibun import printing
from bibun.tensor import Tensor, wrap

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
DEFAULTS = {"profile": "default", "sci_mode": None}


@pytest.fixture(autouse=True)
def fresh_options():
    yield
    printing.set_printoptions(**DEFAULTS)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    yield torch
    torch.set_printoptions(**DEFAULTS)
    torch.set_default_dtype(torch.float32)


# drawing

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-5, 1e9, 1.0, -1.5, 1e-40, 1e30]


def drawn_floats(rng, n):
    """Floats of one of many characters: plain, whole, all large or small, of many magnitudes, zeros, with specials."""
    v = rng.standard_normal(n)
    match rng.integers(8):
        case 0:
            v = np.round(v * 10)
        case 1:
            v = v * 10.0 ** rng.integers(-12, 13)
        case 2:
            v = v * 10.0 ** rng.integers(-6, 7, n)
        case 3:
            v = np.round(v * 10.0 ** rng.integers(0, 10))
        case 4:
            v = v * 0
        case 5:
            v = np.abs(v)
    if n and rng.random() < 0.3:
        v[rng.integers(0, n, rng.integers(1, 4))] = rng.choice(SPECIAL)
    return v


def drawn(rng, torch, d, shape):
    """One tensor of a dtype and shape, as PyTorch's and as an array of ours with the same bits."""
    n = math.prod(shape)
    theirs = getattr(torch, d.name)
    if d.kind == D.BOOL:
        a = rng.random(n) < 0.5
    elif d.kind == D.INT:
        limits = np.iinfo(d.np)
        top = min(int(limits.max), 10 ** int(rng.integers(0, 19)))
        a = rng.integers(max(int(limits.min), -top), top, n, dtype=np.uint64 if d is D.uint64 else np.int64).astype(
            d.np
        )
    else:
        v = drawn_floats(rng, n)
        if d.kind == D.COMPLEX:
            z = np.empty(n, np.complex128)
            z.real, z.imag, v = v, drawn_floats(rng, n), z
        t = torch.tensor(v.reshape(shape)).to(theirs)
        bits = (
            t.contiguous().view({1: torch.uint8, 2: torch.int16}[d.itemsize])
            if d.kind == D.FLOAT and d.itemsize < 4
            else t
        )
        bits = t.contiguous().view(torch.int32) if d is D.complex32 else bits
        return t, bits.numpy().view(d.np).reshape(shape)
    a = a.reshape(shape)
    return torch.tensor(a), a


def drawn_shape(rng):
    ndim = int(rng.integers(0, 5))
    if ndim == 1 and rng.random() < 0.4:
        return (int(rng.integers(0, 1500)),)
    return tuple(
        rng.choice([0, 1, 2, 3, 5, 7, 8, 12, 40], ndim, p=[0.04, 0.14, 0.16, 0.16, 0.14, 0.1, 0.1, 0.1, 0.06]).tolist()
    )


def drawn_options(rng):
    match rng.integers(3):
        case 0:
            return {"profile": str(rng.choice(["default", "short", "full"]))}
        case 1:
            return {
                "precision": int(rng.integers(0, 8)),
                "threshold": int(rng.choice([0, 5, 20, 100, 1000])),
                "edgeitems": int(rng.choice([0, 1, 2, 3, 5])),
                "linewidth": int(rng.choice([10, 40, 80, 120, 200])),
                "sci_mode": [None, True, False][rng.integers(3)],
            }
    return {str(rng.choice(["precision", "edgeitems", "linewidth"])): int(rng.integers(1, 100) % 13)}


@pytest.mark.parametrize("seed", range(6))
def test_any_array_prints_as_under_pytorch(torch, seed):
    """All dtypes, shapes, strides and magnitudes; the options change on the way and keep what they were not given."""
    rng = np.random.default_rng(seed)
    for _ in range(600):
        d = D.DTYPES[rng.integers(len(D.DTYPES))]
        if d not in D.HELD:
            continue
        shape = drawn_shape(rng)
        t, a = drawn(rng, torch, d, shape)
        if len(shape) > 1 and rng.random() < 0.5:
            order = rng.permutation(len(shape)).tolist()
            t, a = t.permute(*order), a.transpose(order)
        if shape and rng.random() < 0.3:
            t, a = t[::2], a[::2]
        if shape and rng.random() < 0.1:
            t, a = t[None].expand(4, *t.shape), np.broadcast_to(a[None], (4, *a.shape))
        options = drawn_options(rng) if rng.random() < 0.5 else DEFAULTS
        torch.set_printoptions(**options)
        printing.set_printoptions(**options)
        default = ["float32", "float64", "bfloat16"][max(0, int(rng.integers(-5, 3)))]
        torch.set_default_dtype(getattr(torch, default))
        D.set_default_dtype(D.BY_NAME[default])
        try:
            assert repr(wrap(a)) == repr(t), (d, a.shape, printing.get_printoptions())
        finally:
            D.set_default_dtype(D.float32)
        assert printing.get_printoptions() == torch._tensor_str.get_printoptions()


def test_every_float_notation_by_extremes(torch):
    """Where notation changes: ratios about 1000, sizes about 1e8 and 1e-4, subnormals, both signs."""
    edge = [
        1.0,
        1.5,
        999.0,
        1000.0,
        1001.0,
        1e8,
        1.0001e8,
        99999999.0,
        1e-4,
        0.99e-4,
        9.9999e-5,
        1e-3,
        3e-39,
        1e308,
        5e-324,
        0.0,
        -0.0,
    ]
    for x in edge:
        for y in [*edge, math.nan, -math.inf]:
            for d in ("float64", "float32"):
                with np.errstate(over="ignore"):
                    a = np.array([x, -y]).astype(d)
                assert repr(wrap(a)) == repr(torch.tensor(a)), (x, y, d)
                assert repr(wrap(a[0:1].reshape(()))) == repr(torch.tensor(a[0]))
            c = np.array([complex(x, -y), complex(y, 1)])
            assert repr(wrap(c)) == repr(torch.tensor(c)), (x, y)


@pytest.mark.parametrize("length", range(60, 85))
def test_suffixes_wrap_at_the_line_width(torch, length):
    a = np.full(4, 10 ** (length // 4 - 3), np.int64).astype(np.int16 if length % 2 else np.uint64)
    for width in range(40, 100, 7):
        torch.set_printoptions(linewidth=width)
        printing.set_printoptions(linewidth=width)
        assert repr(wrap(a)) == repr(torch.tensor(a))
        x, y = wrap(np.ones((2, length // 10))), torch.ones((2, length // 10), dtype=torch.float64)
        x.requires_grad_()
        y.requires_grad_()
        assert repr(x) == repr(y)
        assert repr(x * x) == repr(y * y)


def test_options_as_pytorchs(torch):
    calls = [
        {"precision": 2}, {"sci_mode": True}, {"edgeitems": 1, "threshold": 3}, {"profile": "short", "precision": 6},
        {"profile": "full"}, {"profile": "nonesuch"}, {"linewidth": 20}, {"profile": "default", "sci_mode": False}, {},
    ]  # fmt: skip
    for options in calls:
        torch.set_printoptions(**options)
        printing.set_printoptions(**options)
        assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
    with printing.printoptions(precision=1) as nothing, torch._tensor_str.printoptions(precision=1):
        assert nothing is None
        assert printing.get_printoptions() == torch._tensor_str.get_printoptions()
        assert repr(wrap(np.array([1.25], "f4"))) == "tensor([1.2])"
    assert printing.get_printoptions() == torch._tensor_str.get_printoptions()


def test_options_come_back_after_an_error():
    before = printing.get_printoptions()
    with pytest.raises(KeyError), printing.printoptions(precision=1):
        raise KeyError
    assert printing.get_printoptions() == before


# what stands around the elements


class Measured(Tensor):
    """A user's subclass."""


def as_kind(kind, a):
    made = object.__new__(kind)
    made._a, made._node, made._grad, made._view = a, None, None, None
    return made


def test_around_the_elements():
    x = wrap(np.array([1.0, 2.0], "f4"))
    assert repr(x) == str(x) == f"{x}" == "tensor([1., 2.])"
    x.requires_grad_()
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * x) == "tensor([1., 4.], grad_fn=<MulBackward0>)"
    assert repr(wrap(np.zeros((0, 3), "f4"))) == "tensor([], size=(0, 3))"
    assert repr(wrap(np.zeros(0, "i8"))) == "tensor([], dtype=torch.int64)"
    assert repr(wrap(np.array(True))) == "tensor(True)"
    assert repr(wrap(np.array([1, 2], "u1"))) == "tensor([1, 2], dtype=torch.uint8)"
    assert repr(as_kind(Measured, np.ones(2, "f4"))) == "Measured([1., 1.])"
    assert x.__repr__(tensor_contents="as told") == "tensor(as told, requires_grad=True)"
    assert (
        printing.format_tensor(wrap(np.ones(1, "f4")), tangent=wrap(np.zeros(1, "f4")))
        == "tensor([1.], tangent=tensor([0.]))"
    )


def test_parameters():
    from bibun.nn.parameter import Parameter

    assert repr(Parameter(wrap(np.ones(2, "f4")))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert repr(Parameter(wrap(np.ones(2, "f4")), requires_grad=False)) == "Parameter containing:\ntensor([1., 1.])"
    marked = Parameter(as_kind(Measured, np.ones(2, "f4")))
    assert repr(marked) == "Parameter(Measured([1., 1.], requires_grad=True))"

    class Mine(Parameter):
        pass

    assert repr(Mine(wrap(np.ones(1, "f4")))) == "Parameter containing:\nParameter(Mine([1.], requires_grad=True))"


def test_format(torch):
    values = [1.5, 3, True, 1 + 2j, -0.0]
    for value in values:
        for spec in ("", ".3f", ">8", "e", "+", "d", "08.2f"):
            ours, theirs = (
                wrap(np.array(value)),
                torch.tensor(value, dtype=torch.float64 if type(value) is float else None),
            )
            if type(value) is complex:
                theirs = theirs.to(torch.complex128)
            try:
                expected = format(theirs, spec)
            except (ValueError, TypeError) as error:
                with pytest.raises(type(error)):
                    format(ours, spec)
            else:
                assert format(ours, spec) == expected
    with pytest.raises(TypeError, match="unsupported format string passed to Tensor.__format__"):
        format(wrap(np.ones(2)), ".2f")
    assert format(wrap(np.ones(2, "f4"))) == "tensor([1., 1.])"


GOLDEN = {
    "tensor([[1.0000e+00, 1.0000e-05],\n        [1.0000e+05, 0.0000e+00]])": np.array([[1, 1e-5], [1e5, 0]], "f4"),
    "tensor([   nan, 1.5000,    inf,   -inf])": np.array([np.nan, 1.5, np.inf, -np.inf], "f4"),
    "tensor([1., nan])": np.array([1, np.nan], "f4"),
    "tensor([1.0000-2.j, 0.5000+0.j])": np.array([1 - 2j, 0.5], "c8"),
    "tensor([   0,    1,    2,  ..., 1998, 1999, 2000])": np.arange(2001),
}


@pytest.mark.parametrize("text", GOLDEN)
def test_known_texts(text):
    assert repr(wrap(GOLDEN[text])) == text


def test_only_what_is_shown_is_looked_at():
    wide = np.broadcast_to(np.float32(1.5), (20_000, 20_000))
    cases = [wide, wide[:, ::2].T, np.ones(5_000_000, "u1")[::2], np.ones((6, 1_000_000), "?").T]
    for a in cases:
        start = time.perf_counter()
        repr(wrap(a))
        assert time.perf_counter() - start < 0.25
