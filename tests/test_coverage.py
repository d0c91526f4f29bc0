"""Every primitive has its rules, and they are right: identities that hold on drawn inputs, for each entry of the registry.

- its derivative agrees with central differences, its second derivative with differences of the first;
- ⟨v, J u⟩ = ⟨Jᵀ v, u⟩: forward mode and reverse mode are each other's transpose;
- forward over reverse is reverse over reverse;
- vmap gives what a loop gives, and has a rule to do so;
- strided inputs give what contiguous ones give;
- all of it for complex numbers too, where there are such.

A primitive without samples fails (`coverage_samples`), as does an input of floating numbers that is neither
differentiable nor declared in the entry's `nondiff`. And the checks themselves are tested: each rule is falsified (its
sign flipped, doubled, a term left out), and some check must notice (`BIBUN_SWEEP=1` for every falsification of every
rule; by default some of each).
"""

import copy
import functools
import importlib
import os
import pkgutil
import zlib
from pathlib import Path

import numpy as np
import pytest

import bibun as torch
from bibun.autograd.covered import page
from bibun.autograd.dispatch import apply, wrap
from bibun.func import batching, jvp, vjp, vmap
from bibun.ops.primitive import REGISTRY, Primitive

MODULES = []
for _package in map(importlib.import_module, ("bibun.ops", "bibun.functions")):
    for _module in pkgutil.iter_modules(
        _package.__path__
    ):  # all entries, and array functions that subjects bring along
        MODULES.append(importlib.import_module(f"{_package.__name__}.{_module.name}"))

from coverage_samples import Draw, bound, recipes

EXPLORE = int.from_bytes(os.urandom(4), "little") if os.environ.get("BIBUN_EXPLORE") else 0
STEP = 1e-5


def own(prim):
    """Whether a primitive is the library's own (other tests register theirs)."""
    return prim.run.__globals__["__name__"].startswith("bibun.")


def variants():
    """Primitives under other names that have derivatives of their own."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, Primitive) and value is not REGISTRY.get(value.name):
                if value.derivatives is not REGISTRY[value.name].derivatives:
                    found[name] = value
    return found


#: Primitives whose static argument is a chain of views: vmap shifts each view by itself.
BY_STEPS = {"copy_slices", "replay"}

ENTRIES = {name: prim for name, prim in REGISTRY.items() if own(prim)} | variants()


# What is checked


class Case:
    """A primitive on a sample: a function of those of its arrays that are there."""

    def __init__(self, prim, sample):
        self.prim, self.sample = prim, sample
        self.static = bound(prim, sample)
        names = ["arrays"] * len(sample.arrays) if prim.variadic else prim.arrays
        assert len(names) == len(sample.arrays), f"{prim.name} takes {names}"
        self.names = [name for name, a in zip(names, sample.arrays) if a is not None]
        self.holes = [a is None for a in sample.arrays]
        self.arrays = [np.asarray(a) for a in sample.arrays if a is not None]
        self.call = sample.around(self.plain) if sample.around else self.plain
        outs = self.call(*[wrap(a) for a in self.arrays])
        self.several = isinstance(outs, (tuple, list))
        self.outs = list(outs) if self.several else [outs]
        outputs = prim.outputs if prim.several and len(prim.outputs) > 1 and not sample.around else ()
        #: numbers of the inputs and outputs with derivatives
        self.inputs = [
            i
            for i, (name, a) in enumerate(zip(self.names, self.arrays))
            if a.dtype.kind in "fc" and name in prim.derivatives and not prim.derivatives[name].refuses
        ]
        self.outputs = [
            i
            for i, o in enumerate(self.outs)
            if o._a.dtype.kind in "fc" and not (outputs and outputs[i] in prim.nondiff)
        ]
        self.draw = Draw(zlib.crc32(prim.name.encode()) + EXPLORE)

    def plain(self, *tensors):
        given = iter(tensors)
        arrays = [None if hole else next(given) for hole in self.holes]
        return apply(self.prim, arrays, self.static)

    def of(self, *inputs):
        """The differentiable outputs (a tuple), as a function of the differentiable inputs."""
        tensors = [wrap(a) for a in self.arrays]
        for i, x in zip(self.inputs, inputs):
            tensors[i] = x
        out = self.call(*tensors)
        out = out if isinstance(out, (tuple, list)) else [out]
        return tuple(out[i] for i in self.outputs)

    def values(self):
        return [self.arrays[i] for i in self.inputs]

    def like(self, arrays):
        """Random arrays in the shapes and dtypes of others, as vectors to multiply with."""
        return [
            (self.draw.complexes if a.dtype.kind == "c" else self.draw.real)(*a.shape, low=-1.0, high=1.0)
            for a in arrays
        ]

    def cotangents(self):
        return self.like([self.outs[i]._a for i in self.outputs])


def product(xs, ys):
    """The real inner product of lists of arrays."""
    return sum(float(np.sum(np.real(np.conj(x) * y))) for x, y in zip(xs, ys))


def raw(tensors):
    return [np.zeros(()) if t is None else t._a for t in tensors]


def wrapped(arrays):
    return [wrap(a) for a in arrays]


def gradient(case, values, cotangents):
    """Jᵀ v at ``values``, as arrays."""
    leaves = [wrap(a).requires_grad_() for a in values]
    outs = case.of(*leaves)
    reached = [(o, wrap(v)) for o, v in zip(outs, cotangents) if o.requires_grad]
    if not reached:
        return [np.zeros_like(a) for a in values]
    found = torch.autograd.grad([o for o, _ in reached], leaves, [v for _, v in reached], allow_unused=True)
    for g, x in zip(found, leaves):
        assert g is None or g.shape == x.shape and g.dtype == x.dtype, (g.shape, x.shape, g.dtype, x.dtype)
    return [np.zeros_like(a) if g is None else g._a for g, a in zip(found, values)]


def close(a, b, what, rtol=1e-8, atol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def directions(case):
    """Each input moved alone: [(what, tangents)]."""
    made = []
    for k in range(len(case.inputs)):
        us = case.like(case.values())
        made.append((case.names[case.inputs[k]], [u if i == k else np.zeros_like(u) for i, u in enumerate(us)]))
    return made


def moved(values, us, by):
    return [a + by * u for a, u in zip(values, us)]


def check_difference(case):
    """The derivative in each input against central differences."""
    values, vs = case.values(), case.cotangents()
    slope = gradient(case, values, vs)
    for what, us in directions(case):
        ends = [raw(case.of(*wrapped(moved(values, us, by)))) for by in (STEP, -STEP)]
        numeric = (product(vs, ends[0]) - product(vs, ends[1])) / (2 * STEP)
        close(product(slope, us), numeric, f"derivative in {what}, against differences", 1e-5, 1e-6)


def check_dual(case):
    """⟨v, J u⟩ = ⟨Jᵀ v, u⟩, and a tangent in every input at once is the sum of the parts."""
    values, vs = case.values(), case.cotangents()
    slope = gradient(case, values, vs)
    parts = []
    for what, us in directions(case):
        k = case.names.index(what) if not case.prim.variadic else None
        moving = [i for i, u in enumerate(us) if case.inputs[i] == k or k is None]

        def alone(*xs):
            given = wrapped(values)
            for i, x in zip(moving, xs):
                given[i] = x
            return case.of(*given)

        start, along = [values[i] for i in moving], [us[i] for i in moving]
        out, tangent = jvp(alone, tuple(wrapped(start)), tuple(wrapped(along)))
        for o, t in zip(out, tangent):
            assert o.shape == t.shape and o.dtype == t.dtype, f"{o.dtype} {o.shape} has a tangent {t.dtype} {t.shape}"
        close(product(vs, raw(tangent)), product(slope, us), f"forward mode in {what}, against reverse mode")
        parts.append((us, raw(tangent)))
    if len(parts) > 1:
        us = [sum(each) for each in zip(*[u for u, _ in parts])]
        _, tangent = jvp(case.of, tuple(wrapped(values)), tuple(wrapped(us)))
        for k, t in enumerate(raw(tangent)):
            close(t, sum(part[k] for _, part in parts), "forward mode in all inputs at once")


def check_second(case):
    """Reverse over reverse against differences of the derivative, and against forward over reverse."""
    if case.sample.once:
        return
    values, vs = case.values(), case.cotangents()
    us = case.like(values)
    leaves = [wrap(a).requires_grad_() for a in values]
    tops = [wrap(v).requires_grad_() for v in vs]
    outs = case.of(*leaves)
    reached = [(o, v) for o, v in zip(outs, tops) if o.requires_grad]
    if not reached:
        return
    first = torch.autograd.grad(
        [o for o, _ in reached], leaves, [v for _, v in reached], create_graph=True, allow_unused=True
    )
    again = [(g, wrap(u)) for g, u in zip(first, us) if g is not None and g.requires_grad]
    both = [*leaves, *tops]
    second = torch.autograd.grad([g for g, _ in again], both, [u for _, u in again], allow_unused=True) if again else ()
    second = [np.zeros_like(x._a) if g is None else g._a for g, x in zip(second or [None] * len(both), both)]

    ws = case.like(values)
    ends = [gradient(case, moved(values, ws, by), vs) for by in (STEP, -STEP)]
    numeric = (product(us, ends[0]) - product(us, ends[1])) / (2 * STEP)
    close(
        product(second[: len(leaves)], ws), numeric, "second derivative, against differences of the first", 2e-4, 1e-5
    )

    top_ws = case.like(vs)
    close(
        product(second[len(leaves) :], top_ws),
        product(us, gradient(case, values, top_ws)),
        "second derivative in the cotangent",
    )

    def pulled(*given):
        out, back = vjp(case.of, *given[: len(values)])
        return back(given[len(values) :])

    _, forward = jvp(pulled, tuple(wrapped([*values, *vs])), tuple(wrapped([*ws, *top_ws])))
    close(
        product(us, raw(forward)),
        product(second, [*ws, *top_ws]),
        "forward over reverse, against reverse over reverse",
        1e-7,
        1e-9,
    )


def check_strided(case):
    """The same values laid out otherwise in memory give the same output and derivative."""
    if case.sample.dense:
        return
    other = copy.copy(case)
    other.arrays = [spaced(a) for a in case.arrays]
    outs = other.call(*wrapped(other.arrays))
    for a, b in zip(case.outs, outs if case.several else [outs]):
        close(b._a, a._a, "strided input")
    if case.inputs and case.outputs:
        vs = case.cotangents()
        slopes = gradient(case, case.values(), vs), gradient(other, other.values(), [spaced(v) for v in vs])
        for a, b in zip(*slopes):
            close(b, a, "derivative of strided input")


def spaced(a):
    """The same array with its dimensions the other way round in memory, and gaps between elements."""
    if not a.ndim:
        return a
    memory = np.zeros(tuple(2 * n for n in a.shape[::-1]), a.dtype)
    looked = memory[tuple(slice(None, None, 2) for _ in a.shape)].T
    looked[...] = a
    return looked


def check_batch(cases):
    """vmap over each array, and over all, gives what a loop gives; without running in one."""
    first = cases[0]
    names = [i for i, name in enumerate(first.names) if name not in first.sample.fixed]
    chosen = [([i], 0) for i in names] + [(names, 0), (names, -1)]
    for batched, dim in chosen:
        stacked = [
            np.stack([case.arrays[i] for case in cases], dim if i in batched else 0) for i in range(len(first.names))
        ]
        given = [wrap(stacked[i] if i in batched else first.arrays[i]) for i in range(len(first.names))]
        where = tuple(dim if i in batched else None for i in range(len(first.names)))
        made = vmap(first.call, in_dims=where)(*given)
        made = list(made) if first.several else [made]
        loop = [
            first.call(*[wrap((case if i in batched else first).arrays[i]) for i in range(len(first.names))])
            for case in cases
        ]
        loop = [list(each) if first.several else [each] for each in loop]
        what = f"vmap over {[first.names[i] for i in batched]} at {dim}"
        assert len(made) == len(loop[0])
        for k, out in enumerate(made):
            each = np.stack([one[k]._a for one in loop])
            assert out._a.dtype == each.dtype, what
            close(out._a, each, what)


CHECKS = {"difference": check_difference, "dual": check_dual, "second": check_second, "strided": check_strided}


# The samples of an entry


@functools.cache
def cases_of(name):
    """[(recipe, complex, case)] of an entry."""
    prim, made = ENTRIES[name], []
    for k, recipe in enumerate(recipes(prim)):
        for complex in (False, True):
            seed = zlib.crc32(f"{name} {k}".encode()) + EXPLORE
            sample = recipe(Draw(seed, complex))
            if complex and (sample.real or all(a is None or a.dtype.kind != "c" for a in map(asarray, sample.arrays))):
                continue
            try:
                made.append((recipe, complex, Case(prim, sample)))
            except ModuleNotFoundError as missing:
                pytest.skip(str(missing))
    return made


def asarray(a):
    return None if a is None else np.asarray(a)


def test_every_entry_is_declared():
    """A primitive says of each output and each floating input whether it is differentiable, and how it is batched."""
    wrong = []
    for name, prim in ENTRIES.items():
        tested, floating = set(), set()
        try:
            cases = cases_of(name)
        except pytest.skip.Exception:  # it needs a package that is not here
            continue
        for _, _, case in cases:
            tested |= {case.names[i] for i in case.inputs}
            floating |= {n for n, a in zip(case.names, case.arrays) if a.dtype.kind in "fc"}
        refusing = {n for n, rule in prim.derivatives.items() if rule.refuses}
        if not prim.derivatives and not set(prim.outputs) <= prim.nondiff:
            wrong.append(f"{name} has no derivative, and does not declare its outputs nondiff")
        if prim.derivatives and floating - set(prim.derivatives) - prim.nondiff:
            wrong.append(f"{name} has no derivative in {floating - set(prim.derivatives)}: give it, or declare nondiff")
        if set(prim.derivatives) - refusing - tested:
            wrong.append(f"no sample of {name} tries the derivative in {set(prim.derivatives) - refusing - tested}")
        batched = prim.family == "elementwise" or prim.batch_rule or prim.batch_axes or prim.batch_shapes
        if not batched and name not in BY_STEPS:
            wrong.append(f"{name} has no batching rule")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ENTRIES)
def test_rules_are_right(name, monkeypatch):
    monkeypatch.setattr(batching, "batch_by_loop", refuse_loop)
    for k, (recipe, complex, case) in enumerate(cases_of(name)):
        try:
            for what, check in CHECKS.items():
                if what not in case.sample.without and (what == "strided" or case.inputs and case.outputs):
                    check(case)
            if "batch" not in case.sample.without:
                check_batch(batch_of(name, recipe, complex, case))
        except Exception as error:
            error.add_note(f"sample {k} of {name}, {'complex' if complex else 'real'}: {case.names} {case.static}")
            raise


@functools.cache
def batch_of(name, recipe, complex, case):
    """A case and two more of the same shapes: a batch of three."""
    samples = [recipe(Draw(zlib.crc32(f"{name} {i}".encode()) + EXPLORE, complex)) for i in (1, 2)]
    return [case, *[Case(case.prim, sample) for sample in samples]]


def refuse_loop(level, prim, values, dims, static):
    raise AssertionError(f"{prim.name} has no batching rule: it would run example by example")


def test_what_refuses_says_so():
    """A rule that only raises is one that PyTorch has not either."""
    for prim in ENTRIES.values():
        for rule in prim.derivatives.values():
            if rule.refuses:
                with pytest.raises((RuntimeError, NotImplementedError), match="not implemented"):
                    rule.call(None, None)


def test_the_table_is_current():
    """docs/coverage.md is what ``python tools/coverage_page.py`` writes, and no primitive runs in a loop under vmap."""
    text = page()
    assert (Path(__file__).parents[1] / "docs" / "coverage.md").read_text() == text, "run python tools/coverage_page.py"
    assert "| loop |" not in text
    assert all(line.split()[0] in torch.autograd.coverage() for line in ("tanh", "matmul", "index_get_n"))
