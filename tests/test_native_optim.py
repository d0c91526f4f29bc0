"""Optimizers' rules as native kernels: held to PyTorch's bits, to the NumPy path, and to any number of threads."""

import numpy as np
import pytest

import bibun
from bibun.backends.large import native
from bibun.optim import scratch

pytestmark = pytest.mark.skipif(not native(), reason="no native kernels here")

CASES = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.1, maximize=True)),
    ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True)),
    ("Adam", dict()),
    ("Adam", dict(betas=(0.3, 0.99), weight_decay=0.1, maximize=True)),
    ("Adam", dict(amsgrad=True)),
    ("AdamW", dict(lr=0.01)),
    ("NAdam", dict(weight_decay=0.1)),
    ("RAdam", dict()),
    ("Adamax", dict(weight_decay=0.1)),
    ("Adagrad", dict(lr_decay=0.1)),
    ("Adadelta", dict(weight_decay=0.1)),
    ("RMSprop", dict(momentum=0.9)),
    ("RMSprop", dict(centered=True, weight_decay=0.1)),
    ("Rprop", dict()),
    ("ASGD", dict(t0=2)),
]
SHAPES = [(200, 101), (7,), (1,), (0, 3), (1, 1, 1), (16384,), (17,), (333, 5)]


def values(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in SHAPES]


def trained(torch, name, options, dtype=np.float32, steps=7, prepare=lambda a: a):
    params = [torch.from_numpy(prepare(a)).requires_grad_() for a in values(0, dtype)]
    kept = [p.detach() for p in params]
    optimizer = getattr(torch.optim, name)(params, **options)
    for step in range(steps):
        for k, (p, g) in enumerate(zip(params, values(step + 1, dtype))):
            p.grad = torch.from_numpy(g)
            if k == 2 and step == 1:
                p.grad = None  # from now on this one is a step behind
        optimizer.step()
    state = [optimizer.state[p] for p in params]
    found = [a.numpy() for a in kept]
    for s in state:
        found += [s[k].numpy() for k in sorted(s) if getattr(s[k], "ndim", 0)]
    return found


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_those_of_pytorch(name, options, dtype):
    torch = pytest.importorskip("torch")
    theirs = trained(torch, name, options | {"foreach": False}, dtype)
    for ours, wanted in zip(trained(bibun, name, options, dtype), theirs, strict=True):
        if name == "SGD":
            np.testing.assert_array_equal(ours, wanted)
        else:  # PyTorch's square roots are not the nearest numbers on every processor
            np.testing.assert_allclose(ours, wanted, rtol=2e-6 if dtype == np.float32 else 1e-14, atol=2e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_near_the_path_through_numpy(name, options, monkeypatch):
    ours = trained(bibun, name, options)
    monkeypatch.setattr(scratch, "NATIVE", 1 << 40)
    for got, wanted in zip(ours, trained(bibun, name, options), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_bits_do_not_depend_on_threads(name):
    from bibun.native import pool

    before = pool.threads()
    try:
        found = []
        for n in (1, 2, 3):
            pool.set_threads(n)
            found.append(trained(bibun, name, {}))
    finally:
        pool.set_threads(before)
    for one, two, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_layouts_of_parameter_and_gradient():
    rng = np.random.default_rng(0)
    start, gradient = (rng.standard_normal((200, 150)).astype(np.float32) for _ in range(2))
    wide = np.zeros((200, 300), np.float32)

    def strided(a):
        wide[:, ::2] = a
        return wide[:, ::2]

    found = []
    for lay in (np.array, np.asfortranarray, strided):
        for lay_gradient in (np.array, np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2]):
            p = bibun.from_numpy(lay(start)).requires_grad_()
            p.grad = bibun.from_numpy(lay_gradient(gradient))
            optimizer = bibun.optim.AdamW([p, bibun.zeros(1 << 15).requires_grad_()])
            for _ in range(3):
                optimizer.step()
            found.append(p.detach().numpy().copy())
    for other in found[1:]:
        np.testing.assert_allclose(found[0], other, rtol=1e-6, atol=1e-7)


def test_special_values_and_growth():
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 3e38, 1.0] * 4096, np.float32)
    gradient = np.roll(special, 3)
    results = []
    for limit in (0, 1 << 40):
        before = scratch.NATIVE
        scratch.NATIVE = limit
        try:
            p, q = (bibun.from_numpy(special.copy()).requires_grad_() for _ in range(2))
            p.grad = bibun.from_numpy(gradient.copy())
            optimizer = bibun.optim.Rprop([p])
            optimizer.step()
            optimizer.add_param_group({"params": [q]})
            q.grad = bibun.from_numpy(gradient.copy())
            optimizer.step()
        finally:
            scratch.NATIVE = before
        results.append([p.detach().numpy(), q.detach().numpy()])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_small_models_stay_on_the_plain_path():
    p = bibun.zeros(100, requires_grad=True)
    p.grad = bibun.ones(100)
    optimizer = bibun.optim.Adam([p])
    optimizer.step()
    assert not optimizer._scratch.native


def test_a_learning_rate_that_changes_and_a_rule_that_asks():
    p = bibun.zeros(1 << 15).requires_grad_()
    p.grad = bibun.ones(1 << 15)
    optimizer = bibun.optim.Adam([p], lr=0.5, betas=(0.0, 0.5))
    for lr in (0.5, 0.25, 0.0):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), -0.75, rtol=1e-5)
