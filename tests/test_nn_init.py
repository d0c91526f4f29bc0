"""Initialisers: the values PyTorch draws from the same seed, its errors and warnings; and what each promises."""

import math
import warnings

import pytest

import bibun as torch
from bibun import nn

DRAWS = '''
def drawn(name, shape, *args, dtype=None, **kwargs):
    torch.manual_seed(7)
    t = torch.empty(shape, dtype=dtype)
    out = getattr(nn.init, name)(t, *args, **kwargs)
    return out is t, t.flatten()[:40].tolist(), torch.rand(1).item()
drawn('uniform_', (3, 4))
drawn('uniform_', (30, 4), -2.0, 3.0)
drawn('uniform_', (3, 4), dtype=torch.float64)
drawn('normal_', (3, 4))
drawn('normal_', (30, 4), 1.0, 0.5)
drawn('normal_', (30, 4), 1.0, 0.5, dtype=torch.float64)
drawn('constant_', (3, 4), 0.3)
drawn('ones_', (2,))
drawn('zeros_', (2,))
drawn('eye_', (3, 4))
drawn('eye_', (3, 4, 5))
drawn('dirac_', (4, 2, 3))
drawn('dirac_', (4, 2, 3, 2), 2)
drawn('dirac_', (2, 4, 3, 3, 1))
drawn('dirac_', (4, 2))
drawn('dirac_', (4, 2, 3), 3)
drawn('xavier_uniform_', (5, 8))
drawn('xavier_uniform_', (5, 8, 3), 2.0)
drawn('xavier_uniform_', (5,))
drawn('xavier_normal_', (5, 8))
drawn('kaiming_uniform_', (5, 8))
drawn('kaiming_uniform_', (5, 8, 2, 2), 0.3, 'fan_out')
drawn('kaiming_uniform_', (5, 8), mode='FAN_OUT', nonlinearity='relu')
drawn('kaiming_uniform_', (5, 8), mode='fan')
drawn('kaiming_uniform_', (5, 8), nonlinearity='zz')
drawn('kaiming_uniform_', (0, 8))
drawn('kaiming_normal_', (5, 8))
drawn('kaiming_normal_', (5, 0))
drawn('kaiming_normal_', (5,))
drawn('sparse_', (7, 5), 0.5)
drawn('sparse_', (7, 5), 0.1, 2.0)
drawn('sparse_', (7,), 0.1)
drawn('orthogonal_', (3,))
drawn('orthogonal_', (0, 3))
'''

TRUNCATED = '''
def drawn(*args):
    torch.manual_seed(7)
    return [round(v, 5) for v in nn.init.trunc_normal_(torch.empty(6, 5), *args).flatten().tolist()], torch.rand(1).item()
drawn()
drawn(0.0, 0.02)
drawn(1.0, 2.0, -1.0, 1.5)
drawn(8.0, 1.0, -1.0, 1.0)
drawn(0.0, 5.0, -1.0, 0.5)
'''

ORTHOGONAL = '''
def drawn(shape, gain=1):
    torch.manual_seed(7)
    t = nn.init.orthogonal_(torch.empty(shape), gain)
    return [round(v, 4) + 0.0 for v in t.flatten().tolist()], torch.rand(1).item()
drawn((3, 3))
drawn((5, 2))
drawn((2, 5), 2.0)
drawn((2, 3, 2))
'''

GAINS = '''
[nn.init.calculate_gain(n) for n in ('linear', 'conv1d', 'conv_transpose3d', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu')]
nn.init.calculate_gain('leaky_relu', 0.5)
nn.init.calculate_gain('leaky_relu', 2)
nn.init.calculate_gain('leaky_relu', True)
nn.init.calculate_gain('leaky_relu', 'x')
nn.init.calculate_gain('zz')
nn.init._calculate_fan_in_and_fan_out(torch.empty(2, 3, 4, 5))
nn.init._calculate_fan_in_and_fan_out(torch.empty(2))
'''

LAYERS = '''
def parameters(make):
    torch.manual_seed(3)
    m = make()
    return {k: (tuple(v.shape), v.flatten()[:20].tolist()) for k, v in m.state_dict().items()}, torch.rand(1).item()
parameters(lambda: nn.Linear(3, 4))
parameters(lambda: nn.Linear(30, 40, bias=False))
parameters(lambda: nn.Linear(3, 4, dtype=torch.float64))
parameters(lambda: nn.Linear(0, 4))
parameters(lambda: nn.Bilinear(2, 3, 4))
parameters(lambda: nn.Bilinear(2, 3, 4, bias=False))
parameters(lambda: nn.Bilinear(0, 3, 4))
parameters(lambda: nn.Conv1d(2, 4, 3))
parameters(lambda: nn.Conv2d(2, 4, (3, 2), groups=2))
parameters(lambda: nn.Conv3d(1, 2, 2, bias=False))
parameters(lambda: nn.ConvTranspose1d(2, 4, 3))
parameters(lambda: nn.ConvTranspose2d(2, 4, (3, 2), groups=2))
parameters(lambda: nn.ConvTranspose3d(1, 2, 2, bias=False))
parameters(lambda: nn.Embedding(5, 3))
parameters(lambda: nn.Embedding(20, 3, padding_idx=-1))
parameters(lambda: nn.EmbeddingBag(5, 3, padding_idx=1))
parameters(lambda: nn.LayerNorm((2, 3)))
parameters(lambda: nn.LayerNorm(3, bias=False))
parameters(lambda: nn.LayerNorm(3, elementwise_affine=False))
parameters(lambda: nn.RMSNorm(3))
parameters(lambda: nn.GroupNorm(2, 4))
parameters(lambda: nn.GroupNorm(2, 4, affine=False))
parameters(lambda: nn.BatchNorm1d(3))
parameters(lambda: nn.BatchNorm2d(3, affine=False))
parameters(lambda: nn.BatchNorm3d(3, track_running_stats=False))
parameters(lambda: nn.InstanceNorm1d(3))
parameters(lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True))
parameters(lambda: nn.PReLU(3))
parameters(lambda: nn.RNN(3, 4, 2, bidirectional=True))
parameters(lambda: nn.LSTM(3, 4, proj_size=2))
parameters(lambda: nn.GRU(3, 4, bias=False))
parameters(lambda: nn.RNNCell(3, 4))
parameters(lambda: nn.LSTMCell(3, 4))
parameters(lambda: nn.GRUCell(3, 4, bias=False))
parameters(lambda: nn.MultiheadAttention(4, 2))
parameters(lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True, bias=False))
parameters(lambda: nn.TransformerEncoderLayer(4, 2, 5))
parameters(lambda: nn.Transformer(4, 2, 1, 1, 5))
parameters(lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], div_value=2.0))
parameters(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
'''


@pytest.mark.parametrize("program", [DRAWS, TRUNCATED, GAINS, LAYERS])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


@pytest.mark.skipif(not hasattr(torch, "linalg"), reason="needs linalg")
def test_orthogonal_as_pytorch(same_outcomes):
    same_outcomes(ORTHOGONAL)


def test_bounds_and_moments():
    torch.manual_seed(0)
    w = torch.empty(200, 100)
    a = math.sqrt(6 / 300)
    nn.init.xavier_uniform_(w)
    assert -a <= w.min().item() < -0.9 * a and 0.9 * a < w.max().item() <= a
    nn.init.kaiming_normal_(w, nonlinearity="relu")
    assert abs(w.std().item() / math.sqrt(2 / 100) - 1) < 0.05
    nn.init.trunc_normal_(w, std=1.0, a=-0.5, b=0.25)
    assert w.min().item() >= -0.5 and w.max().item() <= 0.25


def test_nothing_is_recorded_and_parameters_stay_leaves():
    p = nn.Parameter(torch.empty(2, 3))
    for fill in (nn.init.uniform_, nn.init.normal_, nn.init.ones_, nn.init.eye_, nn.init.xavier_uniform_):
        assert fill(p) is p and p.is_leaf and p.requires_grad and p.grad_fn is None


def test_deprecated_names_warn_and_work():
    for name in "uniform normal constant eye dirac xavier_uniform kaiming_normal sparse".split():
        args = {"constant": (0.5,), "sparse": (0.5,)}.get(name, ())
        shape = (2, 2, 2) if name == "dirac" else (2, 2)
        with pytest.warns(FutureWarning, match=f"`nn.init.{name}` is now deprecated in favor of `nn.init.{name}_`"):
            getattr(nn.init, name)(torch.empty(shape), *args)


def test_warnings():
    with pytest.warns(UserWarning, match="zero-element"):
        nn.init.kaiming_uniform_(torch.empty(0, 3))
    with pytest.warns(UserWarning, match="more than 2 std"):
        nn.init.trunc_normal_(torch.empty(3), mean=9.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.init.trunc_normal_(torch.empty(3))


def test_a_generator_of_ones_own():
    if not hasattr(torch, "Generator"):
        pytest.skip("needs generators")
    draws = []
    for _ in range(2):
        g = torch.Generator()
        g.manual_seed(5)
        draws.append(nn.init.normal_(torch.empty(20), generator=g).tolist())
    assert draws[0] == draws[1]


def test_skip_init_leaves_the_stream_alone():
    torch.manual_seed(1)
    first = torch.rand(1).item()
    torch.manual_seed(1)
    m = nn.utils.skip_init(nn.Linear, 3, 4)
    assert m.weight.shape == (4, 3) and torch.rand(1).item() == first
    with pytest.raises(RuntimeError, match="'device' arg"):
        nn.utils.skip_init(nn.ReLU)
