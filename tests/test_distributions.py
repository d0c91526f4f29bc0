"""torch.distributions beside PyTorch's: draws of the same seed, densities, gradients, shapes, checks."""

import warnings

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

MADE = """
D.Normal(0., 1.)
D.Normal(x, y)
D.Normal(x, y[:, None])
D.Uniform(-1., 1.)
D.Uniform(-y, y)
D.Exponential(2.)
D.Exponential(y)
D.Bernoulli(.3)
D.Bernoulli(p)
D.Bernoulli(logits=x)
D.Categorical(y)
D.Categorical(torch.stack([y, p]))
D.Categorical(logits=torch.stack([y, x]))
D.Independent(D.Normal(x.expand(2, 3), y), 1)
D.Independent(D.Bernoulli(p), 1)
D.Normal(x, y).expand((2, 3))
D.Uniform(-y, y).expand((2, 3))
D.Exponential(y).expand((2, 3))
D.Bernoulli(p).expand((2, 3))
D.Categorical(logits=y).expand((2,))
D.Independent(D.Normal(x, y), 1).expand((2,))
""".strip().split("\n")

ASKED = """
d.batch_shape, d.event_shape, d.has_rsample, d.has_enumerate_support
d.support
d.mean
d.mode
d.variance
d.stddev
d.entropy()
d.perplexity()
d.sample()
d.sample((2, 3))
d.rsample((4,))
d.log_prob(d.sample((2,)))
d.cdf(d.sample((2,)))
d.icdf(torch.tensor(.25))
d.enumerate_support()
d.enumerate_support(False)
d.log_prob(1.)
d.log_prob(torch.full((7,), .5))
d.log_prob(torch.tensor(float('nan')))
D.kl_divergence(d, d)
torch.autograd.grad(d.rsample((2,)).sum(), (x, y, p), allow_unused=True)
torch.autograd.grad(d.log_prob(d.sample((2,))).sum(), (x, y, p), allow_unused=True)
torch.autograd.grad(d.entropy().sum(), (x, y, p), allow_unused=True)
""".strip().split("\n")

ERRORS = """
D.Normal(x, -y)
D.Normal(0, -1)
D.Normal('a', 1)
D.Normal(x, -y, validate_args=False)
D.Uniform(1., 0.)
D.Exponential(-2.)
D.Bernoulli(1.3)
D.Bernoulli(probs=.2, logits=.3)
D.Categorical()
D.Categorical(probs=torch.tensor(.2))
D.Categorical(torch.tensor([-.2, .8]))
D.Categorical(logits=torch.tensor([float('nan'), .8]))
D.Categorical(torch.ones(2, 3)).log_prob(torch.tensor([3, 0]))
D.Independent(D.Normal(x, 1.), 3)
D.Normal(x, 1.).expand((2,))
D.Normal(0., 1.).sample(2)
D.kl_divergence(D.Normal(0., 1.), D.Bernoulli(.3))
D.kl_divergence(D.Normal(0., 1.), D.Normal(x, y))
D.kl_divergence(D.Normal(0., 1.), D.Exponential(1.))
D.kl_divergence(D.Normal(0., 1.), D.Uniform(0., 1.))
D.kl_divergence(D.Exponential(y), D.Normal(x, 2.))
D.kl_divergence(D.Exponential(y), D.Uniform(0., 2.))
D.kl_divergence(D.Exponential(y), D.Exponential(3.))
D.kl_divergence(D.Uniform(p, p + 1), D.Normal(x, 2.))
D.kl_divergence(D.Uniform(p, p + 1), D.Exponential(y))
D.kl_divergence(D.Uniform(0., 2.), D.Uniform(0., 1.))
D.kl_divergence(D.Bernoulli(p), D.Bernoulli(logits=x))
D.kl_divergence(D.Categorical(p), D.Categorical(y))
D.kl_divergence(D.Categorical(torch.tensor([.5, .5])), D.Categorical(torch.tensor([1., 0.])))
D.kl_divergence(D.Independent(D.Normal(x, y), 1), D.Independent(D.Normal(0 * x, 1.), 1))
D.Normal.arg_constraints, D.constraints.simplex, D.constraints.independent(D.constraints.real, 1)
""".strip().split("\n")


def outcome(module, made, asked):
    names = {"torch": module, "D": module.distributions}
    for name, values in (("x", [0.5, -1.0, 2.0]), ("y", [1.0, 0.5, 3.0]), ("p", [0.3, 0.9, 0.5])):
        names[name] = module.tensor(values, requires_grad=True)
    module.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if made:
                names["d"] = eval(made, names)
            return eval(asked, names)
        except NotImplementedError:
            return "NotImplementedError"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def same(want, have, source):
    if isinstance(want, tuple) and not isinstance(want, torch.Size):
        for w, h in zip(want, have, strict=True):
            same(w, h, source)
    elif isinstance(want, torch.Tensor):
        assert isinstance(have, bibun.Tensor), f"{source}: {have}"
        assert str(want.dtype) == str(have.dtype), source
        assert (want.grad_fn is None) == (have.grad_fn is None), source
        if want.grad_fn is not None:
            written = ("IndexPutBackward0", "MaskedFillBackward0")  # what writes through a mask is named either way
            assert want.grad_fn.name() == have.grad_fn.name() or have.grad_fn.name() in written, source
        np.testing.assert_allclose(have.detach().numpy(), want.detach().numpy(), rtol=2e-5, atol=2e-6, err_msg=source)
        assert tuple(want.shape) == tuple(have.shape), source
    elif isinstance(want, str) and "size of the tensor" in want:
        assert have.split(":")[0] == want.split(":")[0]
    elif isinstance(want, str) and "Sequence" not in want:
        assert want.replace("\n", "").split("grad_fn")[0] == have.replace("\n", "").split("grad_fn")[0], source
    else:
        assert repr(want) == repr(have), source


@pytest.mark.parametrize("made", MADE)
def test_distributions(made):
    for asked in ("d", *ASKED):
        want, have = outcome(torch, made, asked), outcome(bibun, made, asked)
        same(want if asked != "d" else repr(want), have if asked != "d" else repr(have), f"{made}: {asked}")


@pytest.mark.parametrize("source", ERRORS)
def test_errors_and_divergences(source):
    same(outcome(torch, "", source), outcome(bibun, "", source), source)
