"""Layers: printed form, errors, outputs and gradients beside PyTorch's, with the same parameters and inputs."""

import warnings

import numpy as np
import pytest

import bibun
from bibun import nn

REPRS = '''
nn.Linear(2, 3), nn.Linear(2, 3, bias=False), nn.Bilinear(2, 3, 4), nn.Identity(1, a=2), nn.LazyLinear(3)
nn.Flatten(), nn.Unflatten(1, (2, 3)), nn.Unflatten(1, [2, 3])
nn.Unflatten(1, 3)
nn.Unflatten(1, (2, 'a'))
nn.Unflatten(1.5, (2,))
nn.Threshold(1, 2), nn.Threshold(1, 2, True), nn.ReLU(), nn.ReLU(True), nn.RReLU(), nn.RReLU(.1, .2, True), nn.Hardtanh()
nn.Hardtanh(1., 0.)  # type
nn.Hardtanh(min_value=-3., max_value=2.), nn.ReLU6(), nn.ReLU6(True), nn.Sigmoid(), nn.Hardsigmoid(), nn.Hardsigmoid(True)
nn.Tanh(), nn.SiLU(), nn.SiLU(True), nn.Mish(), nn.Hardswish(True), nn.ELU(), nn.ELU(2., True), nn.CELU(), nn.SELU(True)
nn.GLU(), nn.GELU(), nn.GELU('tanh'), nn.Hardshrink(), nn.LeakyReLU(), nn.LeakyReLU(.2, True), nn.LogSigmoid()
nn.Softplus(), nn.Softshrink(), nn.PReLU(), nn.PReLU(3), nn.Softsign(), nn.Tanhshrink(), nn.Softmin(), nn.Softmax(1)
nn.LogSoftmax(-1), nn.Softmax2d()
nn.Softmax2d()(torch.ones(2))
nn.Dropout(), nn.Dropout(.2, True), nn.Dropout1d(), nn.Dropout2d(), nn.Dropout3d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()
nn.Dropout(1.5)
nn.LayerNorm(3), nn.LayerNorm((2, 3), bias=False), nn.LayerNorm([]), nn.RMSNorm(3), nn.GroupNorm(2, 4), nn.GroupNorm(2, 4, bias=False)
nn.GroupNorm(3, 4)
nn.LocalResponseNorm(2), nn.CrossMapLRN2d(2)
nn.CrossMapLRN2d(2)(torch.ones(2))
nn.BatchNorm1d(3), nn.BatchNorm1d(3, bias=False), nn.BatchNorm2d(3, affine=False), nn.BatchNorm3d(3, momentum=None), nn.InstanceNorm1d(3)
nn.SyncBatchNorm(3), nn.LazyBatchNorm1d(), nn.LazyInstanceNorm2d()
nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))
nn.BatchNorm1d(3)(torch.ones(3))
nn.BatchNorm2d(3)(torch.ones(3, 3))
nn.BatchNorm3d(3)(torch.ones(3, 3))
nn.BatchNorm1d(3)(torch.ones(1, 3))
nn.InstanceNorm2d(3)(torch.ones(3, 3))
nn.InstanceNorm1d(3, affine=True)(torch.ones(2, 4, 3))
nn.SyncBatchNorm(3)(torch.ones(3))
nn.InstanceNorm1d(3).load_state_dict({'running_mean': torch.ones(3), 'running_var': torch.ones(3)})
nn.Conv2d(3, 4, 3, padding='same', stride=2)
nn.Conv2d(3, 4, 3, groups=2)
nn.Conv2d(4, 5, 3, groups=2)
nn.Conv2d(4, 4, 3, groups=0)
nn.Conv2d(4, 4, 3, padding='foo')  # type
nn.Conv2d(4, 4, 3, padding_mode='foo')  # type
nn.Conv2d(4, 4, (3, 4), padding='same')._reversed_padding_repeated_twice
nn.Conv2d(4, 4, 3, padding=(1, 2))._reversed_padding_repeated_twice
nn.ConvTranspose2d(4, 4, 3, padding_mode='reflect')
nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect', groups=2, bias=False, dilation=2), nn.Conv1d(4, 4, 3, padding='same')
nn.ConvTranspose1d(4, 4, 3, output_padding=1, stride=2), nn.Conv3d(1, 2, 3), nn.LazyConv2d(3, 3), nn.LazyConvTranspose1d(3, 3)
nn.MaxPool1d(2), nn.MaxPool2d(2, 3, 1), nn.AvgPool1d(2), nn.AvgPool2d((2, 2)), nn.AvgPool3d(2), nn.MaxUnpool1d(2), nn.MaxUnpool2d((2, 3), 1)
nn.LPPool1d(2., 3), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((None, 3)), nn.AdaptiveMaxPool1d(3), nn.FractionalMaxPool3d(2, 3)
nn.FractionalMaxPool2d(2)
nn.FractionalMaxPool2d(2, None, 2.)
nn.FractionalMaxPool2d(2, 3, .5)
nn.ConstantPad1d(2, 3.5), nn.ConstantPad2d((1, 2, 3, 4), 3), nn.ZeroPad2d(1), nn.ZeroPad3d(1), nn.ReflectionPad1d(2), nn.CircularPad1d((1, 2))
nn.CircularPad1d(2)(torch.ones(2))
nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2), nn.Upsample(), nn.Upsample(None, 2), nn.Upsample((3, 4))
nn.Upsample(None, (2, 3), 'bilinear', True), nn.UpsamplingNearest2d(3), nn.UpsamplingBilinear2d(None, 2)
nn.Fold(4, 2), nn.Unfold(2), nn.Unfold((2, 3), 1, (0, 1))
nn.Embedding(4, 3), nn.Embedding(4, 3, 1, 2., 1., True, True), nn.Embedding(4, 3, -1)
nn.Embedding(4, 3, 7)
nn.Embedding(4, 3, -5)
nn.Embedding(3, 2, _weight=torch.ones(3, 3))
nn.Embedding.from_pretrained(torch.ones(3))
nn.Embedding.from_pretrained(torch.ones(3, 2)).weight.requires_grad
nn.EmbeddingBag(4, 3), nn.EmbeddingBag(4, 3, 1., 1., True, 'max', True, None, True, 1)
nn.PairwiseDistance(), nn.CosineSimilarity()
nn.L1Loss(), nn.NLLLoss(), nn.CrossEntropyLoss(), nn.CTCLoss(), nn.BCEWithLogitsLoss(), nn.TripletMarginWithDistanceLoss()
nn.MSELoss(size_average=False).reduction, nn.MSELoss(reduce=False).reduction, nn.MSELoss(True, True).reduction
list(nn.CrossEntropyLoss(torch.ones(3)).state_dict()), list(nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)).state_dict())
nn.MultiMarginLoss(3)
nn.LinearCrossEntropyLoss(3, 5, bias=True), nn.LinearCrossEntropyLoss(3, 5, out_features=(2,), weight=torch.ones(5))
nn.MultiMarginLoss(weight=torch.ones(2, 2))
nn.TripletMarginLoss(-1.)
nn.TripletMarginWithDistanceLoss(margin=0)
nn.RNN(3, 4), nn.LSTM(3, 4, 2, False, True, .5, True, 2), nn.GRU(3, 4, 1, True, False, .5), nn.LSTMCell(3, 4), nn.RNNCell(3, 4, False, 'relu')
nn.AdaptiveLogSoftmaxWithLoss(4, 10, [2, 5])
nn.AdaptiveLogSoftmaxWithLoss(4, 10, [5, 2])
nn.AdaptiveLogSoftmaxWithLoss(4, 10, [])
nn.MultiheadAttention(4, 2)
nn.MultiheadAttention(4, 3)
nn.MultiheadAttention(4, 0)
nn.TransformerEncoderLayer(4, 2), nn.TransformerDecoderLayer(4, 2, 3)
nn.TransformerEncoderLayer(4, 2, activation='zz')
nn.Transformer(4, 2, 1, 1, 5)
nn.Transformer.generate_square_subsequent_mask(3)
nn.DataParallel(nn.ReLU())
'''

RECURRENT = '''
def sizes(o): return tuple(o.shape) if isinstance(o, torch.Tensor) else [sizes(i) for i in o]
M = nn.RNN
M(3, 4, dropout=2)
M(3, 4.)
M(3, 0)
M(3, 4, 0)
M(3, 4, proj_size=2)
M(3)
M(0, 4)
M(3, 4, dropout=True)
nn.LSTM(3, 4, proj_size=5)
nn.LSTM(3, 4, proj_size=-1)
m = M(3, 4, 2, bidirectional=True)
{k: tuple(v.shape) for k, v in m.state_dict().items()}
m._flat_weights_names, sizes(m.all_weights)
sizes(m(torch.ones(5, 2, 3))), sizes(m(torch.ones(5, 3)))
m(torch.ones(3))
m(torch.ones(5, 2, 4))
m(torch.ones(5, 2, 3), torch.ones(4, 3, 4))
m(torch.ones(5, 2, 3), torch.ones(4, 4))
m(torch.ones(5, 3), torch.ones(4, 2, 4))
m(torch.ones(5, 2, 3, dtype=torch.float64))
m(torch.ones(1, 2, 3, 4))
l = nn.LSTM(3, 4, 2, batch_first=True)
sizes(l(torch.ones(5, 2, 3))), sizes(l(torch.ones(5, 3)))
l(torch.ones(3))
l(torch.ones(5, 2, 3), (torch.ones(2, 3, 4), torch.ones(2, 3, 4)))
l(torch.ones(5, 2, 3), (torch.ones(2, 4), torch.ones(2, 4)))
l(torch.ones(5, 3), (torch.ones(2, 1, 4), torch.ones(2, 1, 4)))
sizes(nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True)(torch.ones(5, 2, 3)))
packed = nn.utils.rnn.pack_sequence([torch.ones(2, 3), torch.ones(5, 3), torch.ones(1, 3)], False)
sizes(m(packed)[0]), sizes(m(packed)[1])
c = nn.LSTMCell(3, 4)
sizes(c(torch.ones(2, 3))), sizes(c(torch.ones(3)))
c(torch.ones(2, 2, 3))
c(torch.ones(2, 5))
c(torch.ones(2, 3), (torch.ones(3, 4), torch.ones(3, 4)))
c(torch.ones(3), (torch.ones(2, 4), torch.ones(2, 4)))
c(torch.ones(2, 3), (torch.ones(2, 5), torch.ones(2, 5)))
nn.RNNCell(2, 2, nonlinearity='q')(torch.ones(1, 2))
nn.RNN(2, 2, nonlinearity='q')
nn.RNN(2, 2, 1, 'relu')
nn.RNNBase('zz', 2, 3)
'''


@pytest.mark.parametrize("program", [REPRS, RECURRENT])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


# (how to make it, shapes of its inputs): outputs and all gradients are compared.
LAYERS = [
    ("Identity()", [(2, 3)]),
    ("Linear(3, 4)", [(2, 3)]),
    ("Linear(3, 4, bias=False)", [(3,)]),
    ("Linear(3, 4)", [(2, 5, 3)]),
    ("Bilinear(3, 4, 2)", [(5, 3), (5, 4)]),
    ("Flatten()", [(2, 3, 4)]),
    ("Unflatten(1, (2, 3))", [(2, 6)]),
    *(
        (f"{name}()", [(3, 4)])
        for name in (
            "ReLU ReLU6 Sigmoid Hardsigmoid Tanh SiLU Mish Hardswish ELU CELU SELU GLU GELU Hardshrink LeakyReLU Hardtanh "
            "LogSigmoid Softplus Softshrink PReLU Softsign Tanhshrink"
        ).split()
    ),
    ("Threshold(0.1, -2.0)", [(3, 4)]),
    ("GELU('tanh')", [(3, 4)]),
    ("RReLU().eval()", [(3, 4)]),
    ("PReLU(4)", [(3, 4)]),
    ("Softmax(1)", [(3, 4)]),
    ("Softmin(0)", [(3, 4)]),
    ("LogSoftmax(-1)", [(3, 4)]),
    ("Softmax2d()", [(2, 3, 4, 5)]),
    ("Dropout().eval()", [(3, 4)]),
    ("LayerNorm(4)", [(3, 4)]),
    ("LayerNorm((3, 4), elementwise_affine=False)", [(2, 3, 4)]),
    ("RMSNorm(4)", [(3, 4)]),
    ("GroupNorm(2, 4)", [(3, 4, 5)]),
    ("LocalResponseNorm(2)", [(2, 5, 4)]),
    ("BatchNorm1d(4)", [(5, 4)]),
    ("BatchNorm1d(4, momentum=None)", [(5, 4, 3)]),
    ("BatchNorm1d(4).eval()", [(5, 4)]),
    ("BatchNorm2d(3, affine=False)", [(2, 3, 4, 4)]),
    ("BatchNorm3d(2)", [(2, 2, 2, 3, 3)]),
    ("SyncBatchNorm(4).eval()", [(5, 4)]),
    ("InstanceNorm1d(3)", [(2, 3, 4)]),
    ("InstanceNorm2d(3, affine=True, track_running_stats=True)", [(2, 3, 4, 4)]),
    ("InstanceNorm2d(3)", [(3, 4, 4)]),
    ("Conv1d(2, 4, 3, padding='same')", [(2, 2, 6)]),
    ("Conv2d(2, 4, 3, stride=2, padding=1, groups=2)", [(2, 2, 5, 6)]),
    ("Conv2d(2, 3, 3, padding=1, padding_mode='circular')", [(1, 2, 4, 4)]),
    ("Conv2d(2, 3, (3, 2), padding='same', padding_mode='replicate', dilation=2)", [(1, 2, 5, 5)]),
    ("Conv3d(1, 2, 2, bias=False)", [(1, 1, 3, 3, 3)]),
    ("ConvTranspose1d(2, 4, 3, stride=2, output_padding=1)", [(2, 2, 5)]),
    ("ConvTranspose2d(2, 4, 3, groups=2, dilation=2)", [(2, 2, 4, 4)]),
    ("ConvTranspose3d(1, 2, 2)", [(1, 1, 2, 2, 2)]),
    ("MaxPool1d(2)", [(2, 3, 6)]),
    ("MaxPool2d(2, 1, 1)", [(2, 3, 5, 5)]),
    ("MaxPool3d(2)", [(1, 2, 4, 4, 4)]),
    ("AvgPool1d(2, ceil_mode=True)", [(2, 3, 5)]),
    ("AvgPool2d(2, padding=1, count_include_pad=False)", [(2, 3, 4, 4)]),
    ("AvgPool3d(2, divisor_override=3)", [(1, 2, 4, 4, 4)]),
    ("LPPool1d(2, 2)", [(2, 3, 6)]),
    ("LPPool2d(2, 2)", [(2, 3, 4, 4)]),
    ("AdaptiveAvgPool1d(3)", [(2, 3, 7)]),
    ("AdaptiveAvgPool2d((None, 2))", [(2, 3, 5, 6)]),
    ("AdaptiveAvgPool3d(2)", [(1, 2, 4, 5, 6)]),
    ("AdaptiveMaxPool1d(3)", [(2, 3, 7)]),
    ("AdaptiveMaxPool2d(2)", [(2, 3, 5, 6)]),
    *((f"{kind}Pad1d((1, 2))", [(2, 3, 5)]) for kind in "Reflection Replication Circular Zero".split()),
    *((f"{kind}Pad2d((1, 2, 0, 1))", [(2, 3, 4, 5)]) for kind in "Reflection Replication Circular Zero".split()),
    *((f"{kind}Pad3d(1)", [(1, 2, 3, 3, 3)]) for kind in "Reflection Replication Circular Zero".split()),
    ("ConstantPad2d((1, -1, 0, 2), 3.5)", [(2, 3, 4, 5)]),
    ("PixelShuffle(2)", [(1, 8, 2, 3)]),
    ("PixelUnshuffle(2)", [(1, 2, 4, 6)]),
    ("ChannelShuffle(2)", [(1, 4, 2, 2)]),
    ("Upsample(scale_factor=2)", [(1, 2, 3, 3)]),
    ("Upsample(size=5, mode='linear')", [(1, 2, 3)]),
    ("UpsamplingBilinear2d(scale_factor=2)", [(1, 2, 3, 3)]),
    ("Unfold(2)", [(1, 2, 3, 3)]),
    ("Fold((3, 3), 2)", [(1, 8, 4)]),
    ("CosineSimilarity()", [(3, 4), (3, 4)]),
    ("PairwiseDistance()", [(3, 4), (3, 4)]),
    ("L1Loss()", [(3, 4), (3, 4)]),
    ("MSELoss(reduction='sum')", [(3, 4), (3, 4)]),
    ("SmoothL1Loss(reduction='none', beta=0.5)", [(3, 4), (3, 4)]),
    ("HuberLoss(delta=0.3)", [(3, 4), (3, 4)]),
    ("BCEWithLogitsLoss()", [(3, 4), (3, 4)]),
    ("KLDivLoss(reduction='batchmean', log_target=True)", [(3, 4), (3, 4)]),
    ("PoissonNLLLoss()", [(3, 4), (3, 4)]),
    ("TripletMarginLoss()", [(3, 4), (3, 4), (3, 4)]),
    ("TripletMarginWithDistanceLoss(swap=True)", [(3, 4), (3, 4), (3, 4)]),
    ("RNN(3, 4, 2)", [(5, 2, 3)]),
    ("RNN(3, 4, nonlinearity='relu', batch_first=True, bidirectional=True)", [(5, 2, 3)]),
    ("LSTM(3, 4, 2, bidirectional=True)", [(5, 2, 3)]),
    ("LSTM(3, 4, proj_size=2, bias=False)", [(5, 2, 3)]),
    ("GRU(3, 4, 2)", [(5, 2, 3)]),
    ("GRU(3, 4)", [(5, 3), (1, 4)]),
    ("RNNCell(3, 4)", [(2, 3), (2, 4)]),
    ("LSTMCell(3, 4)", [(2, 3)]),
    ("GRUCell(3, 4)", [(2, 3), (2, 4)]),
    ("MultiheadAttention(4, 2)", [(5, 2, 4), (3, 2, 4), (3, 2, 4)]),
    ("MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True, add_zero_attn=True, batch_first=True)", [(2, 5, 4), (2, 3, 3), (2, 3, 5)]),
    ("TransformerEncoderLayer(4, 2, 6, dropout=0.0)", [(5, 2, 4)]),
    ("TransformerDecoderLayer(4, 2, 6, dropout=0.0, norm_first=True, batch_first=True, activation='gelu')", [(2, 3, 4), (2, 5, 4)]),
    ("Transformer(4, 2, 1, 1, 6, dropout=0.0)", [(5, 2, 4), (3, 2, 4)]),
]


def tensors_of(result, tensor):
    if isinstance(result, tensor):
        return [result]
    return [t for part in result if part is not None for t in tensors_of(part, tensor)]


def run(torch, source, arrays, state=None):
    """(state dict as arrays, outputs, gradients of inputs and parameters) of a layer on the inputs."""
    module = eval("nn." + source, {"nn": torch.nn})
    if state is None:
        for i, p in enumerate(module.parameters()):
            values = np.random.default_rng(i).normal(size=tuple(p.shape)) * 0.5
            p.data = torch.tensor(values, dtype=torch.float32)
        state = {k: v.detach().numpy() for k, v in module.state_dict().items()}
        state = {k: v.copy() for k, v in state.items()}
    else:
        module.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    outputs = tensors_of(module(*inputs), torch.Tensor)
    total = sum((o * torch.tensor(np.cos(np.arange(o.numel(), dtype=np.float32)).reshape(tuple(o.shape)))).sum() for o in outputs)
    total.backward()
    after = {f"buffer {k}": v.detach().numpy() for k, v in module.named_buffers()}
    grads = {f"input {i}": x.grad for i, x in enumerate(inputs)} | {k: p.grad for k, p in module.named_parameters()}
    found = {f"output {i}": o.detach().numpy() for i, o in enumerate(outputs)} | after
    return state, found | {k: g.numpy() for k, g in grads.items() if g is not None}


@pytest.mark.parametrize(("source", "shapes"), LAYERS, ids=[f"{s}-{len(i)}" for s, i in LAYERS])
def test_outputs_and_gradients(source, shapes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state, expected = run(torch, source, arrays)
        try:
            _, found = run(bibun, source, arrays, state)
        except AttributeError as error:
            if "functional' has no attribute" not in str(error):
                raise
            pytest.skip(str(error))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-5, err_msg=name)


RECURRENCES = ["RNN(3, 4)", "RNN(3, 4, nonlinearity='relu', bidirectional=True)", "LSTM(3, 4, 2)", "GRU(3, 4, bidirectional=True)"]


def second_order(torch, source, arrays):
    """(outputs, first derivatives, second derivatives) of a recurrent layer in double precision."""
    module = eval("nn." + source, {"nn": torch.nn}).double()
    for i, p in enumerate(module.parameters()):
        p.data = torch.tensor(np.random.default_rng(i).normal(size=tuple(p.shape)) * 0.5)
    x = torch.tensor(arrays[0], requires_grad=True)
    outputs = tensors_of(module(x), torch.Tensor)
    wanted = [x, *module.parameters()]
    first = torch.autograd.grad(sum((o * o).sum() for o in outputs), wanted, create_graph=True)
    second = torch.autograd.grad(sum((g * g).sum() for g in first), wanted)
    return [t.detach().numpy() for t in (*outputs, *first, *second)]


@pytest.mark.parametrize("source", RECURRENCES)
def test_recurrent_layers_differentiate_twice(source):
    torch = pytest.importorskip("torch")
    arrays = [np.random.default_rng(9).normal(size=(4, 2, 3))]
    for ours, theirs in zip(second_order(bibun, source, arrays), second_order(torch, source, arrays)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "LSTM", "GRU"])
@pytest.mark.parametrize("reverse, bias", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("sizes", [None, [3, 3, 2, 1, 1]])
def test_a_whole_run_is_its_steps(mode, reverse, bias, sizes, monkeypatch):
    """The run on arrays against the plain form, values and gradients, on drawn input."""
    from bibun.nn.modules import recurrence

    rng = np.random.default_rng(0)
    rows = recurrence.GATES[mode] * 4

    def drawn(*shape):
        return bibun.tensor(rng.normal(size=shape), requires_grad=True)

    x = drawn(5, 3, 2) if sizes is None else drawn(sum(sizes), 2)
    flat = [drawn(rows, 2), drawn(rows, 4), *([drawn(rows), drawn(rows)] if bias else [])]
    state = tuple(drawn(3, 4) for _ in range(2 if mode == "LSTM" else 1))
    inputs, found = [x, *flat, *state], []
    for whole in (True, False):
        if not whole:
            monkeypatch.setattr(recurrence, "_whole", lambda *_: None)
        rest = (state, flat, bias, False, reverse)
        made = recurrence.run_layer(mode, x, *rest) if sizes is None else recurrence.run_packed_layer(mode, x, sizes, *rest)
        output, *last = tensors_of(made, bibun.Tensor)
        total = (output * bibun.arange(output.numel()).view(output.shape).cos()).sum() + sum((s * s).sum() for s in last)
        found.append([output, *last, *bibun.autograd.grad(total, inputs)])
    for whole, steps in zip(*found):
        np.testing.assert_allclose(whole.detach().numpy(), steps.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "LSTM", "GRU"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_a_cell_is_its_plain_form(mode, bias, dtype, rtol):
    """Two steps of a cell, with first and second derivatives, and one under vmap."""
    from bibun.nn import functional as F
    from bibun.nn.modules import recurrence

    rng = np.random.default_rng(0)
    rows = recurrence.GATES[mode] * 5

    def drawn(*shape):
        return bibun.tensor(rng.normal(size=shape).astype(dtype), requires_grad=True)

    def plain(mode, x, state, w_ih, w_hh, b_ih, b_hh):
        return recurrence.STEPS[mode](F.linear(x, w_ih, b_ih), state, w_hh, b_hh)

    flat = [drawn(rows, 3), drawn(rows, 5), *([drawn(rows), drawn(rows)] if bias else [None, None])]
    x, state = drawn(4, 3), tuple(drawn(4, 5) for _ in range(2 if mode == "LSTM" else 1))
    inputs = [t for t in (x, *flat, *state) if t is not None]
    found = []
    for cell in (recurrence.run_cell, plain):
        outs = cell(mode, 2 * x, cell(mode, x, state, *flat), *flat)
        first = bibun.autograd.grad(sum((o * o.cos()).sum() for o in outs), inputs, create_graph=True)
        second = bibun.autograd.grad(sum((g * g).sum() for g in first), inputs)
        several = bibun.stack([x, x.sin(), 3 * x], 1)
        batched = bibun.func.vmap(lambda t: cell(mode, t, state, *flat), in_dims=1)(several)
        of_weights = bibun.func.vmap(lambda w: cell(mode, x, state, flat[0], w, *flat[2:]))(bibun.stack([flat[1], 2 * flat[1]]))
        found.append([*outs, *first, *second, *batched, *of_weights])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=rtol * max(1, float(b.abs().max())))


@pytest.mark.parametrize("source", ["RNN(3, 4)", "LSTM(3, 4, 2, bidirectional=True)", "GRU(3, 4, bidirectional=True)", "LSTM(3, 4, proj_size=2)"])
def test_packed_sequences_through_recurrent_layers(source):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    arrays = [rng.normal(size=(n, 3)).astype(np.float32) for n in (2, 5, 1, 5)]

    def through(torch, state=None):
        module = eval("nn." + source, {"nn": torch.nn})
        if state is not None:
            module.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
        packed = torch.nn.utils.rnn.pack_sequence(inputs, enforce_sorted=False)
        output, last = module(packed)
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(output)
        outputs = [padded, *tensors_of(last, torch.Tensor)]
        sum((o * o).sum() for o in outputs).backward()
        grads = [t.grad for t in (*inputs, *module.parameters())]
        return {k: v.numpy().copy() for k, v in module.state_dict().items()}, [t.detach().numpy() for t in (*outputs, lengths, *grads)]

    state, expected = through(torch)
    for ours, theirs in zip(through(bibun, state)[1], expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_recurrent_layers_under_transforms():
    if not hasattr(bibun, "func"):
        pytest.skip("needs function transforms")
    gru = nn.GRU(3, 4).double()
    x = bibun.randn(6, 5, 2, 3, dtype=bibun.float64)
    batched = bibun.func.vmap(lambda s: gru(s)[0])(x)
    np.testing.assert_allclose(batched.detach().numpy(), np.stack([gru(s)[0].detach().numpy() for s in x]), rtol=1e-9)

    def of_weights(w):
        return bibun.func.functional_call(gru, {"weight_hh_l0": w}, (x[0],))[0]

    several = bibun.randn(3, 12, 4, dtype=bibun.float64)
    batched = bibun.func.vmap(of_weights)(several)
    np.testing.assert_allclose(batched.detach().numpy(), np.stack([of_weights(w).detach().numpy() for w in several]), rtol=1e-9)
    packed = nn.utils.rnn.pack_sequence([x[0, :4, 0], x[0, :2, 1]])

    def of_data(data):
        return gru(nn.utils.rnn.PackedSequence(data, packed.batch_sizes))[0].data

    several = bibun.randn(3, *packed.data.shape, dtype=bibun.float64)
    batched = bibun.func.vmap(of_data)(several)
    np.testing.assert_allclose(batched.detach().numpy(), np.stack([of_data(d).detach().numpy() for d in several]), rtol=1e-9)


def test_cross_map_lrn_as_pytorch():
    """Values only: PyTorch's gradient is not that of its own values beyond the first channels."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 7, 2, 2)).astype(np.float32)
    for size in (1, 2, 3, 4, 5, 9):
        expected = torch.nn.CrossMapLRN2d(size, 0.5, 0.6, 2.0)(torch.tensor(x)).numpy()
        np.testing.assert_allclose(nn.CrossMapLRN2d(size, 0.5, 0.6, 2.0)(bibun.tensor(x)).numpy(), expected, rtol=1e-5)


def test_linear_cross_entropy():
    loss = nn.LinearCrossEntropyLoss(3, 5, out_features=(2,), bias=True, options=nn.LinearCrossEntropyOptions())
    x, target = bibun.randn(4, 3), bibun.randint(0, 5, (4, 2))
    expected = nn.functional.cross_entropy(loss.linear(x).view(4, 5, 2), target)
    np.testing.assert_allclose(loss(x, target).item(), expected.item(), rtol=1e-6)


def test_lazy_layers_become_ordinary_ones():
    for lazy, shape, ordinary in (
        (nn.LazyLinear(3), (2, 4), nn.Linear),
        (nn.LazyBatchNorm1d(), (2, 4), nn.BatchNorm1d),
        (nn.LazyInstanceNorm1d(), (2, 4, 3), nn.InstanceNorm1d),
    ):
        assert lazy.has_uninitialized_params() and "ninitialized" in repr(list(lazy.state_dict().values()))
        lazy(bibun.ones(shape))
        assert type(lazy) is ordinary and not any(lazy._forward_pre_hooks)
        assert next(lazy.parameters()).shape[-1] == 4
    l = nn.LazyLinear(3)
    l.load_state_dict(nn.Linear(5, 3).state_dict())
    assert l.weight.shape == (3, 5) and l(bibun.ones(2, 5)).shape == (2, 3)
    with pytest.raises(ValueError, match="uninitialized parameter"):
        nn.LazyLinear(3).weight.sum()


def test_batch_norm_counts_batches_and_old_files_load():
    bn = nn.BatchNorm1d(2)
    bn(bibun.tensor([[1.0, 2.0], [3.0, 5.0]]))
    assert bn.num_batches_tracked.item() == 1 and bn.running_mean.tolist() == pytest.approx([0.2, 0.35])
    state = bn.state_dict()
    del state["num_batches_tracked"]
    state._metadata[""]["version"] = 1
    assert nn.BatchNorm1d(2).load_state_dict(state) == ([], [])
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        state._metadata[""]["version"] = 2
        nn.BatchNorm1d(2).load_state_dict(state)


def test_every_public_name_of_pytorch():
    torch = pytest.importorskip("torch")
    later = {"intrinsic", "qat", "quantizable", "quantized"}
    missing = {name for name in dir(torch.nn) if not name.startswith("_") and name not in later and not hasattr(nn, name)}
    assert not missing
