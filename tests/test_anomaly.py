"""Anomaly detection: what raises is what raises in PyTorch, and the first operation that left the finite numbers is named."""

import warnings

import numpy as np
import pytest

import bibun as torch
from bibun.autograd import anomaly, dispatch

pytestmark = pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")

PROGRAM = '''
detect = torch.autograd.detect_anomaly
def first_line(f):
    try:
        with detect():
            f()
    except RuntimeError as error:
        return str(error).split("\\n")[0]
    return "no error"
x = torch.tensor([0.0, 1.0], requires_grad=True)
first_line(lambda: (x.log() * 0).sum().backward())
first_line(lambda: x.sqrt().sum().backward())
first_line(lambda: (x / x).sum().backward())
first_line(lambda: torch.autograd.grad(x.sqrt().sum() * 0, x))
first_line(lambda: (x.log() * x).sum().backward())
first_line(lambda: torch.where(x > 0, x.sqrt(), x).sum().backward())
first_line(lambda: torch.softmax(x.masked_fill(x == 0, float("-inf")), 0).sum().backward())
first_line(lambda: (x * torch.tensor([float("nan"), 1.0])).sum().backward())
first_line(lambda: (x.detach() * torch.tensor([float("nan"), 1.0])).sum())
first_line(lambda: (x * 1e30 * 1e30).sum().backward())
first_line(lambda: x.pow(0.5).prod().backward())
first_line(lambda: torch.atan2(x * 0, x * 0).sum().backward())
first_line(lambda: torch.linalg.norm(x * 0).backward())
first_line(lambda: torch.stack([x, x]).std(0).sum().backward())
first_line(lambda: x.double().log().mul(0).sum().backward())
first_line(lambda: torch.unbind(torch.stack([x.log(), x]))[0].mul(0).sum().backward())
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, g): return g * float("nan")
first_line(lambda: F.apply(x).sum().backward())
def twice():
    g, = torch.autograd.grad((x ** 1.5).sum(), x, create_graph=True)
    h, = torch.autograd.grad(g.sum(), x, create_graph=True)
    (h * 0).sum().backward()
first_line(twice)
torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
with detect(): inside = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
inside
with detect(check_nan=False):
    inside = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    (x.log() * 0).sum().backward()
inside
with torch.autograd.set_detect_anomaly(True):
    with torch.autograd.set_detect_anomaly(False):
        inside = torch.is_anomaly_enabled()
    inside = inside, torch.is_anomaly_enabled()
inside, torch.is_anomaly_enabled()
torch.autograd.set_detect_anomaly(True) and torch.is_anomaly_enabled()
torch.autograd.set_detect_anomaly(False) and torch.is_anomaly_enabled()
torch.autograd.set_detect_anomaly(mode=False, check_nan=True) and torch.is_anomaly_enabled()
'''


def test_as_pytorch(same_outcomes):
    same_outcomes(PROGRAM)


def said(function):
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values") as caught:
        function()
    assert not anomaly.is_anomaly_enabled()
    return str(caught.value)


def test_first_operation_of_the_forward_pass():
    x = torch.tensor([0.0, 2.0], requires_grad=True)

    def program():
        scaled = x * 3
        logs = scaled.log()  # the culprit
        later = logs + 1
        (later * 0).sum().backward()

    words = said(program)
    assert "the first infinity of the forward pass came out of log()" in words
    assert "logs = scaled.log()  # the culprit" in words
    assert "shape [2], from 0 to 6" in words  # what went in
    assert "1 infinite" in words


def test_first_nan_of_the_forward_pass_outside_the_graph():
    x = torch.ones(3, requires_grad=True)
    data = torch.tensor([4.0, 4.0, 4.0])

    def program():
        normal = (data - data.mean()) / data.std()  # the culprit
        (x * normal).sum().backward()

    words = said(program)
    assert "the first NaN of the forward pass came out of divide()" in words and "# the culprit" in words


def test_masks_are_no_culprits():
    x = torch.tensor([[0.0, 1.0]], requires_grad=True)

    def program():
        mask = torch.zeros(1, 2).masked_fill(torch.tensor([[True, False]]), float("-inf"))
        weights = torch.softmax(x + mask, 1)
        (weights.log() * weights).sum().backward()  # 0 log 0

    words = said(program)
    assert "came out of log()" in words or "came out of add()" in words
    with torch.autograd.detect_anomaly():
        torch.softmax(x + torch.tensor([[float("-inf"), 0.0]]), 1).sum().backward()  # no error


def test_first_infinity_of_the_backward():
    x = torch.tensor([0.0, 1.0], requires_grad=True)

    def program():
        root = x * 1.0
        root = root.sqrt()  # infinite slope
        (root * 2).sum().backward()

    with torch.autograd.detect_anomaly():
        program()  # infinity alone raises nothing
    y = torch.tensor([0.0, 1.0], requires_grad=True)

    def meets():
        zero = y * 0.0
        zero.sqrt().sum().backward()  # inf * 0

    words = said(meets)
    assert "The first infinity of this backward came out of SqrtBackward0" in words
    assert "zero.sqrt().sum().backward()  # inf * 0" in words


def test_dtypes_and_large_values():
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.complex64):
        x = torch.tensor([0.0, 1.0]).to(dtype).requires_grad_()
        assert "LogBackward0" in said(lambda x=x: (x.log() * 0).sum().abs().backward())
    with np.errstate(all="ignore"):
        assert anomaly.finite(np.full(1000, 3e38, np.float32))  # whose squares overflow
        assert not anomaly.finite(np.array([1.0, np.nan]))
        assert not anomaly.finite(np.array([[1.0, 2.0], [np.inf, 1.0]]).T)
    assert anomaly.finite(np.array([], np.float32)) and anomaly.finite(np.array([1, 2]))


def test_what_is_watched_computes_the_same():
    def program():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.GELU(), torch.nn.Linear(8, 3))
        x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
        loss = torch.nn.functional.cross_entropy(model(x), y)
        (g,) = torch.autograd.grad(loss, [model[0].weight], create_graph=True)
        (loss + (g * g).sum()).backward()
        h = torch.vmap(torch.func.grad(lambda t: t.sin().sum()))(x)
        return [loss, h, *[p.grad for p in model.parameters()]]

    plain = program()
    with torch.autograd.detect_anomaly():
        watched = program()
    for a, b in zip(plain, watched):
        assert torch.equal(a, b)


def test_the_mode_leaves_nothing_behind():
    busy = dispatch.busy[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.autograd.set_detect_anomaly(True)
        torch.autograd.set_detect_anomaly(True)
        assert dispatch.busy[0] == busy + 1
        torch.autograd.set_detect_anomaly(False)
    assert dispatch.busy[0] == busy
    with pytest.raises(KeyError), torch.autograd.detect_anomaly():
        raise KeyError
    assert dispatch.busy[0] == busy
