"""Selective checkpoints: what the policy is shown, what is computed twice, what is refused; against PyTorch where it is there."""

import functools

import pytest

import bibun as bb
from bibun.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


def block(torch, x, w):
    return (torch.mm(x.cos(), w) / 2).pow(2).softmax(1).sum(0).log().sum()


def run(torch, policy, function=block, size=(3, 3), **kwargs):
    x = torch.linspace(-1.0, 1.0, size[0] * size[1]).reshape(size).requires_grad_()
    w = torch.linspace(0.5, 2.0, size[1] * size[1]).reshape(size[1], size[1]).requires_grad_()
    made = torch.utils.checkpoint.create_selective_checkpoint_contexts
    out = torch.utils.checkpoint.checkpoint(functools.partial(function, torch), x, w, use_reentrant=False, context_fn=functools.partial(made, policy, **kwargs))
    return out, x, w


def test_policy_is_shown_pytorchs_operators():
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch.utils.checkpoint")
    seen = {}
    for lib in (torch, bb):
        names = seen[lib] = []

        def policy(ctx, op, *args, names=names, lib=lib, **kwargs):
            names.append((str(op), ctx.is_recompute))
            return lib.utils.checkpoint.CheckpointPolicy.PREFER_RECOMPUTE

        run(lib, policy)[0].backward()
    assert seen[torch] == seen[bb]


@pytest.mark.parametrize("size", [(3, 3), (200, 200)])
@pytest.mark.parametrize("keep", ["mm", "cos", "div", "sum", "all"])
def test_gradients_are_those_without_checkpoint(keep, size):
    def policy(ctx, op, *args, **kwargs):
        return keep == "all" or op._op_name == keep

    out, x, w = run(bb, policy, size=size)
    out.backward()
    y, v = x.detach().requires_grad_(), w.detach().requires_grad_()
    block(bb, y, v).backward()
    assert bb.equal(x.grad, y.grad) and bb.equal(w.grad, v.grad)


def test_what_is_kept_is_not_computed_again():
    calls = []

    @bb.library.custom_op("selective_tests::double_it", mutates_args=())
    def double_it(x: bb.Tensor) -> bb.Tensor:
        calls.append(1)
        return x * 2

    double_it.register_autograd(lambda ctx, g: g * 2)

    def function(torch, x, w):
        return (torch.ops.selective_tests.double_it(x) * w).sin().sum()

    run(bb, [bb.ops.selective_tests.double_it.default], function)[0].backward()
    assert len(calls) == 1
    run(bb, [bb.ops.aten.sin.default], function)[0].backward()
    assert len(calls) == 3


def test_kept_results_that_were_written_to_are_refused():
    def function(torch, x, w):
        return x.sin().mul_(2).cos().exp().sum()

    with pytest.raises(RuntimeError, match="has been mutated"):
        run(bb, [bb.ops.aten.sin.default], function)[0].backward()
    run(bb, [bb.ops.aten.sin.default], function, allow_cache_entry_mutation=True)[0].backward()


def test_kept_results_are_given_once():
    out, *_ = run(bb, [bb.ops.aten.cos.default])
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="Trying to backward an extra time"):
        out.backward()
    assert bb.autograd.dispatch.busy[0] == 0


@pytest.mark.parametrize(("bad", "error", "words"), [
    ([2], ValueError, "to be an OpOverload but got: 2"), ([bb.ops.aten.sin], ValueError, "to a specific OpOverload"), (2, TypeError, "function or a list of ops"),
])
def test_refusals(bad, error, words):
    with pytest.raises(error, match=words):
        create_selective_checkpoint_contexts(bad)


def test_operators_are_one_object():
    assert bb.ops.aten.mm.default is bb.ops.aten.mm.default
    assert bb.ops.aten.mm.default in {bb.ops.aten.mm.default} and bb.ops.aten.add.Tensor != bb.ops.aten.add.Scalar
    assert CheckpointPolicy.MUST_SAVE is not CheckpointPolicy.PREFER_SAVE and checkpoint
