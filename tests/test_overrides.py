"""``__torch_function__``: subclasses of Tensor, classes that are no tensors, and modes, beside PyTorch."""

import copy
import inspect
import pickle
import subprocess
import sys
import threading

import pytest

import bibun
import bibun.nn
from bibun import overrides, overriding


@pytest.fixture(scope="module", autouse=True)
def open_afterwards():
    """Other tests run with the functions' own code."""
    yield
    if overriding._classes_met[0]:
        overriding._classes_met[0] = False
        overriding.disarm()
    assert not overriding.armed()


SUBCLASS = '''
import copy, pickle
class Sub(torch.Tensor): pass
x = torch.ones(2, requires_grad=True)
s = x.as_subclass(Sub)
s, s.is_leaf, s._is_view(), s._base is x
s = torch.ones(2).as_subclass(Sub)
s * 2, 2 * s, torch.ones(2) * s, torch.add(torch.ones(2), s), s.sum(), -s, s[0], s > 0, s == s
s.shape, s.tolist(), s.dtype, s.mean().item(), bool(s[0]), len(s), f"{s}", s.size(0), list(s)
s.max(0), torch.split(s, 1), torch.topk(s, 1), torch.stack([torch.ones(2), s]), torch.cat([s, s]), torch.where(s > 0, s, 0.0)
torch.zeros_like(s), s.new_zeros(2), s.detach(), s.data, s.view(1, 2), s.to(torch.float64), s.clone(), s.contiguous(), torch.ones(2).add_(s)
nn.functional.relu(s), nn.functional.softmax(s, 0), nn.functional.pad(s, (1, 1)), torch.linalg.norm(s), torch.special.erf(s), torch.einsum("i,i", s, s)
s.requires_grad_()
y = s * 2
y, y.grad_fn.next_functions[0][0].name(), y.is_leaf
y.sum().backward()
s.grad, type(s.grad) is torch.Tensor
torch.autograd.grad((s * s).sum(), s)
(s * 1).retain_grad()
t = torch.zeros(2)
u = Sub(t)
u += 1
t, u
Sub([1.0, 2.0]), Sub(2, 3).shape, Sub(torch.ones(2, dtype=torch.float64)), Sub(x)
torch.Tensor._make_subclass(Sub, torch.ones(2), True), torch.Tensor._make_subclass(Sub, torch.ones(2))
torch.ones(2).as_subclass(int)
p = nn.Parameter(torch.ones(2))
type(p * 2) is torch.Tensor, p * s, type(nn.Parameter(s)) is Sub, isinstance(nn.Parameter(s), nn.Parameter), nn.Parameter(s) * 2
class P(nn.Parameter): pass
type(P(torch.ones(2)) * 2) is torch.Tensor
s.info = 3
(s * 2).info
pickle.dumps(1) and s.info
class Sub2(Sub): pass
class Other(torch.Tensor): pass
s2, o = torch.ones(2).as_subclass(Sub2), torch.ones(2).as_subclass(Other)
type(s + s2) is Sub2, type(s2 + s) is Sub2, type(torch.stack([s, s2])) is Sub2
s + o
torch.add(s, o)  # type
torch.cat([s, o])  # type
class Quiet(torch.Tensor):
    __torch_function__ = torch._C._disabled_torch_function_impl
type(torch.ones(2).as_subclass(Quiet) * 2) is torch.Tensor
with torch._C.DisableTorchFunctionSubclass():
    off = type(s * 2) is torch.Tensor
off
class Tagged(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        said.append((func.__name__, len(types), len(args), sorted(kwargs or {})))
        r = super().__torch_function__(func, types, args, kwargs)
        if isinstance(r, Tagged):
            r.tag = next((a.tag for a in args if hasattr(a, "tag")), None)
        return r
said = []
g = torch.ones(2).as_subclass(Tagged)
g.tag = "here"
(g * 2 + 1).tag, g.sum(dim=0).tag, said
said.clear()
g[0] = 2
g.shape, g.grad, g.T if 0 else g.ndim, torch.sum(g, dim=0).tag, said
said.clear()
g.grad = None
g.add_(1), g.mul(g), torch.mul(2, g) if 0 else 1, nn.functional.linear(g, g), 1 - g, g @ g, g.requires_grad
said[:3]
torch.is_tensor(g), isinstance(g, torch.Tensor)
class Refuses(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return NotImplemented
r = torch.ones(2).as_subclass(Refuses)
r + 1
torch.exp(r)  # type
'''

DUCK = '''
class Duck:
    def __init__(self, v): self.v = v
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func not in HANDLED or not all(issubclass(t, (torch.Tensor, cls)) for t in types):
            return NotImplemented
        return HANDLED[func](*args, **(kwargs or {}))
HANDLED = {}
def implements(f):
    def register(g):
        HANDLED[f] = g
        return g
    return register
@implements(torch.mean)
def mean(d): return d.v
@implements(torch.add)
def add(a, b): return "added"
@implements(torch.Tensor.add)
def method(a, b): return "method"
@implements(torch.stack)
def stack(l): return len(l)
@implements(torch.Tensor.matmul)
def matmul(a, b): return "matmul"
@implements(nn.functional.softplus)
def softplus(d): return "softplus"
@implements(torch.where)
def where(*a): return "where"
d = Duck(3)
torch.mean(d), torch.add(d, torch.ones(1)), torch.add(torch.ones(1), d), torch.ones(1) + d, d + torch.ones(1), torch.stack([d, d])
torch.ones(1) @ d, nn.functional.softplus(d), torch.where(torch.tensor([True]), d, 0), torch.stack((d, torch.ones(1)))
torch.sum(d)  # type
torch.ones(1) * d
torch.cat((d, torch.ones(1)))  # type
torch.mean(input=d)
torch.is_tensor(d), torch.overrides.is_tensor_like(d), torch.overrides.is_tensor_like(torch.ones(1)), torch.overrides.is_tensor_like(3)
with torch._C.DisableTorchFunctionSubclass(): torch.mean(d)
torch.overrides.has_torch_function((d,)), torch.overrides.has_torch_function((torch.ones(1), 3)), torch.overrides.has_torch_function_unary(d), torch.overrides.has_torch_function_variadic(1, d)
def mine(x, y=1):
    if torch.overrides.has_torch_function((x,)):
        return torch.overrides.handle_torch_function(mine, (x,), x, y=y)
    return "plain"
mine(1)
mine(d)
@implements(mine)
def _(x, y): return ("mine", y)
mine(d, y=2)
@torch.overrides.wrap_torch_function(lambda a, *b: (a,))
def wrapped(a): return "plain"
wrapped(1)
HANDLED[wrapped] = lambda a: "wrapped"
wrapped(d)
'''

MODES = '''
TorchFunctionMode, resolve_name = torch.overrides.TorchFunctionMode, torch.overrides.resolve_name
class Log(TorchFunctionMode):
    def __init__(self, tag=""):
        super().__init__()
        self.tag = tag
    def __torch_function__(self, func, types, args=(), kwargs=None):
        said.append(self.tag + (resolve_name(func) or func.__name__))
        return func(*args, **(kwargs or {}))
said = []
x = torch.ones(2, 2)
y = torch.ones(2, 2, requires_grad=True)
with Log():
    a = x * y
    b = 2 * x
    c = 1 - x
    c = x / 2
    c = 2 / x
    c = x ** 2
    c = x @ y
    c = -x
    c = abs(x)
    c = x == y
    c = x < 1
    c = x[0]
    c[0] = 1
    c += 1
    c = x.shape, x.T, x.requires_grad, y.grad, len(x), x.ndim, x.dtype, x.is_leaf, x.size(), x.dim(), x.numel()
    y.grad = x
    y.grad = None
    c = bool(x[0, 0]), float(x[0, 0]), repr(x)
    c = nn.functional.relu(x), nn.functional.linear(x, y), nn.functional.mse_loss(x, y), nn.functional.cross_entropy(x, x)
    c = nn.functional.dropout(x), nn.functional.gelu(x), nn.functional.pad(x, (1, 1))
    c = torch.relu(x), torch.ones(2), torch.tensor(1.0), torch.zeros_like(x), torch.rand(2), torch.arange(3), torch.empty(2)
    c = torch.stack([x, y]), torch.cat([x, y]), torch.where(x > 0, x, y), torch.allclose(x, x), x.split(1), x.clone(), x.detach()
    c = x.to("cpu"), x.float(), x.numpy(), x.tolist(), x.view(4), x.sum(), torch.sum(x), torch.add(x, 1), x.add(1), x.add_(1)
    c = torch.is_tensor(x), hash(x), torch.manual_seed(0), torch.get_default_dtype(), nn.Parameter(x), x.as_subclass(torch.Tensor)
    y.sum().backward()
    c = x // 2, x % 2, x.bool() & x.bool(), ~x.bool(), 1 in x, reversed(x), torch.is_floating_point(x)
    c = torch.linalg.norm(x), torch.fft.fft(x), torch.softmax(x, 1), x.softmax(1), nn.functional.softmax(x, 1)
said
said.clear()
with Log("outer "):
    with Log("inner "):
        c = x + x
said
x + x
said.clear()
class Zero(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return 0 if func is torch.add else func(*args, **(kwargs or {}))
with Zero():
    c = torch.add(x, x), torch.sub(x, x).sum()
c, torch.add(x, x).sum()
class Sub(torch.Tensor): pass
s = torch.ones(2).as_subclass(Sub)
with Log():
    c = s * 2
type(c) is Sub, said
class Declines(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return NotImplemented
with Declines():
    torch.add(x, 1)  # type
with Declines():
    torch.add(s, 1)  # type
with TorchFunctionMode():
    torch.add(x, 1)
torch.add(x, 1).sum()
with Log(), torch._C.DisableTorchFunction():
    said.clear()
    c = x + 1
said
class Raises(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise KeyError(func.__name__)
with Raises():
    x.exp()
x.exp().sum()
'''


@pytest.mark.parametrize("program", [SUBCLASS, DUCK, MODES])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


class Named(bibun.Tensor):
    """A tensor with a name (at the module's level, so that pickle finds it)."""

    name = None


def test_attributes_survive_copies():
    t = bibun.ones(2).as_subclass(Named).requires_grad_()
    t.name = ["a"]
    for made in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert type(made) is Named and made.name == ["a"] and made.requires_grad and made.tolist() == [1.0, 1.0]
    assert copy.deepcopy(t).name is not t.name
    model = bibun.nn.Linear(1, 1)
    model.weight = bibun.nn.Parameter(t.detach())
    assert type(copy.deepcopy(model).weight) is Named


def test_file_keeps_the_class(tmp_path):
    t = bibun.ones(2).as_subclass(Named)
    t.name = "kept"
    bibun.save(t, tmp_path / "t.pt")
    made = bibun.load(tmp_path / "t.pt", weights_only=False)
    assert type(made) is Named and made.name == "kept"


def test_gradients_in_place_and_higher_orders():
    x = bibun.ones(3, requires_grad=True)
    s = x.as_subclass(Named)
    (g,) = bibun.autograd.grad((s * s * s).sum(), x, create_graph=True)
    assert bibun.autograd.grad(g.sum(), x)[0].tolist() == [6.0, 6.0, 6.0]
    y = s * 2
    y.add_(1).mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0, 6.0]


def test_training_with_a_subclass():
    bibun.manual_seed(0)
    model = bibun.nn.Sequential(bibun.nn.Linear(2, 4), bibun.nn.Tanh(), bibun.nn.Linear(4, 1))
    optimizer = bibun.optim.SGD(model.parameters(), lr=0.1)
    x = bibun.randn(8, 2).as_subclass(Named)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        out = model(x)
        assert type(out) is Named
        loss = ((out - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert type(model[0].weight.grad) is bibun.Tensor


def test_functions_stay_the_same_objects():
    before = bibun.add, bibun.Tensor.add, bibun.nn.functional.linear
    code = bibun.add.__code__
    armed = overriding.armed()
    signature = inspect.signature(bibun.nn.functional.linear)
    with overrides.BaseTorchFunctionMode():
        assert (bibun.add, bibun.Tensor.add, bibun.nn.functional.linear) == before
        assert bibun.add.__code__ is not code or armed
        assert inspect.signature(bibun.nn.functional.linear) == signature
    assert bibun.add.__code__ is code
    assert pickle.loads(pickle.dumps(bibun.nn.functional.linear)) is bibun.nn.functional.linear


def test_modes_are_of_the_thread():
    seen = []

    class Log(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(threading.current_thread().name)
            return func(*args, **(kwargs or {}))

    x = bibun.ones(2)
    with Log():
        other = threading.Thread(target=lambda: x + 1, name="other")
        other.start()
        other.join()
        x + 1
    assert seen == ["MainThread"]


def test_frames_of_asking_functions_can_be_looked_at():
    """Debuggers read the variables of every frame on the stack."""

    class Looks(overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            f = sys._getframe()
            while f is not None:
                dict(f.f_locals)
                f = f.f_back
            return func(*args, **(kwargs or {}))

    with Looks():
        assert (bibun.ones(2) * 2).sum().item() == 4.0


def test_names():
    assert overrides.resolve_name(bibun.Tensor.add) == "torch.Tensor.add"
    assert overrides.resolve_name(bibun.Tensor.shape.__get__) == "torch.Tensor.shape.__get__"
    assert overrides.is_tensor_method_or_property(bibun.Tensor.add)
    assert not overrides.is_tensor_method_or_property(bibun.add)
    listed = overrides.get_overridable_functions()
    assert bibun.add in listed[bibun] and bibun.Tensor.add in listed[bibun.Tensor] and bibun.nn.functional.relu in listed[bibun.nn.functional]
    assert bibun.ones in overrides.get_ignored_functions()


def test_overridable_functions_are_pytorchs():
    torch = pytest.importorskip("torch")
    theirs = {torch.overrides.resolve_name(f) for fs in torch.overrides.get_overridable_functions().values() for f in fs}
    theirs = {n.replace("torch.functional.", "torch.") for n in theirs if n and "._" not in n and "__" not in n}
    ours = {overrides.resolve_name(f) for fs in overrides.get_overridable_functions().values() for f in fs}
    for name in sorted(theirs):
        where = bibun
        for part in name.split(".")[1:]:
            where = getattr(where, part, None)
            if where is None:
                break
        if where is not None and callable(where) and not isinstance(where, type):
            assert overriding.gates().get(id(where)), name
    assert len(ours & theirs) > 700


COLD = """
import sys
import bibun as torch
class Duck:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__
d = Duck()
print(eval(sys.argv[1]))
try:
    torch.mean(3)
except TypeError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "call, said",
    [
        ("torch.mean(d)", "mean"), ("torch.add(torch.ones(1), d)", "add"), ("torch.ones(1) + d", "add"), ("torch.stack([d, d])", "stack"),
        ("torch.exp(d)", "exp"), ("torch.norm(d)", "norm"), ("torch.mul(torch.ones(1), d)", "mul"),
    ],
)
def test_objects_are_met_in_their_first_call(call, said):
    made = subprocess.run([sys.executable, "-c", COLD, call], capture_output=True, text=True)
    assert made.stdout.split("\n")[0] == said, made.stderr
    assert "must be Tensor, not int" in made.stdout


def test_nothing_is_asked_where_nothing_overrides():
    code = """
import sys
import bibun as torch, bibun.nn
class P(torch.nn.Parameter): pass
(P(torch.ones(1)) * 2).sum().backward()
print("bibun.overriding" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
