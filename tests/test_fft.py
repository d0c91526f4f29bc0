"""torch.fft beside PyTorch's: values, names of nodes, first and second derivatives, errors; vmap and forward mode."""

import subprocess
import sys

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

from side_by_side import compare

rng = np.random.default_rng(0)
ARRAYS = {
    "g": rng.standard_normal((4, 5)),
    "gz": rng.standard_normal((4, 5)) + 1j * rng.standard_normal((4, 5)),
    "f": rng.standard_normal((4, 6)).astype(np.float32),
    "i": np.arange(6).reshape(2, 3),
    "h": rng.standard_normal((2, 4)).astype(np.float16),
    "o": np.float64(1.5),
    "e": np.zeros((3, 0)),
}
NORMS = (None, "backward", "forward", "ortho")


def real(expression):
    """The expression with a complex result seen as real numbers, which have gradients."""
    return f"(lambda y: torch.view_as_real(y * 1) if y.is_complex() else y)({expression})"


def check(expression, *names):
    compare(torch, bibun, {n: ARRAYS[n] for n in names}, expression)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_one_dim(name):
    for x in ("g", "gz"):
        for n in (None, 3, 4, 7):
            check(real(f"torch.fft.{name}({x}, {n}, dim=0, norm={NORMS[(n or 0) % 4]!r})"), x)
            check(real(f"torch.fft.{name}({x}, n={n}, norm={NORMS[(n or 1) % 4]!r})"), x)
    check(real(f"torch.fft.{name}(f)"), "f")
    check(real(f"torch.fft.{name}(i, 3)"), "i")


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_several_dims(name):
    for x in ("g", "gz"):
        for number, more in enumerate(("", "s=(3, 6)", "s=(-1, 7)", "s=(5,)", "dim=(0,)", "dim=(1, 0), s=(6, 3)")):
            check(real(f"torch.fft.{name}n({x}, {more}{',' * bool(more)} norm={NORMS[number % 4]!r})"), x)
        check(real(f"torch.fft.{name}2({x}, (4, 4))"), x)


def test_nodes():
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
        for form in ("", "n"):
            nodes = []
            for module in (torch, bibun):
                y = getattr(module.fft, name + form)(module.ones(2, 4, requires_grad=True))
                # (PyTorch conjugates lazily or at once, as it sees fit.)
                before = y.grad_fn.next_functions[0][0].name().split(":")[-1].replace("Physical", "")
                nodes.append((y.grad_fn.name(), before))
            assert nodes[0] == nodes[1]


ERRORS = """
torch.fft.fft(g, 0)
torch.fft.fft(g, dim=2)
torch.fft.fft(g, norm='a')
torch.fft.fft(h)
torch.fft.fftn(g, dim=(0, 0))
torch.fft.fftn(g, s=(1, 2, 3))
torch.fft.fftn(g, s=(2,), dim=(0, 1))
torch.fft.fftn(g, s=(-2, 3))
torch.fft.fft(e)
torch.fft.irfft(gz, 0)
torch.fft.fft(o)
torch.fft.fftn(o)
torch.fft.rfftn(o)
torch.fft.irfftn(o)
torch.fft.irfft(g[:, :1])
torch.fft.fftn(g.detach(), dim=())
torch.fft.rfft(gz)
torch.fft.ihfft(gz)
torch.fft.ihfftn(gz)
torch.fft.rfftn(gz)
torch.fft.rfftn(g, dim=())
torch.fft.fft2(g[0])
torch.fft.irfft(e)
torch.fft.fft('a')
torch.fft.fftfreq(5), torch.fft.fftfreq(6, .3), torch.fft.fftfreq(4, d=2, dtype=torch.float64), torch.fft.fftfreq(0)
torch.fft.rfftfreq(5), torch.fft.rfftfreq(6, .3), torch.fft.rfftfreq(4, d=2, dtype=torch.float64)
torch.fft.fftfreq(4, dtype=torch.int64)
torch.fft.fftshift(g)
torch.fft.ifftshift(g, 1)
torch.fft.ifftshift(g, (0, 1))
torch.fft.fftshift(o)
torch.fft.fftshift(g, 2)
""".strip().split("\n")


@pytest.mark.parametrize("expression", ERRORS)
def test_errors_and_frequencies(expression):
    check(expression, "g", "gz", "o", "e", "h")


def test_inverse_and_out():
    x = bibun.randn(3, 8)
    assert bibun.allclose(bibun.fft.irfft(bibun.fft.rfft(x)), x, atol=1e-6)
    out = bibun.empty(3, 8, dtype=bibun.complex64)
    assert bibun.fft.fft(x, out=out) is out
    assert bibun.equal(out, bibun.fft.fft(x))


def test_vmap_and_forward_mode():
    x = bibun.randn(3, 4, 6, dtype=bibun.float64)
    for f in (
        lambda a: bibun.fft.rfftn(a),
        lambda a: bibun.fft.fft(a, dim=0),
        lambda a: bibun.fft.irfft(a + 0j, n=7),
        bibun.func.grad(lambda a: bibun.fft.rfft(a).abs().square().sum()),
    ):
        whole, parts = bibun.func.vmap(f, in_dims=1)(x), bibun.stack([f(x[:, i]) for i in range(4)])
        assert np.allclose(whole.detach().numpy(), parts.detach().numpy())
    _, tangent = bibun.func.jvp(bibun.fft.rfft, (x,), (x,))
    assert np.allclose(tangent.numpy(), np.fft.rfft(x.numpy()))


def test_loads_when_touched():
    code = "import bibun, sys; assert 'numpy.fft' not in sys.modules; assert 'bibun.functions.fft' not in sys.modules; bibun.fft.fft"
    subprocess.run([sys.executable, "-c", code], check=True)
