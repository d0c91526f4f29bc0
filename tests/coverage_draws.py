"""What the samples of `test_coverage` are made with: random arrays, and the calls they stand for."""

from __future__ import annotations

import numpy as np


class Draw:
    """Random arrays; those of ``draw(...)`` are complex where complex numbers are on trial."""

    def __init__(self, seed, complex=False):
        self.random, self.complex = np.random.default_rng(seed), complex

    def real(self, *shape, low=-2.0, high=2.0):
        return np.asarray(self.random.uniform(low, high, shape))

    def complexes(self, *shape, low=-2.0, high=2.0):
        return self.real(*shape, low=low, high=high) + 1j * self.real(*shape, low=-1.5, high=1.5)

    def __call__(self, *shape, low=-2.0, high=2.0):
        return (self.complexes if self.complex else self.real)(*shape, low=low, high=high)

    def integers(self, *shape, below):
        return self.random.integers(0, below, shape)

    def order(self, *shape, n):
        """Different numbers below ``n`` along the first axis."""
        flat = [self.random.permutation(n)[: shape[0]] for _ in range(int(np.prod(shape[1:])))]
        return np.stack(flat, 1).reshape(shape) if len(shape) > 1 else flat[0]

    def mask(self, *shape):
        return self.random.random(shape) < 0.5

    def definite(self, n, lead=()):
        a = self(*lead, n, n)
        return a @ np.swapaxes(a.conj(), -1, -2) + 2 * np.eye(n)


class Sample:
    """Arguments of one call, and what is particular about it.

    Attributes:
        arrays, static: the call's; ``fixed``: names of arrays that vmap leaves alone.
        real: there is no such call with complex numbers. dense: it depends on how its input lies in memory.
        around: a function of the call that gives the function to be looked at instead, of the same arrays: for outputs
            that are determined up to a sign or a phase, or inputs that must be symmetric.
        once: whether there is no second derivative. without: names of checks that do not apply.
    """

    def __init__(self, *arrays, real=False, dense=False, around=None, once=False, without="", fixed="", **static):
        self.arrays, self.given = arrays, static
        self.real, self.dense, self.around, self.once = real, dense, around, once
        self.without, self.fixed = without.split(), fixed.split()


S = Sample


def unary(*shape, **options):
    """A sample of one array of a shape."""
    return lambda d: S(d(*shape), **options)


def first(f):
    """The first output alone."""
    return lambda *arrays: f(*arrays)[0]


def symmetric(f):
    return lambda x, *rest: f((x + x.mH) / 2, *rest)


def zeroed(x, *places):
    """``x`` with zeros at some places of its flattening."""
    x = x.copy()
    for k in places or (0,):
        x.reshape(-1)[k] = 0
    return x


def along(*shape, **options):
    return [
        lambda d: S(d(*shape), axis=1, **options),
        lambda d: S(d(*shape), axis=0, **options),
        lambda d: S(d(), axis=0, **options),
    ]


def without(sample, names):
    sample.without = names.split()
    return sample
