"""PyTorch's random numbers on the CPU, to the bit: the stream, and what is drawn from it, as NumPy arrays.

In come a generator (None stands for `default_generator`), the array to fill or a shape, and parameters; out comes an
ndarray. Same seed, same calls: same digits as PyTorch 2.13 on an x86 processor with AVX2 or better. Every function
takes the same number of words from the stream as PyTorch's, so calls can follow each other in any order.

The stream:

    Generator(device="cpu")     manual_seed, seed, initial_seed, get_state, set_state, clone_state; pickles, copies
        .state_bytes() .set_state_bytes(uint8 vector)   the state in PyTorch's 5056 bytes
    default_generator
    present_states_as(wrap, unwrap)    makes get_state and set_state speak Tensor
    DEFAULT_SEED

Filling an array of any strides in PyTorch's order; returns it:

    uniform_(g, out, low=0, high=1)                   float, complex
    normal_(g, out, mean=0, std=1)                    float, complex
    normal_of(g, mean, std, out)                      mean or std or both an array: torch.normal
    random_(g, out, low=None, high=None)              every dtype but complex
    bernoulli_(g, out, p=0.5)                         p a number or an array
    exponential_(g, out, rate=1)    cauchy_(g, out, median=0, sigma=1)
    log_normal_(g, out, mean=1, std=2)    geometric_(g, out, p)

Making an array:

    rand(g, shape, dtype)   randn(g, shape, dtype)   randint(g, shape, low, high, dtype)   randperm(g, n, dtype)
    keep_mask(g, shape, p, like=None)                 what dropout draws: bool, True (kept) with probability p
    noise(g, x, p)                                    the same as what dropout multiplies by: 1/p or 0, like x
    bernoulli(g, p)   poisson(g, rate)   binomial(g, count, p)   standard_gamma(g, alpha)   dirichlet(g, alpha)
    multinomial(g, weights, draws, replacement=False)

Dropout of probability p multiplies x by `noise(g, x, 1 - p)`; what is like x (`rand_like`, `randn_like`)
fills `np.empty_like(x)`. All raise PyTorch's exceptions in its words.
"""

from __future__ import annotations

from typing import Any

from .categories import multinomial
from .engine import DEFAULT_SEED, Generator, default_generator, present_states_as
from .normal import normal_, normal_of, randn
from .permutation import randperm
from .shaped import cauchy_, exponential_, geometric_, log_normal_
from .uniform import bernoulli, bernoulli_, keep_mask, noise, rand, randint, random_, uniform_

__all__ = [
    "DEFAULT_SEED", "Generator", "bernoulli", "bernoulli_", "binomial", "cauchy_", "default_generator", "dirichlet",
    "exponential_", "geometric_", "keep_mask", "log_normal_", "multinomial", "noise", "normal_", "normal_of", "poisson",
    "present_states_as", "rand", "randint", "randn", "random_", "randperm", "standard_gamma", "uniform_",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("poisson", "binomial", "standard_gamma", "dirichlet"):  # rare: read at first use
        from . import counted

        return getattr(counted, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
