"""Weight averaging: averages, batch statistics and the rate's schedule, against PyTorch's."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import bibun


def network(t):
    """A small network with batch statistics, the same numbers in either library."""
    model = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4), t.nn.Linear(4, 2))
    random = np.random.default_rng(0)
    with t.no_grad():
        for p in model.parameters():
            p.copy_(t.from_numpy(np.array(random.standard_normal(tuple(p.shape)), "f4")))
    return model


def shake(t, model, seed):
    random = np.random.default_rng(seed)
    with t.no_grad():
        for p in model.parameters():
            p.add_(t.from_numpy(np.array(random.standard_normal(tuple(p.shape)), "f4")))
        for b in model.buffers():
            b.add_(1)


AVERAGES = {
    "plain": lambda u: {},
    "swa": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "swa list": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.9)},
    "ema list": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.9)},
    "ema list with buffers": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.3), "use_buffers": True},
    "own": lambda u: {"avg_fn": lambda average, p, n: 0.5 * average + 0.5 * p + n * 0},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    states = []
    for t in (bibun, torch):
        model = network(t)
        averaged = t.optim.swa_utils.AveragedModel(model, **AVERAGES[name](t.optim.swa_utils))
        for i in range(5):
            shake(t, model, i)
            averaged.update_parameters(model)
        states.append({k: v.detach().numpy() for k, v in averaged.state_dict().items()})
        x = t.from_numpy(np.ones((2, 3), "f4"))
        states.append(averaged.eval()(x).detach().numpy())
    ours, y, theirs, z = states
    assert list(ours) == list(theirs)
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-4)


def test_batch_statistics_anew():
    torch = pytest.importorskip("torch")
    got = []
    for t in (bibun, torch):
        model = network(t).eval()
        batches = [t.from_numpy(np.random.default_rng(i).standard_normal((8, 3)).astype("f4")) for i in range(4)]
        t.optim.swa_utils.update_bn([(b, None) for b in batches[:2]] + batches[2:], model)
        assert not model.training and model[1].momentum == 0.1
        got.append([b.numpy() for b in model.buffers()])
    for ours, theirs in zip(*got):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"anneal_strategy": "linear", "anneal_epochs": 4}, {"anneal_epochs": 0}])
def test_rates(options):
    torch = pytest.importorskip("torch")
    rates = []
    for t in (bibun, torch):
        optimizer = t.optim.SGD([{"params": [t.ones(1)]}, {"params": [t.ones(1)], "lr": 0.3}], lr=0.1)
        scheduler = t.optim.swa_utils.SWALR(optimizer, swa_lr=[0.01, 0.5], **options)
        seen = []
        for _ in range(14):
            optimizer.step()
            scheduler.step()
            seen.append(scheduler.get_last_lr())
        rates.append((seen, scheduler.state_dict()))
    assert rates[0] == rates[1]


def test_errors():
    torch = pytest.importorskip("torch")
    for make in (
        lambda t: t.optim.swa_utils.SWALR(t.optim.SGD([t.ones(1)]), 0.1, anneal_strategy="x"),
        lambda t: t.optim.swa_utils.SWALR(t.optim.SGD([t.ones(1)]), 0.1, anneal_epochs=-1),
        lambda t: t.optim.swa_utils.SWALR(t.optim.SGD([t.ones(1)]), [0.1, 0.2]),
        lambda t: t.optim.swa_utils.get_ema_avg_fn(2),
        lambda t: t.optim.swa_utils.get_ema_multi_avg_fn(-1),
        lambda t: t.optim.swa_utils.AveragedModel(t.nn.Linear(1, 1), avg_fn=len, multi_avg_fn=len),
    ):
        said = []
        for t in (bibun, torch):
            with pytest.raises((ValueError, AssertionError)) as caught:
                make(t)
            said.append((caught.type, str(caught.value)))
        assert said[0] == said[1]


def test_average_of_three():
    model = bibun.nn.Linear(1, 1, bias=False)
    averaged = bibun.optim.swa_utils.AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        with bibun.no_grad():
            model.weight.fill_(value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == pytest.approx(3.0)
    assert averaged.n_averaged.item() == 3
    twin = copy.deepcopy(averaged)
    assert twin.n_averaged.item() == 3


def test_exports():
    torch = pytest.importorskip("torch")
    assert set(bibun.optim.swa_utils.__all__) == set(torch.optim.swa_utils.__all__)
