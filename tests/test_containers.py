"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: beside PyTorch's, and by themselves."""

import copy

import pytest

import bibun as torch
from bibun import nn

SEQUENTIAL = '''
import collections
L = lambda i=1: nn.Linear(i, i)
s = nn.Sequential(L(1), nn.ReLU(), L(2))
s
s[0]
s[-1]
s[5]
s[-4]
s['0']
s[0:2]
s[::2]
s + nn.Sequential(L(3))
s + [1]
s * 2
2 * s
s * 0
s * 'a'
s[1] = nn.Tanh()
s[7] = nn.Tanh()
s
del s[0]
s
del s[0:1]
s
s.pop(0)
s.pop(0)
s.append(L())
s.append(3)
s.insert(0, nn.ReLU())
s.insert(5, nn.ReLU())
s.insert(-1, nn.Tanh())
s.insert(0, 3)
s.extend([nn.ReLU(), L()])
s.extend(3)
s += nn.Sequential(L(4))
s += 3
s *= 2
s
s *= 0
s.pop(slice(0, 2))
list(s.state_dict())
o = nn.Sequential(collections.OrderedDict(a=L(), b=nn.ReLU()))
o
o[1:]
o.a
nn.Sequential(3)
nn.Sequential([L()])
nn.Sequential(None)
nn.Sequential()(3)
nn.Sequential()(3, 4)
nn.Sequential()()
'0' in dir(o), 'a' in dir(o)
'''

MODULE_LIST = '''
L = lambda i=1: nn.Linear(i, i)
m = nn.ModuleList([L(), L(), L(2), nn.Sequential(L(3)), nn.Sequential(L(3)), nn.ReLU()])
m
m[1:3]
m[-1]
m[9]
m[-9]
m['a']
len(m)
m + [L()]
m.insert(1, nn.Tanh())
m.append(3)
m.extend([L()])
m.extend(L())
m.extend(3)
m.pop(0)
m.pop(slice(0, 2))
m(3)
nn.ModuleList()
nn.ModuleList([None])
nn.ModuleList(3)
nn.ModuleList([nn.ReLU(), nn.ReLU()])
del m[1:3]
del m[-1]
del m[10]
m[0] = nn.Tanh()
m[0:2] = [nn.Tanh()]
m += [L()]
m
'forward' in dir(m), '0' in dir(m)
m * 2
list(m._modules), list(m.state_dict())
m[0] in m
'''

MODULE_DICT = '''
L = lambda i=1: nn.Linear(i, i)
d = nn.ModuleDict({'a': L(), 'b': nn.ReLU()})
d
d['zz']
d['a']
len(d), 'a' in d, list(d)
d.keys()
d.items()
d.values()
d.pop('a')
d.update([('x', L())])
d.update([('x',)])
d.update([3])
d.update(3)
d.update({'q': 3})
d.update(nn.ModuleDict({'c': L()}))
d
d.clear()
d
d(3)
nn.ModuleDict([('a', L())])
nn.ModuleDict({'type': L()})
nn.ModuleDict({3: L()})
nn.ModuleDict({'a.b': L()})
d['x'] = 3
d.pop('none')
'''

PARAMETER_LIST = '''
t = torch.ones(2)
P = nn.Parameter
l = nn.ParameterList([P(t), t, 'x', P(torch.ones(2, 2, dtype=torch.float64))])
l
list(l)
l[0]
l[1:3]
l[9]
len(l)
l.append(3)
l.extend([1, t])
l.extend(3)
l.extend(t)
l(3)
list(l.state_dict())
l[0] = t * 2
l[77] = t * 2
l += [t]
l
l[0]
nn.ParameterList(3)
nn.ParameterList()
nn.ParameterList([nn.ParameterList([P(t)])])
nn.ParameterList([t]).requires_grad_(False)
nn.ParameterList([nn.ReLU()])
list(nn.ParameterList([t]).parameters())
del l[0]
'''

PARAMETER_DICT = '''
t = torch.ones(2)
P = nn.Parameter
d = nn.ParameterDict({'a': P(t), 'b': t, 'c': 'x', 'd': 3})
d
d['a']
d['zz']
list(d), list(reversed(d)), d.keys()
list(d.items())
list(d.values())
d.pop('c')
d.popitem()
d.get('zz'), d.get('zz', 4), d.get('a')
d.setdefault('e')
d.setdefault('f', t)
d.copy()
d.fromkeys(['a', 'b'], t)
d.fromkeys(['a', 'b'])
d | nn.ParameterDict({'z': t})
d.update({'u': t})
d.update([('y', t)])
d.update(3)
d.update([3])
d.update([(3,)])
d
d(3)
list(d.state_dict()), len(d), 'a' in d
del d['a']
d
d |= nn.ParameterDict({'z': t})
list(d)
{'q': t} | d
d | {'q': t}
d.clear()
d
nn.ParameterDict([('b', t), ('a', t)])
nn.ParameterDict({'b': t, 'a': t})
nn.ParameterDict(3)
nn.ParameterDict({'forward': t})
nn.ParameterDict({'n': nn.ParameterDict({'x': t})})
d[3] = t  # type
'''


@pytest.mark.parametrize("program", [SEQUENTIAL, MODULE_LIST, MODULE_DICT, PARAMETER_LIST, PARAMETER_DICT])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


def test_sequential_runs_in_order_and_is_a_list():
    s = nn.Sequential(nn.Flatten(), nn.Threshold(0.0, -1.0), nn.Identity())
    x = torch.tensor([[[1.0, -2.0]]])
    assert s(x).tolist() == [[1.0, -1.0]]
    assert list(s) == [s[0], s[1], s[2]] and len(s[1:]) == 2
    s.insert(1, nn.Tanh())
    assert [type(m).__name__ for m in s] == ["Flatten", "Tanh", "Threshold", "Identity"]
    assert list(s._modules) == ["0", "1", "2", "3"] and getattr(s, "1") is s[1]
    del s[0]
    assert list(s._modules) == ["0", "1", "2"] and not hasattr(s, "3")


def test_repeated_blocks_print_once():
    blocks = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Sequential(nn.Tanh()), nn.ReLU()])
    assert repr(blocks) == (
        "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Sequential(\n    (0): Tanh()\n  )\n  (3): ReLU()\n)"
    )


def test_module_list_inserts_as_a_list_does():
    # PyTorch leaves a gap in the numbers for indices beyond the ends.
    m = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    m.insert(100, nn.Identity())
    m.insert(-100, nn.Sigmoid())
    assert [type(x).__name__ for x in m] == ["Sigmoid", "ReLU", "Tanh", "Identity"]
    assert list(m._modules) == ["0", "1", "2", "3"]


def test_parameter_dict_leaves_nothing_behind_on_error():
    d = nn.ParameterDict({"a": torch.ones(1)})
    with pytest.raises(TypeError, match="not a string"):
        d[3] = torch.ones(1)
    assert list(d) == ["a"]


def test_deepcopied_containers_are_apart():
    s = nn.Sequential(nn.PReLU(), nn.ModuleList([nn.PReLU()]), nn.ParameterDict({"w": torch.ones(2)}))
    c = copy.deepcopy(s)
    assert [id(p) for p in c.parameters()] != [id(p) for p in s.parameters()]
    c.append(nn.ReLU())
    c[1].append(nn.PReLU())
    c[2]["v"] = torch.ones(1)
    assert (len(s), len(s[1]), len(s[2])) == (3, 1, 1)
    assert len(list(c.parameters())) == 5 and c[1][1] in list(c.modules())
