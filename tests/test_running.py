"""What runs during backward and after it: hooks in their order and mode, retained gradients, callbacks, old names."""

import weakref

import pytest

import bibun as torch
import bibun._C
import bibun.autograd
from bibun.autograd import Function, Variable
from bibun.autograd.graph import get_gradient_edge


def test_hooks_of_outputs_come_before_prehooks_and_retaining_between_them():
    log = []
    a = torch.tensor(1.0, requires_grad=True)
    b = a.clone()
    b.grad_fn.register_prehook(lambda gs: log.append("node") or tuple(g * 2 for g in gs))
    b.register_hook(lambda g: log.append("tensor") or g * 3)
    b.retain_grad()
    b.backward(retain_graph=True)
    assert log == ["tensor", "node"] and b.grad.item() == 3 and a.grad.item() == 6


def test_backward_with_inputs_runs_their_nodes_and_grad_does_not():
    counts = [0, 0]
    a = torch.tensor(1.0, requires_grad=True)
    b = a * 2
    b.grad_fn.register_prehook(lambda g: counts.__setitem__(0, counts[0] + 1))
    b.grad_fn.register_hook(lambda gi, go: counts.__setitem__(1, counts[1] + 1))
    torch.autograd.grad(b * 2, b, retain_graph=True)
    assert counts == [0, 0]
    (b * 2).backward(inputs=[b], retain_graph=True)
    assert counts == [1, 1] and b.grad.item() == 2 and a.grad is None
    (b * 2).backward(inputs=[b])
    assert b.grad.item() == 4


def test_retained_gradients_add_up_and_follow_in_place_writes():
    x = torch.rand(3, requires_grad=True)
    h = x * 3
    h.retain_grad()
    out = h.sum()
    out.backward(retain_graph=True)
    out.backward()
    assert h.grad.tolist() == [2, 2, 2]
    base = torch.tensor([1.0], requires_grad=True).clone()
    view, other = base[:], base[:]
    view.retain_grad()
    other.retain_grad()
    view.mul_(2)
    (view + other).sum().backward()
    assert view.grad.tolist() == other.grad.tolist() == [1]


def test_hooks_see_none_where_no_gradient_came():
    parts = torch.randn(3, requires_grad=True).unbind()
    seen = []
    parts[0].register_hook(seen.append)
    parts[1].backward()
    assert seen == [None]


def test_hooks_run_unrecorded():
    w = torch.ones(2, requires_grad=True)

    def step(p):
        p.sub_(p.grad)

    w.register_post_accumulate_grad_hook(step)
    w.sum().backward()
    assert w.tolist() == [0, 0]
    modes = []
    v = torch.ones(2, requires_grad=True)
    v.register_hook(lambda g: modes.append(torch.is_grad_enabled()))
    v.sum().backward()
    v.sum().backward(create_graph=True)
    assert modes == [False, True]
    u = torch.ones(2, requires_grad=True)
    u.register_post_accumulate_grad_hook(lambda p: 1)
    with pytest.raises(RuntimeError, match="should return None"):
        u.sum().backward()


def test_callbacks_are_made_when_gradients_are_in_place():
    found = []

    class Call(Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            engine = Variable._execution_engine
            engine.queue_callback(lambda: (found.append(a.grad.item()), engine.queue_callback(lambda: found.append("more"))))
            return g

    a = torch.tensor(3.0, requires_grad=True)
    with pytest.raises(RuntimeError, match="during backward"):
        Variable._execution_engine.queue_callback(print)
    (Call.apply(a) * 2).backward()
    assert found == [2, "more"]


def test_what_runs_can_be_asked_for():
    seen = {}

    def look(g):
        seen["number"] = torch._C._current_graph_task_id()
        seen["order"] = [n.name() for n in torch._C._current_graph_task_execution_order()]
        seen["will"] = torch._C._will_engine_execute_node(x.grad_fn), torch._C._will_engine_execute_node(aside.grad_fn)

    leaf = torch.tensor(1.0, requires_grad=True)
    x = leaf.clone()
    aside = x.cos()
    y = x.sin().exp()
    y.register_hook(look)
    with torch.autograd.set_multithreading_enabled(False):
        y.backward(retain_graph=True)
        first = seen["number"]
        y.backward(retain_graph=True)
    assert seen["number"] == first + 1 and torch._C._current_graph_task_id() == -1
    assert seen["order"] == ["ExpBackward0", "SinBackward0", "CloneBackward0", "torch::autograd::AccumulateGrad"]
    assert seen["will"] == (True, False)
    with pytest.raises(RuntimeError, match="multithreading disabled"):
        y.backward()


def test_nodes_can_be_called():
    x = torch.ones(1, requires_grad=True)
    y = x**2
    assert y.grad_fn(torch.ones(1)).tolist() == [2]
    with pytest.raises(TypeError, match="expected 1 arguments, got 2"):
        y.grad_fn(x.detach(), x.detach())


def test_variable_makes_and_recognises_tensors():
    data = torch.ones(2)
    v = Variable(data, requires_grad=True)
    assert v.requires_grad and v.data_ptr() == data.data_ptr() and isinstance(v, Variable) and isinstance(data, Variable)
    with pytest.raises(TypeError, match="has to be a tensor"):
        Variable([1.0])


def test_typed_constructors():
    assert isinstance(torch.ones(2), torch.FloatTensor) and not isinstance(torch.ones(2), torch.LongTensor)
    assert torch.LongTensor([1, 2]).dtype is torch.int64 and torch.DoubleTensor(2, 3).shape == (2, 3)
    assert torch.ones(2).type(torch.IntTensor).dtype is torch.int32


def test_versions_go_with_the_tensor_when_its_data_is_exchanged():
    x = torch.randn(1, 2)
    part = x[:]
    x.add_(1)
    x.data = torch.randn(2, 3)
    assert x._version == 1
    part.add_(1)
    assert x._version == part._version == 2
    y = torch.ones(2, requires_grad=True).clone()
    with torch.autograd._unsafe_preserve_version_counter(y):
        y.mul_(2)
    assert y._version == 0


def test_attributes_that_cannot_be_deleted():
    x = torch.ones(2, requires_grad=True)
    for name in ("data", "requires_grad", "_grad_fn", "_backward_hooks"):
        with pytest.raises(RuntimeError):
            delattr(x, name)


def test_numpy_of_what_requires_grad_where_nothing_is_recorded():
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert x.numpy().sum() == 2
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()


def test_edges_as_outputs_know_shape_and_dtype():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    edge = get_gradient_edge(x.sin())
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        torch.autograd.grad(edge, x)
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        torch.autograd.grad(edge, x, torch.ones(3))
    assert torch.autograd.grad(get_gradient_edge(x.sum()), x)[0].tolist() == [1, 1]


def test_warning_of_cycles_through_the_gradient():
    torch.set_warn_always(True)
    try:
        x = torch.ones(2, requires_grad=True)
        with pytest.warns(UserWarning, match="create_graph=True"):
            (x * x).sum().backward(create_graph=True)
    finally:
        torch.set_warn_always(False)


def test_zeros_for_unused_inputs_can_be_differentiated_on():
    x = torch.tensor(0.5, requires_grad=True)
    a = torch.tensor(1.0, requires_grad=True)
    (g,) = torch.autograd.grad(x * a, x, create_graph=True)
    (second,) = torch.autograd.grad(g, x, create_graph=True, materialize_grads=True)
    assert torch.autograd.grad(second, x, materialize_grads=True)[0].item() == 0


def test_weak_references_to_tensors():
    x = torch.ones(2)
    ref = torch._C._WeakTensorRef(x)
    assert not ref.expired() and weakref.ref(x)() is x
    del x
    assert ref.expired()
