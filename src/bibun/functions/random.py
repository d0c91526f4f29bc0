"""Random numbers: the seeded stream, the factories that draw from it, the in-place fills.

In go sizes and parameters; out come tensors whose numbers are PyTorch's for the same seed. The draws themselves are array
work of `bibun.random`; this file gives them PyTorch's signatures, checks and errors.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import dtypes
from .. import random as stream
from ..autograd import dispatch
from ..autograd.dispatch import apply, user_frame, wrap
from ..autograd.inplace import assign, check_writable
from ..autograd.modes import state
from ..autograd.versions import written
from ..errors import argument_error
from ..ops import inplace as fills
from ..random import Generator, default_generator
from .creation import checked, size_from
from .register import FUNCTIONS, METHODS, function, method, write_out

_INT64 = np.dtype(np.int64)
_plain: Any = {"method": False, "out": False}
FUNCTIONS["Generator"] = Generator
FUNCTIONS["default_generator"] = default_generator
stream.present_states_as(wrap, lambda t: t._a if isinstance(t, dispatch.Tensor) else t)


# The stream


@function(**_plain)
def manual_seed(seed: int) -> Generator:
    """Start the stream from ``seed``; gives the default generator.

    >>> import bibun as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(2)
    tensor([0.4963, 0.7682])
    """
    return default_generator.manual_seed(int(seed))


@function(**_plain)
def seed() -> int:
    """Start the stream from a seed that the system draws; gives the seed."""
    return default_generator.seed()


@function(**_plain)
def initial_seed() -> int:
    """The seed that the stream started from."""
    return default_generator.initial_seed()


@function(**_plain)
def get_rng_state() -> Any:
    """The state of the stream, as a tensor of bytes."""
    return default_generator.get_state()


@function(**_plain)
def set_rng_state(new_state: Any) -> None:
    """Put the stream into a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Any = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:
    """A ``with`` block that leaves the stream as it found it."""
    if not enabled:
        yield
        return
    before = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(before)


def drawn(draw: Any, shape: tuple[int, ...], name: str = "", args: tuple[Any, ...] | None = None) -> Any:
    """A tensor drawn by ``draw(shape) -> ndarray``, minding a `vmap` in progress; modes see it as the operator ``name`` of ``args``."""
    if dispatch.busy[0]:
        made = importlib.import_module("bibun.func.batching").random_tensor(lambda s: wrap(draw(s)), tuple(shape))
        return dispatch.select_made(name, made, (list(shape),) if args is None else args, {"dtype": made.dtype}) if name and state.watchers else made
    return wrap(draw(shape))


def _below(call: Any, *tensors: Any) -> Any:
    """``call(*tensors)``, a draw whose parameters are tensors, on what function transforms wrap; NotImplemented outside."""
    return importlib.import_module("bibun.func.batching").random_call(call, tensors)


# Factories


def _options(dtype: Any, device: Any, layout: Any, out: Any, name: str) -> Any:
    """The NumPy dtype asked for."""
    if dtype is None and device is None and layout is None:
        return dtypes.default_np if out is None else out._a.dtype
    return checked(dtype, device, layout, name) or (dtypes.default_np if out is None else out._a.dtype)


def _factory(name: str, draw: Any) -> Any:
    def create(
        *size: Any,
        generator: Any = None,
        out: Any = None,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        names: Any = None,
        memory_format: Any = None,
        **more: Any,
    ) -> Any:
        if not size:
            if "size" not in more:
                raise TypeError(
                    f"{name}() received an invalid combination of arguments - got (), but expected (tuple of ints size, ...)"
                )
            size = (more["size"],)
        d = _options(dtype, device, layout, out, name)
        if dispatch.busy[0]:
            t = drawn(lambda shape: draw(generator, shape, d), size_from(size, name), name)
        else:
            t = wrap(draw(generator, size_from(size, name), d))
        if requires_grad:
            t.requires_grad_()
        return t if out is None else write_out(out, t)

    create.__name__ = create.__qualname__ = name
    return create


rand = function(_factory("rand", stream.rand), **_plain)
randn = function(_factory("randn", stream.randn), **_plain)
rand.__doc__ = "A tensor of the given size with numbers drawn evenly from [0, 1)."
randn.__doc__ = "A tensor of the given size with numbers drawn from the standard normal distribution."


def _like(name: str, fill: Any) -> Any:
    def create(
        input: Any,
        *,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        memory_format: Any = None,
        pin_memory: bool = False,
        generator: Any = None,
    ) -> Any:
        if not isinstance(input, dispatch.Tensor):
            raise argument_error(name, "input", 1, "Tensor", input)
        d = input._a.dtype
        if dtype is not None or device is not None or layout is not None:
            d = checked(dtype, device, layout, name) or d
        shape = input._a.shape
        if dispatch.busy[0]:
            t = drawn(lambda s: fill(generator, np.empty(s, d)), shape, name, (input,))
        else:
            t = wrap(fill(generator, np.empty_like(input._a, dtype=d) if shape else np.empty(shape, d)))
        return t.requires_grad_() if requires_grad else t

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"As `{name[:-5]}`, with the size and dtype of ``input``."
    return create


rand_like = function(_like("rand_like", stream.uniform_), **_plain)
randn_like = function(_like("randn_like", stream.normal_), **_plain)


def _bounds(args: tuple[Any, ...], more: dict[str, Any], name: str, count: int) -> tuple[list[Any], tuple[Any, ...]]:
    """([low, high], the rest) of ``([low,] high, *rest)`` given by position or by name."""
    given = list(args)
    low, high = more.pop("low", None), more.pop("high", None)
    numbers = []
    while (
        given
        and isinstance(given[0], (int, float, np.integer))
        or given
        and isinstance(given[0], dispatch.Tensor)
        and not given[0]._a.ndim
    ):
        numbers.append(int(given.pop(0)))
    if high is None:
        if not numbers:
            raise TypeError(f"{name}() received an invalid combination of arguments - it needs at least a high bound")
        high = numbers.pop()
    if low is None:
        low = numbers.pop() if numbers else 0
    return [int(low), int(high)], tuple(given)


@function(**_plain)
def randint(
    *args: Any,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    **more: Any,
) -> Any:
    """Integers drawn evenly from [low, high): ``randint([low=0,] high, size)``.

    >>> import bibun as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(10, (3,))
    tensor([4, 9, 3])
    """
    size = more.pop("size", None)
    if len(args) == 2 and args[0].__class__ is int and args[1].__class__ is tuple and not more:
        low, high, rest = 0, args[0], args[1:]
    else:
        (low, high), rest = _bounds(args, more, "randint", 1)
    if size is None:
        if not rest:
            raise TypeError(
                "randint() received an invalid combination of arguments - it needs a size: randint([low,] high, size)"
            )
        size = rest[0]
    d = checked(dtype, device, layout, "randint") or (_INT64 if out is None else out._a.dtype)
    shape = size_from((size,), "randint")
    if dispatch.busy[0]:
        t = drawn(lambda shape: stream.randint(generator, shape, low, high, d), shape)
    else:
        t = wrap(stream.randint(generator, shape, low, high, d))
    if requires_grad:
        t.requires_grad_()
    return t if out is None else write_out(out, t)


@function(**_plain)
def randint_like(
    input: Any,
    *args: Any,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
    pin_memory: bool = False,
    **more: Any,
) -> Any:
    """As `randint`, with the size and dtype of ``input``: ``randint_like(input, [low=0,] high)``."""
    (low, high), _ = _bounds(args, more, "randint_like", 1)
    d = checked(dtype, device, layout, "randint_like") or input._a.dtype
    t = drawn(lambda shape: stream.randint(None, shape, low, high, d), input._a.shape)
    return t.requires_grad_() if requires_grad else t


@function(**_plain)
def randperm(
    n: int,
    *,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:
    """The integers from 0 to n - 1 in random order."""
    d = checked(dtype, device, layout, "randperm") or (np.dtype(np.int64) if out is None else out._a.dtype)
    made = drawn(lambda shape: _permutations(generator, shape, d), (n,))
    return made if out is None else write_out(out, made)


def _permutations(generator: Any, shape: tuple[int, ...], d: Any) -> Any:
    """A permutation along the last axis for each position of the others."""
    if len(shape) == 1:
        return stream.randperm(generator, shape[0], d)
    rows = math.prod(shape[:-1])
    return np.array([stream.randperm(generator, shape[-1], d) for _ in range(rows)], d).reshape(shape)


@function(**_plain)
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """Normal numbers with the given means and standard deviations, tensors or numbers (then ``size`` is needed)."""
    tensors = [x for x in (mean, std) if isinstance(x, dispatch.Tensor)]
    if not tensors:
        if size is None:
            raise TypeError(
                "normal() received an invalid combination of arguments - with numbers for mean and std it needs a size"
            )
        d = _options(dtype, device, layout, out, "normal")
        t = drawn(
            lambda shape: stream.normal_(generator, np.empty(shape, d), float(mean), float(std)),
            size_from((size,), "normal"),
        )
    else:
        if dispatch.busy[0]:
            done = _below(lambda m, s: normal(m, s, generator=generator), mean, std)
            if done is not NotImplemented:
                return done
        a = mean._a if isinstance(mean, dispatch.Tensor) else mean
        b = std._a if isinstance(std, dispatch.Tensor) else std
        shape = np.broadcast_shapes(*[x._a.shape for x in tensors])
        d = dispatch.common_dtype([a] if isinstance(mean, dispatch.Tensor) else [b])
        t = wrap(stream.normal_of(generator, a, b, np.empty(shape, d)))
        if state.grad and any(x._node is not None for x in tensors):
            # PyTorch records the draw, with a gradient of zero.
            full = [x if x._a.shape == shape else x.expand(shape) for x in tensors if x._node is not None]
            t = (
                apply(_drawn(), (full[0], t))
                if len(full) == 1
                else apply(_drawn(), (full[0], apply(_drawn(), (full[1], t))))
            )
    if requires_grad:
        t.requires_grad_()
    return t if out is None else write_out(out, t)


@function(out=True)
def bernoulli(input: Any, p: Any = None, *, generator: Any = None) -> Any:
    """0 or 1, with probability ``input`` (or ``p``) of 1, elementwise; not differentiable."""
    if not isinstance(input, dispatch.Tensor):
        raise argument_error("bernoulli", "input", 1, "Tensor", input)
    a = input._a
    if p is not None:
        return drawn(lambda shape: stream.bernoulli_(generator, np.empty(shape, a.dtype), p), a.shape)
    if dispatch.busy[0]:
        done = _below(lambda x: bernoulli(x, generator=generator), input)
        if done is not NotImplemented:
            return done
    t = wrap(stream.bernoulli(generator, a))
    if input._node is not None and state.grad:
        t = apply(_drawn(), (input, t))
    return t


def _drawn() -> Any:
    """The primitive that records that a draw comes from a tensor, with a gradient of zero."""
    from ..ops.primitive import REGISTRY

    return REGISTRY["drawn_from"]


@function(out=True)
def multinomial(input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Any:
    """``num_samples`` indices drawn with the weights in each row of ``input``.

    Shape: (m,) gives (num_samples,), (n, m) gives (n, num_samples).
    """
    if not isinstance(input, dispatch.Tensor):
        raise argument_error("multinomial", "input", 1, "Tensor", input)
    if dispatch.busy[0]:
        done = _below(lambda x: multinomial(x, num_samples, replacement, generator=generator), input)
        if done is not NotImplemented:
            return done
    return wrap(stream.multinomial(generator, input._a, num_samples, replacement))


@function(out=False, method=False)
def poisson(input: Any, generator: Any = None) -> Any:
    """Poisson numbers with the rates in ``input``."""
    if dispatch.busy[0]:
        done = _below(lambda x: poisson(x, generator), input)
        if done is not NotImplemented:
            return done
    return wrap(stream.poisson(generator, input._a))


@function(out=False, method=False)
def binomial(count: Any, prob: Any, generator: Any = None) -> Any:
    """Binomial numbers of ``count`` trials with probability ``prob``, elementwise."""
    if dispatch.busy[0]:
        done = _below(lambda n, p: binomial(n, p, generator), count, prob)
        if done is not NotImplemented:
            return done
    return wrap(stream.binomial(generator, *np.broadcast_arrays(count._a, prob._a)))


@function(out=False, method=False, name="_standard_gamma")
def standard_gamma(input: Any, generator: Any = None) -> Any:
    """Gamma numbers of shape ``input`` and rate 1."""
    return wrap(stream.standard_gamma(generator, input._a))


# In place


def _filling(name: str, fill: Any, parameters: tuple[str, ...], defaults: tuple[Any, ...]) -> None:
    """``Tensor.<name>``: overwrite with drawn numbers."""

    def call(self: Any, *args: Any, generator: Any = None, **more: Any) -> Any:
        if len(args) > len(parameters):
            raise TypeError(f"{name}() takes at most {len(parameters)} arguments ({len(args)} given)")
        if more:
            for parameter in more:
                if parameter not in parameters:
                    raise TypeError(f"{name}() got an unexpected keyword argument '{parameter}'")
            given = tuple(
                args[i] if i < len(args) else more.get(p, d) for i, (p, d) in enumerate(zip(parameters, defaults))
            )
        else:
            given = args + defaults[len(args) :]
        check_writable(self)
        if dispatch.busy[0]:
            return self.copy_(
                drawn(lambda shape: fill(generator, np.empty(shape, self._a.dtype), *given), self._a.shape)
            )
        a = self._a
        if state.grad and (self._node is not None or self._view is not None and self._view[0]._node is not None):
            made = apply(fills.zero, (self,))
            made._a = fill(generator, np.empty_like(a), *given)
            return assign(self, made, checked=False)
        if not a.flags.writeable:
            return assign(self, wrap(a))
        fill(generator, a, *given)
        f = user_frame(2)
        written(a, f.f_code, f.f_lasti)
        return self

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Overwrite this tensor with drawn numbers; parameters: {', '.join(parameters)}."
    METHODS[name] = call


_filling("uniform_", stream.uniform_, ("from", "to"), (0.0, 1.0))
_filling("normal_", stream.normal_, ("mean", "std"), (0.0, 1.0))
_filling("exponential_", stream.exponential_, ("lambd",), (1.0,))
_filling("cauchy_", stream.cauchy_, ("median", "sigma"), (0.0, 1.0))
_filling("log_normal_", stream.log_normal_, ("mean", "std"), (1.0, 2.0))
_filling("geometric_", stream.geometric_, ("p",), (None,))


@method
def random_(self: Any, *args: Any, generator: Any = None, **more: Any) -> Any:
    """Overwrite with integers drawn evenly: ``random_()``, ``random_(to)`` or ``random_(from, to)``."""
    low, high = more.get("from"), more.get("to")
    if len(args) == 1:
        low, high = (low, args[0]) if low is None or high is None and "from" not in more else (low, args[0])
    elif len(args) == 2:
        low, high = args
    check_writable(self)
    a = self._a
    if low is None and high is not None:
        low = 0
    made = (
        self
        if not dispatch.busy[0]
        else drawn(lambda shape: stream.random_(generator, np.empty(shape, a.dtype), low, high), a.shape)
    )
    if made is not self:
        return self.copy_(made)
    stream.random_(generator, a, low, high)
    f = user_frame(1)
    written(a, f.f_code, f.f_lasti)
    return self


@method
def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Overwrite with 0 and 1, with probability ``p`` (a number or tensor) of 1."""
    check_writable(self)
    value = p._a if isinstance(p, dispatch.Tensor) else p
    if dispatch.busy[0]:
        return self.copy_(
            drawn(lambda shape: stream.bernoulli_(generator, np.empty(shape, self._a.dtype), value), self._a.shape)
        )
    if state.grad and self._node is not None:
        made = apply(fills.zero, (self,))
        made._a = stream.bernoulli_(generator, np.empty_like(self._a), value)
        return assign(self, made, checked=False)
    stream.bernoulli_(generator, self._a, value)
    f = user_frame(1)
    written(self._a, f.f_code, f.f_lasti)
    return self


# What layers draw


def bernoulli_mask(input: Any, shape: tuple[int, ...], p: float) -> Any:
    """1 with probability ``p`` and 0 else, in ``shape`` and the dtype of ``input``."""
    d = input._a.dtype
    if dispatch.busy[0] or tuple(shape) != input._a.shape:
        return drawn(lambda s: stream.keep_mask(None, s, p).astype(d), tuple(shape))
    return wrap(stream.keep_mask(None, shape, p, like=input._a).astype(d))


def dropout_mask(input: Any, shape: tuple[int, ...], p: float) -> Any:
    """What dropout multiplies by: 1 / (1 - p) with probability 1 - p, and 0 else."""
    if p < 1 and not dispatch.busy[0] and shape == input._a.shape:
        return wrap(stream.noise(None, input._a, 1 - p))
    mask = bernoulli_mask(input, shape, 1 - p)
    if p < 1:
        if dispatch.busy[0] and hasattr(mask, "level"):
            return mask / (1 - p)
        a = mask._a
        np.divide(a, a.dtype.type(1 - p), out=a)
    return mask


def rrelu_noise(input: Any, lower: float, upper: float, generator: Any) -> Any:
    """1 for positive elements; for the others, in order, a slope drawn from [lower, upper]."""
    a = input._a
    noise = np.ones(a.shape, a.dtype)
    negative = a <= 0
    slopes = stream.uniform_(generator, np.empty(int(negative.sum()), np.float64), lower, upper)
    noise[negative] = slopes.astype(a.dtype)
    return wrap(noise)


# ``torch.random`` is the module of the stream itself: its public names are these.
for _public in (manual_seed, seed, initial_seed, get_rng_state, set_rng_state, fork_rng):
    setattr(stream, _public.__name__, _public)
