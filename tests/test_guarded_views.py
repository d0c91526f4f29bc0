"""Views that must not be written in place, and what is said of it."""

import pytest

import bibun as torch
import bibun.autograd


def base():
    return torch.rand(4, requires_grad=True).clone()


def test_views_made_under_no_grad():
    b = base()
    with torch.no_grad():
        v = b[:2]
    assert v.requires_grad and v.grad_fn is None and v._base is b
    with torch.no_grad():
        v.add_(1)
    assert v.requires_grad and v._base is b
    before = v.tolist()
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being modified inplace with grad mode enabled"):
        v.mul_(2)
    assert v.tolist() == before
    b.mul_(2)
    with pytest.raises(RuntimeError, match="its base or another view of its base has been modified inplace with grad mode"):
        v * 2
    plain = torch.zeros(2)
    with torch.no_grad():
        v = plain.view(2)
    v.add_(1)
    with pytest.raises(RuntimeError, match="created in no_grad mode"):
        v.add_(torch.ones(2, requires_grad=True))
    assert plain.tolist() == [1, 1]


def test_views_of_views_made_under_no_grad():
    for mode, name in ((torch.no_grad, "no_grad"), (torch.inference_mode, "inference_mode")):
        x = torch.zeros(2)
        with mode():
            y = x.view(2)
        y.requires_grad_()
        assert y.is_leaf and y._is_view()
        with pytest.raises(RuntimeError, match=f"Output 0 of View is a view of a view .* is being .* inside the {name} block"):
            y.view(2).div_(2)


def test_one_of_several_views_and_what_is_made_from_it():
    b = base()
    first, *_ = b.unbind()
    for v in (first, first.view_as(first)):
        with pytest.raises(RuntimeError, match="a view and is being modified inplace.* returns multiple views"):
            v.mul_(2)
    b.mul_(2)
    with pytest.raises(RuntimeError, match="Output 0 of Unbind is a view and its base or another view of its base has been"):
        first * 2
    part, *_ = base().unsafe_split(1)
    part.mul_(2).sum().backward()
    one, *_ = torch.zeros(2).unbind()
    one.add_(1)
    assert one.item() == 1


class Part(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x[:2]

    @staticmethod
    def backward(ctx, g):
        return torch.cat([g, g * 0])


class Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x * 2)[:2]

    @staticmethod
    def backward(ctx, g):
        return torch.cat([g, g * 0])


class Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x[:2], x * 2

    @staticmethod
    def backward(ctx, g, h):
        return torch.cat([g, g * 0]) + h


@pytest.mark.parametrize("function", [Part, Inner])
def test_views_that_functions_give_back(function):
    with pytest.raises(RuntimeError, match=f"Output 0 of {function.__name__} is a view and is being modified inplace. This view was created inside a custom Func"):
        function.apply(base()).mul_(2)
    v = function.apply(torch.zeros(4))
    v.add_(1)
    with pytest.raises(RuntimeError, match="inside a custom Function"):
        v.add_(torch.ones(2, requires_grad=True))
    x = torch.rand(4, requires_grad=True)
    with torch.no_grad():
        v = function.apply(x)
    if function is Part:
        assert v.requires_grad == x[:2].requires_grad
        with pytest.raises(RuntimeError, match="created in no_grad mode"):
            v.zero_()


def test_several_results_of_a_function():
    part, whole = Pair.apply(base())
    whole.mul_(2)
    with pytest.raises(RuntimeError, match="Output 0 of Pair is a view .* returns multiple views"):
        part.mul_(2)


def test_mark_dirty_is_for_inputs():
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * 2
            ctx.mark_dirty(y)
            return y

        @staticmethod
        def backward(ctx, g):
            return g * 2

    with pytest.warns(UserWarning, match="Only input Tensors should be given to ctx.mark_dirty"):
        Bad.apply(base())


def test_views_stay_in_the_graph_when_their_base_leaves_it():
    x = torch.randn(3, requires_grad=True)
    view = x[:2]
    x.detach_()
    assert not x.requires_grad and view.requires_grad and view.grad_fn is not None and view._base is x


def test_views_of_another_dtype():
    x = torch.ones(4, 4, requires_grad=True)
    assert not x.view(torch.int32).requires_grad and not x.view(torch.float32).requires_grad
    a = torch.zeros(4, 4)
    for t, text in ((a.T, r"stride\(-1\) must be 1"), (a[:, :3], r"size\(-1\) must be divisible by 2"), (a[:, 1:3], r"storage_offset\(\) must be divisible by 2")):
        with pytest.raises(RuntimeError, match=text):
            t.view(torch.float64)
