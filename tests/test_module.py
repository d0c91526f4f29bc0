"""Module: members, state, hooks, conversions, copies and calls; beside PyTorch's, and by themselves."""

import copy
import gc
import io
import pickle
import timeit
import weakref
from collections import OrderedDict

import pytest

import bibun as torch
from bibun import nn
from bibun.nn.modules import module as module_file

REGISTRATION = '''
x = torch.ones(2)
class NoInit(nn.Module):
    def __init__(self): pass
class Foo(nn.Module): pass
n = NoInit()
n(x)
n.foo
n.a = nn.Parameter(x)
n.a = nn.Linear(1, 1)
n.a = nn.Buffer(x)
n.register_buffer('a', x)
n.register_parameter('a', nn.Parameter(x))
n.state_dict()
repr(n)
list(n.parameters())
Foo()(x)
Foo(1)
Foo(a=1)
f = Foo()
f.register_parameter('', nn.Parameter(x))
f.register_buffer('', x)
f.add_module('', f)
f.register_parameter('a.b', nn.Parameter(x))
f.register_buffer('a.b', x)
f.add_module('a.b', f)
f.register_parameter(3, nn.Parameter(x))
f.register_buffer(None, x)
f.add_module(3, f)
f.register_parameter('forward', nn.Parameter(x))
f.register_buffer('forward', x)
f.add_module('forward', f)
f.register_module('forward', f)
f.register_parameter('p', x)
f.register_parameter('p', nn.Parameter(x) * 2)
f.register_buffer('p', 3)
f.add_module('p', 3)
f.p = nn.Parameter(x)
f.b = nn.Buffer(x)
f.m = Foo()
f.n = None
f.register_buffer('nb', None)
f.p = 1
f.p = 's'
f.p = x
f.p = nn.Linear(1, 1)
f.b = 1
f.b = x * 2
f.b
f.b = nn.Linear(1, 1)
f.m = 1
f.m = x
f.b = nn.Parameter(x)
list(f._parameters), list(f._buffers), list(f._modules)
f.m = nn.Parameter(x)
list(f._parameters), list(f._buffers), list(f._modules)
f.p = None
f.p, list(f._parameters), len(list(f.parameters()))
del f.p
f.p
del f.zzz
f = Foo()
f.p = nn.Parameter(x)
f.b = nn.Buffer(x, persistent=False)
f.m = Foo()
list(f.state_dict())
f.b = nn.Buffer(x)
list(f.state_dict())
class P(nn.Module):
    @property
    def w(self): return 1
p = P()
p.w = nn.Parameter(x)
p.w = nn.Linear(1, 1)
p._modules, p.w
p.w = 3
f.get_submodule('zz')
f.get_submodule('p')
f.get_submodule('') is f
f.get_parameter('zz')
f.get_parameter('b')
f.get_parameter('zz.p')
f.get_parameter('p')
f.get_buffer('p')
f.get_buffer('q')
f.get_buffer('b')
f.set_submodule('', f)
f.set_submodule('zz.m', f)
f.set_submodule('zz', f, strict=True)
f.set_submodule('p', f)
f.set_submodule('p.a', f)
f.set_submodule('m', 3)
f.set_submodule('newm', nn.ReLU())
f.set_submodule('m.inner', nn.Tanh())
f
f.train(3)
f.eval().training, f.m.training, f.train().m.training
f.to(torch.int32)
f.to('zzz')
f.double().p.dtype, f.b.dtype
f.to(torch.float16).p.dtype, f.bfloat16().b.dtype, f.float().p.dtype, f.type(torch.float64).b.dtype
f.requires_grad_(False).p.requires_grad
f.get_extra_state()  # type
f.load_state_dict(3)
'p' in dir(f), 'm' in dir(f), 'forward' in dir(f)
'''

STATE = '''
class Extra(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.register_buffer('r', torch.zeros(1))
        self.register_buffer('hidden', torch.zeros(1), persistent=False)
        self.extra = 5
    def get_extra_state(self): return {'extra': self.extra}
    def set_extra_state(self, state): self.extra = state['extra']
class Plain(nn.Module):
    _version = 7
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))
        self.a = nn.PReLU()
        self.a2 = self.a
m = nn.Sequential(Extra(), Plain())
s = m.state_dict()
s
s._metadata
m.state_dict(prefix='x.')
m.state_dict(keep_vars=True)['0.w'] is m[0].w
m.state_dict()['0.w'].requires_grad, m.state_dict()['0.w'].data_ptr() == m[0].w.data_ptr()
m.load_state_dict(s)
s['0._extra_state'] = {'extra': 9}
m.load_state_dict(s), m[0].extra
m.load_state_dict({})
m.load_state_dict({}, strict=False)
m.load_state_dict({'0.w': torch.ones(3), '1.w': torch.ones(2), '1.zz': torch.ones(1), 'q.w': torch.ones(1)})
m[1].w
m.load_state_dict({'0.w': 3}, strict=False)
m.load_state_dict({'1._extra_state': 3}, strict=False)
m[1].load_state_dict({'w': torch.ones(2), 'a.weight': torch.ones(1), '_extra_state': 1})
m[1].load_state_dict({'w': torch.ones(2, dtype=torch.float64), 'a.weight': torch.ones(1), 'a2.weight': torch.ones(1)})
m[1].w
m[1].load_state_dict({'w': torch.ones(2, dtype=torch.float64), 'a.weight': torch.ones(1), 'a2.weight': torch.ones(1)}, assign=True)
m[1].w, m[1].a.weight is m[1].a2.weight
nn.PReLU().load_state_dict({'weight': torch.tensor(3.)})
nn.Sequential(nn.Flatten()).load_state_dict({})
one = Plain()
one.w = nn.Parameter(torch.tensor(1.))
one.load_state_dict({'w': torch.tensor([4.]), 'a.weight': torch.ones(1), 'a2.weight': torch.ones(1)})
one.w
[n for n, _ in m.named_parameters()], [n for n, _ in m.named_parameters(remove_duplicate=False)]
[n for n, _ in m.named_parameters(prefix='p', recurse=False)], [n for n, _ in m.named_buffers()]
[n for n, _ in m.named_modules()], [n for n, _ in m.named_modules(remove_duplicate=False)], [n for n, _ in m.named_children()]
len(list(m.modules())), len(list(m.children())), len(list(m[1].children())), len(list(m.buffers()))
log = []
h = m.register_state_dict_pre_hook(lambda module, prefix, keep_vars: log.append(('pre', prefix, keep_vars)))
h = m[1].register_state_dict_post_hook(lambda module, sd, prefix, meta: log.append(('post', prefix, meta)))
h = m[1]._register_state_dict_hook(lambda module, sd, prefix, meta: log.append(('old', sorted(sd))))
h = m.register_load_state_dict_pre_hook(lambda module, sd, prefix, meta, strict, missing, unexpected, errors: log.append((type(module).__name__, sorted(sd), prefix)))
h = m[1].register_load_state_dict_post_hook(lambda module, keys: log.append(keys))
h = m[1]._register_load_state_dict_pre_hook(lambda sd, prefix, *_: log.append((prefix, len(sd))))
m.load_state_dict(m.state_dict())
log
h = m.register_load_state_dict_post_hook(lambda module, keys: keys.missing_keys.clear())
m.load_state_dict({k: v for k, v in s.items() if k != '1.w'})
h = m.register_load_state_dict_post_hook(lambda module, keys: 3)
m.load_state_dict(s)
m.state_dict(1)
d = {}
m[1].state_dict(destination=d) is d, sorted(d)
'''

HOOKS = '''
class Two(nn.Module):
    def forward(self, a, b=None): return a * 2
log = []
m = Two()
x = torch.ones(2, requires_grad=True)
h = [m.register_forward_pre_hook(lambda mod, args: log.append(('pre', args)))]
h += [m.register_forward_hook(lambda mod, args, out: log.append(('post', args, out)))]
h += [m.register_forward_pre_hook(lambda mod, args, kw: log.append(('first', args, kw)), prepend=True, with_kwargs=True)]
h += [m.register_forward_hook(lambda mod, args, kw, out: out + kw.get('b', 0), with_kwargs=True, prepend=True)]
m(x, b=1)
log
log.clear()
for each in h: each.remove()
m(x), log
h = m.register_forward_pre_hook(lambda mod, args: args[0] + 1)
m(x)
h.remove()
with m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,)): y = m(x)
y, m(x)
h = m.register_forward_pre_hook(lambda mod, args, kw: 3, with_kwargs=True)
m(x)
h.remove()
h = m.register_forward_pre_hook(lambda mod, args, kw: ((args[0] * 3,), {}), with_kwargs=True)
m(x, b=2)
h.remove()
h = m.register_forward_hook(lambda mod, args, out: log.append('always'), always_call=True)
h2 = m.register_forward_hook(lambda mod, args, out: log.append('only when well'))
m('no number', 1, 2, 3)
log
h.remove()
h2.remove()
log.clear()
h = m.register_full_backward_hook(lambda mod, gi, go: log.append(('full', gi, go)))
h2 = m.register_full_backward_pre_hook(lambda mod, go: log.append(('fullpre', go)))
m(x).sum().backward()
m(x, torch.ones(2)).sum().backward()
log
x.grad
m.register_backward_hook(lambda *a: None)
h.remove()
h2.remove()
log.clear()
m = Two()
h = m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 5,))
h2 = m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 7,))
x.grad = None
m(x).sum().backward()
x.grad
h3 = m.register_full_backward_hook(lambda mod, gi, go: (gi[0], gi[0]))
m(x).sum().backward()
h3.remove()
type(m(x).grad_fn).__name__
class Apart(nn.Module):
    def forward(self, a): return {'a': a}
a = Apart()
h = a.register_full_backward_hook(lambda *a: None)
sorted(a(x))
h = a.register_full_backward_hook(lambda *a: None, prepend=True)
m = Two()
h = m.register_backward_hook(lambda mod, gi, go: log.append(('old', gi, go)))
m(x).sum().backward()
log
m.register_full_backward_hook(lambda *a: None)
mod = torch.nn.modules.module
log.clear()
m = Two()
h = [mod.register_module_forward_pre_hook(lambda mod, args: log.append('global pre'))]
h += [mod.register_module_forward_hook(lambda mod, args, out: log.append('global post'))]
h += [mod.register_module_full_backward_pre_hook(lambda mod, go: log.append('global backward pre'))]
h += [mod.register_module_full_backward_hook(lambda mod, gi, go: log.append('global backward'))]
m(x).sum().backward()
log
mod.register_module_backward_hook(lambda *a: None)
for each in h: each.remove()
log.clear()
m(x)
log
h = [mod.register_module_parameter_registration_hook(lambda mod, name, p: log.append(name))]
h += [mod.register_module_buffer_registration_hook(lambda mod, name, p: log.append(name))]
h += [mod.register_module_module_registration_hook(lambda mod, name, p: log.append(name))]
s = nn.Sequential(nn.PReLU())
s.register_buffer('buf', torch.ones(1))
for each in h: each.remove()
log
m.register_forward_hook(lambda *a: None).id >= 0
'''

PARAMETERS = '''
import copy
x = torch.arange(3.)
p = nn.Parameter(x)
p
p.data_ptr() == x.data_ptr()
nn.Parameter(x, False)
nn.Parameter()
nn.Parameter(None, False)
nn.Parameter(torch.arange(3))  # type
nn.Parameter(torch.arange(3), False)
nn.Parameter(p * 2)
nn.Parameter(p * 2).is_leaf
p.foo = 3
q = copy.deepcopy(p)
q, vars(q), q.data_ptr() == p.data_ptr()
type(p.data), type(p.detach()), type(p * 2), type(p.clone()), type(p.requires_grad_())
isinstance(p, nn.Parameter), isinstance(x, nn.Parameter), isinstance(p, torch.Tensor)
class Own(nn.Parameter): pass
type(Own(x)).__name__
isinstance(Own(x), nn.Parameter), isinstance(nn.Parameter(x), Own)
b = nn.Buffer(x)
type(b), isinstance(b, nn.Buffer), isinstance(x, nn.Buffer), b.persistent, b is x
nn.Buffer()
nn.Buffer(x, persistent=False).persistent
u = nn.UninitializedParameter()
u
u.shape
u.numel()  # type
u + 1  # type
u.requires_grad, u.dtype, u.is_leaf, u.grad, u.device
copy.deepcopy(u)
u.share_memory_()
u.materialize((2, 3))
type(u), u.shape
w = nn.UninitializedBuffer()
w, isinstance(w, nn.Buffer)
w.materialize((2,))
type(w), w.shape
torch.nn.parameter.is_lazy(nn.UninitializedParameter()), torch.nn.parameter.is_lazy(w)
'''


@pytest.mark.parametrize("program", [REGISTRATION, STATE, HOOKS, PARAMETERS])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


class Net(nn.Module):
    """A parameter, a buffer, a submodule; plain attributes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("seen", torch.zeros(1))
        self.inner = nn.PReLU()
        self.note = "plain"

    def forward(self, x):
        return self.inner(x * self.weight) + self.seen


def consistent(module):
    """Every member reads as the attribute of its name, and nothing else claims to be a member."""
    for members in (module._parameters, module._buffers, module._modules):
        for name, value in members.items():
            assert getattr(module, name) is value, name
    for sub in module._modules.values():
        if sub is not None:
            consistent(sub)
    return module


class TestMembersReadAsAttributes:
    def test_through_every_road_of_the_dict(self):
        m = Net()
        for members, name, make in (
            (m._parameters, "weight", lambda: nn.Parameter(torch.ones(2))),
            (m._buffers, "seen", lambda: torch.ones(1)),
            (m._modules, "inner", nn.Tanh),
        ):
            members[name] = new = make()
            assert getattr(m, name) is new
            members.update({name: (new := make())})
            assert getattr(m, name) is new
            members.update(**{name: (new := make())})
            assert getattr(m, name) is new
            members |= {name: (new := make())}
            assert getattr(m, name) is new
            assert members.pop(name) is new and not hasattr(m, name)
            assert members.pop(name, 5) == 5
            with pytest.raises(KeyError):
                members.pop(name)
            assert members.setdefault(name, new) is new and getattr(m, name) is new
            assert members.setdefault(name, make()) is new
            del members[name]
            assert not hasattr(m, name)
            members[name] = new
            assert members.popitem() == (name, new) and not hasattr(m, name)
            members[name] = new
            members.clear()
            assert not hasattr(m, name) and not members
            with pytest.raises(KeyError):
                del members[name]

    def test_replacing_the_whole_dict(self):
        m = Net()
        old = m._parameters
        m._parameters = OrderedDict(other=nn.Parameter(torch.ones(1)))
        assert m.other is m._parameters["other"] and not hasattr(m, "weight")
        old["weight"] = nn.Parameter(torch.ones(1))  # no longer this module's
        assert not hasattr(m, "weight")
        m._modules = {}
        assert not hasattr(m, "inner")

    def test_a_name_changes_its_kind(self):
        m = Net()
        m.weight = None
        m.thing = nn.Parameter(torch.ones(1))
        m.thing2 = nn.Tanh()
        del m.thing
        m.thing = nn.ReLU()
        m.thing = nn.Parameter(torch.ones(1))
        assert "thing" in m._parameters and "thing" not in m._modules
        m.note = nn.Parameter(torch.ones(1))
        assert m._parameters["note"] is m.note
        consistent(m)

    def test_copies(self):
        m = Net()
        for made in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))) if hasattr(torch, "save") else (copy.deepcopy(m),):
            consistent(made)
            assert made.weight is not m.weight and made.note == "plain" and made.inner.weight is not m.inner.weight
            made._parameters["weight"] = p = nn.Parameter(torch.zeros(2))
            assert made.weight is p and m.weight is not p
            made.extra = nn.Parameter(torch.ones(1))
            assert not hasattr(m, "extra")
            assert made(torch.ones(2)).tolist() == [0.0, 0.0]

    def test_a_shallow_copy_shares_its_dicts_as_in_pytorch(self):
        m = Net()
        c = copy.copy(m)
        assert c._parameters is m._parameters
        c.weight = nn.Parameter(torch.zeros(2))
        assert m.weight is c.weight
        c.new = nn.Parameter(torch.zeros(2))
        assert m.new is c.new

    def test_a_dict_filled_from_outside(self):
        m = Net()
        c = Net.__new__(Net)
        c.__dict__ = m.__dict__.copy()
        consistent(c)
        c._parameters = m._parameters.copy()
        c.weight = nn.Parameter(torch.zeros(2))
        assert m.weight is not c.weight
        consistent(c), consistent(m)

    def test_own_setstate_without_super(self):
        class Careless(Net):
            def __getstate__(self):
                state = self.__dict__.copy()
                del state["note"]
                return state

            def __setstate__(self, state):
                self.__dict__.update(state)
                self.note = "again"

        class Other(Net):
            def __setstate__(self, state):
                self.__dict__.update(state)

        for cls in (Careless, Other):
            made = consistent(copy.deepcopy(cls()))
            made._parameters["weight"] = p = nn.Parameter(torch.zeros(2))
            assert made.weight is p

    def test_a_state_from_pytorch(self):
        """What PyTorch's pickle of a module holds: plain dicts of members, ordered dicts of hooks."""
        m = Net()
        state = {
            "training": False,
            "_parameters": {"weight": m.weight},
            "_buffers": {"seen": m.seen},
            "_non_persistent_buffers_set": set(),
            "_forward_hooks": OrderedDict(),
            "_forward_pre_hooks": OrderedDict(),
            "_backward_hooks": OrderedDict(),
            "_modules": {"inner": m.inner},
            "note": 1,
        }
        made = Net.__new__(Net)
        made.__setstate__(state)
        consistent(made)
        assert not made.training and not made._hooked and made(torch.ones(2)).tolist() == [1.0, 2.0]

    def test_the_pickled_state_is_pytorchs(self):
        pytorch = pytest.importorskip("torch").nn.ReLU().__getstate__()
        ours = nn.ReLU().__getstate__()
        assert list(ours) == list(pytorch)
        again = pickle.loads(pickle.dumps(ours))
        assert {k: type(v) for k, v in again.items()} == {k: type(v) for k, v in pytorch.items()}

    def test_a_subclass_with_getattr_of_its_own(self):
        class Wrapper(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def __getattr__(self, name):
                try:
                    return super().__getattr__(name)
                except AttributeError:
                    return getattr(self.model, name)

        w = Wrapper(Net())
        assert w.weight is w.model.weight and w.note == "plain"
        with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
            w.nothing
        with pytest.raises(AttributeError, match="'PReLU' object has no attribute 'nothing'"):
            nn.PReLU().nothing

    def test_data_parallel_replica(self):
        m = Net()
        replica = m._replicate_for_data_parallel()
        assert not hasattr(replica, "weight") and m.weight is not None
        replica.weight = torch.zeros(2)  # a plain tensor: not a parameter here
        assert replica(torch.ones(2)).tolist() == [0.0, 0.0]
        replica._buffers["seen"] = torch.ones(1)
        assert m.seen.item() == 0.0

    def test_no_cycles(self):
        gc.collect()
        gc.disable()
        try:
            m = nn.Sequential(Net(), nn.Sequential(Net()))
            m(torch.ones(2)).sum().backward()
            refs = [weakref.ref(m), weakref.ref(m[0]), weakref.ref(m[1][0].weight)]
            del m
            assert [ref() for ref in refs] == [None] * 3
        finally:
            gc.enable()

    def test_instance_forward_wins(self):
        m = Net()
        m.forward = lambda x: "mine"
        assert m(1) == "mine" and m(x=1) == "mine"
        Net2 = type("Net2", (Net,), {})
        n = Net2()
        Net2.forward = lambda self, x: "patched"
        assert n(1) == "patched"


def test_call_passes_arguments_on():
    class Echo(nn.Module):
        def forward(self, *args, **kwargs):
            return args, kwargs

    e = Echo()
    assert e() == ((), {}) and e(1) == ((1,), {}) and e(1, 2) == ((1, 2), {})
    assert e(x=1) == ((), {"x": 1}) and e(1, x=2) == ((1,), {"x": 2})
    assert e(None) == ((None,), {})
    hook = e.register_forward_hook(lambda m, a, o: None)
    assert e() == ((), {}) and e(1, 2, y=3) == ((1, 2), {"y": 3})
    hook.remove()
    assert e(1, y=3) == ((1,), {"y": 3})


def test_hooks_put_into_the_dict_directly_are_called():
    m = Net()
    calls = []
    m._forward_hooks[0] = lambda *a: calls.append("post")
    m._forward_pre_hooks[0] = lambda *a: calls.append("pre")
    m(torch.ones(2))
    assert calls == ["pre", "post"]
    copy.deepcopy(m)(torch.ones(2))
    assert calls == ["pre", "post"] * 2


def test_hooks_come_along_in_copies():
    m = Net()
    h = m.register_forward_hook(lambda mod, a, out: out * 0)
    c = copy.deepcopy(m)
    assert c(torch.ones(2)).tolist() == [0.0, 0.0]
    h.remove()
    assert m(torch.ones(2)).tolist() == [1.0, 2.0] and c(torch.ones(2)).tolist() == [0.0, 0.0]


def test_a_removed_handle_keeps_no_module_alive():
    m = Net()
    h = m.register_forward_hook(lambda *a: None)
    ref = weakref.ref(m)
    del m
    gc.collect()
    assert ref() is None
    h.remove()
    h.remove()


def test_zero_grad():
    m = Net()
    m(torch.ones(2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.tolist() == [0.0, 0.0]
    m.zero_grad()
    assert m.weight.grad is None and m.inner.weight.grad is None


def test_conversion_keeps_parameters_and_their_grads():
    m = Net()
    before = m.weight
    m(torch.ones(2)).sum().backward()
    m.double()
    assert m.weight is before and m.weight.dtype == torch.float64 and m.weight.grad.dtype == torch.float64
    assert m.seen.dtype == torch.float64 and m.weight.is_leaf and m.weight.requires_grad
    assert m(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    m.to(torch.float32)
    assert m.inner.weight.dtype == torch.float32
    m.to(device="cpu", dtype=torch.float16)
    assert m.weight.dtype == torch.float16
    m.register_buffer("count", torch.tensor(3))
    assert m.float().count.dtype == torch.int64
    consistent(m)


def test_apply_visits_children_first():
    order = []
    nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh()).apply(lambda m: order.append(type(m).__name__))
    assert order == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_call_super_init():
    class Base:
        def __init__(self, value=None):
            self.value = value

    class Both(nn.Module, Base):
        call_super_init = True

    assert Both(value=3).value == 3


def test_abstract_and_generic_modules():
    from abc import ABC, abstractmethod
    from typing import Generic, TypeVar

    class A(nn.Module, ABC):
        @abstractmethod
        def forward(self, x): ...

    class G(nn.Module, Generic[TypeVar("T")]):
        pass

    G()
    with pytest.raises(TypeError):
        A()


def test_printing():
    class Noted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.ReLU()

        def extra_repr(self):
            return "one=1\ntwo=2"

    assert repr(Noted()) == "Noted(\n  one=1\n  two=2\n  (a): ReLU()\n)"
    assert repr(nn.Module()) == "Module()"


def test_functional_call_leaves_the_module_as_it_was():
    from bibun.func import functional_call

    m = Net()
    kept = m.weight
    out = functional_call(m, {"weight": torch.zeros(2), "inner.weight": torch.ones(1)}, (torch.ones(2),))
    assert out.tolist() == [0.0, 0.0] and m.weight is kept
    consistent(m)


def test_names_where_programs_look_for_them():
    from bibun.nn.modules.module import _IncompatibleKeys, register_module_forward_hook  # noqa: F401
    from bibun.nn.modules.utils import _pair, _triple
    from bibun.nn.parameter import Parameter

    assert _pair(2) == (2, 2) and _triple((1, 2, 3)) == (1, 2, 3) and Parameter is nn.Parameter
    assert module_file.Module is nn.Module
    assert repr(_IncompatibleKeys([], [])) == "<All keys matched successfully>"


def test_a_call_costs_little_more_than_forward():
    class Empty(nn.Module):
        def forward(self, x):
            return x

    m = Empty()

    def cost(call):
        return min(timeit.repeat(lambda: [call(1) for _ in range(1000)], number=5, repeat=7))

    assert cost(m) < 12 * cost(m.forward)


@pytest.mark.skipif(not hasattr(torch, "save"), reason="needs saving")
def test_whole_modules_are_pickled():
    file = io.BytesIO()
    pickle.dump(Net(), file)
    file.seek(0)
    consistent(pickle.load(file))
