"""`TorchDispatchMode`: what a mode is shown, what it may change, what nests; against PyTorch where it is there."""

import gc

import pytest

import bibun as bb
from bibun.utils import _python_dispatch, checkpoint


def modules(lib):
    if lib is bb:
        return _python_dispatch.TorchDispatchMode
    from torch.utils._python_dispatch import TorchDispatchMode

    return TorchDispatchMode


def logger(lib, seen, tag=""):
    class Log(modules(lib)):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            node = lib._C._current_autograd_node()
            seen.append((tag + str(func), type(node).__name__ if node is not None else None))
            return func(*args, **(kwargs or {}))

    return Log()


def forward_and_backward(torch, x, w):
    x.mul(w).sin().div(2.0).sum().backward()


def matrices(torch, x, w):
    torch.mm(x, w).exp().cos().sum().backward()


def factories(torch, x, w):
    return torch.rand(2), torch.zeros(3), torch.ones_like(x), torch.randn(2, 2), torch.full((2,), 1.5), x.detach()


def forward_only(torch, x, w):
    return torch.cat([x.cos(), w.relu()]).max(1), x.softmax(0).pow(2) > 0.1, x.permute(1, 0).select(0, 1)


@pytest.mark.parametrize("program", [forward_and_backward, matrices, factories, forward_only])
def test_operators_are_those_of_pytorch(program):
    torch = pytest.importorskip("torch")
    seen = {}
    for lib in (torch, bb):
        x = lib.linspace(-1.0, 1.0, 9).reshape(3, 3).requires_grad_()
        w = lib.linspace(0.5, 2.0, 9).reshape(3, 3)
        seen[lib] = []
        with logger(lib, seen[lib]):
            program(lib, x, w)
    # PyTorch detaches what it saves of its own results; the transposes of its rules are `permute` here.
    hidden = ("aten.detach.default",) if program in (matrices, forward_only) else ()
    shown = {lib: [(name.replace("aten.t.", "aten.permute."), node) for name, node in seen[lib] if name not in hidden] for lib in seen}
    assert shown[torch] == shown[bb]


@pytest.mark.parametrize("size", [3, 40000])
def test_values_and_gradients_are_those_without_a_mode(size):
    def program(x):
        a, b = (x * 2).tanh().split(size // 2 + 1)
        return bb.cat([b.exp(), a.view(-1)]).sort()[0].cumsum(0).norm()

    x = bb.linspace(-1.0, 1.0, size).requires_grad_()
    y = x.detach().requires_grad_()
    seen = []
    with logger(bb, seen):
        program(x).backward()
        (again,) = bb.autograd.grad(program(x), x)
    program(y).backward()
    assert bb.allclose(x.grad, y.grad) and bb.allclose(again, y.grad) and len(seen) > 10
    assert bb.autograd.dispatch.busy[0] == 0 and bb.autograd.modes.state.watchers == ()


def test_a_mode_changes_results_and_the_graph_stands_above_it():
    for lib in (bb, pytest.importorskip("torch")):
        class Double(modules(lib)):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                if func is lib.ops.aten.sin.default:
                    return func(args[0] * 2) * 3
                return func(*args, **(kwargs or {}))

        x = lib.tensor(0.5, requires_grad=True)
        with Double():
            y = x.sin()
        y.backward()  # the derivative of the sine, whatever was computed
        assert y.item() == pytest.approx(3 * lib.tensor(1.0).sin().item()) and type(y.grad_fn).__name__ == "SinBackward0"
        assert x.grad.item() == pytest.approx(lib.tensor(0.5).cos().item())


def test_modes_nest():
    seen = []
    x = bb.ones(2)
    with logger(bb, seen, "outer "), logger(bb, seen, "inner "):
        x.exp()
    assert [s for s, _ in seen] == ["inner aten.exp.default", "outer aten.exp.default"]
    assert _python_dispatch._get_current_dispatch_mode() is None


def test_handlers_that_raise_leave_nothing_behind():
    class Refusing(_python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            raise RuntimeError("not this one")

    x = bb.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="not this one"), Refusing():
        x.exp()
    assert x.exp().requires_grad and bb.autograd.dispatch.busy[0] == 0 and bb.Tensor.detach.__module__ == "bibun.tensor"


def test_registered_operators_are_shown():
    @bb.library.custom_op("dispatch_mode_tests::thrice", mutates_args=())
    def thrice(x: bb.Tensor) -> bb.Tensor:
        return x * 3

    thrice.register_autograd(lambda ctx, g: g * 3)
    seen = []
    x = bb.ones(2, requires_grad=True)
    with logger(bb, seen):
        y = thrice(x)
    y.sum().backward()
    assert [s for s, _ in seen] == ["dispatch_mode_tests.thrice.default"] and x.grad.tolist() == [3.0, 3.0]


def test_a_checkpoint_that_stops_early_does_not_reach_the_operator():
    x = bb.tensor(1.0, requires_grad=True)
    for early, count in ((True, 1), (False, 2)):
        seen = []
        with logger(bb, seen), checkpoint.set_checkpoint_early_stop(early):
            checkpoint.checkpoint(lambda x: x.sin(), x, use_reentrant=False).backward()
        assert [s for s, _ in seen].count("aten.sin.default") == count


@pytest.mark.parametrize("transposed", [False, True])
def test_backward_of_a_convolution_by_name(transposed):
    torch = pytest.importorskip("torch")
    found = []
    for lib in (torch, bb):
        x, w = lib.linspace(-1, 1, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6), lib.linspace(0, 1, 4 * 2 * 9).reshape(4, 2, 3, 3)
        static = ((2,), (1, 1), (1, 1), transposed, (1, 1) if transposed else (0, 0), 2)
        out = lib.convolution(x, w, None, (2, 2), *static[1:])
        made = lib.ops.aten.convolution_backward(lib.linspace(-1, 1, out.numel()).reshape(out.shape), x, w, (out.shape[1],), *static, (False, True, True))
        assert made[0] is None
        found.append([g.numpy() for g in made[1:]])
        assert lib.ops.aten.convolution_backward.default(out, x, w, None, *static, (True, False, False))[0].shape == x.shape
    for a, b in zip(*found):
        assert b == pytest.approx(a, rel=1e-4, abs=1e-4)


def test_zeros_that_lie_as_another_tensor():
    for lib in (bb, pytest.importorskip("torch")):
        like = lib.ones(4, 3, dtype=lib.float64).t()[1:]
        made = lib.ops.aten._new_zeros_with_same_feature_meta(lib.ones(5, 2), like, self_num_batch_dims=1)
        assert (made.shape, made.stride(), made.storage_offset(), made.dtype) == ((5, 2, 4), (12, 1, 3), 1, lib.float64) and not made.any()


def test_alias_by_name():
    x = bb.ones(2, requires_grad=True)
    y = bb.ops.aten.alias(x)
    assert y._base is x and type(y.grad_fn).__name__ == "AliasBackward0" and bb.ops.aten.alias.default(y).data_ptr() == x.data_ptr()


def test_classes_of_tensors_see_their_operators():
    from bibun.utils._mode_utils import no_dispatch

    before = bb.autograd.dispatch.busy[0]
    for lib in (bb, pytest.importorskip("torch")):
        seen = []

        class Seen(lib.Tensor):
            @staticmethod
            def __new__(cls, data):
                return lib.Tensor._make_subclass(cls, data, data.requires_grad)

            @classmethod
            def __torch_dispatch__(cls, func, types, args=(), kwargs=None, lib=lib, seen=seen):
                if func.overloadpacket == lib.ops.aten.mul:
                    with lib.overrides.enable_reentrant_dispatch():
                        seen.append((str(func), types == (cls,), lib.ones(1, requires_grad=True).exp().requires_grad))
                with (no_dispatch() if lib is bb else __import__("torch").utils._mode_utils.no_dispatch()):
                    return func(*args, **(kwargs or {}))

        x = Seen(lib.tensor([1.0, 2.0], requires_grad=True))
        y = lib.ones(2) * x
        y.sum().backward()
        assert seen == [("aten.mul.Tensor", True, True)] and type(y) is lib.Tensor and x.grad.tolist() == [1.0, 1.0]
        lib.ones(2).mul(3)
        assert len(seen) == 1
        bb.overriding._known.pop(Seen, None)
    del Seen, x, y
    gc.collect()
    assert bb.autograd.dispatch.busy[0] == before
