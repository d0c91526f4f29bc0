"""Saving and loading: held against PyTorch in both directions, and against files that mean harm."""

import collections
import copy
import io
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import threading
import zipfile

import ml_dtypes  # noqa: F401
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bibun as bt
from bibun import nn, optim, serialization
from bibun.serialization.archive import ArchiveReader, ArchiveWriter
from bibun.serialization.weights import WeightsUnpickler

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="holds against PyTorch")

DTYPES = (
    "float64 float32 float16 bfloat16 complex128 complex64 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64 "
    "float8_e4m3fn float8_e5m2"
).split()


def saved(obj, library=bt, **options):
    file = io.BytesIO()
    library.save(obj, file, **options)
    file.seek(0)
    return file


def again(obj, **options):
    return bt.load(saved(obj), **options)


def numbers(t):
    """A tensor of either library as an ndarray."""
    t = t.detach()
    lib = bt if type(t).__module__.startswith("bibun") else torch
    return np.array(t.to(lib.complex128).numpy())


def sample(lib, dtype="float32"):
    """A state with everything in it that either library can make."""
    base = lib.arange(6).reshape(2, 3).to(getattr(lib, dtype))
    extra = lib.ones(2)
    extra.note = "kept"
    param = lib.nn.Parameter(lib.ones(2))
    param.note = "kept"
    return collections.OrderedDict(
        base=base,
        view=base.t()[1:],
        row=base[1],
        wide=lib.zeros(1).expand(3, 4),
        scalar=lib.tensor(3),
        empty=lib.zeros(0, 3),
        bfloat=lib.ones(2, dtype=lib.bfloat16),
        complex=lib.ones(1, dtype=lib.complex64),
        truth=lib.tensor([True, False]),
        young=lib.zeros(2, dtype=lib.uint16),
        leaf=lib.ones(2, requires_grad=True),
        param=lib.nn.Parameter(lib.ones(2)),
        frozen=lib.nn.Parameter(lib.ones(2), requires_grad=False),
        size=base.shape,
        dtype=lib.float32,
        extra=extra,
        noted=param,
        buffer=lib.nn.Buffer(lib.ones(2)),
        nested=[1, 2.5, None, True, (1, {"x": b"bytes"}), {1, 2}, bytearray(b"y"), 1 + 2j, 2**70, -5, "ü"],
    )


# ------------------------------------------------------------------------------------------------- against PyTorch


def parts_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "serialization_id" not in name}


@needs_torch
@pytest.mark.parametrize("dtype", DTYPES)
def test_files_are_pytorch_own_to_the_byte(dtype):
    ours, theirs = saved(sample(bt, dtype)).getvalue(), saved(sample(torch, dtype), torch).getvalue()
    assert parts_of(io.BytesIO(ours)) == parts_of(io.BytesIO(theirs))
    # what remains is the id: its digits, and its checksum in two places
    assert len(ours) == len(theirs)
    assert sum(a != b for a, b in zip(ours, theirs)) <= 48


@needs_torch
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("legacy", [False, True])
def test_either_reads_the_other(weights_only, legacy):
    options = {"_use_new_zipfile_serialization": not legacy}
    states = {lib: sample(lib) for lib in (bt, torch)}
    if legacy:  # PyTorch cannot read young dtypes in the old format
        for state in states.values():
            del state["young"]
    ours = torch.load(saved(states[bt], **options), weights_only=weights_only)
    theirs = bt.load(saved(states[torch], torch, **options), weights_only=weights_only)
    expected = states[torch]
    assert list(ours) == list(theirs) == list(expected)
    for name, value in expected.items():
        for got, lib in ((ours[name], torch), (theirs[name], bt)):
            if isinstance(value, torch.Tensor):
                assert type(got) is getattr(lib.nn if type(value) is torch.nn.Parameter else lib, type(value).__name__)
                assert str(got.dtype) == str(value.dtype) and tuple(got.shape) == tuple(value.shape)
                assert got.stride() == value.stride() and got.storage_offset() == value.storage_offset()
                assert got.requires_grad == value.requires_grad
                np.testing.assert_array_equal(numbers(got), numbers(value))
            else:
                assert str(got) == str(value)
        assert repr(theirs[name]) == repr(value)
    for got in (ours, theirs):
        got["base"][1, 2] = 42  # views share
        assert got["view"][1, 1] == 42 and got["row"][2] == 42
        assert got["extra"].note == got["noted"].note == "kept"


@needs_torch
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_every_pickle_protocol(protocol):
    for writer, reader in ((bt, torch), (torch, bt), (bt, bt)):
        file = saved({"a": writer.ones(2)}, writer, pickle_protocol=protocol)
        assert reader.load(file, weights_only=False)["a"].tolist() == [1, 1]
        if reader is bt and protocol >= 2:
            file.seek(0)
            assert bt.load(file)["a"].tolist() == [1, 1]  # PyTorch refuses protocols above 2 here


@needs_torch
def test_modules_and_optimizers_travel():
    def make(lib):
        return lib.nn.Sequential(
            lib.nn.Linear(3, 4), lib.nn.ReLU(), lib.nn.BatchNorm1d(4), lib.nn.Dropout(0.1), lib.nn.LSTM(4, 2)
        )

    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for writer, reader in ((bt, torch), (torch, bt)):
        model = make(writer).eval()
        loaded = reader.load(saved(model, writer), weights_only=False)
        assert repr(loaded) == repr(model)
        np.testing.assert_allclose(
            loaded(reader.tensor(x))[0].detach().numpy(), model(writer.tensor(x))[0].detach().numpy(), atol=1e-6
        )
        state = reader.load(saved(model.state_dict(), writer))
        assert str(make(reader).load_state_dict(state)) == "<All keys matched successfully>"
        assert state._metadata[""]["version"] == 1
        optimizer = writer.optim.Adam(model.parameters())
        model(writer.tensor(x))[0].sum().backward()
        optimizer.step()
        state = reader.load(saved(optimizer.state_dict(), writer))
        other = reader.optim.Adam(make(reader).parameters())
        other.load_state_dict(state)
        assert other.state_dict()["state"][0]["step"].item() == 1


@needs_torch
def test_scheduler_and_generator_state():
    generator = torch.Generator().manual_seed(3)
    state = bt.load(saved(generator.get_state(), torch))
    ours = bt.Generator()
    ours.set_state(state)
    assert bt.rand(3, generator=ours).tolist() == torch.rand(3, generator=generator).tolist()
    back = torch.load(saved(ours.get_state()))
    generator.set_state(back)
    assert bt.rand(3, generator=ours).tolist() == torch.rand(3, generator=generator).tolist()


@needs_torch
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_odd_things_travel():
    for make in (
        lambda lib: lib.relu,
        lambda lib: lib.nn.functional.gelu,
        lambda lib: lib.nn.LazyLinear(3),
        lambda lib: lib.max(lib.ones(2, 2), 0),
        lambda lib: lib.utils.data.TensorDataset(lib.ones(2)),
        lambda lib: lib.utils.data.RandomSampler(range(3)),
        lambda lib: lib.nn.Linear,
        lambda lib: lib.dtype,
        lambda lib: lib.Generator().manual_seed(3),
    ):
        for writer, reader in ((bt, torch), (torch, bt), (bt, bt)):
            got = reader.load(saved(make(writer), writer), weights_only=False)
            expected = make(reader)
            assert type(got) is type(expected)
            if not hasattr(expected, "__dict__") or callable(expected):
                assert repr(got).split(" at 0x")[0] == repr(expected).split(" at 0x")[0]


@needs_torch
def test_a_program_under_the_alias(tmp_path):
    with open(tmp_path / "plain.pkl", "wb") as file:
        pickle.dump([torch.arange(3.0), torch.nn.Parameter(torch.ones(2)), torch.Size([2]), torch.float32], file)
    torch.save(torch.nn.TransformerEncoderLayer(4, 2, dropout=0.0), tmp_path / "theirs.pt")
    code = """
    import pickle, sys, torch
    from torch._utils import _rebuild_tensor_v2
    assert "bibun" in torch.__version__
    print(pickle.load(open("plain.pkl", "rb")))
    torch.save(torch.load("theirs.pt", weights_only=False), "ours.pt")
    with torch.serialization.safe_globals([torch.nn.Linear]):
        pass
    assert torch.FloatStorage is torch.storage.FloatStorage
    """
    (tmp_path / "main.py").write_text(textwrap.dedent(code))
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(bt.__file__))}
    done = subprocess.run(
        [sys.executable, "-m", "bibun", "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == (
        "[tensor([0., 1., 2.]), Parameter containing:\ntensor([1., 1.], requires_grad=True), "
        "torch.Size([2]), torch.float32]\n"
    ), done.stderr
    ours, theirs = (torch.load(tmp_path / name, weights_only=False) for name in ("ours.pt", "theirs.pt"))
    assert torch.equal(ours(torch.ones(1, 2, 4)), theirs(torch.ones(1, 2, 4)))


@needs_torch
def test_conjugate_and_negative_views_are_carried_out():
    x = torch.arange(6.0).reshape(2, 3) * (1 + 2j)
    for theirs in (x.conj(), x.conj().imag, x.conj()[1:, ::2], x.conj()[:1].expand(4, 3)):
        assert bt.load(saved(theirs, torch)).tolist() == theirs.tolist()


@needs_torch
def test_messages_are_pytorch_own(tmp_path):
    def outcome(lib, act):
        with pytest.raises(Exception) as caught:
            act(lib)
        return type(caught.value).__name__, str(caught.value)

    good = saved({"a": torch.ones(2)}, torch).getvalue()
    x = {lib: lib.arange(4.0) for lib in (bt, torch)}
    for act in (
        lambda lib: lib.save(1, None),
        lambda lib: lib.save(1, tmp_path / "none" / "x.pt"),
        lambda lib: lib.load(tmp_path / "none.pt"),
        lambda lib: lib.load(3),
        lambda lib: lib.load(io.BytesIO(good), mmap=True),
        lambda lib: lib.load(io.BytesIO(good), pickle_module=pickle, weights_only=True),
        lambda lib: lib.load(io.BytesIO(good), map_location="cuda:0"),
        lambda lib: lib.load(io.BytesIO(good), map_location="nowhere"),
        lambda lib: lib.save([x[lib], x[lib].view(lib.int32)], io.BytesIO()),
        lambda lib: lib.save(1, io.BytesIO(), pickle_protocol=9),
    ):
        assert outcome(bt, act) == outcome(torch, act)
    for bad in (collections.defaultdict(list), frozenset([1]), torch.nn.Linear(1, 1), os.getcwd, np.ones(2)):
        ours, theirs = (
            outcome(lib, lambda lib, bad=bad: lib.load(saved(bad, torch))) for lib in (bt, torch)
        )
        assert ours[0] == theirs[0] == "UnpicklingError"
        assert ours[1] == theirs[1].replace("\x1b[1m", "").replace("\x1b[0m", "") or "blocked" in ours[1]
    for damaged in (good[:-30], b"", good.replace(b"data/0", b"data/9")):
        ours, theirs = (outcome(lib, lambda lib, d=damaged: lib.load(io.BytesIO(d))) for lib in (bt, torch))
        assert ours[0] == theirs[0]


# -------------------------------------------------------------------------------------------------------- by itself


@pytest.mark.parametrize("dtype", DTYPES)
def test_round_trip(dtype):
    before, after = sample(bt, dtype), again(sample(bt, dtype))
    for name, value in before.items():
        assert repr(after[name]) == repr(value), name
    assert after["base"].dtype is getattr(bt, dtype)
    assert after["view"].untyped_storage() is after["base"].untyped_storage()
    assert after["view"].stride() == (1, 3) and after["view"].storage_offset() == 1


def test_identity_sharing_and_cycles():
    x = bt.ones(3)
    cycle = [x]
    cycle.append(cycle)
    a, b = again([x, x])
    assert a is b
    got = again(cycle)
    assert got[1] is got
    data, whole = again([x.data[1:], x])
    data.fill_(5)
    assert whole.tolist() == [1, 5, 5]


def test_only_the_storage_once():
    x = bt.zeros(1000)
    one, many = len(saved([x]).getvalue()), len(saved([x[i:] for i in range(20)]).getvalue())
    assert many < one + 4000


def test_numpy_layouts():
    a = np.arange(24.0).reshape(2, 3, 4)
    for each in (a.T, np.asfortranarray(a), a[:, ::-1], a[:, ::2], a[1], a.transpose(1, 0, 2)):
        t = bt.from_numpy(each) if (np.array(each.strides) > 0).all() else bt.tensor(each.copy())
        assert again(t).tolist() == each.tolist()


def test_containers_and_trust():
    d = collections.defaultdict(list, {"a": [bt.ones(1)]})
    with pytest.raises(pickle.UnpicklingError, match=r"add_safe_globals\(\[collections.defaultdict\]\)"):
        again(d)
    with serialization.safe_globals([collections.defaultdict, list]):
        assert again(d) == d and type(again(d)) is collections.defaultdict
    assert serialization.get_safe_globals() == []
    assert again(d, weights_only=False)["b"] == []
    model = nn.Linear(2, 3)
    with pytest.raises(pickle.UnpicklingError, match="torch.nn.modules.linear.Linear"):
        again(model)
    serialization.add_safe_globals([nn.Linear])
    try:
        assert again(model).weight.tolist() == model.weight.tolist()
    finally:
        serialization.clear_safe_globals()
    assert serialization.get_unsafe_globals_in_checkpoint(saved(model)) == ["torch.nn.modules.linear.Linear"]
    serialization.add_safe_globals([(os.getcwd, "posix.getcwd")])
    try:
        with pytest.raises(pickle.UnpicklingError, match="blocked"):
            again(os.getcwd)
    finally:
        serialization.clear_safe_globals()


class Marked(bt.Tensor):
    """A subclass with a name in this module."""


def test_subclasses_and_user_objects():
    t = bt.ones(2).as_subclass(Marked) if hasattr(bt.Tensor, "as_subclass") else None
    if t is not None:
        t.note = [1]
        got = again(t, weights_only=False)
        assert type(got) is Marked and got.note == [1]
        with serialization.safe_globals([Marked]):
            assert type(again(t)) is Marked


def test_plain_pickle_and_copies():
    x = bt.arange(6.0).reshape(2, 3)
    x.requires_grad_()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        y, row = pickle.loads(pickle.dumps([x, x.detach()[1]], protocol))
        assert y.requires_grad and y.tolist() == x.tolist()
        with bt.no_grad():
            y[1, 0] = 9
        assert row[0] == 9
    shallow = copy.copy(x)
    assert shallow is not x and shallow.data_ptr() == x.data_ptr()
    deep, row = copy.deepcopy([x.detach(), x.detach()[1]])
    deep[1, 0] = 7
    assert row[0] == 7 and x[1, 0] == 3
    storage = pickle.loads(pickle.dumps(x.untyped_storage()))
    assert storage.tolist() == x.untyped_storage().tolist()
    for obj in (bt.float32, bt.Size([1, 2]), bt.device("cpu"), bt.strided, bt.channels_last):
        assert pickle.loads(pickle.dumps(obj)) == obj


def test_map_location():
    file = saved({"a": bt.ones(2)}).getvalue()
    seen = []
    for where in (None, "cpu", bt.device("cpu"), {"cpu": "cpu"}, lambda s, tag: s, lambda s, tag: seen.append(tag)):
        assert bt.load(io.BytesIO(file), map_location=where)["a"].tolist() == [1, 1]
    assert seen == ["cpu"]
    gpu = retagged(file, "cuda:0")
    with pytest.raises(RuntimeError, match="map_location=torch.device\\('cpu'\\)"):
        bt.load(io.BytesIO(gpu))
    assert bt.load(io.BytesIO(gpu), map_location="cpu")["a"].tolist() == [1, 1]
    assert bt.load(io.BytesIO(gpu), map_location={"cuda:0": "cpu"})["a"].tolist() == [1, 1]
    with pytest.raises(TypeError, match="not callable"):
        bt.load(io.BytesIO(file), map_location=0)
    with pytest.raises(TypeError, match="map_location returns"):
        bt.load(io.BytesIO(file), map_location=lambda s, tag: 3)


def rezipped(file, change, compression=zipfile.ZIP_STORED):
    """An archive written anew by Python, its records run through ``change(name, data)``; None leaves one out."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(made, "w", compression) as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
    return made.getvalue()


def retagged(file, tag):
    old, new = (b"X" + struct.pack("<I", len(t)) + t for t in (b"cpu", tag.encode()))
    return rezipped(file, lambda name, data: data.replace(old, new) if name == "data.pkl" else data)


def test_other_archives():
    file = saved(sample(bt)).getvalue()
    expected = repr(sample(bt))
    packed = rezipped(file, lambda name, data: data, zipfile.ZIP_DEFLATED)
    assert len(packed) < len(file) and repr(bt.load(io.BytesIO(packed))) == expected
    plain = rezipped(file, lambda name, data: None if name.startswith(".") or name == "byteorder" else data)
    assert repr(bt.load(io.BytesIO(plain))) == expected
    behind = io.BytesIO(b"something else" + file)
    behind.seek(14)
    assert repr(bt.load(behind)) == expected


def test_the_other_byte_order():
    values = [bt.arange(3.0), bt.tensor([1, 2]), bt.ones(2, dtype=bt.complex64) * 3j, bt.ones(2, dtype=bt.bool)]
    other = "big" if sys.byteorder == "little" else "little"

    def change(name, data):
        if name == "byteorder":
            return other.encode()
        if name in ("data/0", "data/1", "data/2"):
            n = {"data/0": 4, "data/1": 8, "data/2": 4}[name]
            return np.frombuffer(data, f"u{n}").byteswap().tobytes()
        return data

    got = bt.load(io.BytesIO(rezipped(saved(values).getvalue(), change)))
    assert repr(got) == repr(values)
    with pytest.raises(ValueError, match="endianness"):
        bt.load(io.BytesIO(rezipped(saved(values).getvalue(), lambda n, d: b"odd" if n == "byteorder" else d)))


def test_several_legacy_objects_in_one_file(tmp_path):
    path = tmp_path / "old.pt"
    with open(path, "wb") as file:
        for i in range(3):
            bt.save({"x": bt.full((2,), float(i))}, file, _use_new_zipfile_serialization=False)
    for weights_only in (True, False):
        with open(path, "rb") as file:
            got = [bt.load(file, weights_only=weights_only)["x"].tolist() for _ in range(3)]
            with pytest.raises(EOFError):
                bt.load(file, weights_only=weights_only)
        assert got == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(RuntimeError, match="mmap can only be used"):
        bt.load(path, mmap=True)


def test_mmap(tmp_path):
    path = tmp_path / "x.pt"
    bt.save({"x": bt.arange(1000.0), "y": bt.ones(3, dtype=bt.bfloat16), "z": bt.zeros(0)}, path)
    before = path.read_bytes()
    got = bt.load(path, mmap=True)
    assert got["x"].sum() == 499500 and got["y"].tolist() == [1, 1, 1] and got["z"].numel() == 0
    assert got["x"].data_ptr() % 64 == 0
    got["x"].fill_(1)
    assert path.read_bytes() == before  # a private map: the file stays
    with serialization.set_default_mmap_options(1):
        shared = bt.load(path, mmap=True)
    shared["x"].fill_(2)
    assert path.read_bytes() != before and serialization.get_default_mmap_options() == 2
    del shared
    del got
    with pytest.raises(ValueError, match="MAP_PRIVATE"):
        serialization.set_default_mmap_options(9)


def test_switches():
    serialization.set_crc32_options(False)
    try:
        file = saved(bt.ones(2))
    finally:
        serialization.set_crc32_options(True)
    assert {i.CRC for i in zipfile.ZipFile(file).infolist()} == {0}
    file.seek(0)
    assert bt.load(file).tolist() == [1, 1]
    with serialization.skip_data():
        file = saved(bt.ones(2))
    assert bt.load(file).tolist() == [0, 0]
    with serialization.skip_data():
        file.seek(0)
        assert bt.load(file).shape == (2,)


def test_hooks_are_not_saved_and_said_so():
    x = bt.ones(2, requires_grad=True)
    x.register_hook(lambda g: g)
    with pytest.warns(UserWarning, match="will not be serialized"):
        got = again(x)
    assert got.requires_grad and not got._backward_hooks


def test_large_records_have_wide_headers():
    """Sizes and places beyond 4 GiB, without writing so much."""
    import bibun.serialization.archive as archive

    sink = io.BytesIO()
    writer = ArchiveWriter(sink, "a")
    writer.position = 5 << 30  # as if so much stood before
    writer.record("late", b"abc")
    entry = writer.directory[0]
    assert struct.unpack_from("<I", entry, 42) == (0xFFFFFFFF,) and struct.pack("<Q", 5 << 30) in entry
    local = archive._local(archive._FLAGS, b"a/big", struct.pack("<2H2Q", 1, 16, 1 << 33, 1 << 33), True)
    assert struct.unpack_from("<2I", local, 18) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert archive._wide(struct.pack("<2H3Q", 1, 24, 5, 6, 7), 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) == (5, 6, 7)
    assert archive._wide(struct.pack("<2H1Q", 1, 8, 7), 3, 3, 0xFFFFFFFF) == (3, 3, 7)
    with pytest.raises(RuntimeError, match="no size"):
        archive._wide(struct.pack("<2H1Q", 1, 8, 7), 0xFFFFFFFF, 0xFFFFFFFF, 3)


# ------------------------------------------------------------------------------------------- whole files or none at all


class Stop(BaseException):
    pass


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    bt.save({"x": bt.ones(3)}, path)
    before = path.read_bytes()

    def fail(*args):
        raise Stop

    for name in ("record", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(ArchiveWriter, name, fail)
            with pytest.raises(Stop):
                bt.save({"x": bt.zeros(3)}, path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(Stop):
            bt.save({"x": bt.zeros(3)}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        bt.save(lambda: 1, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.pt"]


def test_the_file_keeps_its_mode_and_links(tmp_path):
    real, link = tmp_path / "real.pt", tmp_path / "link.pt"
    bt.save(1, real)
    os.chmod(real, 0o640)
    link.symlink_to(real)
    bt.save(2, link)
    assert link.is_symlink() and bt.load(real) == 2 and os.stat(real).st_mode & 0o777 == 0o640
    bt.save(3, str(tmp_path / ("n" * 240)))
    with pytest.raises(IsADirectoryError):
        bt.save(1, tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs a device file")
def test_devices_are_written_to_directly():
    bt.save(bt.ones(3), "/dev/null")
    assert not os.path.isfile("/dev/null")


def test_saving_holds_no_second_copy(tmp_path):
    code = """
    import resource, sys
    import bibun as torch
    x = torch.zeros(20_000_000)
    x.fill_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.save({"x": x}, sys.argv[1])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    """
    path = str(tmp_path / "x.pt")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30  # of 76 MB


def test_a_tensor_written_to_meanwhile(tmp_path):
    x = bt.zeros(2_000_000)
    path = tmp_path / "x.pt"
    stop = threading.Event()

    def write():
        while not stop.is_set():
            x.add_(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            bt.save(x, path)
            assert bt.load(path).shape == x.shape
    finally:
        stop.set()
        thread.join()


# --------------------------------------------------------------------------------------------------------- harmful files


def unpickle(code, **options):
    """Run a pickle, given as opcodes, through the restricted unpickler."""

    def storage(pid):
        return bt.FloatStorage([1, 1, 1, 1])

    return WeightsUnpickler(b"\x80\x02" + code + b".", storage, **options).load()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def glob(module, name):
    return b"c" + module + b"\n" + name + b"\n"


STORAGE = b"(" + text(b"storage") + glob(b"torch", b"FloatStorage") + text(b"0") + text(b"cpu") + b"K\x04tQ"


def rebuild(offset=b"K\x00", size=b"K\x04\x85", stride=b"K\x01\x85", storage=STORAGE):
    head = glob(b"torch._utils", b"_rebuild_tensor_v2") + b"(" + storage
    return head + offset + size + stride + b"\x89" + glob(b"collections", b"OrderedDict") + b")RtR"


def test_the_machine_itself():
    assert unpickle(rebuild()).tolist() == [1, 1, 1, 1]
    assert unpickle(b"(K\x01K\x02l"[:-1] + b"t") == (1, 2)


BIG = b"\x8a\x09" + (2**63).to_bytes(9, "little")
HOSTILE = {
    "runs code": (glob(b"os", b"system") + text(b"echo harm") + b"\x85R", "blocked"),
    "runs code by another name": (glob(b"posix", b"system") + text(b"echo harm") + b"\x85R", "blocked"),
    "evaluates": (glob(b"builtins", b"eval") + text(b"1") + b"\x85R", "Unsupported global: GLOBAL eval"),
    "evaluates, Python 2": (glob(b"__builtin__", b"eval") + text(b"1") + b"\x85R", "Unsupported global: GLOBAL eval"),
    "imports": (glob(b"bibun.cli", b"main") + b")R", "Unsupported global"),
    "dotted": (glob(b"torch", b"Tensor.__class__") + b")R", "Unsupported global"),
    "protocol 4 global": (text(b"os") + text(b"system") + b"\x93", "blocked"),
    "calls a method of a value": (text(b"x") + b")R", "unrecognized function"),
    "calls a list": (b"])R", "unrecognized function"),
    "calls a storage class": (glob(b"torch", b"FloatStorage") + BIG + b"\x85R", "unrecognized function"),
    "calls a dtype": (glob(b"torch", b"float32") + b")R", "unrecognized function"),
    "a huge bytearray": (glob(b"builtins", b"bytearray") + BIG + b"\x85R", "bytearray was given int"),
    "a codec": (glob(b"_codecs", b"encode") + text(b"x") + text(b"zlib") + b"\x86R", "latin1"),
    "a set of a number": (glob(b"builtins", b"set") + b"K\x01\x85R", "set was given int"),
    "a dict of no pairs": (glob(b"collections", b"OrderedDict") + text(b"ab") + b"\x85R", "OrderedDict was given str"),
    "a tensor of text": (rebuild(size=text(b"x")), "tuple of ints, not str"),
    "a tensor of floats": (rebuild(size=b"G\x3f\xf0\0\0\0\0\0\0\x85"), "tuple of ints, got float"),
    "a tensor too long": (rebuild(size=b"K\x05\x85"), "out of bounds for storage of size 16"),
    "an offset too far": (rebuild(offset=b"K\x01"), "out of bounds"),
    "a huge stride": (rebuild(stride=b"J\xff\xff\xff\x7f\x85"), "out of bounds"),
    "an overflowing stride": (rebuild(stride=b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"\x85"), "out of bounds"),
    "beyond 64 bits": (rebuild(size=BIG + b"\x85"), "out of range"),
    "a negative offset": (rebuild(offset=b"J\xff\xff\xff\xff"), "negative"),
    "a negative stride": (rebuild(stride=b"J\xff\xff\xff\xff\x85"), "negative"),
    "a negative size": (rebuild(size=b"J\xff\xff\xff\xff\x85"), "negative dimension"),
    "more strides": (rebuild(stride=b"K\x01K\x01\x86"), "mismatch in length"),
    "too many dimensions": (rebuild(size=b"(" + b"K\x01" * 70 + b"t", stride=b"(" + b"K\x01" * 70 + b"t"), "70 dimensions"),
    "no storage": (rebuild(storage=b"K\x01"), "not on int"),
    "wrong dtype": (glob(b"torch", b"float33"), "Unsupported global: GLOBAL torch.float33"),
    "pid of text": (text(b"storage") + b"Q", "must be tuple or int"),
    "pid of a module": (text(b"module") + b"\x85Q", "Only persistent_load of storage"),
    "empty stack": (b"R", "make no sense"),
    "marks": (b"tt", "make no sense"),
    "memo": (b"h\x05", "make no sense"),
    "unknown opcode": (b"\xff", "Unsupported operand 255"),
    "builds a function": (glob(b"_codecs", b"encode") + b"}b", "Can only build"),
    "builds a dict": (b"}}b", "Can only build"),
    "newobj of a function": (glob(b"_codecs", b"encode") + b")\x81", "Can only create new object"),
    "newobj of a value": (b"K\x01)\x81", "Can only create new object"),
    "appends to a tuple": (b")K\x01a", "Can only append to lists"),
    "sets an item of a list": (b"]K\x01K\x02s", "Can only SETITEM"),
    "an unhashable key": (b"}]K\x01s", "make no sense"),
    "attributes that are not names": (glob(b"collections", b"OrderedDict") + b")R}K\x01K\x02sb", "dict of names"),
    "rebuild through bytearray": (
        glob(b"torch._tensor", b"_rebuild_from_type_v2") + b"(" + glob(b"builtins", b"bytearray")
        + glob(b"torch", b"Tensor") + BIG + b"\x85}tR", "bytearray was given int"),
    "rebuild as a set": (
        glob(b"torch._tensor", b"_rebuild_from_type_v2") + b"(" + glob(b"builtins", b"set")
        + glob(b"builtins", b"set") + b")}tR", "listed classes"),
    "a parameter of text": (glob(b"torch.nn.parameter", b"Parameter") + text(b"x") + b"\x85R", None),
    "a device of text": (glob(b"torch", b"device") + text(b"no such") + b"\x85R", None),
    "a size of text": (glob(b"torch", b"Size") + text(b"ab") + b"\x85R", "torch.Size was given str"),
    "surrogates": (b"X\x03\0\0\0\xff\xfe\xfd", "make no sense"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name, capfd):
    code, message = HOSTILE[name]
    with pytest.raises((pickle.UnpicklingError, RuntimeError, TypeError, ValueError), match=message):
        unpickle(code)
    assert "harm" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "code",
    [
        b"}" + b")" + b"\x85" * 150_000 + b"K\x01s",  # a key nested half a million deep: hashing it would crash
        b"}" + b")" + b"q\x00h\x00h\x00\x86" * 60 + b"K\x01s",  # 2^60 tuples, all the same
        b"}" + b")q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"h\x00K\x01s",
        glob(b"builtins", b"set") + b"(" + b")" + b"\x85" * 100_000 + b"l"[:0] + b"t\x85R",
        b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90",
        b"(" + b")" + b"\x85" * 100_000 + b"\x91",
        glob(b"collections", b"OrderedDict") + b"](" + b")" + b"\x85" * 100_000 + b"K\x01ta\x85R",
    ],
)
def test_keys_that_would_exhaust_the_interpreter(code):
    with pytest.raises(pickle.UnpicklingError, match="nested too deep"):
        unpickle(code)


@pytest.mark.parametrize(
    "step",
    [
        b"q\x010}" + text(b"a") + b"h\x01s",
        b"q\x010" + glob(b"collections", b"OrderedDict") + b")R" + text(b"a") + b"h\x01s",
        b"q\x010" + glob(b"torch._tensor", b"_rebuild_from_type_v2") + b"("
        + glob(b"torch._utils", b"_rebuild_tensor_v2") + glob(b"torch", b"Tensor") + b"(" + STORAGE
        + b"K\x00K\x04\x85K\x01\x85\x89" + glob(b"collections", b"OrderedDict") + b")Rt}" + text(b"n") + b"h\x01stR",
    ],
)  # fmt: skip
def test_long_chains_are_taken_apart_again(step):
    got = unpickle(rebuild() + step * 50_000)
    del got


def test_errors_do_not_print_what_the_file_made():
    huge = rebuild(size=b"\x8a\x06" + (10**13).to_bytes(6, "little") + b"\x85", stride=b"K\x00\x85")
    for code in (huge + b")R", huge + b"Q", b")" + b"\x85" * 100_000 + b")R", b"]q\x00h\x00a)R", huge + b")\x81"):
        with pytest.raises(pickle.UnpicklingError, match="<class"):
            unpickle(code)


def test_copies_are_bounded():
    code = b"](" + b"K\x01" * 100_000 + b"eq\x00"
    code += (glob(b"builtins", b"set") + b"h\x00\x85R0") * 500
    with pytest.raises(pickle.UnpicklingError, match="too often"):
        unpickle(code)


def test_deep_but_harmless():
    got = unpickle(b"]" * 100_000 + b"a" * 99_999)
    assert type(got) is list and len(got) == 1
    assert unpickle(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff") is None  # a memo index near 2^32
    del got


def test_expanded_tensors_cost_nothing():
    huge = rebuild(size=b"\x8a\x06" + (10**13).to_bytes(6, "little") + b"\x85", stride=b"K\x00\x85")
    assert unpickle(huge).shape == (10**13,)
    negative = huge[:-2] + b"}" + text(b"neg") + b"\x88stR"
    assert unpickle(negative)[5] == -1


def test_truncated_and_lying_archives():
    file = saved({"a": bt.ones(1000), "b": bt.zeros(10)}).getvalue()
    for cut in range(0, len(file), 97):
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            bt.load(io.BytesIO(file[:cut]))
    for name in ("data.pkl", "version", "data/0"):
        with pytest.raises(RuntimeError, match="file not found|version"):
            bt.load(io.BytesIO(rezipped(file, lambda n, d, name=name: None if n == name else d)))
    for size in (0, 4, 3999, 4001, 8000):
        with pytest.raises(RuntimeError, match="does not match expected size"):
            bt.load(io.BytesIO(rezipped(file, lambda n, d, size=size: (d * 2)[:size] if n == "data/0" else d)))
    at = file.index(np.ones(4, np.float32).tobytes())
    damaged = bytearray(file)
    damaged[at] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        bt.load(io.BytesIO(damaged))
    # a record that says it is huge
    where = file.rindex(b"archive/data/0") - 46
    for field in (20, 24):
        lying = bytearray(file)
        struct.pack_into("<I", lying, where + field, 0xFFFFFFF0)
        with pytest.raises(RuntimeError, match="larger than"):
            bt.load(io.BytesIO(lying))
    # two records on the same bytes
    other = file.rindex(b"archive/data/1") - 46
    lying = bytearray(file)
    lying[other + 42 : other + 46] = lying[where + 42 : where + 46]
    with pytest.raises(RuntimeError, match="overlaps"):
        bt.load(io.BytesIO(lying))
    with pytest.raises(RuntimeError, match="TorchScript"):
        with zipfile.ZipFile(made := io.BytesIO(file), "a") as archive:
            archive.writestr("archive/constants.pkl", b"x")
        made.seek(0)
        bt.load(made)


def test_compressed_bombs():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(10_000_000))
    file = bytearray(made.getvalue())
    reader = ArchiveReader(io.BytesIO(file))
    assert len(reader.read("data/0")) == 10_000_000
    where = file.rindex(b"archive/data/0") - 46
    for size in (100, 9_999_999, 10_000_001):  # it holds more, or less, than it says
        struct.pack_into("<I", file, where + 24, size)
        with pytest.raises(RuntimeError, match="does not have the size"):
            ArchiveReader(io.BytesIO(file)).read("data/0")
    struct.pack_into("<I", file, where + 24, 0x7FFFFFFF)
    with pytest.raises(RuntimeError, match="larger than its data can hold"):
        ArchiveReader(io.BytesIO(file))


def survives(data):
    """Loading either gives an object or raises an exception: anything else ends the test run."""
    try:
        bt.load(io.BytesIO(data))
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        assert isinstance(error, (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, TypeError)), repr(error)


WHOLE = saved(sample(bt)).getvalue()
OLD = saved(sample(bt), _use_new_zipfile_serialization=False).getvalue()
PICKLE = zipfile.ZipFile(io.BytesIO(WHOLE)).read("archive/data.pkl")
edits = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.sampled_from(["set", "flip", "cut", "double", "insert"]), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)


def edited(data, changes):
    data = bytearray(data)
    for at, how, value in changes:
        at %= max(1, len(data))
        if how == "set":
            data[at : at + 1] = bytes([value])
        elif how == "flip":
            data[at : at + 1] = bytes([(data[at] if data else 0) ^ (1 << value % 8)])
        elif how == "cut":
            del data[at : at + value % 16]
        elif how == "double":
            data[at:at] = data[at : at + value]
        else:
            data[at:at] = bytes([value])
    return bytes(data)


fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(edits)
def test_any_damage_to_an_archive(changes):
    survives(edited(WHOLE, changes))


@fuzz
@given(edits)
def test_any_damage_to_a_pickle(changes):
    damaged = edited(PICKLE, changes)
    survives(rezipped(WHOLE, lambda name, data: damaged if name == "data.pkl" else data))


@fuzz
@given(edits)
def test_any_damage_to_an_old_file(changes):
    survives(edited(OLD, changes))


def test_every_single_byte_of_a_pickle():
    for at in range(0, len(PICKLE), 3):
        for value in (0, 0x2E, 0x52, 0x75, PICKLE[at] ^ 0x40, 255):
            damaged = PICKLE[:at] + bytes([value]) + PICKLE[at + 1 :]
            try:
                WeightsUnpickler(damaged, lambda pid: bt.FloatStorage([1, 1, 1, 1])).load()
            except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, TypeError):
                pass


# ---------------------------------------------------------------------------------------------------------------- storages


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_storages():
    x = bt.arange(4.0)
    assert x.untyped_storage() is x[1:].untyped_storage()
    assert x[2:].storage().tolist() == [0, 1, 2, 3] and x.storage()[1] == 1.0
    assert isinstance(x.storage(), bt.FloatStorage) and not isinstance(x.storage(), bt.IntStorage)
    assert x.untyped_storage().data_ptr() == x.data_ptr() == x[1:].data.untyped_storage().data_ptr()
    x.untyped_storage().fill_(0)
    assert x.sum() == 0
    assert bt.is_storage(x.untyped_storage()) and bt.is_storage(x.storage())
    y = bt.tensor([]).set_(bt.FloatStorage([1, 2, 3, 4]), 1, (2,), (2,))
    assert y.tolist() == [2, 4]


@needs_torch
@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_storages_answer_as_pytorch():
    def show(lib, act):
        try:
            return str(act(lib))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    untyped = lambda lib: lib.arange(6, dtype=lib.uint8).untyped_storage()
    typed = lambda lib: lib.arange(4.0).storage()
    for act in (
        lambda lib: untyped(lib), lambda lib: untyped(lib)[2], lambda lib: untyped(lib)[-1],
        lambda lib: untyped(lib)[9], lambda lib: untyped(lib)[1:3], lambda lib: untyped(lib)[::2],
        lambda lib: untyped(lib).bool(), lambda lib: untyped(lib).float(), lambda lib: untyped(lib).nbytes(),
        lambda lib: len(untyped(lib)), lambda lib: untyped(lib).device, lambda lib: lib.UntypedStorage(0),
        lambda lib: lib.UntypedStorage([1, 2]), lambda lib: bytes(untyped(lib)),
        lambda lib: typed(lib), lambda lib: typed(lib)[-1], lambda lib: typed(lib)[8], lambda lib: typed(lib)[1:],
        lambda lib: typed(lib).type(), lambda lib: typed(lib).double(), lambda lib: list(typed(lib)),
        lambda lib: typed(lib).dtype, lambda lib: typed(lib).element_size(), lambda lib: typed(lib).nbytes(),
        lambda lib: typed(lib).pickle_storage_type(), lambda lib: lib.FloatStorage([1, 2]),
        lambda lib: lib.TypedStorage([1, 2], dtype=lib.int64), lambda lib: lib.FloatStorage.dtype,
        lambda lib: lib.ones(2, dtype=lib.bfloat16).storage().tolist(), lambda lib: copy.deepcopy(typed(lib)),
        lambda lib: lib.FloatStorage.from_buffer(b"\0\0\x80?", byte_order="little"),
        lambda lib: lib.UntypedStorage.from_buffer(b"\1\2\3\4", dtype=lib.int16, byte_order="big").tolist(),
        lambda lib: lib.ones(2, dtype=lib.uint16).storage(),
    ):  # fmt: skip
        assert show(bt, act) == show(torch, act)


def test_optimizer_state_is_whole():
    p = nn.Parameter(bt.ones(2))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = bt.ones(2)
    optimizer.step()
    state = again(optimizer.state_dict())
    assert state["state"][0]["momentum_buffer"].tolist() == [1, 1]
    whole = again(optimizer, weights_only=False)
    assert repr(whole) == repr(optimizer)
