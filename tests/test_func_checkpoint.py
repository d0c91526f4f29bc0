"""Saved-tensor hooks with operations of several outputs and double backward; vmap inside a checkpoint."""

import pytest

import bibun as torch

FUNCTIONS = {
    "power": lambda x: (x**3).sum(),
    "product": lambda x: (x * x * x).sum(),
    "exp": lambda x: x.exp().sum(),
    "qr": lambda x: torch.linalg.qr(x)[0].sin().sum(),
    "var_mean": lambda x: torch.var_mean(x, 1)[0].pow(2).sum(),
    "cat": lambda x: (torch.cat([x, x * 2]) ** 2).sum(),
    "stack": lambda x: (torch.stack([x, x * 2]) * x).sum(),
    "sort": lambda x: x.sort().values.pow(2).sum(),
    "max": lambda x: x.max(1).values.pow(3).sum(),
    "narrow": lambda x: (x.bfloat16() ** 3).sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_saved_on_cpu(name):
    torch.manual_seed(0)
    x = torch.randn(3, 3, requires_grad=True)
    found = []
    for hooks in (False, True):
        if hooks:
            with torch.autograd.graph.save_on_cpu():
                y = FUNCTIONS[name](x)
        else:
            y = FUNCTIONS[name](x)
        (once,) = torch.autograd.grad(y, x, retain_graph=True)
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        (twice,) = torch.autograd.grad(g.pow(2).sum(), x)
        found.append((once, twice))
    torch.testing.assert_close(found[0], found[1])


def test_vmap_inside_a_checkpoint():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)

    def loss(x):
        return torch.vmap(torch.linalg.qr)(x)[0].sin().sum()

    (plain,) = torch.autograd.grad(loss(x), x)
    (again,) = torch.autograd.grad(torch.utils.checkpoint.checkpoint(loss, x, use_reentrant=False), x)
    torch.testing.assert_close(again, plain)
