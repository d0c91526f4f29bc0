"""``nn.utils``: clipping, vectors, parametrisation, normalised weights, pruning, packed sequences; beside PyTorch's."""

import pytest

import bibun as torch
from bibun import nn

PARAMETRIZE = '''
import copy
import pickle
P = nn.utils.parametrize
class Sym(nn.Module):
    def forward(self, X): return X.triu() + X.triu(1).transpose(-1, -2)
class SymR(Sym):
    def right_inverse(self, A): return A.triu()
class Two(nn.Module):
    def forward(self, a, b): return a * b
    def right_inverse(self, X): return X * 2, torch.ones_like(X) / 2
class Shape(nn.Module):
    def forward(self, X): return X[:1]
class Dt(nn.Module):
    def forward(self, X): return X.double()
m = nn.Linear(3, 3)
P.register_parametrization(m, 'weight', Sym())
type(m).__name__, list(m.state_dict()), torch.equal(m.weight, m.weight.T), m.weight.requires_grad
P.is_parametrized(m), P.is_parametrized(m, 'bias'), P.type_before_parametrizations(m).__name__, [n for n, _ in m.named_parameters()]
m.weight = torch.ones(3, 3)
P.register_parametrization(m, 'weight', SymR())
with P.cached(): seen = m.weight is m.weight, len(P._cache)
seen, m.weight is m.weight, len(P._cache)
c = copy.deepcopy(m)
type(c) is type(m), torch.equal(c.weight, m.weight), c.parametrizations.weight.original is m.parametrizations.weight.original
pickle.dumps(m)
P.remove_parametrizations(m, 'weight')
type(m).__name__, type(m.weight), list(m.state_dict())
m = nn.Linear(3, 3)
m = P.register_parametrization(m, 'weight', SymR())
m.weight = torch.arange(9.).view(3, 3)
m.parametrizations.weight.original, m.weight
m(torch.ones(1, 3)).sum().backward()
m.parametrizations.weight.original.grad
P.remove_parametrizations(m, 'weight', leave_parametrized=False)
m.weight
m = nn.Linear(2, 2)
P.register_parametrization(m, 'weight', Two())
list(m.state_dict())
P.remove_parametrizations(m, 'weight', leave_parametrized=False)
P.remove_parametrizations(m, 'weight')
P.register_parametrization(nn.Linear(2, 2), 'weight', Shape())
P.register_parametrization(nn.Linear(2, 2), 'weight', Dt())
P.register_parametrization(nn.Linear(2, 2), 'zz', Sym())
P.register_parametrization(nn.Linear(2, 2), 'weight', Dt(), unsafe=True)
P.remove_parametrizations(nn.Linear(2, 2), 'weight')
b = nn.BatchNorm1d(2)
P.register_parametrization(b, 'running_mean', nn.Identity())
list(b.state_dict()), [n for n, _ in b.named_buffers()]
t = P.transfer_parametrizations_and_params(P.register_parametrization(nn.Linear(3, 3), 'weight', Sym()), nn.Linear(3, 3))
t
'''

NORMALISED = '''
U, PZ = nn.utils, nn.utils.parametrizations
def shapes(m): return {k: tuple(v.shape) for k, v in m.state_dict().items()}
_ = torch.manual_seed(0)
old, new = U.weight_norm(nn.Linear(3, 2)), PZ.weight_norm(nn.Linear(3, 2))
old, shapes(old), type(old.weight)
new, shapes(new), type(new.weight)
old(torch.ones(1, 3)).sum().backward()
sorted(n for n, p in old.named_parameters() if p.grad is not None)
U.remove_weight_norm(old)
shapes(old)
U.remove_weight_norm(nn.Linear(2, 2))
U.weight_norm(U.weight_norm(nn.Linear(2, 2)))
shapes(U.weight_norm(nn.Conv2d(2, 3, 3), dim=1)), shapes(U.weight_norm(nn.Conv2d(2, 3, 3), dim=None)), shapes(PZ.weight_norm(nn.Conv2d(2, 3, 3), dim=1))
m = nn.Conv2d(2, 3, 3)
w = m.weight.detach().clone()
torch.allclose(PZ.weight_norm(m, dim=1).weight, w)
new.load_state_dict(U.weight_norm(nn.Linear(3, 2)).state_dict())
_ = torch.manual_seed(1)
old, new = U.spectral_norm(nn.Linear(3, 2)), PZ.spectral_norm(nn.Linear(3, 2))
old, shapes(old)
new, shapes(new)
x = torch.ones(1, 3)
for i in range(40): y = old(x), new(x)
[[round(v, 3) for v in m.weight.flatten().tolist()] for m in (old, new)]
old.load_state_dict(old.state_dict()), new.load_state_dict(new.state_dict()), old.state_dict()._metadata
torch.equal(old.eval()(x), old(x)), torch.equal(new.eval()(x), new(x))
U.remove_spectral_norm(old)
U.remove_spectral_norm(nn.Linear(2, 2))
PZ.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
U.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
list(PZ.spectral_norm(nn.BatchNorm1d(3)).state_dict()), U.spectral_norm(nn.ConvTranspose2d(2, 3, 3)).weight_u.shape
PZ.spectral_norm(nn.Linear(2, 2), 'zz')
'''

ORTHOGONAL = '''
PZ = nn.utils.parametrizations
def off(m):
    w = m.weight if m.weight.shape[0] <= m.weight.shape[1] else m.weight.T
    return bool((w @ w.T - torch.eye(w.shape[0])).abs().max() < 1e-5)
_ = torch.manual_seed(0)
m = PZ.orthogonal(nn.Linear(3, 3))
m, list(m.state_dict()), off(m)
[off(PZ.orthogonal(nn.Linear(*s), orthogonal_map=k)) for k in ('cayley', 'householder', 'matrix_exp') for s in ((3, 3), (2, 4), (4, 2))]
m.weight.sum().backward()
m.parametrizations.weight.original.grad.shape
PZ.orthogonal(nn.Linear(3, 3), orthogonal_map='zz')
PZ.orthogonal(nn.Linear(3, 3), 'bias')
'''

PRUNE = '''
import importlib
prune = importlib.import_module(nn.__name__ + '.utils.prune')
_ = torch.manual_seed(0)
m = nn.Linear(3, 3)
prune.l1_unstructured(m, 'weight', 2)
list(m.state_dict()), int((m.weight == 0).sum()), prune.is_pruned(m), m.weight_mask
prune.random_unstructured(m, 'weight', .3)
[type(h).__name__ for h in m._forward_pre_hooks.values()], m.weight
prune.remove(m, 'weight')
list(m.state_dict()), int((m.weight == 0).sum()), prune.is_pruned(m)
prune.remove(m, 'weight')
prune.l1_unstructured(m, 'weight', 200)
prune.l1_unstructured(m, 'weight', -1)
prune.l1_unstructured(m, 'weight', 1.5)
prune.l1_unstructured(m, 'weight', 'a')
prune.ln_structured(m, 'weight', 1, 2, 0)
int((m.weight == 0).all(1).sum()), m.weight
prune.random_structured(m, 'weight', 1, 1).weight_mask
prune.random_structured(m, 'bias', 1, 0)
prune.custom_from_mask(m, 'bias', torch.tensor([1, 0, 1]))
(m.bias == 0).tolist()
prune.identity(nn.Linear(2, 2), 'weight').weight_mask
m(torch.ones(1, 3)).shape
a, b = nn.Linear(3, 3), nn.Linear(3, 3)
prune.global_unstructured([(a, 'weight'), (b, 'weight')], prune.L1Unstructured, amount=5)
int((a.weight == 0).sum() + (b.weight == 0).sum())
prune.global_unstructured(3, prune.L1Unstructured, amount=5)
prune.l1_unstructured(nn.Linear(2, 2), 'weight', 2, importance_scores=torch.tensor([[1., 2.], [4., 3.]])).weight_mask
'''

SEQUENCES = '''
R = nn.utils.rnn
s = [torch.arange(4.).view(4, 1), torch.ones(2, 1), torch.ones(1, 1) * 7]
R.pad_sequence(s)
R.pad_sequence(s, True, -1.)
R.pad_sequence(s, True, -1., 'left')
R.pad_sequence(s, padding_side='zz')
R.pad_sequence(3)
R.pad_sequence([])
R.pad_sequence([torch.ones(2, 1), torch.ones(2, 3)])  # type
R.pack_sequence(s)
R.pack_sequence(s[::-1])
R.pack_sequence(s[::-1], False)
p = R.pack_sequence([s[1], s[0], s[2]], False)
R.pad_packed_sequence(p)
R.pad_packed_sequence(p, True, 9., 5)
R.pad_packed_sequence(p, True, 9., 2)
R.unpack_sequence(p)
R.unpad_sequence(R.pad_sequence(s), torch.tensor([4, 2, 1]))
R.unpad_sequence(R.pad_sequence(s, True), torch.tensor([4, 2, 1]), True)
p.to(torch.float64).data.dtype, p.double().data.dtype, p.cpu() is p, p.is_cuda
p._replace(data=1)
R.PackedSequence(torch.ones(3), torch.tensor([2, 1]))
R.PackedSequence(torch.ones(3))
R.pack_padded_sequence(torch.ones(3, 2, 1), [3])
R.pack_padded_sequence(torch.ones(3, 2, 1), [3, 0])
R.pack_padded_sequence(torch.ones(3, 2, 1), torch.tensor([2, 1]))
R.pack_padded_sequence(torch.ones(3, 2, 1), torch.tensor([2, 1]), batch_first=True)
R.pack_padded_sequence(torch.ones(0, 2, 1), torch.tensor([2, 1]))
x = torch.arange(6.).view(3, 2, 1).requires_grad_()
(R.pack_padded_sequence(x, [3, 1]).data * torch.arange(1., 5).view(4, 1)).sum().backward()
x.grad.flatten()
R.pad_packed_sequence(R.pack_padded_sequence(x, [1, 3], enforce_sorted=False))[0].pow(2).sum().backward()
x.grad.flatten()
R.invert_permutation(torch.tensor([2, 0, 1])), R.invert_permutation(None)
'''

CLIPPING = '''
U = nn.utils
ps = [nn.Parameter(torch.tensor([3., 4.])), nn.Parameter(torch.tensor([[12.]])), nn.Parameter(torch.ones(2))]
def clipped(f, *args, **kwargs):
    for q, v in zip(ps, ([3., 4.], [[12.]])): q.grad = torch.tensor(v)
    return f(ps, *args, **kwargs), [q.grad for q in ps]
clipped(U.clip_grad_norm_, 1.)
[clipped(U.clip_grad_norm_, 1., n) for n in (1, 2, 'inf', float('inf'), -float('inf'), 0, 3.5, -1)]
clipped(U.clip_grad_norm_, 100.)
clipped(U.clip_grad_value_, 3.5)
U.clip_grad_norm_(ps[0], 1), U.clip_grad_norm_([], 1), U.clip_grad_norm_((q for q in []), 1)
ps[0].grad = torch.tensor([float('nan'), 1.])
U.clip_grad_norm_(ps, 1., error_if_nonfinite=True)
U.clip_grad_norm_(ps, 1.), ps[1].grad
ps[0].grad = torch.tensor([float('inf'), 1.])
U.clip_grad_norm_(ps, 1.), ps[0].grad
U.get_total_norm([torch.ones(4), torch.ones(5)]), U.get_total_norm(torch.ones(4)), U.get_total_norm([])
ps[1].grad = None
ps[0].grad = torch.tensor([1., 2.])
U.clip_grads_with_norm_(ps, .1, torch.tensor(2.))
ps[0].grad
h = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
h.grad = torch.full((3,), 5., dtype=torch.bfloat16)
U.clip_grad_norm_([h], 1.), h.grad
U.parameters_to_vector(ps)
U.vector_to_parameters(torch.arange(5.), ps)
ps
U.vector_to_parameters(3, ps)
bn, l = nn.BatchNorm1d(2).eval(), nn.Linear(3, 2).eval()
bn.running_mean.fill_(.5), bn.running_var.fill_(2.)
torch.allclose(U.fuse_linear_bn_eval(l, bn)(torch.ones(4, 3)), bn(l(torch.ones(4, 3))), atol=1e-6)
U.fuse_linear_bn_eval(l.train(), bn)  # type
U.clip_grad_norm(ps, 1.)
'''


@pytest.mark.parametrize("program", [PARAMETRIZE, NORMALISED, PRUNE, SEQUENCES, CLIPPING])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


@pytest.mark.skipif(not hasattr(torch, "linalg"), reason="needs linalg")
def test_orthogonal_as_pytorch(same_outcomes):
    same_outcomes(ORTHOGONAL)


def test_clipping_counts_as_a_write():
    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    before = p.grad._version
    nn.utils.clip_grad_norm_([p], 0.5)
    assert p.grad._version == before + 1 and p.grad.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_names_are_functions_not_files():
    import bibun.nn.utils.parametrizations
    import bibun.nn.utils.weight_norm  # noqa: F401

    assert callable(nn.utils.weight_norm) and callable(nn.utils.spectral_norm) and callable(nn.utils.skip_init)


def test_pruning_what_cannot_be_pruned_changes_nothing():
    m = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="smaller than"):
        nn.utils.prune.l1_unstructured(m, "weight", 9)
    assert list(m._parameters) == ["bias", "weight"] and not nn.utils.prune.is_pruned(m)
    assert m(torch.ones(1, 2)).shape == (1, 2)
