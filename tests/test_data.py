"""Data loading: the draws, batches, errors and words of PyTorch; workers that fail, die, hang or are left behind."""

import collections
import gc
import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest

import bibun as bt
from bibun.utils import data as D
from bibun.utils.data.errors import ExceptionWrapper
from bibun.utils.data.transfer import Receiver, Sender

try:
    import torch
    from torch.utils import data as TD
except ImportError:
    torch = TD = None
needs_torch = pytest.mark.skipif(torch is None, reason="holds against PyTorch")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
LIBRARIES = {"bibun": (bt, D), "torch": (torch, TD)}


def plain(x):
    if hasattr(x, "tolist"):
        return x.tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    return [plain(v) for v in x] if isinstance(x, (list, tuple)) else x


class Draws:
    """A dataset whose samples hold random numbers."""

    def __init__(self, lib, n=11):
        self.lib, self.n = lib, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i, self.lib.rand(1).item(), random.random(), np.random.rand()


class Squares:
    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i * i


def stream_of(data):
    class Stream(data.IterableDataset):
        """Each worker gives another share, of another length."""

        def __init__(self, n):
            self.n = n

        def __iter__(self):
            info = data.get_worker_info()
            first, step = (info.id, info.num_workers) if info else (0, 1)
            return iter(range(first, self.n + first * 3, step))

    return Stream


# -------------------------------------------------------------------------------------------------- against PyTorch

LOADERS = [
    lambda lib, data, ds: dict(),
    lambda lib, data, ds: dict(batch_size=3),
    lambda lib, data, ds: dict(batch_size=3, drop_last=True),
    lambda lib, data, ds: dict(shuffle=True),
    lambda lib, data, ds: dict(batch_size=4, shuffle=True, generator=lib.Generator().manual_seed(3)),
    lambda lib, data, ds: dict(sampler=data.WeightedRandomSampler([1.0, 2, 3], 7)),
    lambda lib, data, ds: dict(sampler=data.WeightedRandomSampler([1.0, 2, 3], 3, replacement=False)),
    lambda lib, data, ds: dict(sampler=data.RandomSampler(ds, replacement=True, num_samples=70)),
    lambda lib, data, ds: dict(sampler=data.RandomSampler(ds, num_samples=25, generator=lib.Generator())),
    lambda lib, data, ds: dict(sampler=data.SubsetRandomSampler([1, 5, 6])),
    lambda lib, data, ds: dict(batch_size=None),
    lambda lib, data, ds: dict(batch_size=None, shuffle=True),
    lambda lib, data, ds: dict(batch_sampler=data.BatchSampler(data.RandomSampler(ds), 4, True)),
    lambda lib, data, ds: dict(batch_sampler=[[3, 1], [2]]),
    lambda lib, data, ds: dict(sampler=[2, 2, 9]),
]


@needs_torch
@pytest.mark.parametrize("make", LOADERS)
def test_order_and_stream_are_pytorch_own(make):
    seen = {}
    for name, (lib, data) in LIBRARIES.items():
        lib.manual_seed(5)
        out = []
        for ds in (
            data.TensorDataset(lib.arange(10), lib.arange(20.0).reshape(10, 2)),
            data.Subset(data.TensorDataset(lib.arange(30)), range(5, 15)),
            Squares(),
        ):
            loader = data.DataLoader(ds, **make(lib, data, ds))
            for _ in range(2):
                out += [plain(b) for b in loader]
                out.append((len(loader), lib.rand(1).item()))
        seen[name] = out, lib.get_rng_state().tolist()
    assert seen["bibun"] == seen["torch"]


@needs_torch
@forks
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_draw_as_pytorch_own(workers):
    seen = {}
    for name, (lib, data) in LIBRARIES.items():
        lib.manual_seed(6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader = data.DataLoader(Draws(lib), 2, True, num_workers=workers, persistent_workers=workers == 2)
            out = [[plain(b) for b in loader] for _ in range(2)]
            Stream = stream_of(data)
            for size, drop in ((None, False), (1, False), (3, False), (3, True)):
                loader = data.DataLoader(Stream(10), size, num_workers=workers, drop_last=drop)
                out.append([plain(b) for b in loader])
        seen[name] = out, lib.get_rng_state().tolist()
    assert seen["bibun"] == seen["torch"]


@needs_torch
def test_splits_and_shares():
    seen = {}
    for name, (lib, data) in LIBRARIES.items():
        lib.manual_seed(7)
        out = [[list(p.indices) for p in data.random_split(range(10), how)] for how in ([3, 7], [0.5, 0.3, 0.2], [10, 0])]
        out += [list(p.indices) for p in data.random_split(range(9), [0.5, 0.5], lib.Generator().manual_seed(1))]
        for options in (dict(), dict(shuffle=False), dict(seed=4, drop_last=True)):
            for rank in range(4):
                sampler = data.DistributedSampler(range(10), 4, rank, **options)
                sampler.set_epoch(2)
                out.append((list(sampler), len(sampler)))
        out.append(list(data.DistributedSampler(range(2), 5, 4)))
        seen[name] = out, lib.rand(1).item()
    assert seen["bibun"] == seen["torch"]


Pair = collections.namedtuple("Pair", "a b")
SAMPLES = [
    lambda lib: [1, 2],
    lambda lib: [1.0, 2],
    lambda lib: [True, False],
    lambda lib: [True, 2],
    lambda lib: [(1, 2), (3, 4)],
    lambda lib: [[1, 2], [3, 4]],
    lambda lib: [Pair(1, 2), Pair(3, "x")],
    lambda lib: [{"a": 1, "b": [2.0]}, {"a": 2, "b": [3.0]}],
    lambda lib: ["a", "b"],
    lambda lib: [b"a"],
    lambda lib: [np.float32(1), np.float32(2)],
    lambda lib: [np.int64(3)],
    lambda lib: [np.ones(2), np.zeros(2)],
    lambda lib: [np.array(1.0)],
    lambda lib: [np.array(["a"])],
    lambda lib: [np.array([1], dtype=object)],
    lambda lib: [lib.ones(2), lib.zeros(2)],
    lambda lib: [lib.ones(()), lib.zeros(())],
    lambda lib: [lib.ones(0, 3), lib.ones(0, 3)],
    lambda lib: [lib.ones(2), lib.ones(3)],
    lambda lib: [lib.ones(2, 2).t(), lib.arange(4.0).reshape(2, 2).t()],
    lambda lib: [lib.ones(1), lib.ones(1, dtype=lib.int64)],
    lambda lib: [lib.ones(2, dtype=lib.bfloat16)] * 2,
    lambda lib: [lib.ones(2, requires_grad=True), lib.zeros(2)],
    lambda lib: [lib.ones(2, requires_grad=True)[0], lib.zeros(2)[1]],
    lambda lib: [lib.ones(2), 1],
    lambda lib: [None],
    lambda lib: [object()],
    lambda lib: [{1, 2}],
    lambda lib: [1 + 2j],
    lambda lib: [[1], [1, 2]],
    lambda lib: [range(2)],
    lambda lib: [],
    lambda lib: [collections.OrderedDict(a=1)],
    lambda lib: [collections.defaultdict(int, a=1)],
    lambda lib: [collections.Counter(a=1)],
    lambda lib: [collections.deque([1, 2])],
]


def outcome(act):
    """What `act` returns or raises, as text, and what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = repr(act())
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
    said = [str(w.message) for w in caught]
    return text.replace("bibun.", "torch.").split(" object at")[0], list(dict.fromkeys(said))


@needs_torch
@pytest.mark.parametrize("make", SAMPLES)
def test_collation_is_pytorch_own(make):
    ours, theirs = (outcome(lambda lib=lib, d=d: d.default_collate(make(lib))) for lib, d in LIBRARIES.values())
    if ours[0].startswith(("TypeError", "RuntimeError")) and "but got" not in ours[0]:
        assert ours[0].partition(":")[0] == theirs[0].partition(":")[0]
    else:
        assert ours == theirs
    ours, theirs = (outcome(lambda lib=lib, d=d: d.default_convert(make(lib))) for lib, d in LIBRARIES.values())
    assert ours == theirs


def sized(data):
    class Sized(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

        def __len__(self):
            return 3

    return Sized()


class Unsized:
    def __getitem__(self, i):
        return i


def set_after(data, **given):
    loader = data.DataLoader([1, 2])
    for name, value in given.items():
        setattr(loader, name, value)


def length_told(data):
    loader = data.DataLoader(sized(data))
    return len(loader), [plain(b) for b in loader]


WORDS = [
    lambda lib, d: d.DataLoader([1], num_workers=-1),
    lambda lib, d: d.DataLoader([1], timeout=-1),
    lambda lib, d: d.DataLoader([1], prefetch_factor=2),
    lambda lib, d: d.DataLoader([1], prefetch_factor=-2, num_workers=1),
    lambda lib, d: d.DataLoader([1], persistent_workers=True),
    lambda lib, d: d.DataLoader(sized(d), shuffle=True),
    lambda lib, d: d.DataLoader(sized(d), sampler=[1]),
    lambda lib, d: d.DataLoader(sized(d), batch_sampler=[[1]]),
    lambda lib, d: d.DataLoader([1], sampler=[1], shuffle=True),
    lambda lib, d: d.DataLoader([1], batch_sampler=[[1]], batch_size=2),
    lambda lib, d: d.DataLoader([1], batch_size=None, drop_last=True),
    lambda lib, d: d.DataLoader([1], batch_size=0),
    lambda lib, d: d.DataLoader([1], batch_size=1.5),
    lambda lib, d: d.DataLoader([1], drop_last=1),
    lambda lib, d: d.DataLoader([], shuffle=True),
    lambda lib, d: d.DataLoader([1], multiprocessing_context="fork"),
    lambda lib, d: d.DataLoader([1], num_workers=1, multiprocessing_context="foo"),
    lambda lib, d: d.DataLoader([1], num_workers=1, multiprocessing_context=3),
    lambda lib, d: d.DataLoader([1], num_workers=99),
    lambda lib, d: [plain(b) for b in d.DataLoader([1], pin_memory=True)],
    lambda lib, d: set_after(d, batch_size=3),
    lambda lib, d: set_after(d, sampler=3),
    lambda lib, d: set_after(d, dataset=3),
    lambda lib, d: set_after(d, num_workers=3),
    lambda lib, d: set_after(d, multiprocessing_context="fork"),
    lambda lib, d: length_told(d),
    lambda lib, d: len(d.DataLoader(Unsized())),
    lambda lib, d: d.DataLoader(Unsized(), shuffle=True),
    lambda lib, d: d.RandomSampler([]),
    lambda lib, d: d.RandomSampler([1], num_samples=0),
    lambda lib, d: d.RandomSampler([1], replacement=3),
    lambda lib, d: d.WeightedRandomSampler([1.0], 0),
    lambda lib, d: d.WeightedRandomSampler([1.0], 1, replacement=3),
    lambda lib, d: d.WeightedRandomSampler([[1.0]], 1),
    lambda lib, d: list(d.WeightedRandomSampler([1.0, 2.0], 5, replacement=False)),
    lambda lib, d: d.BatchSampler([1], True, False),
    lambda lib, d: d.BatchSampler([1], 1, 3),
    lambda lib, d: d.Sampler([1]),
    lambda lib, d: len(d.Sampler()),
    lambda lib, d: iter(d.Sampler()),
    lambda lib, d: d.DistributedSampler([1, 2], 2, 5),
    lambda lib, d: d.TensorDataset(lib.ones(2), lib.ones(3)),
    lambda lib, d: d.TensorDataset([1]),
    lambda lib, d: d.StackDataset(),
    lambda lib, d: d.StackDataset([1], [1, 2]),
    lambda lib, d: d.StackDataset([1], a=[1]),
    lambda lib, d: d.StackDataset([1, 2], [3, 4])[1],
    lambda lib, d: d.StackDataset(a=[1, 2], b=[3, 4]).__getitems__([0, 1]),
    lambda lib, d: d.ConcatDataset([]),
    lambda lib, d: d.ConcatDataset([sized(d)]),
    lambda lib, d: d.ConcatDataset([[1], [2, 3]])[-4],
    lambda lib, d: [d.ConcatDataset([[1], [2, 3]])[i] for i in range(-3, 3)],
    lambda lib, d: d.ConcatDataset([[1], [2, 3]])[3],
    lambda lib, d: list(d.ChainDataset([[1]])),
    lambda lib, d: (list(d.ChainDataset([sized(d)] * 2)), len(d.ChainDataset([sized(d)] * 2))),
    lambda lib, d: d.Dataset()[0],
    lambda lib, d: d.IterableDataset(),
    lambda lib, d: type(d.TensorDataset(lib.ones(1)) + d.TensorDataset(lib.ones(2))),
    lambda lib, d: type(sized(d) + sized(d)),
    lambda lib, d: (d.Subset("abc", [0, 2])[1], d.Subset("abc", [0, 2]).__getitems__([0, 1])),
    lambda lib, d: d.random_split(range(5), [3, 3]),
    lambda lib, d: d.random_split(range(5), [0.5, 0.6]),
    lambda lib, d: len(d.random_split(range(2), [0.9, 0.1])),
    lambda lib, d: d.random_split(range(3), [-0.5, 1.5]),
    lambda lib, d: d.get_worker_info(),
    lambda lib, d: d.Dataset[int],
    lambda lib, d: list(d.DataLoader([1, None]))[1],
    lambda lib, d: list(d.DataLoader(d.TensorDataset(lib.ones(2)), sampler=[0, 5])),
]


@needs_torch
@pytest.mark.parametrize("number", range(len(WORDS)))
def test_words_are_pytorch_own(number):
    ours, theirs = (outcome(lambda lib=lib, d=d: WORDS[number](lib, d)) for lib, d in LIBRARIES.values())
    assert ours[0].replace("utils.data.dataset.TensorDataset", "") == theirs[0].replace("utils.data.dataset.TensorDataset", "")
    assert len(ours[1]) == len(theirs[1])
    for mine, other in zip(ours[1], theirs[1]):
        assert mine.split(" object at")[0].replace("bibun", "torch") == other.split(" object at")[0]


@needs_torch
def test_errors_from_workers_read_as_pytorch_own():
    from torch._utils import ExceptionWrapper as Theirs

    class Odd(Exception):
        def __init__(self, a, b):
            super().__init__(a, b)

    def text(wrapper, error):
        try:
            raise error
        except Exception:
            caught = wrapper(where="in DataLoader worker process 0")
        with pytest.raises(Exception) as again:
            caught.reraise()
        return type(again.value), str(again.value)

    for make in (lambda: ValueError("bad"), lambda: KeyError("k"), lambda: Odd(1, 2), lambda: StopIteration(3)):
        assert text(ExceptionWrapper, make()) == text(Theirs, make())


# ------------------------------------------------------------------------------------------------------- by themselves


def test_a_tensor_dataset_gives_its_own_memory_to_nobody():
    x = bt.arange(6.0).reshape(3, 2)
    for batch, in D.DataLoader(D.TensorDataset(x), 3):
        batch.fill_(0)
    assert x.sum() == 15
    y = x.clone().requires_grad_()
    batch, = next(iter(D.DataLoader(D.TensorDataset(y), 2)))
    batch.sum().backward()
    assert y.grad.tolist() == [[1, 1], [1, 1], [0, 0]]
    batch, = next(iter(D.DataLoader(D.TensorDataset(x), sampler=[bt.tensor(1), np.int64(2)], batch_size=2)))
    assert batch.tolist() == [[2, 3], [4, 5]]


def test_several_passes_at_once():
    loader = D.DataLoader(range(6), 2)
    assert [(plain(a), plain(b)) for a, b in zip(loader, loader)] == [([i, i + 1],) * 2 for i in (0, 2, 4)]


def test_custom_collation():
    class Thing:
        def __init__(self, x):
            self.x = x

    from bibun.utils.data._utils.collate import collate, default_collate_fn_map

    default_collate_fn_map[Thing] = lambda batch, *, collate_fn_map: sum(t.x for t in batch)
    try:
        assert D.default_collate([Thing(1), Thing(2)]) == 3
    finally:
        del default_collate_fn_map[Thing]
    assert collate([1, 2], collate_fn_map={int: lambda batch, *, collate_fn_map: max(batch)}) == 2
    assert list(D.DataLoader([1, 2, 3], 2, collate_fn=tuple)) == [(1, 2), (3,)]


# ------------------------------------------------------------------------------------------------------------- workers


class Large:
    """Samples large enough for shared memory, of changing shapes and dtypes."""

    def __init__(self, n=12):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        size = 40 + 7 * i
        return {
            "float": bt.full((size, 64), float(i)),
            "half": bt.full((size, 64), float(i), dtype=bt.bfloat16),
            "last": bt.full((2, 64, 64), float(i)).permute(1, 2, 0),
            "every": bt.full((128, 64), float(i))[::2, ::2],
            "array": np.full((64, 64), i),
            "leaf": bt.full((64, 64), float(i), requires_grad=True),
            "empty": bt.zeros(0, 3),
            "text": "x" * 40000,
            "small": i,
        }


@forks
def test_large_batches_come_through_shared_memory_whole():
    loader = D.DataLoader(Large(), batch_size=None, num_workers=2)
    kept = []
    for _ in range(2):
        for i, (ours, theirs) in enumerate(zip(loader, D.DataLoader(Large(), batch_size=None))):
            for key, value in theirs.items():
                got = ours[key]
                if isinstance(value, bt.Tensor):
                    assert got.dtype is value.dtype and got.shape == value.shape and bt.equal(got, value)
                    assert got.requires_grad == value.requires_grad
                else:
                    assert plain(got) == plain(value)
            assert ours["last"].stride() == theirs["last"].stride()
            assert ours["float"].storage_offset() == 0
            assert ours["float"].untyped_storage().nbytes() == ours["float"].numel() * 4
            if i % 3 == 0:
                kept.append((i, ours))  # the memory of these must not be used again
    for i, batch in kept:
        assert (batch["float"] == i).all() and (batch["half"] == i).all()
        batch["float"].add_(1)
        file = io.BytesIO()
        bt.save(batch["float"], file)
        assert len(file.getvalue()) < batch["float"].numel() * 4 + 3000


@forks
def test_all_batches_kept():
    batches = list(D.DataLoader([bt.full((100, 100), float(i)) for i in range(60)], 2, num_workers=1))
    assert [b[1, 0, 0].item() for b in batches] == list(range(1, 60, 2))


@forks
def test_memory_is_used_again():
    context = pytest.importorskip("multiprocessing").get_context("fork")
    ours, theirs = context.Pipe()
    sender, receiver = Sender(theirs, os.getpid(), 3), Receiver(ours)
    for i in range(20):
        sender.send((i, bt.full((100, 100), float(i))))
        number, tensor = receiver.receive()
        assert number == i and (tensor == i).all()
        del tensor
        sender.freed(receiver.take_freed())
    if hasattr(os, "memfd_create"):
        assert sender.made == 1
        kept = []
        for i in range(10):
            sender.send(bt.full((100, 100), float(i)))
            kept.append(receiver.receive())
            sender.freed(receiver.take_freed())
        assert [t[0, 0].item() for t in kept] == list(range(10))
        assert len(sender.arenas) <= 3 and len(receiver.arenas) <= 3
        sender.send(bt.zeros(1000, 1000))
        assert receiver.receive().shape == (1000, 1000)
        with pytest.raises(Exception, match="pickle"):
            sender.send(lambda: 0)
        sender.send("still works")
        assert receiver.receive() == "still works"


def fails(i):
    if i == 3:
        raise KeyError("three")
    return i


class Fails(Squares):
    def __getitem__(self, i):
        return fails(i)


@forks
def test_errors_in_workers_are_raised_here_and_the_pass_goes_on():
    passing = iter(D.DataLoader(Fails(), 2, num_workers=2))
    assert plain(next(passing)) == [0, 1]
    with pytest.raises(KeyError) as caught:
        next(passing)
    assert "Caught KeyError in DataLoader worker process 1" in str(caught.value)
    assert "in fails" in str(caught.value) and "'three'" in str(caught.value)
    assert [plain(b) for b in passing] == [[4, 5], [6, 7], [8, 9]]


@forks
def test_errors_of_all_kinds():
    class Local(Exception):
        pass

    class Raises(Squares):
        def __getitem__(self, i):
            raise Local("only known here")

    with pytest.raises(RuntimeError, match="only known here"):
        list(D.DataLoader(Raises(), num_workers=1))

    def init(number):
        raise ValueError("bad start")

    with pytest.raises(ValueError, match="bad start"):
        list(D.DataLoader(Squares(), num_workers=1, worker_init_fn=init))
    with pytest.raises((AttributeError, TypeError, RuntimeError), match="pickle"):
        list(D.DataLoader(Squares(), num_workers=1, collate_fn=lambda batch: (lambda: batch)))


@forks
def test_workers_know_who_they_are():
    seen = []

    class Asks(Squares):
        def __getitem__(self, i):
            info = D.get_worker_info()
            return info.id, info.num_workers, info.seed, info.dataset is self, bt.initial_seed()

    def init(number):
        seen.append(number)
        assert D.get_worker_info().id == number

    rows = [b for b in D.DataLoader(Asks(4), None, num_workers=2, worker_init_fn=init)]
    assert [r[0] for r in rows] == [0, 1, 0, 1] and all(r[1] == 2 and r[3] for r in rows)
    assert rows[1][2] == rows[0][2] + 1 and all(r[2] == r[4] for r in rows)
    assert seen == [] and D.get_worker_info() is None


class Dies(Squares):
    def __getitem__(self, i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


class Leaves(Squares):
    def __getitem__(self, i):
        os._exit(7)


@forks
def test_a_killed_worker_is_noticed_at_once():
    start = time.monotonic()
    passing = iter(D.DataLoader(Dies(100), 2, num_workers=2))
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly: .*SIGKILL"):
        for _ in passing:
            pass
    assert not passing._workers
    with pytest.raises(RuntimeError, match="exit code 7"):
        list(D.DataLoader(Leaves(), num_workers=1))
    assert time.monotonic() - start < 5


class Sleeps(Squares):
    def __getitem__(self, i):
        time.sleep(30)


@forks
def test_timeout_and_leaving_early():
    start = time.monotonic()
    passing = iter(D.DataLoader(Sleeps(), num_workers=1, timeout=0.3))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0.3 seconds"):
        next(passing)
    pid = passing._workers[0].process.pid
    passing._workers[0].process.terminate()
    del passing
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    for batch in D.DataLoader(range(1000), 2, num_workers=2):
        assert plain(batch) == [0, 1]
        break
    assert time.monotonic() - start < 5


@forks
def test_no_process_outlives_the_program():
    code = """
    import os, sys, time, signal
    from bibun.utils import data
    class Sleeps:
        def __len__(self): return 10
        def __getitem__(self, i):
            if i > 1: time.sleep(60)
            return i
    passing = iter(data.DataLoader(Sleeps(), num_workers=2))
    next(passing), next(passing)
    print(*[w.process.pid for w in passing._workers], flush=True)
    if sys.argv[1] == "dies": os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "raises": raise ValueError
    """
    for how in ("ends", "raises", "dies"):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), how], capture_output=True, text=True, timeout=30
        )
        assert time.monotonic() - start < 10, how
        if how != "dies":  # those that sleep in the dataset notice when they wake
            for pid in done.stdout.split():
                with pytest.raises(ProcessLookupError):
                    os.kill(int(pid), 0)
        else:
            for pid in done.stdout.split():
                os.kill(int(pid), signal.SIGKILL)


@forks
def test_workers_whose_program_died_end():
    code = """
    import os, signal
    from bibun.utils import data
    passing = iter(data.DataLoader(range(10), num_workers=2, prefetch_factor=1))
    next(passing)
    print(*[w.process.pid for w in passing._workers], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30)
    deadline = time.monotonic() + 5
    for pid in map(int, done.stdout.split()):
        while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split()[2] != "Z":
            assert time.monotonic() < deadline, "a worker is still there"
            time.sleep(0.05)


@forks
def test_persistent_workers_keep_their_processes():
    loader = D.DataLoader(Squares(), 3, num_workers=2, persistent_workers=True)
    pids = []
    for _ in range(3):
        assert [plain(b) for b in loader] == [[0, 1, 4], [9, 16, 25], [36, 49, 64], [81]]
        pids.append([w.process.pid for w in loader._iterator._workers])
    assert pids[0] == pids[1] == pids[2]
    for _batch in loader:  # left in the middle, begun anew
        break
    assert len(list(loader)) == 4
    Stream = stream_of(D)
    loader = D.DataLoader(Stream(10), 2, num_workers=2, persistent_workers=True)
    assert [plain(b) for b in loader] == [plain(b) for b in loader]


class Slow(Squares):
    def __getitem__(self, i):
        if i % 2 == 0:
            time.sleep(0.1)
        return i


@forks
def test_out_of_order():
    loader = D.DataLoader(Slow(8), None, num_workers=2, in_order=False)
    got = list(loader)
    assert sorted(got) == list(range(8)) and got != sorted(got)
    with pytest.raises(RuntimeError, match="in_order"):
        passing = iter(loader)
        next(passing)
        loader.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods(method, tmp_path):
    code = f"""
    import bibun as torch
    from bibun.utils.data import DataLoader, TensorDataset
    if __name__ == "__main__":
        data = TensorDataset(torch.arange(60000.0).reshape(6, 10000))
        loader = DataLoader(data, 2, num_workers=1, multiprocessing_context={method!r})
        print([int(b[0][0, 0]) for b in loader])
    """
    (tmp_path / "main.py").write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[0, 20000, 40000]\n", done.stderr


# ------------------------------------------------------------------------------------------------------------- resuming


def kept(state):
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    bt.save(state, file)
    file.seek(0)
    return bt.load(file)


@forks
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("options", [dict(shuffle=True), dict(shuffle=True, persistent_workers=True), dict(own=True)])
def test_a_pass_is_taken_up_where_it_was_left(workers, options):
    if not workers and options.get("persistent_workers"):
        pytest.skip("no workers to keep")
    own = options.get("own")

    def make():
        given = {k: v for k, v in options.items() if k != "own"}
        if own:
            generator = bt.Generator().manual_seed(8)
            given["sampler"] = D.RandomSampler(range(40), replacement=True, num_samples=40, generator=generator)
            given["generator"] = generator
        return D.DataLoader(Draws(bt, 40), 3, num_workers=workers, **given)

    def run(loader, stop=None):
        rows = []
        for batch in loader:
            if workers == 0:  # the streams of this process are the program's own
                batch = batch[:1]
            rows.append((plain(batch), bt.rand(1).item()))
            if stop is not None and len(rows) == stop:
                break
        return rows

    for stop in (1, 5, 13):
        bt.manual_seed(9)
        whole = make()
        rows = run(whole)
        after = bt.rand(1).item(), run(whole)

        bt.manual_seed(9)
        first = make()
        passing = iter(first)
        head = run(passing, stop)
        state, stream = kept(first.state_dict()), bt.get_rng_state()
        assert state["yielded"] == stop
        del passing
        bt.manual_seed(100)
        second = make()
        second.load_state_dict(state)
        bt.set_rng_state(stream)
        assert second.state_dict()["yielded"] == stop
        assert head + run(second) == rows
        if workers == 0:
            assert (bt.rand(1).item(), run(second)) == after
        assert second.state_dict() == {"version": 1, "yielded": 0}


@forks
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("size", [None, 2])
def test_streams_are_taken_up_too(workers, size):
    Stream = stream_of(D)

    def make():
        return D.DataLoader(Stream(20), size, num_workers=workers)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [plain(b) for b in make()]
        for stop in range(1, len(rows)):
            loader = make()
            passing = iter(loader)
            head = [plain(next(passing)) for _ in range(stop)]
            state = kept(loader.state_dict())
            tail = [plain(b) for b in passing]  # asking changed nothing
            again = make()
            again.load_state_dict(state)
            assert head + [plain(b) for b in again] == head + tail == rows


class Counts(D.IterableDataset):
    """A stream that knows its own place."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 10:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@forks
@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_with_a_state_of_its_own(workers):
    loader = D.DataLoader(Counts(), 2, num_workers=workers)
    passing = iter(loader)
    assert plain(next(passing)) == [0, 1]
    state = loader.state_dict()
    again = D.DataLoader(Counts(), 2, num_workers=workers)
    again.load_state_dict(state)
    assert [plain(b) for b in again] == [[2, 3], [4, 5], [6, 7], [8, 9]]


def test_states_that_do_not_fit():
    loader = D.DataLoader(Squares(), 2)
    assert loader.state_dict() == {"version": 1, "yielded": 0}
    for bad in (None, {}, {"version": 2, "yielded": 1}):
        with pytest.raises(ValueError, match="what DataLoader.state_dict gave"):
            loader.load_state_dict(bad)
    passing = iter(loader)
    next(passing)
    state = loader.state_dict()
    with pytest.warns(UserWarning, match="num_workers=0, and this loader has num_workers=1"):
        D.DataLoader(Squares(), 2, num_workers=1).load_state_dict(state)
    with pytest.raises(ValueError, match="dealt out otherwise"):
        D.DataLoader(stream_of(D)(3), 2, num_workers=1).load_state_dict(state)
