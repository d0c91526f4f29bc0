"""Operations of a program's own: `bibun.primitive`, and ``torch.library`` beside PyTorch's."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import bibun
from bibun.extending import UserPrimitive


@bibun.primitive
def cube(xp, x):
    """x³"""
    return x * x * x


cube.derivative(x=lambda x, g: 3 * x * x * g)  # in any order


@bibun.primitive.elementwise(kind="float")
def hypotenuse(xp, x, y):
    return xp.sqrt(x * x + y * y)


hypotenuse.derivative(x=lambda g, x, out: g * x / out, y=lambda g, y, out: g * y / out)


@bibun.primitive(axes="axis")
def smooth_max(xp, x, /, axis=-1):
    top = xp.max(x, axis=axis, keepdims=True)
    return xp.squeeze(top, axis=axis) + xp.log(xp.sum(xp.exp(x - top), axis=axis))


smooth_max.derivative(x=lambda xp, g, x, out, axis: xp.expand_dims(g, axis=axis) * xp.exp(x - xp.expand_dims(out, axis=axis)))


@bibun.primitive(outputs="quotient whole", nondiff="whole")
def divided(xp, x, y):
    return x / y, xp.floor(x / y)


divided.derivative(x=lambda g_quotient, y: g_quotient / y, y=lambda g_quotient, x, y: -g_quotient * x / (y * y))


@bibun.primitive(variadic=True)
def total(xp, xs):
    return sum(xs)


total.derivative(xs=lambda g, xs_shape: [g] * len(xs_shape))


def drawn(*shape):
    return bibun.tensor(np.random.default_rng(sum(shape)).uniform(0.5, 2.0, shape))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_rules_agree():
    a, b = drawn(2, 3), drawn(3)
    assert cube.check(a)
    assert hypotenuse.check(a, b)
    assert hypotenuse.check(b, a)
    assert smooth_max.check(a, axis=0)
    assert smooth_max.check(a, 1)
    assert divided.check(a, a + 3)


def test_recorded_as_others_are():
    x = bibun.tensor([2.0, 3.0], requires_grad=True)
    y = cube(x)
    assert y.grad_fn.name() == "CubeBackward0"
    (g,) = bibun.autograd.grad(y.sum(), x, create_graph=True)
    assert g.tolist() == [12.0, 27.0]
    assert bibun.autograd.grad(g.sum(), x)[0].tolist() == [12.0, 18.0]
    assert cube(x.detach()).grad_fn is None
    with bibun.no_grad():
        assert not cube(x).requires_grad
    assert y.grad_fn._saved_x is x or y.grad_fn._saved_x.tolist() == x.tolist()


def test_promotion_and_numbers():
    assert hypotenuse(bibun.tensor([3]), 4).tolist() == [5.0]
    assert hypotenuse(bibun.tensor([3.0], dtype=bibun.float16), 4).dtype is bibun.float16
    assert hypotenuse(bibun.tensor(3.0), bibun.tensor([4.0], dtype=bibun.float64)).dtype is bibun.float64
    assert cube(3).dtype is bibun.int64 and cube(2.5).dtype is bibun.float32
    complex_ = bibun.tensor([1.0], requires_grad=True)
    times_i = bibun.primitive(lambda xp, x: x * 1j, name="times_i")
    times_i.derivative(x=lambda g: g * -1j)
    times_i(complex_).real.sum().backward()
    assert complex_.grad.dtype is bibun.float32  # the real part, where the input is real


def test_several_outputs_and_sequences():
    a = drawn(4).requires_grad_()
    q, whole = divided(a, 2.0)
    assert q.requires_grad and not whole.requires_grad
    x = bibun.ones(2, requires_grad=True)
    total([x, x, x * 2]).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_transforms():
    a, b = drawn(2, 3), drawn(3)
    assert bibun.func.jvp(lambda a: hypotenuse(a, b), (a,), (a,))[1].shape == (2, 3)
    assert bibun.allclose(bibun.vmap(smooth_max)(a), bibun.logsumexp(a, 1))
    assert bibun.allclose(bibun.func.hessian(lambda t: cube(t).sum())(b), bibun.diag(6 * b))
    assert bibun.allclose(bibun.vmap(bibun.func.grad(lambda t: smooth_max(t)))(a), bibun.softmax(a, 1))


def test_rules_call_other_primitives_on_arrays_and_tensors():
    assert isinstance(cube(np.array([2.0])), np.ndarray)
    fourth = bibun.primitive(lambda xp, x: cube(x) * x, name="fourth")
    fourth.derivative(x=lambda g, x: 4 * g * cube(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert fourth.check(drawn(3))


def test_outputs_are_their_own_memory():
    same = bibun.primitive(lambda xp, x: x, name="same")
    x = bibun.ones(2)
    same(x).add_(1)
    assert x.tolist() == [1.0, 1.0]


def test_pickled_by_name():
    assert repr(cube) == "<primitive cube(x)>" and cube.__doc__ == "x³"
    assert copy.deepcopy(cube) is cube
    assert isinstance(cube, UserPrimitive)


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        (lambda: bibun.primitive(lambda x: x), TypeError, "namespace first"),
        (lambda: bibun.primitive(lambda xp: 1), TypeError, "no array parameter"),
        (lambda: bibun.primitive(lambda xp, *xs: 1), TypeError, "read by name"),
        (lambda: bibun.primitive(lambda xp, g: g), TypeError, "names that rules use"),
        (lambda: bibun.primitive(max), TypeError, "written in Python"),
        (lambda: bibun.primitive(linear=True)(lambda xp, x: x), TypeError, "no option linear"),
        (lambda: bibun.primitive(axes="dim")(lambda xp, x: x), TypeError, "names 'dim'"),
        (lambda: bibun.primitive.elementwise(kind="any")(lambda xp, x: x), TypeError, "kind must be one of"),
        (lambda: cube.derivative(z=lambda g: g), TypeError, "no array parameter 'z'"),
        (lambda: cube.derivative(x=lambda g, q: g), TypeError, "names 'q'"),
        (lambda: cube.derivative(x=lambda x: x), TypeError, "none of the gradients"),
        (lambda: cube.derivative(x=lambda g, t_x: g), TypeError, "tangents are for"),
        (lambda: cube.derivative(x=lambda g, xp: g), TypeError, "first parameter"),
        (lambda: cube.derivative(x=np.sin), TypeError, "written in Python"),
        (lambda: divided.derivative(x=lambda g: g), TypeError, "names 'g'"),
        (lambda: cube.tangent(lambda x: x), TypeError, "none of the tangents"),
        (lambda: cube(), TypeError, "missing the argument 'x'"),
        (lambda: cube(bibun.ones(1), 2), TypeError, "at most 1 arguments"),
        (lambda: cube("x"), TypeError, "must be Tensor, not str"),
        (lambda: cube(bibun.ones(1), y=2), TypeError, "unknown arguments"),
        (lambda: smooth_max(bibun.ones(2), axis=3), IndexError, "Dimension out of range"),
        (lambda: bibun.primitive(lambda xp, x: "a")(bibun.ones(1)), TypeError, "must give an array, and gave str"),
        (lambda: bibun.primitive(lambda xp, x: bibun.ones(1))(bibun.ones(1)), TypeError, "works on arrays"),
        (lambda: bibun.primitive(lambda xp, x: np.array(["a"]))(bibun.ones(1)), TypeError, "no tensor can hold"),
        (lambda: bibun.primitive(outputs="a b")(lambda xp, x: x)(bibun.ones(1)), TypeError, "tuple of its outputs"),
        (lambda: bibun.primitive.elementwise(lambda xp, x: xp.sum(x))(bibun.ones(2)), RuntimeError, "gave shape []"),
    ],
)
def test_misuse_is_refused(wrong, error, words):
    with pytest.raises(error) as caught:
        wrong()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "rule, words",
    [
        (lambda xp, g: xp.sum(g), "gave a gradient of shape [] for an input of shape [2]"),
        (lambda g: 3, "must give an array (or None for zero), and gave int"),
    ],
)
def test_wrong_gradients_are_refused(rule, words):
    double = bibun.primitive(lambda xp, x: 2 * x, name="double").derivative(x=rule)
    x = bibun.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError) as caught:
        double(x).sum().backward()
    assert words in str(caught.value)
    assert "double(x).sum().backward()" in caught.value.__notes__[0]  # the line that made the node
    assert x.grad is None


def test_wrong_batching_and_wrong_derivatives_are_found():
    double = bibun.primitive(lambda xp, x: 2 * x, name="double").derivative(x=lambda g: 3 * g)
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="Jacobian mismatch"):
        warnings.simplefilter("ignore")
        double.check(drawn(2))
    double.derivative(x=lambda g: 2 * g)
    double.batching(lambda apply, size, arrays, dims: apply(*arrays))
    with pytest.raises(RuntimeError, match="must give \\(output, batch dimension"):
        bibun.vmap(double)(drawn(2, 3))
    double.batching(lambda apply, size, arrays, dims: (apply(arrays[0] + 1), dims[0]))
    with pytest.raises(AssertionError, match="batching of double"):
        double.check(drawn(2))


# torch.library, beside PyTorch

CUSTOM = '''
import numpy as np
from typing import List, Optional, Sequence, Tuple, Union
L = torch.library
@L.custom_op("own::sine", mutates_args=())
def sine(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sin(x.detach().numpy()))
sine, sine._name, sine._namespace, sine._qualname, sine._schema
str(torch.ops.own.sine), str(torch.ops.own.sine.default), torch.ops.own.sine.default._schema, torch.ops.own.sine.overloads()
sine(torch.zeros(2))
x = torch.ones(2, requires_grad=True)
y = sine(x)
y
y.sum().backward()
def setup(ctx, inputs, output):
    x, = inputs
    ctx.save_for_backward(x)
def back(ctx, g):
    x, = ctx.saved_tensors
    return g * x.cos()
sine.register_autograd(back, setup_context=setup)
sine(x)
torch.autograd.grad(sine(x).sum(), x)
torch.autograd.gradcheck(sine, torch.ones(2, dtype=torch.float64, requires_grad=True))
torch.ops.own.sine(x), torch.ops.own.sine.default(x=x)
sine()
sine(x, 3)
sine(3)  # type
sine(y=3)
torch.ops.own.nope
torch.ops.nope.nope
torch.vmap(sine)(torch.ones(3, 2))
@L.custom_op("own::same", mutates_args=())
def same(x: torch.Tensor) -> torch.Tensor:
    return x
same(torch.ones(1))  # type
same(x)  # type
@L.custom_op("own::same_memory", mutates_args=())
def same_memory(x: torch.Tensor) -> torch.Tensor:
    return x.view(-1)
same_memory(torch.ones(1))  # type
L.custom_op("bad", mutates_args=())(lambda x: x)  # type
L.custom_op("own::f", mutates_args=())(lambda x: x)
def f(x: torch.Tensor, y): return x
L.infer_schema(f, mutates_args=())
def f(x: torch.Tensor, y: dict) -> torch.Tensor: return x
L.infer_schema(f, mutates_args=())  # type
def f(x: torch.Tensor): return x
L.infer_schema(f, mutates_args=())
def f(x: torch.Tensor) -> dict: return x
L.infer_schema(f, mutates_args=())  # type
def f(x: torch.Tensor) -> torch.Tensor: return x
L.infer_schema(f, mutates_args={"y"})
def f(x: torch.Tensor, *y: int) -> torch.Tensor: return x
L.infer_schema(f, mutates_args=())
def f(x: torch.Tensor, n: int, r: float = 1.5, o: Optional[torch.Tensor] = None, l: Sequence[float] = None, *, k: Optional[int] = None) -> Tuple[torch.Tensor, int]: return x
L.infer_schema(f, mutates_args=())
L.infer_schema(f, mutates_args={"x"}), L.infer_schema(f, mutates_args="unknown"), L.infer_schema(f, mutates_args=(), op_name="named")
def f(a: bool, b: str = "s", c: Union[int, float, bool] = 2, d: List[int] = None, e: float = 2.0, f: float = 1e-05, g: List[torch.Tensor] = None) -> None: pass
L.infer_schema(f, mutates_args=())
'''

MUTATING = '''
from typing import List, Tuple
L = torch.library
@L.custom_op("own::inc_", mutates_args={"x"})
def inc_(x: torch.Tensor, by: float = 1.0) -> None:
    x.add_(by)
x = torch.zeros(2)
inc_(x), x, x._version
w = torch.zeros(2, requires_grad=True)
z = w * 2
inc_(z, 3.0), z
h = w.exp()
inc_(h)
h.sum().backward()  # type
inc_.register_autograd(lambda ctx, g: None)
@L.custom_op("own::many", mutates_args=())
def many(xs: List[torch.Tensor], k: int, *, s: float = 2.0) -> Tuple[torch.Tensor, torch.Tensor]:
    return xs[0] * k * s, xs[1] + k
def setup(ctx, inputs, keyword_only_inputs, output):
    ctx.k, ctx.s = inputs[1], keyword_only_inputs["s"]
needs = []
def back(ctx, g, h):
    needs.append(ctx.needs_input_grad)
    return [g * ctx.k * ctx.s, h], None
many.register_autograd(back, setup_context=setup)
a, b = torch.ones(2, requires_grad=True), torch.ones(2)
r = many([a, b], 3, s=4.0)
r
torch.autograd.grad(r[0].sum(), a), needs
many([a, b], 3)
many([a, b], 3, 4.0)
many([a, b], 3.5)  # type
many([a, 2], 3)  # type
@L.custom_op("own::two", mutates_args=())
def two(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * y
two.register_autograd(lambda ctx, g: g)
two(a, b).sum().backward()  # type
two.register_autograd(lambda ctx, g: (g, g, g))
two(a, b).sum().backward()  # type
two.register_autograd(lambda ctx, g: (g, g))
b.requires_grad_(True)
two.register_autograd(lambda ctx, g: (g, torch.ones(5)))
two(a, b).sum().backward()
two.register_autograd(lambda ctx, g: (g, 3))
two(a, b).sum().backward()  # type
said = []
@two.register_vmap
def _(info, in_dims, x, y):
    said.append((tuple(info), in_dims, x.shape, y.shape))
    x = x.movedim(in_dims[0], -1) if in_dims[0] is not None else x
    return two(x, y.movedim(in_dims[1], -1) if in_dims[1] is not None else y), -1
torch.vmap(two)(torch.ones(3, 2), torch.ones(3, 2)), torch.vmap(two, in_dims=(0, None))(torch.ones(3, 2), torch.ones(3))
said
@L.custom_op("own::cpu_only", mutates_args=(), device_types="cpu")
def cpu_only(x: torch.Tensor) -> torch.Tensor:
    return x + 1
cpu_only(torch.ones(1))
@L.custom_op("own::cuda_only", mutates_args=(), device_types="cuda")
def cuda_only(x: torch.Tensor) -> torch.Tensor:
    return x + 1
cuda_only(torch.ones(1))  # type
@cuda_only.register_kernel("cpu")
def _(x):
    return x + 2
cuda_only(torch.ones(1))
L.register_autograd("own::nope", lambda ctx, g: g)
@L.custom_op("own::wrong", mutates_args=())
def wrong(x: torch.Tensor) -> torch.Tensor:
    return 3
wrong(a)  # type
@L.custom_op("own::number", mutates_args=())
def number(x: torch.Tensor) -> int:
    return 3
number(a)
@L.custom_op("own::written", mutates_args=(), schema="(Tensor x, int n=3) -> Tensor")
def written(x, n=3):
    return x * n
written(a), written._schema
L.custom_op("own::w", mutates_args=(), schema="(Tensor x, -> Tensor")(lambda x: x)  # type
L.custom_op("own::w", mutates_args=("x",), schema="(Tensor x) -> Tensor")(lambda x: x)  # type
'''

LIBRARY = '''
L = torch.library
lib = L.Library("own_lib", "DEF")
lib
lib.define("scaled(Tensor x, *, float s=2.0) -> Tensor")
@L.impl(lib, "scaled", "CPU")
def scaled(x, *, s=2.0):
    return x * s
torch.ops.own_lib.scaled(torch.ones(2)), torch.ops.own_lib.scaled(torch.ones(2), s=5.0)
x = torch.ones(2, requires_grad=True)
torch.ops.own_lib.scaled(x)
lib.define("scaled(Tensor x, *, float s=2.0) -> Tensor")  # type
L.Library("own_lib", "DEF")  # type
L.Library("aten", "DEF")  # type
L.Library("own_lib", "WRONG")
part = L.Library("own_lib", "FRAGMENT")
part.define("pair.over(Tensor[] xs, int? n=None, bool flag=True, str mode=\\"sum\\") -> (Tensor, Tensor)")
torch.ops.own_lib.pair.overloads(), torch.ops.own_lib.pair.over._schema
torch.ops.own_lib.pair.over([x])  # type
part.impl("pair.over", lambda xs, n=None, flag=True, mode="sum": (xs[0] * 1, xs[0] * 2), "CompositeImplicitAutograd")
torch.ops.own_lib.pair([x], 3), torch.ops.own_lib.pair.over([x])
lib.impl("scaled", lambda x: x, "Wrong")
L.define("own_lib2::seven", "(Tensor x) -> Tensor")
@L.impl("own_lib2::seven", "cpu")
def seven(x):
    return x * 7
torch.ops.own_lib2.seven(x)
@L.register_fake("own_lib2::seven")
def _(x):
    return torch.empty_like(x)
L.register_autograd("own_lib2::seven", lambda ctx, g: g * 7)
torch.ops.own_lib2.seven(x), torch.autograd.grad(torch.ops.own_lib2.seven(x).sum(), x)
L.opcheck(torch.ops.own_lib2.seven.default, (x,))
L.opcheck(torch.ops.own_lib2.seven, (x,))
@L.custom_op("own_lib3::summed", mutates_args=())
def summed(x: torch.Tensor) -> torch.Tensor:
    return x.sum(0)
L.opcheck(summed, (torch.ones(2, 3),))  # type
@summed.register_fake
def _(x):
    return torch.empty_like(x)
L.opcheck(summed, (torch.ones(2, 3),))  # type
@summed.register_fake
def _(x):
    return x.new_empty(x.shape[1:])
L.opcheck(summed, (torch.ones(2, 3),))
@L.custom_op("own_lib3::secret", mutates_args=())
def secret(x: torch.Tensor) -> torch.Tensor:
    x.add_(1)
    return x.clone()
L.opcheck(secret, (torch.ones(2),))
L.opcheck(3, ())  # type
L.opcheck(summed, (x,), test_utils="test_schema")
L.opcheck(summed, (x,), test_utils="nope")
@L.custom_op("own_lib3::positive", mutates_args=())
def positive(x: torch.Tensor) -> torch.Tensor:
    return x[x > 0].clone()
@positive.register_fake
def _(x):
    return x.new_empty((L.get_ctx().new_dynamic_size(),))
L.opcheck(positive, (torch.tensor([1.0, -1.0, 2.0]),), test_utils=("test_schema", "test_faketensor"))
torch.ops.aten.add(torch.ones(1), 2), torch.ops.aten.add.Tensor(torch.ones(1), torch.ones(1)), str(torch.ops.aten.add.Tensor)
L.get_ctx()  # type
'''


@pytest.mark.parametrize("program", [CUSTOM, MUTATING, LIBRARY])
def test_as_pytorch(same_outcomes, program):
    same_outcomes(program)


def test_custom_op_inside_transforms():
    @bibun.library.custom_op("own::sine2", mutates_args=())
    def sine(x: bibun.Tensor) -> bibun.Tensor:
        return bibun.from_numpy(np.sin(x.numpy(force=True)))

    sine.register_autograd(lambda ctx, g: g * ctx.x.cos(), setup_context=lambda ctx, inputs, output: setattr(ctx, "x", inputs[0]))
    slope = bibun.func.grad(lambda t: sine(t).sum())
    assert bibun.allclose(slope(bibun.ones(2)), bibun.ones(2).cos())
    with pytest.warns(UserWarning, match="own::sine2"):
        assert bibun.allclose(bibun.vmap(slope)(bibun.ones(3, 2)), bibun.ones(3, 2).cos())


def test_forward_mode_needs_a_primitive():
    @bibun.library.custom_op("own::plain", mutates_args=())
    def plain(x: bibun.Tensor) -> bibun.Tensor:
        return x * 2

    with pytest.raises(NotImplementedError, match="jvp"):
        bibun.func.jvp(plain, (bibun.ones(1),), (bibun.ones(1),))


def test_redefinition_replaces():
    def define(k):
        @bibun.library.custom_op("own::again", mutates_args=())
        def again(x: bibun.Tensor) -> bibun.Tensor:
            return x + k

        return again

    first, second = define(1.0), define(2.0)
    one = bibun.ones(1)
    assert first(one).item() == second(one).item() == bibun.ops.own.again(one).item() == 3.0


def test_primitives_package_is_still_there():
    from bibun.ops.primitive import REGISTRY

    assert "multiply" in REGISTRY
    with pytest.raises(AttributeError):
        bibun.ops.own.never
    with pytest.raises(OSError, match="custom_op"):
        bibun.ops.load_library("x.so")


def test_pickle_of_primitives():
    with pytest.raises(Exception):
        pickle.dumps(bibun.primitive(lambda xp, x: x, name="elsewhere"))
