"""Compiled functions whose results keep a graph: their gradients are those of the function, in every way of asking for them."""

import copy

import pytest

import bibun as torch
from bibun import nn
from bibun.nn import functional as F


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(8, 24), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (z.view(batch, length, 2, 4).transpose(1, 2) for z in self.qkv(self.norm(x)).split(width, 2))
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), (5, 6)),
    "norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.LayerNorm(8)), (5, 6)),
    "images": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)), (3, 2, 8, 8)),
    "attention": (Attention, (2, 5, 8)),
    "large": (lambda: nn.Sequential(nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 2)), (100, 64)),
    "recurrent": (lambda: nn.LSTM(6, 4, batch_first=True), (2, 5, 6)),
}


def pair(name):
    torch.manual_seed(0)
    make, shape = MODELS[name]
    model = make()
    other = copy.deepcopy(model)
    return model, torch.compile(other), other, shape


def joined(compiled):
    """Whether there is a program forward and one back."""
    made = [s.program for s in compiled._compiled.signatures.values()] + [f.program for f in compiled._compiled.families.values()]
    return any(p is not None and p.joint is not None for p in made)


def scalar(result):
    return (result[0] if isinstance(result, tuple) else result).square().mean()


@pytest.mark.parametrize("name", MODELS)
def test_training_with_an_optimizer_outside(name):
    model, compiled, other, shape = pair(name)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, other)]
    for k in range(7):
        x = torch.randn(*shape, requires_grad=k % 2 == 0 and k > 3)
        y = x.detach().clone().requires_grad_(x.requires_grad)
        for call, optimizer, given in ((model, optimizers[0], x), (compiled, optimizers[1], y)):
            optimizer.zero_grad()
            loss = scalar(call(given))
            loss.backward()
            optimizer.step()
        for p, q in zip(model.parameters(), other.parameters()):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        for p, q in zip(model.buffers(), other.buffers()):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        if x.requires_grad:
            torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-4)
    assert joined(compiled), torch.compiler.report(compiled)


def ready(name="mlp"):
    model, compiled, other, shape = pair(name)
    for _ in range(3):
        scalar(compiled(torch.ones(*shape))).backward()
    assert joined(compiled), torch.compiler.report(compiled)
    for p in other.parameters():
        p.grad = None
    return model, compiled, other, torch.randn(*shape)


def test_a_graph_is_used_once_unless_it_is_retained():
    model, compiled, other, x = ready()
    loss = scalar(compiled(x))
    loss.backward(retain_graph=True)
    once = [p.grad.clone() for p in other.parameters()]
    loss.backward()
    for p, g in zip(other.parameters(), once):
        torch.testing.assert_close(p.grad, 2 * g)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_values_that_were_overwritten():
    model, compiled, other, x = ready()
    out = compiled(x)
    with torch.no_grad():
        other[2].weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    out = compiled(x)
    with torch.no_grad():
        other[2].bias.mul_(2)  # which backward does not need
    out.sum().backward()


def test_gradients_of_gradients():
    model, compiled, other, x = ready()
    x, y = x.clone().requires_grad_(), x.clone().requires_grad_()
    for call, given in ((model, x), (compiled, y)):
        for _ in range(3):
            given.grad = None
            (g,) = torch.autograd.grad(call(given).tanh().sum(), given, create_graph=True)
            g.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-4)

    model, compiled, other, x = ready("norm")
    with pytest.raises(RuntimeError, match="differentiated again"):
        torch.autograd.grad(compiled(x).sum(), list(other.parameters()), create_graph=True)


def test_several_results():
    w = torch.randn(4, requires_grad=True)
    limit = torch.tensor(0.5)

    def function(x):
        h = (x * w).sin()
        return {"a": h.cos(), "b": [h * 2, x + 1], "c": limit}, h.detach()

    compiled = torch.compile(function)
    for _ in range(5):
        x = torch.randn(4)
        (one, first), (two, second) = function(x), compiled(x)
        assert two["c"] is limit and not second.requires_grad and not two["b"][1].requires_grad
        torch.testing.assert_close(first, second)
        for roots in (("a",), ("b",), ("a", "b")):
            g, h = (
                torch.autograd.grad(sum((r[k] if k == "a" else r[k][0]).sum() for k in roots), w, retain_graph=True)[0] for r in (one, two)
            )
            torch.testing.assert_close(g, h)
    assert joined(compiled)


def test_part_of_a_larger_graph():
    model, compiled, other, x = ready()
    front, back = nn.Linear(6, 6), nn.Linear(3, 1)
    grads = []
    for call, inner in ((model, model), (compiled, other)):
        for p in (*front.parameters(), *back.parameters(), *inner.parameters()):
            p.grad = None
        for _ in range(3):
            back(call(front(x).relu())).sum().backward()
        grads.append([p.grad.clone() for p in (*front.parameters(), *back.parameters(), *inner.parameters())])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_results_are_changed_in_place():
    model, compiled, other, x = ready()
    for call, inner in ((model, model), (compiled, other)):
        for p in inner.parameters():
            p.grad = None
        out = call(x)
        out.mul_(2).add_(1)
        out.square().sum().backward()
    for p, q in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_views_of_arguments_and_hooks_go_another_way():
    w = torch.ones(3, requires_grad=True)
    compiled = torch.compile(lambda x: x.view(3))
    for _ in range(4):
        x = (w * 2).view(1, 3)
        y = compiled(x)
        y.mul_(3)
        w.grad = None
        (x.sum() + y.sum()).backward()
        assert w.grad.tolist() == [12.0] * 3
    seen = []
    hooked = torch.ones(3, requires_grad=True)
    hooked.register_hook(lambda g: seen.append(g.sum().item()))
    compiled = torch.compile(lambda x: (x * hooked).sum())
    for _ in range(4):
        compiled(torch.ones(3)).backward()
    assert len(seen) == 4


def test_parameters_are_frozen_and_thawed():
    model, compiled, other, x = ready()
    for wanted in (False, True, False, True):
        for m in (model, other):
            m[0].weight.requires_grad_(wanted)
        for call, inner in ((model, model), (compiled, other)):
            for _ in range(3):
                for p in inner.parameters():
                    p.grad = None
                scalar(call(x)).backward()
        for p, q in zip(model.parameters(), other.parameters()):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_sizes_change():
    model, compiled, other, _ = ready("attention")
    for size in ((3, 7), (4, 9), (2, 4), (5, 11), (3, 5), (7, 9), (2, 3), (4, 4)):
        x = torch.randn(*size, 8)
        for call, inner in ((model, model), (compiled, other)):
            for p in inner.parameters():
                p.grad = None
            scalar(call(x)).backward()
        for p, q in zip(model.parameters(), other.parameters()):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)
    (family,) = compiled._compiled.families.values()
    assert family.program is not None and family.program.joint is not None, torch.compiler.report(compiled)


def test_dropout_draws_as_it_does():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    other = copy.deepcopy(model)
    compiled = torch.compile(other)
    x = torch.randn(4, 6)
    for call in (model, compiled):
        torch.manual_seed(7)
        for _ in range(6):
            scalar(call(x)).backward()
    for p, q in zip(model.parameters(), other.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_no_grad_and_grad_take_turns():
    model, compiled, other, x = ready()
    for k in range(8):
        with torch.set_grad_enabled(k % 2 == 0):
            out = compiled(x)
            assert out.requires_grad is (k % 2 == 0)
            torch.testing.assert_close(out, model(x))


def test_checkpoints_and_packed_values_go_another_way():
    from bibun.utils.checkpoint import checkpoint

    model, compiled, other, x = ready()
    packed = []

    def stepwise(m):
        return lambda x: checkpoint(m, x, use_reentrant=False).sum()

    call = torch.compile(stepwise(other))
    for _ in range(4):
        for p in (*model.parameters(), *other.parameters()):
            p.grad = None
        stepwise(model)(x).backward()
        call(x).backward()
        for p, q in zip(model.parameters(), other.parameters()):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)
    for _ in range(4):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(0) or t, lambda t: t):
            out = compiled(x)
        out.sum().backward()
    assert len(packed) >= 4


def test_two_threads_train_at_once():
    import threading

    model, compiled, other, x = ready()
    wrong = []

    def work():
        for _ in range(30):
            g = torch.autograd.grad(compiled(x).square().sum(), list(other.parameters()))
            if not all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(g, wanted)):
                wrong.append(g)

    wanted = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
