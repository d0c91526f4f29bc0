"""Modules as functions, and the smaller functions of `torch.func`."""

import pytest

import bibun as torch
from bibun import nn
from bibun.func import (
    debug_unwrap,
    functional_call,
    functionalize,
    grad,
    rearrange,
    replace_all_batch_norm_modules_,
    stack_module_state,
    vmap,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.again = self.line

    def forward(self, x):
        return self.norm(self.line(x)) + self.again(x)


def test_stacked_states_of_models_with_buffers_and_tied_weights():
    models = [Net().eval() for _ in range(3)]
    for i, m in enumerate(models):
        m.norm.running_mean += i
    parameters, buffers = stack_module_state(models)
    assert set(parameters) == {"line.weight", "line.bias", "norm.weight", "norm.bias"}
    assert parameters["line.weight"].is_leaf and parameters["line.weight"].requires_grad
    assert buffers["norm.running_mean"].shape == (3, 2) and not buffers["norm.running_mean"].requires_grad
    x = torch.randn(5, 3)
    out = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(out, torch.stack([m(x) for m in models]))
    out.pow(2).sum().backward()
    models[1](x).pow(2).sum().backward()
    torch.testing.assert_close(parameters["line.weight"].grad[1], models[1].line.weight.grad)


def test_stacked_states_refuse_what_differs():
    models = [nn.Linear(2, 2) for _ in range(2)]
    models[0].weight.requires_grad_(False)
    with pytest.raises(RuntimeError, match="same .requires_grad"):
        stack_module_state(models)
    with pytest.raises(RuntimeError, match="at least one model"):
        stack_module_state([])
    with pytest.raises(RuntimeError, match="same training/eval mode"):
        stack_module_state([nn.Linear(2, 2), nn.Linear(2, 2).eval()])


def test_per_sample_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x, y = torch.randn(6, 3), torch.randn(6, 1)
    state = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p, x, y):
        return (functional_call(model, p, (x,)) - y).pow(2).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0))(state, x, y)
    for i in range(6):
        model.zero_grad()
        (model(x[i]) - y[i]).pow(2).sum().backward()
        for k, p in model.named_parameters():
            torch.testing.assert_close(each[k][i], p.grad)


def test_batch_norm_replaced():
    net = replace_all_batch_norm_modules_(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    assert net[1].running_mean is None and not net[1].track_running_stats
    assert vmap(net)(torch.randn(2, 5, 3)).shape == (2, 5, 3)


def test_functionalize():
    x = torch.zeros(3)
    assert functionalize(lambda x: x.add_(1) * 2)(x).tolist() == [2, 2, 2] and x.tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match="Valid options"):
        functionalize(torch.sin, remove="views")


def test_debug_unwrap():
    x, seen = torch.randn(2, 3), []
    vmap(vmap(lambda a: (seen.append((debug_unwrap(a), debug_unwrap(a, recurse=False))), a)[1]))(x)
    assert seen[0][0] is x and seen[0][1] is not x and debug_unwrap(x) is x


def test_rearrange():
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(rearrange(x, "b c h w -> b h w c"), x.permute(0, 2, 3, 1))
    assert torch.equal(rearrange(x, "b c h w -> (b h) (c w)"), x.permute(0, 2, 1, 3).reshape(8, 15))
    assert torch.equal(rearrange(x, "b c (p q) w -> p b (q c) w", p=2), x.view(2, 3, 2, 2, 5).permute(2, 0, 3, 1, 4).reshape(2, 2, 6, 5))
    assert torch.equal(rearrange(x, "b ... -> ... b"), x.permute(1, 2, 3, 0))
    assert torch.equal(rearrange(x, "b ... w -> w (...) b"), x.permute(3, 1, 2, 0).reshape(5, 12, 2))
    assert rearrange(x, "b c h w -> b 1 c (h w)").shape == (2, 1, 3, 20)
    assert torch.equal(rearrange([x, x], "n b c h w -> b n c h w"), torch.stack([x, x], 1))
    assert torch.equal(vmap(lambda a: rearrange(a, "c h w -> w h c"))(x), x.permute(0, 3, 2, 1))
    for pattern in ("b c h w", "b c h -> b c h", "b c h w -> b c h", "b b h w -> b h w", "(b c h w -> b c h w", "b c (p q) w -> b c p q w", "b c 2 w -> b c w"):
        with pytest.raises(ValueError):
            rearrange(x, pattern)
    with pytest.raises(ValueError, match="divide"):
        rearrange(x, "b c (p q) w -> b c p q w", p=3)
    with pytest.raises(ValueError, match="not used"):
        rearrange(x, "b c h w -> b c h w", p=3)
