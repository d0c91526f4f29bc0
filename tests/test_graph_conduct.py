"""What a graph shows and says of itself: nodes' names, warnings, refusals, as in PyTorch."""

import warnings

import pytest

import bibun as torch

Function = torch.autograd.Function


class Bad(Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g / 0 * 0


class Outer(Function):
    @staticmethod
    def forward(ctx, x):
        return x + 1

    @staticmethod
    def backward(ctx, g):
        return Bad.apply(g)


def messages(detect_forward):
    def forward():
        x = torch.ones(2, requires_grad=True)
        w = torch.ones(2, requires_grad=True)
        g, = torch.autograd.grad((Outer.apply(x) * w).sum(), x, create_graph=True)
        return g.sum()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if not detect_forward:
            y = forward()
        with pytest.raises(RuntimeError, match="'BadBackward' returned nan values in its 0th output"), torch.autograd.detect_anomaly():
            if detect_forward:
                y = forward()
            y.backward()
    return [str(w.message) for w in seen if "has been enabled" not in str(w.message)]


def test_anomaly_detection_shows_the_calls_of_the_forward():
    found, = messages(False)
    assert found.startswith("Error detected in BadBackward") and "No forward pass information" in found
    found, cause = messages(True)
    assert "Traceback of forward call that caused the error" in found and "return Bad.apply(g)" in found and "in messages" in found
    assert cause.startswith("Previous calculation was induced by OuterBackward") and "Outer.apply(x)" in cause


class Once(Function):
    @staticmethod
    def forward(ctx, a, factor, b):
        ctx.save_for_backward(a, b)
        return factor * a * b

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return 2 * g * b, None, 2 * g * a


def described(node):
    return "None" if node is None else f"{node.name().split('::')[-1]}({', '.join(described(n) for n, _ in node.next_functions)})"


def test_what_is_differentiable_once_leads_to_an_error():
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    gx, gy = torch.autograd.grad(Once.apply(x * 3, 2, y), (x, y), torch.ones(2, requires_grad=True), create_graph=True)
    assert type(gy.grad_fn).__name__ == "Error" and gy.output_nr == 2
    assert described(gy.grad_fn) == "Error(AccumulateGrad(), None, AccumulateGrad())"
    assert described(gx.grad_fn) == "MulBackward0(Error(AccumulateGrad(), None, AccumulateGrad()), None)"
    for g in (gx, gy):
        with pytest.raises(RuntimeError, match="differentiate twice"):
            g.sum().backward()


@pytest.mark.parametrize("name, args", [("threshold", (0.5, 7.0)), ("hardshrink", ()), ("softshrink", ())])
def test_backwards_of_thresholds_are_nodes_of_their_own(name, args):
    oracle = pytest.importorskip("torch")

    def run(torch):
        x = torch.tensor([float("nan"), -1.0, 0.0, 0.5, 2.0], requires_grad=True)
        go = torch.full((5,), 3.0, requires_grad=True)
        y = getattr(torch.nn.functional, name)(x, *args)
        g, = torch.autograd.grad(y, x, go, create_graph=True)
        return [y.tolist(), g.tolist(), described(g.grad_fn), *[t.tolist() for t in torch.autograd.grad(g.sum(), (go, x))]]
    assert str(run(torch)) == str(run(oracle))


def test_views_are_replayed_on_request():
    track = torch.autograd._force_original_view_tracking

    def write():
        a = torch.ones(2, 2, requires_grad=True)
        v = (a * 2).view(4)[1:]
        v.mul_(3)
        g, = torch.autograd.grad((v * v).sum(), a, retain_graph=True)
        return v.grad_fn.name(), g.tolist()
    expected = [[0.0, 72.0], [72.0, 72.0]]
    assert write() == ("AsStridedBackward0", expected) and not torch.autograd.is_view_replay_enabled()
    with track(True):
        assert write() == ("SliceBackward0", expected) and torch.autograd.is_view_replay_enabled()
        track(False)
        assert write()[0] == "AsStridedBackward0"
        with torch.no_grad():
            assert not torch.autograd.is_view_replay_enabled()
    assert not torch.autograd.is_view_replay_enabled()
    with pytest.raises(TypeError):
        track(1)
    v = torch.arange(6.0).view(2, 3)[:, 1]
    assert v._view_func(torch.arange(6.0) * 2).tolist() == [2.0, 8.0]
    assert v._view_func(torch.ones(3, 2)) is None and torch.ones(2)._view_func(torch.ones(2)) is None
    assert v._view_func_unsafe(torch.ones(3, 2)).shape == (2,)


def test_hooks_on_a_view_do_not_see_the_gradient_of_what_is_written_over():
    oracle = pytest.importorskip("torch")

    def run(torch):
        seen = []

        def hook(name):
            return lambda g: seen.append((name, g.tolist()))
        x = torch.ones(2, requires_grad=True)
        b = x.clone()
        v, other = b[:1], b[:1]
        b.register_hook(hook("b"))
        v.register_hook(hook("v"))
        v.retain_grad()
        other.register_hook(hook("other"))
        used = v * 2
        v.mul_(3)
        v[0] = v[0] * 5
        assert v.grad_fn is not None and other.grad_fn is not None     # hooks of PyTorch need views that are up to date
        v.register_hook(hook("v after"))
        other.register_hook(hook("other after"))
        b.register_hook(hook("b after"))
        (used.sum() + b.sum() + (v * other).sum()).backward()
        return seen, x.grad.tolist(), v.grad.tolist()
    assert run(torch) == run(oracle)


def test_saved_inputs_that_were_detached_in_place_are_refused():
    a = torch.ones(2, requires_grad=True)
    b = a * 2
    s, e, c = b.sin(), b.exp(), b * torch.ones(2, requires_grad=True)
    f = e.clone()
    b.detach_()
    e.detach_()
    f.sum().backward()      # saved as an output, or not at all
    assert torch.allclose(a.grad, 2 * e)
    for y in (s, c):
        with pytest.raises(RuntimeError, match="a saved tensor that has been detached"):
            y.sum().backward()


def test_a_view_made_unrecorded_is_invalid_once_its_memory_is_written():
    oracle = pytest.importorskip("torch")

    def run(torch):
        def tried(f):
            try:
                return str(f())
            except RuntimeError as error:
                return str(error)[:100]
        found = []
        for base in (torch.ones(2, requires_grad=True), torch.ones(2), torch.ones(2, requires_grad=True) * 2):
            with torch.no_grad():
                v = base[:1]
                found.append(repr(v))
                v.add_(1)
                later = base[1:]
                found += [repr(v), repr(v * 2), repr(later), tried(lambda v=v: v.is_leaf)]
            found += [tried(lambda v=v: v * 2), tried(lambda v=v: v.view(1)), tried(lambda v=v: v.detach()), repr(later)]
            with torch.no_grad():
                base.mul_(3)
            found += [repr(v), repr(later), tried(lambda v=later: v * 2)]
        return found
    assert run(torch) == run(oracle)


def test_indices_are_saved_by_dimension():
    a = torch.ones(2, 2, 3, requires_grad=True)
    i = torch.tensor([0, 1])
    node = a[:, i].grad_fn
    assert node._saved_indices[0] is None and node._saved_indices[1].tolist() == [0, 1] and node._saved_self_sym_sizes == a.shape
    assert [x is None for x in a[i, :, i].grad_fn._saved_indices] == [False, True, False]
    nothing, one = node._raw_saved_indices
    assert one.data.tolist() == [0, 1] and nothing.data is None
    with pytest.raises(RuntimeError, match="None is forbidden"):
        nothing.register_hooks(lambda x: x, lambda x: x)
    seen = []
    one.register_hooks(lambda x: x, lambda x: seen.append(x) or x)
    node(torch.ones(2, 2, 3))
    assert len(seen) == 1


def test_what_was_saved_and_freed_says_so_when_it_is_used():
    a = torch.ones(2, requires_grad=True)
    out = a * a
    out.sum().backward()
    saved = out.grad_fn._raw_saved_self
    with pytest.raises(RuntimeError, match="after it has been freed"):
        saved.register_hooks(lambda x: x, lambda x: x)
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        saved.data


def test_writes_through_complex_views_of_real_tensors():
    def run(write):
        x = torch.arange(1.0, 9.0, dtype=torch.double).reshape(2, 2, 2).requires_grad_()
        z = torch.view_as_complex(x.clone()).reshape(4)
        z = z.mul_(2) if write else z * 2
        return torch.autograd.grad((z * z).sum().abs(), x)[0]
    assert torch.allclose(run(True), run(False))


@pytest.mark.parametrize("replayed", [False, True])
def test_gradients_of_complex_views_whose_pairs_lie_apart(replayed):
    x = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    with torch.autograd._force_original_view_tracking(replayed):
        b = x.clone()
        v = torch.view_as_complex(b).reshape(-1)
        v.mul_(2)
        (g,) = torch.autograd.grad(v.sum().abs(), x)
    total = torch.view_as_complex(x.detach()).sum()
    assert torch.allclose(g, torch.view_as_real(2 * total / total.abs()).expand(2, 2, 2))
