"""Windows and short-time transforms beside PyTorch's: values, gradients, errors."""

import numpy as np
import pytest

import bibun

torch = pytest.importorskip("torch")

from side_by_side import compare

rng = np.random.default_rng(0)
ARRAYS = {
    "g": rng.standard_normal((2, 20)),
    "gr": rng.standard_normal((2, 5, 11)),
    "z": rng.standard_normal((2, 5, 11)) + 1j * rng.standard_normal((2, 5, 11)),
    "gw": rng.uniform(0.5, 1, 8),
}

WINDOWS = """
torch.hann_window({n})
torch.hann_window({n}, False, dtype=torch.float64)
torch.hann_window({n}, periodic=True, dtype=torch.float16)
torch.hamming_window({n})
torch.hamming_window({n}, True, .6, .4)
torch.hamming_window({n}, False, alpha=.7, beta=.3)
torch.blackman_window({n})
torch.bartlett_window({n})
torch.bartlett_window({n}, False)
torch.kaiser_window({n})
torch.kaiser_window({n}, False, 3.)
torch.kaiser_window({n}, True, beta=3., dtype=torch.float64)
torch.signal.windows.bartlett({n})
torch.signal.windows.blackman({n}, sym=False)
torch.signal.windows.cosine({n})
torch.signal.windows.cosine({n}, sym=False)
torch.signal.windows.exponential({n}, tau=2.)
torch.signal.windows.exponential({n}, center=1, sym=False)
torch.signal.windows.gaussian({n}, std=.7, sym=False)
torch.signal.windows.general_cosine({n}, a=[.5, .3, .2])
torch.signal.windows.general_hamming({n}, alpha=.6, sym=False)
torch.signal.windows.hamming({n}, dtype=torch.float64)
torch.signal.windows.hann({n})
torch.signal.windows.kaiser({n}, beta=6.)
torch.signal.windows.kaiser({n}, sym=False)
torch.signal.windows.nuttall({n})
""".strip().split("\n")


@pytest.mark.parametrize("expression", WINDOWS)
def test_windows(expression):
    for n in (0, 1, 2, 7, 64):
        source = expression.format(n=n)
        want, have = eval(source), eval(source, {"torch": bibun})
        assert str(want.dtype) == str(have.dtype).replace("bibun", "torch")
        close = 2e-3 if want.dtype == torch.float16 else 2e-6 if want.dtype == torch.float32 else 1e-15
        np.testing.assert_allclose(have.numpy(), want.numpy(), atol=close, rtol=2 * close, err_msg=source)


CASES = """
torch.hann_window(-1)
torch.hann_window(5.)
torch.kaiser_window(4, requires_grad=True)
torch.signal.windows.hann(-1)
torch.signal.windows.hann(5, dtype=torch.int64)
torch.signal.windows.kaiser(5, beta=-1)
torch.signal.windows.exponential(5, center=1)
torch.signal.windows.exponential(5, tau=-1)
torch.signal.windows.gaussian(5, std=-1)
torch.signal.windows.general_cosine(5, a=3)
torch.signal.windows.general_cosine(5, a=[])
torch.view_as_real(torch.stft(g, 8, window=gw, return_complex=True))
torch.view_as_real(g.stft(8, 3, 6, torch.ones(6), False, normalized=True, onesided=False, return_complex=True))
torch.view_as_real(torch.stft(g[0], 9, 4, window=torch.ones(9), pad_mode='constant', return_complex=True))
torch.view_as_real(torch.stft(g + 0j, 8, window=gw))
torch.stft(g, 8, window=gw)
torch.stft(g, 8, window=torch.ones(7), return_complex=True)
torch.stft(g, 8, win_length=9, window=gw, return_complex=True)
torch.stft(g, 0, window=gw, return_complex=True)
torch.stft(g, 8, hop_length=0, window=gw, return_complex=True)
torch.stft(g, 21, window=gw, center=False, return_complex=True)
torch.stft(g[None], 8, window=gw, return_complex=True)
torch.stft(g + 0j, 8, window=gw, onesided=True)
torch.stft(g, 8, window=gw, return_complex=True, align_to_window=True)
torch.istft(z, 8, window=gw)
torch.istft(torch.complex(gr, gr.sin()), 8, window=gw)
torch.istft(torch.complex(gr, gr.sin())[0], 8, 3, 6, window=gw[:6], normalized=True)
torch.istft(z[0], 8, 3, 7, gw[:7], length=15)
z.istft(8, window=gw, center=False, normalized=True)
torch.istft(torch.cat([z, z[:, :3]], 1), 8, window=gw)
torch.istft(z, 8, window=gw, length=30)
torch.istft(z.real, 8, window=gw)
torch.istft(z, 10, window=torch.ones(10))
torch.istft(z, 8, hop_length=9, window=gw)
torch.istft(z, 8, win_length=9, window=gw)
torch.istft(z, 8, window=gw[:7])
torch.istft(z, 8, window=gw, return_complex=True)
""".strip().split("\n")


@pytest.mark.parametrize("expression", CASES)
def test_transforms_and_errors(expression):
    if "length=30" in expression:  # PyTorch says where in its sources the warning stands
        want, have = (
            eval(expression, {"torch": m, **{k: m.tensor(a) for k, a in ARRAYS.items()}}) for m in (torch, bibun)
        )
        np.testing.assert_allclose(have.numpy(), want.numpy())
        return
    compare(torch, bibun, {k: a for k, a in ARRAYS.items() if k in expression}, expression)
