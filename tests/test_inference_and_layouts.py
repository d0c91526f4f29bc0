"""Inference tensors: which tensors are some, and what is refused of them; layouts that gradients and tangents follow."""

import threading

import numpy as np
import pytest

import bibun as torch


def test_what_is_made_in_the_mode_is_an_inference_tensor():
    w = torch.ones(3, requires_grad=True)
    normal = torch.ones(3)
    with torch.inference_mode():
        made = [torch.ones(3), torch.tensor(1.0), torch.arange(3), normal * 2, w * 2, normal.clone(), torch.empty(0), torch.ones(300, 300) @ torch.ones(300, 300)]
        kept = [normal.view(-1), normal[1:], w.view(-1), normal.add_(1), normal.detach()]
        with torch.inference_mode(False):
            kept.append(torch.ones(3))
        made.append(made[0] + 1)
    assert all(t.is_inference() for t in made) and not any(t.is_inference() for t in kept)
    assert made[0][1:].is_inference() and made[0].detach().is_inference() and made[0].to(torch.float32).is_inference()
    assert not (made[0] + 1).is_inference() and not made[0].clone().is_inference()
    assert not made[0][1:]._is_view() and made[0][1:]._base is None
    with pytest.raises(RuntimeError, match="do not track version counter"):
        made[0]._version
    assert normal._version == 1


def test_writes_outside_are_refused():
    with torch.inference_mode():
        c = torch.ones(3)
        c.add_(1).mul_(2).transpose_(0, 0)
    for write in (lambda: c.add_(1), lambda: c.exp_(), lambda: c.fill_(0), lambda: c.zero_(), lambda: c.copy_(torch.ones(3)), lambda: c.normal_(),
                  lambda: c.__setitem__(0, 1), lambda: c[:2].add_(1), lambda: c.resize_(2), lambda: torch.mul(c, c, out=c), lambda: c.unsqueeze_(0)):
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode is not allowed"):
            write()
    assert c.tolist() == [4, 4, 4]
    with pytest.raises(RuntimeError, match="Setting requires_grad=True on inference tensor"):
        c.requires_grad_()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        torch.ones(3, requires_grad=True).clone().mul_(c)
    torch.ones(3).mul_(c)


def test_numbers_first_met_in_the_mode_serve_outside():
    x = torch.ones(3, requires_grad=True).clone()
    with torch.inference_mode():
        torch.ones(3) * 7.125
    x.mul_(7.125)
    assert x.requires_grad


def test_views_made_in_the_mode_of_what_requires_grad():
    a = torch.ones(2, 3, requires_grad=True).clone()
    with torch.inference_mode():
        v = a.view(-1)
    assert v.requires_grad and v.is_leaf and (v * v).requires_grad


def test_changing_a_tensor_itself_keeps_its_history_where_nothing_is_recorded():
    a = torch.ones(2, 3, requires_grad=True).clone()
    with torch.no_grad():
        a.t_()
    assert a.shape == (3, 2) and a.requires_grad


def test_other_threads_and_the_allocator_are_left_alone():
    from numpy._core.multiarray import get_handler_name

    before = get_handler_name()
    seen = []
    with torch.inference_mode():
        thread = threading.Thread(target=lambda: seen.append(torch.ones(3)))
        thread.start()
        thread.join()
        kept = np.ones(1 << 18)
    assert not seen[0].is_inference()
    assert get_handler_name() == before
    assert torch.from_numpy(kept).is_inference()


def test_gradients_follow_the_layout_of_dense_leaves():
    for leaf in (torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.rand(3, 4).t(), torch.rand(2, 3)):
        leaf.requires_grad_()
        leaf.sum().backward()
        assert leaf.grad.stride() == leaf.stride()
        leaf.grad = None
        (leaf * torch.ones(leaf.shape)).sum().backward()
        assert leaf.grad.stride() == leaf.stride()
    gaps = torch.empty_strided((2, 2), (4, 2)).fill_(1).requires_grad_()
    (gaps * torch.ones(2, 2)).sum().backward()
    assert gaps.grad.stride() == (2, 1)


def test_tangents_lie_in_memory_as_their_tensors():
    fwad = torch.autograd.forward_ad
    base, tangent = torch.arange(5.0)[:4], torch.ones(4)
    with fwad.dual_level():
        dual = fwad.make_dual(base, tangent)
        assert fwad.unpack_dual(dual.as_strided((5,), (1,), 0)).tangent.tolist() == [1, 1, 1, 1, 0]
        same = torch.ones(5)
        assert fwad.unpack_dual(fwad.make_dual(torch.ones(5), same)).tangent is same
        with pytest.raises(RuntimeError, match="has a forward gradient at the same level"):
            fwad.make_dual(torch.ones(4), dual)
        for tensor, out in ((torch.ones(4), dual), (dual, torch.ones(4))):
            with pytest.raises(RuntimeError, match="out= function"):
                torch.add(tensor, 1, out=out)
        w = torch.ones(4, requires_grad=True)
        dual = fwad.make_dual(w, tangent).clone()
        dual.detach_()
        primal, tangent = fwad.unpack_dual(dual * 2)
        assert not primal.requires_grad and tangent is None


def test_copying_forms_of_views_are_contiguous():
    x = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert torch.slice_copy(x, 0, 0, 1).is_contiguous() and torch.permute_copy(x, (3, 2, 1, 0)).is_contiguous()
