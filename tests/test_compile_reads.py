"""Compiled functions see every change of what their code reads from outside: a program made of old values would go on with them."""

import collections
import dataclasses
import enum
import functools
import os
import random
import sys
import types

import numpy as np
import pytest

import bibun as torch
from bibun import nn

scale = 2.0
listed = [2.0]
config = {"a": {"b": 3.0}}
helper = None


def follows(function, change, x=None):
    """A function is compiled, what it reads is changed, and it gives what it gives uncompiled."""
    compiled = torch.compile(function)
    x = torch.arange(1.0, 5.0) if x is None else x
    for _ in range(4):
        compiled(x)
    (known,) = compiled._compiled.signatures.values()
    assert known.program is not None, known.why
    before = function(x)
    torch.testing.assert_close(compiled(x), before)
    change()
    for _ in range(4):
        torch.testing.assert_close(compiled(x), function(x))
    assert not torch.equal(function(x), before)


def setter(owner, key, value):
    return lambda: owner.__setitem__(key, value) if hasattr(owner, "__setitem__") else setattr(owner, key, value)


def test_globals():
    def plain(x):
        return x * scale

    follows(plain, setter(globals(), "scale", 3.0))
    follows(lambda x: x * listed[0], setter(listed, 0, 5.0))
    follows(lambda x: x * config["a"]["b"], setter(config["a"], "b", 5.0))
    globals()["helper"] = lambda x: x * 2
    follows(lambda x: helper(x), setter(globals(), "helper", lambda x: x * 3))


def test_closures_and_defaults():
    held, number, values = [1.0], 1.0, {"f": torch.relu}

    def inner(x):
        return x * held[0] + number

    def change():
        nonlocal number
        number = 4.0

    follows(lambda x: inner(x) * 2, setter(held, 0, 3.0))
    follows(lambda x: inner(x) * 2, change)
    follows(lambda x: values["f"](x - 1), setter(values, "f", torch.sigmoid))

    def defaulted(x, by=[1.0]):  # noqa: B006
        return x * by[0]

    follows(defaulted, setter(defaulted.__defaults__[0], 0, 3.0))
    follows(functools.partial(lambda x, by: x * by[0], by=held), setter(held, 0, 9.0))
    nested = (1.0, [2.0])
    follows(lambda x: x * nested[1][0], setter(nested[1], 0, 9.0))


class Base:
    k = 2.0
    table = {"s": 1.0}

    @property
    def double(self):
        return self.k * 2

    def __getitem__(self, i):
        return self.k + i


class Derived(Base):
    pass


class Slotted:
    __slots__ = ("v",)


@dataclasses.dataclass
class Data:
    v: float = 2.0
    more: dict = dataclasses.field(default_factory=lambda: {"v": 1.0})


class Mode(enum.Enum):
    A = 1
    B = 2


def test_objects_and_classes():
    object_, slotted, data, space = Derived(), Slotted(), Data(), types.SimpleNamespace(m=types.SimpleNamespace(s=2.0))
    slotted.v = 2.0
    follows(lambda x: x * object_.k, setter(Base, "k", 3.5))
    follows(lambda x: x * object_.double, setter(Base, "k", 4.5))
    follows(lambda x: x * object_[1], setter(object_, "k", 5.5))  # before the class's
    follows(lambda x: x * Derived.table["s"], setter(Base.table, "s", 5.5))
    follows(lambda x: x * slotted.v, setter(slotted, "v", 3.0))
    follows(lambda x: x * data.v, setter(data, "v", 3.0))
    follows(lambda x: x * data.more["v"], setter(data.more, "v", 3.0))
    follows(lambda x: x * space.m.s, setter(space.m, "s", 7.0))
    follows(lambda x: x * getattr(space.m, "s"), setter(space.m, "s", 8.0))  # noqa: B009
    name = "".join("s")
    follows(lambda x: x * vars(space.m)[name], setter(space.m, "s", 9.0))
    data.mode = Mode.A
    follows(lambda x: x * (2 if data.mode is Mode.A else 3), setter(data, "mode", Mode.B))
    del Base.k
    Base.k = 2.0


def test_methods_of_objects():
    class Trainer:
        def __init__(self):
            self.rates = {"a": 2.0}
            self.parts = collections.deque([torch.ones(4)])

        def rate(self):
            return self.rates["a"]

        def step(self, x):
            return sum(part * x for part in self.parts) * self.rate()

    trainer = Trainer()
    follows(trainer.step, setter(trainer.rates, "a", 3.0))
    follows(trainer.step, lambda: trainer.parts.append(torch.ones(4)))
    follows(trainer.step, setter(trainer, "rates", {"a": 7.0}))


def test_modules():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.config, self.shifts = {"s": 2.0}, [1.0]

        def forward(self, x):
            return x * self.config["s"] + self.shifts[0]

    m = M()
    follows(lambda x: m(x), setter(m.config, "s", 4.0))
    follows(lambda x: m(x), setter(m.shifts, 0, 4.0))
    layers, kept = [nn.Linear(4, 4)], nn.ModuleList([nn.Linear(4, 4)])

    def through(x):
        with torch.no_grad():
            for layer in (*layers, *kept):
                x = layer(x)
        return x

    follows(through, lambda: layers.append(nn.Linear(4, 4)))
    follows(through, lambda: kept.append(nn.Linear(4, 4)))
    made = types.ModuleType("made_for_a_test")
    made.v = 2.0
    sys.modules["made_for_a_test"] = made

    def imported(x):
        import made_for_a_test

        return x * made_for_a_test.v

    follows(imported, setter(made, "v", 3.0))


def test_tensors_in_containers():
    tensors = [torch.ones(4), torch.ones(4)]
    follows(lambda x: x * tensors[0], setter(tensors, 0, torch.full((4,), 3.0)))
    follows(lambda x: sum(t * x for t in tensors), lambda: tensors.append(torch.ones(4)))
    follows(lambda x: torch.cat(tensors), lambda: tensors.append(torch.ones(4)))


def test_arrays():
    array = np.ones(4, np.float32)
    follows(lambda x: x * torch.from_numpy(array), setter(array, 0, 9.0))
    follows(lambda x: x * float(array[0]), setter(array, 0, 4.0))
    follows(lambda x: x * torch.tensor(array), setter(array, 0, 6.0))
    large = np.ones(1 << 16, np.float32)
    compiled = torch.compile(lambda x: x * float(large[0]))
    for value in (1.0,) * 8 + (5.0, 6.0):
        large[0] = value
        assert compiled(torch.ones(1)).item() == value
    assert "too large" in torch.compiler.report(compiled)


def test_environment(monkeypatch):
    monkeypatch.setenv("BIBUN_TEST_SCALE", "2")
    follows(lambda x: x * float(os.environ["BIBUN_TEST_SCALE"]), setter(os.environ, "BIBUN_TEST_SCALE", "5"))


@pytest.mark.parametrize("draw", [random.random, np.random.rand])
def test_numbers_drawn_elsewhere(draw):
    compiled = torch.compile(lambda x: x * draw())
    assert len({compiled(torch.ones(1)).item() for _ in range(6)}) == 6


def test_values_that_are_equal_are_as_good():
    held = [1000.5]
    compiled = torch.compile(lambda x: x * held[0])
    x = torch.ones(3)
    for _ in range(3):
        compiled(x)
    (known,) = compiled._compiled.signatures.values()
    program = known.program
    held[0] = float("1000.5")
    assert not known.guards.quick()
    compiled(x)
    assert known.guards.quick() and known.program is program
    held[0] = 1000
    assert compiled(x)[0] == 1000 and known.program is not program


def test_what_changes_again_and_again_ends_compiling():
    held = [0, 0.5]  # the first is not used, which nobody can know
    compiled = torch.compile(lambda x: x * held[1])
    x = torch.ones(3)
    for i in range(60):
        held[0] = i // 3
        assert compiled(x)[0] == 0.5
    assert "an item of held of the enclosing function changes again and again" in torch.compiler.report(compiled)
    slowly = torch.compile(lambda x: x * held[1])
    for i in range(600):
        held[0] = i // 30
        slowly(x)
    (known,) = slowly._compiled.signatures.values()
    assert known.program is not None


PACKAGE = """
import sys, time

RATE = 2.0


class Meter:
    def __init__(self):
        self.n, self.kept = 0, {"f": 1.0}

    def update(self, x):
        self.n += 1
        return x * self.n

    def scaled(self, x):
        return x * RATE * self.kept["f"]

    def told(self, x):
        sys.stderr.write("")
        return x * 2

    def timed(self, x):
        return x * time.time()


class Pair:
    def __init__(self, x):
        self.x, self.y = x, x * 2


def doubled(x):
    return Pair(x).y
"""


def test_code_of_packages(tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "meters_of_a_test.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(place))
    import meters_of_a_test as meters

    meter, x = meters.Meter(), torch.ones(2)

    def compiled(function):
        made = torch.compile(function)
        results = [made(x)[0].item() for _ in range(6)]
        return results, [known.program is not None for known in made._compiled.signatures.values()]

    assert compiled(lambda x: meter.update(x)) == ([1, 2, 3, 4, 5, 6], [False])
    assert compiled(lambda x: meter.told(x)) == ([2] * 6, [False])
    assert compiled(lambda x: meter.timed(x))[1] == [False]
    assert compiled(meters.doubled) == ([2] * 6, [True])
    follows(lambda x: meter.scaled(x), setter(meter.kept, "f", 3.0))
    follows(lambda x: meter.scaled(x), setter(meters, "RATE", 5.0))


def test_objects_that_are_made_inside():
    @dataclasses.dataclass
    class Made:
        a: torch.Tensor

    class Other(Base):
        def __init__(self, x):
            self.a = x
            super().__init__()

    follows(lambda x: Made(x + 1).a * Other(x).a * listed[0], setter(listed, 0, 11.0))
    kept = Other(torch.ones(2))

    def again(x):
        kept.__init__(x)
        return kept.a

    compiled = torch.compile(again)
    for i in range(6):
        assert compiled(torch.full((2,), float(i)))[0] == kept.a[0] == i
    returned = torch.compile(lambda x: Made(x * 2))
    for i in range(6):
        assert returned(torch.full((2,), float(i))).a[0] == 2 * i
