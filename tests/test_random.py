"""The random stream against PyTorch's: every sampler's bits, and after each call the state, byte by byte, which also
tells whether the right number of words was drawn."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import warnings

import ml_dtypes
import numpy as np
import pytest

from bibun import random as R

F16, BF16, F32, F64 = (np.dtype(t) for t in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
C64, C128 = np.dtype(np.complex64), np.dtype(np.complex128)
FLOATS = [F32, F64, F16, BF16]
SIZES = [0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 100, 1000]
LARGE = 70001  # several blocks, and a rest


@pytest.fixture
def g():
    return R.Generator()


# ------------------------------------------------------------------------------------------------ without PyTorch


def test_digits_everybody_knows(g):
    """PyTorch's documentation, tutorials and forum are full of these."""
    g.manual_seed(0)
    assert np.array_equal(
        R.rand(g, (3,)), np.array([0.49625658988952637, 0.7682217955589294, 0.08847743272781372], F32)
    )
    g.manual_seed(0)
    assert R.randn(g, (3,)).round(4).tolist() == np.array([1.5410, -0.2934, -2.1788], F32).tolist()
    g.manual_seed(42)
    assert R.rand(g, (2,)).round(4).tolist() == np.array([0.8823, 0.9150], F32).tolist()
    g.manual_seed(0)
    assert R.randperm(g, 10).tolist() == [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]


def test_seeds(g):
    assert g.initial_seed() == R.DEFAULT_SEED
    assert g.manual_seed(-1) is g and g.initial_seed() == 2**64 - 1
    assert g.manual_seed(2**64 - 1).initial_seed() == 2**64 - 1
    assert g.manual_seed(-(2**63)).initial_seed() == 2**63
    for seed in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long"):
            g.manual_seed(seed)
    for seed in (1.5, "a", None, True):
        with pytest.raises(RuntimeError, match="manual_seed expected a long, but got"):
            g.manual_seed(seed)
    assert g.initial_seed() == 2**63
    assert g.seed() == g.initial_seed()
    assert R.Generator().seed() != R.Generator().seed()


def test_state_round_trip(g):
    g.manual_seed(5)
    R.randn(g, (3,))  # leaves a number waiting
    state = g.state_bytes()
    assert state.dtype == np.uint8 and state.shape == (5056,)
    after = [R.randn(g, (5,)), R.rand(g, (700,)), R.randn(g, (16,))]
    g.set_state_bytes(state)
    again = [R.randn(g, (5,)), R.rand(g, (700,)), R.randn(g, (16,))]
    assert all(np.array_equal(a, b) for a, b in zip(after, again))
    fresh = g.manual_seed(6).state_bytes()
    first = R.rand(g, (4,))
    g.set_state_bytes(fresh)
    assert np.array_equal(g.state_bytes(), fresh) and np.array_equal(R.rand(g, (4,)), first)


def test_states_refused(g):
    good = g.state_bytes()
    before = R.rand(g.clone_state(), (3,))
    for bad, kind, words in (
        (good[:10], RuntimeError, "Expected a CPUGeneratorImplState of size 5056 but found .* size to be 10"),
        (np.zeros(5056, np.uint8), RuntimeError, "Invalid mt19937 state"),
        (np.repeat(good, 2)[::2], RuntimeError, "contiguous"),
        (good.astype(np.float32), TypeError, "ByteTensor"),
        ([1], TypeError, "ByteTensor"),
    ):
        with pytest.raises(kind, match=words):
            g.set_state_bytes(bad)
    assert np.array_equal(R.rand(g, (3,)), before)


def test_copies(g):
    g.manual_seed(7)
    R.randn(g, (1,))
    expected = R.randn(g.clone_state(), (20,))
    for other in (pickle.loads(pickle.dumps(g)), copy.copy(g), copy.deepcopy(g), g.clone_state()):
        assert other.initial_seed() == 7 and np.array_equal(R.randn(other, (20,)), expected)
    assert np.array_equal(R.randn(g, (20,)), expected)
    with pytest.raises(NotImplementedError):
        g.graphsafe_get_state()
    with pytest.raises(RuntimeError, match="does not use offset"):
        g.get_offset()
    assert not hasattr(g, "nonsense")


def test_devices():
    assert str(R.Generator("cpu").device) == "cpu"
    for device in ("cuda", "nowhere"):
        with pytest.raises((RuntimeError, AssertionError, NotImplementedError)):
            R.Generator(device)


def test_states_may_be_presented(g):
    from bibun.random import engine

    before = engine._to_public, engine._from_public
    R.present_states_as(lambda a: ("state", a), lambda s: s[1])
    try:
        state = g.get_state()
        assert state[0] == "state" and g.set_state(state) is g
        assert pickle.loads(pickle.dumps(g)).initial_seed() == g.initial_seed()
    finally:
        R.present_states_as(*before)


def test_without_a_view_of_the_memory(monkeypatch):
    """Where ctypes is missing, the state goes through NumPy's own attribute."""
    from bibun.random import engine

    plain = R.Generator().manual_seed(3)
    R.randn(plain, (21,))
    monkeypatch.setattr(engine, "_spare", [])
    monkeypatch.setattr(engine, "_memory_of", lambda bits: None)
    other = R.Generator().manual_seed(3)
    assert other._memory is None
    R.randn(other, (21,))
    assert np.array_equal(plain.state_bytes(), other.state_bytes())
    other.set_state_bytes(plain.state_bytes())
    weights = np.array([0.2, 30.0], F32)
    assert np.array_equal(R.poisson(plain, weights), R.poisson(other, weights))
    assert np.array_equal(plain.state_bytes(), other.state_bytes())


def test_threads_share_one_stream(g):
    """No word is lost or given twice: what four threads draw together is what one would draw."""
    g.manual_seed(1)
    expected = np.sort(R.rand(g, (4 * 50 * 1000,)))
    g.manual_seed(1)
    parts: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: parts.extend(R.rand(g, (1000,)) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(np.sort(np.concatenate(parts)), expected)


@pytest.mark.parametrize("n", [2, 10, 699, 700, 5000, 65535, 65537, 200000])
def test_permutations_are_swaps_in_turn(g, n):
    """The way without a loop gives what the loop gives."""
    from bibun.random.permutation import _inside_out, _swapped

    targets = np.arange(n - 1) + np.random.default_rng(n).integers(0, np.arange(n, 1, -1))
    order = list(range(n))
    for i, k in enumerate(targets.tolist()):
        order[i], order[k] = order[k], order[i]
    assert _swapped(targets, n).tolist() == order

    # from 2^32/20 elements on: held against torch.randperm(214748364) by hand, which takes ten gigabytes
    targets = np.random.default_rng(n).integers(0, np.arange(1, n + 1))
    for i, k in enumerate(targets.tolist()):
        order[i] = i
        order[i], order[k] = order[k], order[i]
    assert _inside_out(targets).tolist() == order


def test_fused_multiply_add():
    from fractions import Fraction

    from bibun.random import rounding

    draw = np.random.default_rng(0)
    a = draw.random(2000)
    for b, c in ((0.7, -0.3), (2.5e-9, 1.0), (3.0, -2.9999999), (1e5, 1e-12), (2 / 3, -1 / 3), (0.25, 1.3), (1.7, 0.0)):
        exact = [float(Fraction(x) * Fraction(b) + Fraction(c)) for x in a.tolist()]
        assert rounding.fma64(a, b, c).tolist() == exact
        assert [rounding.fma(x, b, c) for x in a.tolist()] == exact
    narrow = a.astype(F32)
    for b, c in ((0.7, -0.3), (2.5e-9, 1.0), (3.0, -2.9999999), (1e5, 1e-12), (1e-12, 1.0)):
        b, c = float(F32.type(b)), float(F32.type(c))
        with np.errstate(all="ignore"):
            wide = [Fraction(x) * Fraction(b) + Fraction(c) for x in narrow.tolist()]
        got = rounding.fma32(narrow, b, c, np.empty_like(narrow))
        for x, y in zip(wide, got):  # the nearest: neither neighbour is nearer
            error = abs(Fraction(float(y)) - x)
            assert all(error <= abs(Fraction(float(np.nextafter(y, s))) - x) for s in (F32.type(-9e9), F32.type(9e9)))


# --------------------------------------------------------------------------------------------------- with PyTorch

try:
    import torch
except ImportError:
    torch = None

oracle = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")


def torch_dtype(dtype):
    return getattr(torch, dtype.name)


def bits(a):
    a = np.ascontiguousarray(a)
    return a.view(f"u{a.dtype.itemsize}") if a.dtype.kind != "c" else a.view(f"u{a.dtype.itemsize // 2}")


def same(ours, theirs):
    if theirs.dtype == torch.bfloat16:
        theirs = theirs.contiguous().view(torch.int16).numpy().view(BF16)
    else:
        theirs = theirs.numpy()
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    wrong = np.flatnonzero(bits(ours) != bits(theirs))
    assert not len(wrong), (
        f"{len(wrong)} of {ours.size} differ, at {wrong[:5]}: {bits(ours).view(ours.dtype).ravel()[wrong[:5]]} for "
        f"{bits(theirs).view(ours.dtype).ravel()[wrong[:5]]}"
    )


def same_state(generator=None):
    ours = (generator or R.default_generator).state_bytes()
    theirs = torch.get_rng_state().numpy()
    assert np.array_equal(ours, theirs), np.flatnonzero(ours != theirs)[:20]


def both(seed):
    torch.manual_seed(seed)
    R.default_generator.manual_seed(seed)


def compare(size, dtype, ours, theirs, seed=11):
    """Two calls in a row, then the state."""
    both(seed)
    for _ in range(2):
        same(ours(np.empty(size, dtype)), theirs(torch.empty(size, dtype=torch_dtype(dtype))))
        same_state()


@oracle
@pytest.mark.parametrize("dtype", [*FLOATS, C64, C128], ids=str)
@pytest.mark.parametrize("size", [*SIZES, LARGE])
def test_uniform(size, dtype):
    compare(size, dtype, lambda a: R.uniform_(None, a), lambda t: t.uniform_())
    both(1)
    same(R.rand(None, (size,), dtype), torch.rand(size, dtype=torch_dtype(dtype)))


BOUNDS = [(-0.3, 0.7), (-1 / 28, 1 / 28), (2.5, 1000.1), (-1e-3, 3e5), (0, 0.1), (-1, 1), (5, 5), (1000, 1000.01),
          (1, 1 + 3e-7), (1e-10, 1.0), (-1, 1e-30), (0, 1e-44), (-3e4, 3e4), (-1e-8, 1.0)]  # fmt: skip


@oracle
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("low, high", BOUNDS)
def test_uniform_bounds(low, high, dtype):
    if dtype == F16 and high > 65504:
        return
    for size in (3, 1000, 20001):
        compare(size, dtype, lambda a: R.uniform_(None, a, low, high), lambda t: t.uniform_(low, high))


@oracle
def test_uniform_bounds_drawn():
    draw = np.random.default_rng(0)
    for _ in range(150):
        scale = 10.0 ** draw.uniform(-6, 6)
        low, high = sorted((draw.normal(size=2) * [scale, 10.0 ** draw.uniform(-6, 6)]).tolist())
        for dtype in (F32, F64):
            compare(500, dtype, lambda a: R.uniform_(None, a, low, high), lambda t: t.uniform_(low, high))


@oracle
@pytest.mark.parametrize("fan_in", [1, 3, 7, 10, 64, 100, 784, 1000, 4096])
def test_initial_weights(fan_in):
    """What decides the first digits of every training run."""
    both(fan_in)
    bound = 1 / math.sqrt(fan_in)
    layer = torch.nn.Linear(fan_in, 50)
    deviation = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2)) / math.sqrt(fan_in)
    edge = math.sqrt(3.0) * deviation
    same(R.uniform_(None, np.empty((50, fan_in), F32), -edge, edge), layer.weight.detach())
    same(R.uniform_(None, np.empty(50, F32), -bound, bound), layer.bias.detach())


@oracle
@pytest.mark.parametrize("dtype", [*FLOATS, C64, C128], ids=str)
@pytest.mark.parametrize("size", [*SIZES, LARGE])
def test_normal(size, dtype):
    compare(size, dtype, lambda a: R.normal_(None, a), lambda t: t.normal_())
    compare(size, dtype, lambda a: R.normal_(None, a, 1.3, 2.7), lambda t: t.normal_(1.3, 2.7))
    compare(size, dtype, lambda a: R.normal_(None, a, 0, 0.02), lambda t: t.normal_(0, 0.02))
    both(1)
    same(R.randn(None, (size,), dtype), torch.randn(size, dtype=torch_dtype(dtype)))


@oracle
def test_normal_of_arrays():
    mean, std = torch.linspace(-2, 2, 12).view(3, 4), torch.linspace(0, 3, 4)
    for size in (4, 20):
        mean, std = torch.linspace(-2, 2, 3 * size).view(3, size), torch.linspace(0, 3, size)
        both(3)
        new = lambda: np.empty((3, size), F32)
        same(R.normal_of(None, mean.numpy(), std.numpy(), new()), torch.normal(mean, std))
        same(R.normal_of(None, mean.numpy(), 0.7, new()), torch.normal(mean, 0.7))
        same(R.normal_of(None, 0.3, std.numpy(), np.empty(size, F32)), torch.normal(0.3, std))
        same_state()
    with pytest.raises(RuntimeError, match="all elements of std"):
        R.normal_of(None, np.zeros(3), np.array([1.0, -1, 1]), np.empty(3))


@oracle
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", [1, 16, 1000, 40001])
def test_shaped(size, dtype):
    with np.errstate(over="ignore"):
        compare(size, dtype, lambda a: R.exponential_(None, a), lambda t: t.exponential_())
        compare(size, dtype, lambda a: R.exponential_(None, a, 0.7), lambda t: t.exponential_(0.7))
        compare(size, dtype, lambda a: R.exponential_(None, a, math.inf), lambda t: t.exponential_(math.inf))
        compare(size, dtype, lambda a: R.cauchy_(None, a), lambda t: t.cauchy_())
        compare(size, dtype, lambda a: R.cauchy_(None, a, 1.5, 2.5), lambda t: t.cauchy_(1.5, 2.5))
        compare(size, dtype, lambda a: R.log_normal_(None, a), lambda t: t.log_normal_())
        compare(size, dtype, lambda a: R.log_normal_(None, a, 0.3, 0.7), lambda t: t.log_normal_(0.3, 0.7))
        for p in (0.3, 0.5, 0.001):
            compare(size, dtype, lambda a: R.geometric_(None, a, p), lambda t: t.geometric_(p))


@oracle
@pytest.mark.parametrize("name", ["int64", "int32", "int16", "int8", "uint8"])
def test_geometric_integers(name):
    dtype = np.dtype(name)
    compare(1000, dtype, lambda a: R.geometric_(None, a, 0.3), lambda t: t.geometric_(0.3))


INTEGERS = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]


@oracle
@pytest.mark.parametrize("name", [*INTEGERS[:6], "float16", "bfloat16", "float32", "float64"])
def test_random_full(name):
    dtype = BF16 if name == "bfloat16" else np.dtype(name)
    for size in (1, 17, 1000, LARGE):
        compare(size, dtype, lambda a: R.random_(None, a), lambda t: t.random_())


@oracle
@pytest.mark.parametrize("high", [1, 2, 3, 10, 100, 1000, 2**16, 2**27, 2**28 - 1, 2**28, 2**28 + 1, 2**31, 2**32 - 1,
                                  2**32, 2**40, 2**62, 2**63 - 1])  # fmt: skip
@pytest.mark.parametrize("low", [0, 1, -5, -(2**63), -(2**40)])
def test_randint(low, high):
    if low >= high:
        return
    for size in (1, 33, 1000):
        both(2)
        same(R.randint(None, (size,), low, high), torch.randint(low, high, (size,)))
        same_state()


@oracle
@pytest.mark.parametrize("name", [*INTEGERS, "float16", "bfloat16", "float32", "float64"])
def test_randint_dtypes(name):
    dtype = BF16 if name == "bfloat16" else np.dtype(name)
    tries = [(0, 2)] if name == "bool" else [(0, 2), (3, 100)]
    if dtype.kind in "if" and name != "bool":
        tries += [(-100, 27)]
    if dtype.itemsize >= 4:
        tries += [(0, 2**24), (5, 2**30)]
    for low, high in tries:
        for size in (5, 5000):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compare(size, dtype, lambda a: R.random_(None, a, low, high), lambda t: t.random_(low, high))


@oracle
def test_random_from():
    for name, low in (("int64", 5), ("int64", -5), ("int64", -(2**63)), ("int64", -(2**62)), ("int32", 5), ("int32", -9),
                      ("uint8", 7), ("int8", -128), ("int16", 3), ("bool", 0), ("float32", 5), ("float64", 5), ("float16", 5),
                      ("float32", -(2**63)), ("float64", -(2**63))):  # fmt: skip
        dtype = np.dtype(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compare(100, dtype, lambda a: R.random_(None, a, low), lambda t: t.random_(low, None))


@oracle
def test_random_ranges_of_floats_drawn():
    draw = np.random.default_rng(1)
    for _ in range(300):
        dtype = [F32, F64, F16, BF16][draw.integers(4)]
        top = {F32: 40, F64: 62, F16: 15, BF16: 40}[dtype]
        low, high = sorted(
            int(v) * int(s) for v, s in zip((2.0 ** draw.uniform(0, top, 2)).astype(np.int64), draw.choice([-1, 1], 2))
        )
        if draw.random() < 0.5:
            high = low + int(draw.integers(1, 400))
        a, t = np.empty(20, dtype), torch.empty(20, dtype=torch_dtype(dtype))
        both(4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                t.random_(low, high)
            except RuntimeError:
                with pytest.raises(RuntimeError):
                    R.random_(None, a, low, high)
                continue
            same(R.random_(None, a, low, high), t)
        same_state()


@oracle
@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 16, 17, 100, 699, 700, 701, 60000, 65536, 65537, 300001])
def test_randperm(n):
    both(n)
    for _ in range(2):
        same(R.randperm(None, n), torch.randperm(n))
        same_state()


@oracle
def test_randperm_dtypes():
    for name, n in (("uint8", 256), ("int8", 128), ("int16", 5000), ("int32", 5000), ("float16", 2049), ("bfloat16", 257),
                    ("float32", 3000), ("float64", 3000)):  # fmt: skip
        dtype = BF16 if name == "bfloat16" else np.dtype(name)
        both(1)
        same(R.randperm(None, n, dtype), torch.randperm(n, dtype=torch_dtype(dtype)))


@oracle
@pytest.mark.parametrize("p", [0, 0.1, 0.3, 0.5, 0.9, 1, 1e-9, 2**-60])
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16", "bool", "uint8", "int64"])
def test_bernoulli(name, p):
    dtype = BF16 if name == "bfloat16" else np.dtype(name)
    for size in (1, 17, 300, 40001):
        compare(size, dtype, lambda a: R.bernoulli_(None, a, p), lambda t: t.bernoulli_(p))


@oracle
@pytest.mark.parametrize("p_dtype", FLOATS, ids=str)
def test_bernoulli_of_array(p_dtype):
    p = torch.rand(1000, generator=torch.Generator().manual_seed(5)).to(torch_dtype(p_dtype))
    ours = p.contiguous().view(torch.int16).numpy().view(BF16) if p_dtype == BF16 else p.numpy()
    both(6)
    same(R.bernoulli(None, ours), torch.bernoulli(p))
    for name in ("float32", "int64", "bool", "float64"):
        same(
            R.bernoulli_(None, np.empty(1000, name), ours), torch.empty(1000, dtype=getattr(torch, name)).bernoulli_(p)
        )
        same_state()
    same(R.bernoulli_(None, np.empty((3, 1000), F32), ours), torch.empty(3, 1000).bernoulli_(p))


@oracle
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dropout(dtype):
    for shape in ((7,), (64, 33)):
        for p in (0.1, 0.5):
            both(9)
            kept = torch.nn.functional.dropout(torch.ones(shape, dtype=torch_dtype(dtype)), p) != 0
            same(R.keep_mask(None, shape, 1 - p), kept)
            same_state()


LAYOUTS = {
    "transposed": lambda a: a.reshape(20, 30).T if isinstance(a, np.ndarray) else a.view(20, 30).t(),
    "columns": lambda a: (a.reshape(20, 30) if isinstance(a, np.ndarray) else a.view(20, 30))[:, ::2],
    "rows": lambda a: (a.reshape(20, 30) if isinstance(a, np.ndarray) else a.view(20, 30))[3:15:3],
    "permuted": lambda a: a.reshape(4, 5, 30).transpose(2, 0, 1) if isinstance(a, np.ndarray) else a.view(4, 5, 30).permute(2, 0, 1),
    "cut": lambda a: a.reshape(4, 5, 30).transpose(2, 0, 1)[1:, :, 2:] if isinstance(a, np.ndarray) else a.view(4, 5, 30).permute(2, 0, 1)[1:, :, 2:],
    "thin": lambda a: a.reshape(600, 1).T if isinstance(a, np.ndarray) else a.view(600, 1).t(),
    "scalar": lambda a: a[5:6].reshape(()) if isinstance(a, np.ndarray) else a[5],
    "small": lambda a: a[:12].reshape(3, 4).T if isinstance(a, np.ndarray) else a[:12].view(3, 4).t(),
    "none": lambda a: a.reshape(20, 30)[:0].T if isinstance(a, np.ndarray) else a.view(20, 30)[:0].t(),
}  # fmt: skip


@oracle
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, F64, F16, C64], ids=str)
def test_strided(layout, dtype):
    """PyTorch runs through memory, and takes normal numbers in pairs where that has gaps or is out of order."""
    calls = [
        (lambda a: R.uniform_(None, a), lambda t: t.uniform_()),
        (lambda a: R.uniform_(None, a, -0.3, 0.9), lambda t: t.uniform_(-0.3, 0.9)),
        (lambda a: R.normal_(None, a), lambda t: t.normal_()),
        (lambda a: R.normal_(None, a, 1, 0.3), lambda t: t.normal_(1, 0.3)),
    ]
    if dtype.kind == "f":
        p = torch.rand(600, generator=torch.Generator().manual_seed(1))
        calls += [
            (lambda a: R.exponential_(None, a), lambda t: t.exponential_()),
            (lambda a: R.log_normal_(None, a), lambda t: t.log_normal_()),
            (lambda a: R.random_(None, a, 0, 50), lambda t: t.random_(0, 50)),
            (lambda a: R.bernoulli_(None, a, 0.3), lambda t: t.bernoulli_(0.3)),
            (lambda a: R.bernoulli_(None, a, LAYOUTS[layout](p.numpy())), lambda t: t.bernoulli_(LAYOUTS[layout](p))),
        ]
    view = LAYOUTS[layout]
    for ours, theirs in calls:
        a, t = np.zeros(600, dtype), torch.zeros(600, dtype=torch_dtype(dtype))
        both(8)
        ours(view(a))
        theirs(view(t))
        same(a, t)
        same_state()


@oracle
def test_dropout_of_strided():
    both(8)
    x = torch.ones(20, 30).t()
    kept = torch.nn.functional.dropout(x, 0.3) != 0
    same(R.keep_mask(None, (30, 20), 0.7, like=np.ones((20, 30), F32).T), kept)


@oracle
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_multinomial(dtype):
    weights = torch.rand(50, 37, generator=torch.Generator().manual_seed(2)).to(torch_dtype(dtype))
    weights[:, 3] = 0
    ours = weights.contiguous().view(torch.int16).numpy().view(BF16) if dtype == BF16 else weights.numpy()
    both(10)
    same(R.multinomial(None, ours, 100, True), torch.multinomial(weights, 100, True))
    same(R.multinomial(None, ours[0], 10, True), torch.multinomial(weights[0], 10, True))
    same(R.multinomial(None, ours, 1), torch.multinomial(weights, 1))
    same(R.multinomial(None, ours, 1, True), torch.multinomial(weights, 1, True))
    if dtype.itemsize > 2:  # else ties, whose order PyTorch leaves open
        same(R.multinomial(None, ours, 20), torch.multinomial(weights, 20))
        same(R.multinomial(None, ours[:, 4:].T, 20), torch.multinomial(weights[:, 4:].t(), 20))
        same(R.multinomial(None, ours[0], 20), torch.multinomial(weights[0], 20))
    same_state()


@oracle
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_poisson(dtype):
    rates = np.concatenate([np.zeros(3), np.linspace(0.01, 9.99, 300), np.linspace(10, 300, 300), [1e4]])
    ours = rates.astype(dtype)
    theirs = torch.from_numpy(ours.astype(F64)).to(torch_dtype(dtype))
    both(12)
    same(R.poisson(None, ours), torch.poisson(theirs))
    same_state()
    same(R.poisson(None, ours[:602].reshape(2, 301).T), torch.poisson(theirs[:602].view(2, 301).t()))
    same(R.poisson(None, ours[:0]), torch.poisson(theirs[:0]))
    same_state()


@oracle
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_binomial(dtype):
    count = torch.tensor([0, 1, 5, 10, 30, 100, 1000, 1e6], dtype=torch_dtype(dtype)).view(-1, 1, 1)
    p = torch.linspace(0, 1, 41, dtype=torch_dtype(dtype)).view(1, -1, 1).expand(1, 41, 3)
    both(13)
    same(R.binomial(None, count.numpy(), p.numpy()), torch.binomial(*torch.broadcast_tensors(count, p)))
    same_state()
    bad = torch.tensor([-1.0, 3, 4, 10.5], dtype=torch_dtype(dtype))
    p = torch.tensor([0.5, math.nan, 0.5, 0.5], dtype=torch_dtype(dtype))
    same(R.binomial(None, bad.numpy(), p.numpy()), torch.binomial(bad, p))


@oracle
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_gamma(dtype):
    alpha = torch.cat([torch.tensor([0.0]), torch.linspace(0.01, 0.99, 200), torch.linspace(1, 50, 200)]).to(
        torch_dtype(dtype)
    )
    both(14)
    torch.randn(1), R.randn(None, (1,))
    same(R.standard_gamma(None, alpha.numpy()), torch._standard_gamma(alpha))
    same_state()
    concentration = alpha[1:401].view(40, 10).contiguous()
    drawn, expected = R.dirichlet(None, concentration.numpy()), torch._sample_dirichlet(concentration)
    np.testing.assert_allclose(drawn, expected.numpy(), rtol=4 * np.finfo(dtype).eps)  # sums are added in another order
    same_state()


@oracle
def test_interleaved():
    """One stream: any calls in any order, states exchanged both ways in between."""
    draw = np.random.default_rng(3)
    calls = [
        (lambda n: R.rand(None, (n,)), lambda n: torch.rand(n)),
        (lambda n: R.rand(None, (n,), F64), lambda n: torch.rand(n, dtype=torch.float64)),
        (lambda n: R.randn(None, (n,)), lambda n: torch.randn(n)),
        (lambda n: R.randn(None, (n % 16,)), lambda n: torch.randn(n % 16)),
        (lambda n: R.randn(None, (n,), F64), lambda n: torch.randn(n, dtype=torch.float64)),
        (lambda n: R.randperm(None, n), lambda n: torch.randperm(n)),
        (lambda n: R.randint(None, (n,), 0, 10), lambda n: torch.randint(10, (n,))),
        (lambda n: R.randint(None, (n,), 0, 2**40), lambda n: torch.randint(2**40, (n,))),
        (lambda n: R.bernoulli_(None, np.empty(n, F32), 0.4), lambda n: torch.empty(n).bernoulli_(0.4)),
        (lambda n: R.log_normal_(None, np.empty(n, F32)), lambda n: torch.empty(n).log_normal_()),
        (lambda n: R.poisson(None, np.full(n, 3.5, F32)), lambda n: torch.poisson(torch.full((n,), 3.5))),
    ]
    both(15)
    for _ in range(400):
        n = int(draw.choice([1, 2, 3, 7, 15, 16, 17, 40, 333, 5000], p=[0.11] * 9 + [0.01]))
        ours, theirs = calls[draw.integers(len(calls))]
        same(ours(n), theirs(n))
        same_state()
        move = draw.random()
        if move < 0.1:
            R.rand(None, (9,))
            R.default_generator.set_state_bytes(torch.get_rng_state().numpy())
        elif move < 0.2:
            torch.rand(9)
            torch.set_rng_state(torch.from_numpy(R.default_generator.state_bytes()))
        elif move < 0.25:
            both(int(draw.integers(2**40)))
            same_state()


@oracle
def test_ends_of_the_range():
    """Words of all zeros and all ones."""

    def untempered(y):
        y ^= y >> 18
        y ^= (y << 15) & 0xEFC60000
        x = y
        for _ in range(7):
            x = y ^ ((x << 7) & 0x9D2C5680)
        y = x = x & 0xFFFFFFFF
        for _ in range(4):
            x = y ^ (x >> 11)
        return x & 0xFFFFFFFF

    state = R.Generator().manual_seed(0).state_bytes()
    for word in (0, 2**32 - 1):
        crafted = state.copy()
        crafted[24:5016].view(np.uint64)[:] = untempered(word)
        crafted[8:12].view(np.int32)[0] = 624
        crafted[16:24].view(np.uint64)[0] = 1
        for dtype in FLOATS:
            for name, *args in (("uniform_",), ("uniform_", -0.3, 0.7), ("normal_",), ("exponential_",), ("cauchy_",),
                                ("geometric_", 0.3), ("log_normal_",), ("bernoulli_", 0.0), ("bernoulli_", 1.0)):  # fmt: skip
                for size in (2, 20):
                    R.default_generator.set_state_bytes(crafted)
                    torch.set_rng_state(torch.from_numpy(crafted))
                    theirs = getattr(torch.empty(size, dtype=torch_dtype(dtype)), name)(*args)
                    with np.errstate(over="ignore"):
                        same(getattr(R, name)(None, np.empty(size, dtype), *args), theirs)


WRONG = [
    (lambda a: R.uniform_(None, a, 2, 1), lambda t: t.uniform_(2, 1)),
    (lambda a: R.uniform_(None, a, math.nan, 1), lambda t: t.uniform_(math.nan, 1)),
    (lambda a: R.uniform_(None, a, 0, 1e309), lambda t: t.uniform_(0, math.inf)),
    (lambda a: R.normal_(None, a, 0, -1), lambda t: t.normal_(0, -1)),
    (lambda a: R.normal_(None, a, 0, math.nan), lambda t: t.normal_(0, math.nan)),
    (lambda a: R.random_(None, a, 5, 5), lambda t: t.random_(5, 5)),
    (lambda a: R.random_(None, a, -1, 300), lambda t: t.random_(-1, 300)),
    (lambda a: R.random_(None, a, 0, 70000), lambda t: t.random_(0, 70000)),
    (lambda a: R.random_(None, a), lambda t: t.random_()),
    (lambda a: R.bernoulli_(None, a, 1.5), lambda t: t.bernoulli_(1.5)),
    (lambda a: R.bernoulli_(None, a, math.nan), lambda t: t.bernoulli_(math.nan)),
    (lambda a: R.exponential_(None, a, 0), lambda t: t.exponential_(0)),
    (lambda a: R.exponential_(None, a), lambda t: t.exponential_()),
    (lambda a: R.cauchy_(None, a, 0, 0), lambda t: t.cauchy_(0, 0)),
    (lambda a: R.cauchy_(None, a), lambda t: t.cauchy_()),
    (lambda a: R.log_normal_(None, a, 0, -1), lambda t: t.log_normal_(0, -1)),
    (lambda a: R.log_normal_(None, a), lambda t: t.log_normal_()),
    (lambda a: R.geometric_(None, a, 1), lambda t: t.geometric_(1)),
    (lambda a: R.geometric_(None, a, 0.5), lambda t: t.geometric_(0.5)),
    (lambda a: R.uniform_(None, a), lambda t: t.uniform_()),
    (lambda a: R.normal_(None, a), lambda t: t.normal_()),
    (lambda a: R.bernoulli_(None, a), lambda t: t.bernoulli_()),
]


@oracle
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int64", "uint8", "bool", "complex64", "uint16"])
def test_errors(name):
    for ours, theirs in WRONG:
        both(1)
        t = torch.zeros(3, dtype=getattr(torch, name))
        a = np.zeros(3, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs(t)
        except Exception as error:
            with pytest.raises(type(error)) as caught:
                ours(a)
            assert str(caught.value) == str(error)
            assert not a.any()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                same(ours(a), t)
        same_state()


@oracle
def test_more_errors():
    f = lambda *values: np.array(values, F32)
    t = lambda *values: torch.tensor(values)
    for ours, theirs in (
        (lambda: R.randperm(None, -1), lambda: torch.randperm(-1)),
        (lambda: R.randperm(None, 257, np.dtype(np.uint8)), lambda: torch.randperm(257, dtype=torch.uint8)),
        (lambda: R.randperm(None, 2050, F16), lambda: torch.randperm(2050, dtype=torch.float16)),
        (lambda: R.randperm(None, 2**24 + 2, F32), lambda: torch.randperm(2**24 + 2, dtype=torch.float32)),
        (lambda: R.randperm(None, 3, np.dtype(bool)), lambda: torch.randperm(3, dtype=torch.bool)),
        (lambda: R.randint(None, (3,), 5, 5), lambda: torch.randint(5, 5, (3,))),
        (lambda: R.randint(None, (3,), 0, 300, np.dtype(np.uint8)), lambda: torch.randint(0, 300, (3,), dtype=torch.uint8)),
        (lambda: R.multinomial(None, f(1.0, -1.0), 1), lambda: torch.multinomial(t(1.0, -1.0), 1)),
        (lambda: R.multinomial(None, f(0.0, 0.0), 1), lambda: torch.multinomial(t(0.0, 0.0), 1)),
        (lambda: R.multinomial(None, f(0.0, 0.0), 3, True), lambda: torch.multinomial(t(0.0, 0.0), 3, True)),
        (lambda: R.multinomial(None, f(1.0, 1.0), 3), lambda: torch.multinomial(t(1.0, 1.0), 3)),
        (lambda: R.multinomial(None, f(1.0, math.inf), 2, True), lambda: torch.multinomial(t(1.0, math.inf), 2, True)),
        (lambda: R.multinomial(None, f(1.0, -1), 2, True), lambda: torch.multinomial(t(1.0, -1), 2, True)),
        (lambda: R.multinomial(None, np.array([1, 1]), 1), lambda: torch.multinomial(t(1, 1), 1)),
        (lambda: R.multinomial(None, np.ones((2, 2, 2), F32), 1), lambda: torch.multinomial(torch.ones(2, 2, 2), 1)),
        (lambda: R.multinomial(None, f(1.0), 0), lambda: torch.multinomial(t(1.0), 0)),
        (lambda: R.poisson(None, f(-1)), lambda: torch.poisson(t(-1.0))),
        (lambda: R.poisson(None, np.array([1])), lambda: torch.poisson(t(1))),
        (lambda: R.binomial(None, np.array([10]), f(0.5)), lambda: torch.binomial(t(10), t(0.5))),
        (lambda: R.binomial(None, f(10), np.array([0.5])), lambda: torch.binomial(t(10.0), torch.tensor([0.5], dtype=torch.float64))),
        (lambda: R.uniform_(None, np.lib.stride_tricks.as_strided(f(1), (2, 3), (0, 4))), lambda: torch.ones(3).expand(2, 3).uniform_()),
        (lambda: R.normal_(None, np.lib.stride_tricks.as_strided(f(1), (3,), (0,))), lambda: torch.ones(1).expand(3).normal_()),
    ):  # fmt: skip
        both(1)
        with pytest.raises(Exception) as expected:
            theirs()
        with pytest.raises(type(expected.value)) as caught:
            ours()
        assert str(caught.value) == str(expected.value)
        same_state()
