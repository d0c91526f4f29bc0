"""Dtypes, promotion, limits, Size and device, each against PyTorch over everything there is."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from bibun import dtypes as D

NAMES = sorted(D.BY_NAME)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def outcome(call, *args):
    """What a call gives, in words that are the same on both sides: its value's repr, or its error."""
    try:
        return repr(call(*args))
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("name", NAMES)
def test_a_dtype_is_pytorchs(torch, name):
    ours, theirs = D.BY_NAME[name], getattr(torch, name)
    assert repr(ours) == repr(theirs)
    for attribute in ("itemsize", "is_floating_point", "is_complex", "is_signed", "abbr"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    for method in ("to_real", "to_complex"):
        assert outcome(getattr(ours, method)) == outcome(getattr(theirs, method))
    made = torch.ones(2).to(theirs)
    assert made.type() == f"torch.{ours.scalar_name}Tensor"
    assert ours not in D.HELD or ours.np.itemsize == ours.itemsize


def test_dtypes_are_singletons():
    for d in D.DTYPES:
        assert copy.copy(d) is copy.deepcopy(d) is pickle.loads(pickle.dumps(d)) is d
        assert D.from_name(str(d)) is d
    assert D.float is D.float32 and D.bool is D.bool_ and D.int is D.int32
    with pytest.raises(TypeError, match="cannot create"):
        D.dtype()
    with pytest.raises(AttributeError, match="not writable"):
        D.float32.itemsize = 3
    with pytest.raises(AttributeError, match="no attribute"):
        D.float32.shape


def test_numpy_dtypes_come_back():
    for d in D.HELD:
        assert D.BY_NUMPY[np.zeros(1, d.np).dtype] is d is D.from_numpy(d.np)
    with pytest.raises(TypeError, match=r"can't convert np.ndarray of type numpy.str_\. The only supported types"):
        D.from_numpy(np.array(["a"]).dtype)
    with pytest.raises(ValueError, match="byte order"):
        D.from_numpy(np.dtype(">f4"))
    assert D.check_dtype(float, "ones") is D.float64
    for bad in ("float32", np.float32, [], 3):
        with pytest.raises(TypeError, match=r"ones\(\): argument 'dtype' must be torch.dtype"):
            D.check_dtype(bad, "ones")


# promotion


def test_promote_types_and_can_cast_over_all_pairs(torch):
    for a, b in itertools.product(D.DTYPES, repeat=2):
        ta, tb = getattr(torch, a.name), getattr(torch, b.name)
        assert outcome(D.promote_types, a, b) == outcome(torch.promote_types, ta, tb), (a, b)
        assert D.can_cast(a, b) == torch.can_cast(ta, tb), (a, b)


def test_the_tables_are_the_functions():
    for a, b in itertools.product(D.HELD, repeat=2):
        for table, rule in ((D.PROMOTE_NP, D.promote_types), (D.COMBINE_NP, D.combine_types)):
            found = table[a.np].get(b.np)
            assert outcome(rule, a, b) == (repr(D.BY_NUMPY[found]) if found is not None else "RuntimeError")


def test_promotion_errors_say_which():
    with pytest.raises(RuntimeError, match="Float8 Types is not supported, attempted to promote Float8_e5m2 and Float"):
        D.promote_types(D.float8_e5m2, D.float32)
    with pytest.raises(RuntimeError, match="uint16, uint32, uint64 types is not supported"):
        D.promote_types(D.uint16, D.int8)
    with pytest.raises(
        TypeError, match=r"promote_types\(\): argument 'type2' \(position 2\) must be torch.dtype, not int"
    ):
        D.promote_types(D.int8, 3)
    with pytest.raises(TypeError, match=r"can_cast\(\): argument 'from_' \(position 1\)"):
        D.can_cast("a", D.int8)


NUMBERS = [True, 2, 1.5, 2j]


@pytest.mark.parametrize("default", ["float32", "float64", "float16", "bfloat16"])
def test_result_type_over_all_pairs(torch, default):
    """Every dtype as a tensor with dimensions, without, or as a Python number, against every other."""
    torch.set_default_dtype(getattr(torch, default))
    D.set_default_dtype(D.BY_NAME[default])
    try:
        sides = []
        for d in D.DTYPES:
            whole = torch.zeros(2).to(getattr(torch, d.name))
            sides += [((d, D.DIMENSIONED), whole), ((d, D.ZERO_DIM), whole[0])]
        sides += [((D.number_dtype(type(n)), D.NUMBER), n) for n in NUMBERS]
        for (a, x), (b, y) in itertools.product(sides, repeat=2):
            assert outcome(D.result_type, [a, b]) == outcome(torch.result_type, x, y), (a, b)
        for d, n in itertools.product(D.HELD, NUMBERS):
            found = D.NUMBER_NP[type(n)][d.np] if d.np in D.NUMBER_NP[type(n)] else None
            expected = outcome(torch.result_type, torch.zeros(2).to(getattr(torch, d.name)), n)
            assert (repr(D.BY_NUMPY[found]) if found is not None else "RuntimeError") == expected
    finally:
        torch.set_default_dtype(torch.float32)
        D.set_default_dtype(D.float32)


def test_default_dtype():
    assert D.get_default_dtype() is D.default is D.float32 and D.default_np == np.float32
    for bad in (1, "float32", D.int32, D.complex64, D.float8_e5m2, None, float):
        with pytest.raises(TypeError, match="only floating-point types are supported as the default type"):
            D.set_default_dtype(bad)
    assert D.default is D.float32
    D.set_default_dtype(D.float64)
    try:
        assert D.default_np == np.float64 and D.default_complex is D.complex128
        assert D.finfo().dtype == "float64"
    finally:
        D.set_default_dtype(D.float32)


# limits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["finfo", "iinfo"])
def test_limits(torch, kind, name):
    mine, theirs = getattr(D, kind), getattr(torch, kind)
    ours = D.BY_NAME[name]
    expected = outcome(lambda: theirs(getattr(torch, name)))
    assert outcome(lambda: mine(ours)) == expected
    if expected.startswith(kind):
        a, b = mine(ours), theirs(getattr(torch, name))
        for attribute in [n for n in dir(b) if not n.startswith("__")]:
            assert getattr(a, attribute) == getattr(b, attribute), attribute
            assert type(getattr(a, attribute)) is type(getattr(b, attribute))
        assert a == mine(ours) and a != 3
        assert outcome(lambda: hash(a)) == "TypeError"


def test_limits_refuse_with_words():
    with pytest.raises(TypeError, match="requires a floating point input type"):
        D.finfo(D.int32)
    with pytest.raises(TypeError, match="requires an integer input type"):
        D.iinfo(D.float32)
    with pytest.raises(TypeError, match="bool is not supported"):
        D.iinfo(D.bool_)
    with pytest.raises(TypeError, match=r"finfo\(\): argument 'type' \(position 1\) must be torch.dtype, not int"):
        D.finfo(3)


# Size

SIZE_EXPRESSIONS = [
    "Size([2, 3])", "Size()", "Size(range(3))", "Size([True, 2])", "Size(5)", "Size([1.5])", "Size(['a'])",
    "s[0]", "s[-1]", "s[0:1]", "s[::-1]", "s[5]", "s + s", "s + (1,)", "(1,) + s", "s + [1]", "[1] + s", "s + 3",
    "s * 2", "2 * s", "s * 1.5", "s.numel()", "Size().numel()", "Size([0, 3]).numel()", "str(s)", "tuple(s)",
    "s == (2, 3, 4)",
    "hash(s) == hash((2, 3, 4))", "s.index(3)", "s.count(2)", "[*s]", "type(s[1:]).__name__", "s + (1.5,)",
    "pickle.loads(pickle.dumps(s))", "copy.deepcopy(s)", "s < (3,)", "max(s)", "Size([np.int64(3), 2]).numel()",
]  # fmt: skip


@pytest.mark.parametrize("expression", SIZE_EXPRESSIONS)
def test_size(torch, expression):
    def under(kind):
        names = {"Size": kind, "s": kind([2, 3, 4]), "np": np, "pickle": pickle, "copy": copy}
        return outcome(lambda: eval(expression, names))

    assert under(D.Size) == under(torch.Size)


def test_size_of_is_a_size():
    s = D.size_of((2, 3))
    assert type(s) is D.Size and s == (2, 3) and repr(s) == "torch.Size([2, 3])"


# device

DEVICE_STRINGS = (
    "cpu cpu:0 cpu:1 cuda cuda:3 mps mps:0 xpu meta meta:0 cpu:-1 cuda:-1 foo cuda: cuda:a cuda:00 cuda:01 cuda:1:2 :0 "
    "CPU privateuseone lazy xla hip ve fpga maia ipu hpu vulkan opengl opencl ideep mtia"
).split()
DEVICE_EXPRESSIONS = [f"device({s!r})" for s in DEVICE_STRINGS] + [
    "device('')", "device('cpu ')", "device('cpu', 0)", "device('cuda:1', 0)", "device(0)", "device(-1)", "device()",
    "device(type='cpu', index=2)", "device(1.5)", "device(None)", "device('cuda', -1)", "device('cuda', None)",
    "device('cuda', '1')", "device(device('cpu'))", "device('cuda', 1.0)", "device('cpu', 'x', 3)",
    "device(device='cpu')", "device(True)", "device('cuda:1') == device('cuda', 1)", "device('cuda:1') == 'cuda:1'",
    "device('cpu') == device('cpu:0')", "str(device('cuda:1'))", "device('cuda:1').type", "device('cuda:1').index",
    "device('cpu').index", "len({device('cuda:1'), device('cuda', 1)})", "device('cpu') < device('cpu')",
    "device('cpu').foo", "setattr(device('cpu'), 'type', 'x')", "setattr(device('cpu'), 'foo', 'x')",
    "pickle.loads(pickle.dumps(device('cuda:1')))", "copy.deepcopy(device('cpu'))", "f\"{device('cpu')}\"",
]  # fmt: skip


@pytest.mark.parametrize("expression", DEVICE_EXPRESSIONS)
def test_device(torch, expression):
    def under(kind):
        return outcome(lambda: eval(expression, {"device": kind, "pickle": pickle, "copy": copy}))

    assert under(D.device) == under(torch.device)


def test_tensors_live_on_the_cpu():
    for good in (None, "cpu", "cpu:1", D.device("cpu"), D.device("cpu", 3)):
        assert D.check_device(good) is D.CPU
    with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled.*'cuda:1' was asked for"):
        D.check_device("cuda:1")
    for other in ("mps", "meta", D.device("xla")):
        with pytest.raises(NotImplementedError, match="live on the CPU"):
            D.check_device(other)
    with pytest.raises(RuntimeError, match="device type at start of device string: gpu"):
        D.check_device("gpu")
    with pytest.raises(RuntimeError, match="Cannot access accelerator"):
        D.check_device(0)
    with pytest.raises(TypeError, match=r"ones\(\): argument 'device' must be torch.device, not float"):
        D.check_device(1.5, "ones")
    with D.device("cpu") as here:
        assert here is D.CPU
    with pytest.raises(AssertionError), D.device("cuda"):
        pass


# layouts and memory formats


def test_layouts_and_memory_formats(torch):
    for name in (
        "strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc jagged _mkldnn contiguous_format "
        "preserve_format channels_last channels_last_3d legacy_contiguous_format"
    ).split():
        ours, theirs = getattr(D, name), getattr(torch, name)
        assert repr(ours) == repr(theirs) and type(ours).__name__ == type(theirs).__name__
        assert copy.deepcopy(ours) is pickle.loads(pickle.dumps(ours)) is ours
    for kind in (D.layout, D.memory_format):
        with pytest.raises(TypeError, match="cannot create"):
            kind()
    assert D.check_layout(None, "ones") is D.strided
    with pytest.raises(NotImplementedError, match="sparse_coo is not supported"):
        D.check_layout(D.sparse_coo, "ones")
    with pytest.raises(TypeError, match="must be torch.layout, not int"):
        D.check_layout(3, "ones")
