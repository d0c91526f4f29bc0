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
