"""Where a tensor lies and in what order: `device`, `layout`, `memory_format`.

In come the strings and objects a program gives; out go PyTorch's objects, which can name any place, and the checks that
refuse, in words, all places but the processor's memory.
"""

from __future__ import annotations

import operator
from typing import Any, Final, NoReturn

_DEVICE_TYPES: Final = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class device:
    """Where a tensor lies: a type and perhaps an index. Any of PyTorch's can be named; tensors live on the CPU only
    (`check_device`).

    >>> import bibun as torch
    >>> torch.device("cpu"), torch.device("cuda", 1)
    (device(type='cpu'), device(type='cuda', index=1))

    Raises:
        RuntimeError: for a string that names no device, a negative index, an index given twice.
        TypeError: for arguments of other types.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __new__(cls, *args: Any, **kwargs: Any) -> device:
        named, index = _device_arguments(args, kwargs)
        if isinstance(named, device):
            return named
        if isinstance(named, int):
            if named < 0:
                raise RuntimeError("Device index must not be negative")
            raise RuntimeError(
                f"Cannot access accelerator device when none is available: device {named} alone means accelerator "
                f"{named}; write 'cpu'."
            )
        kind, found = _parse_device(named)
        if index is not None:
            if found is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {named}"
                )
            found = index
        made = object.__new__(cls)
        object.__setattr__(made, "type", kind)
        object.__setattr__(made, "index", found)
        return made

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, device):
            return NotImplemented
        return self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, ((self.type,) if self.index is None else (self.type, self.index))

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        if attribute in device.__slots__:
            raise AttributeError(f"attribute '{attribute}' of 'torch.device' objects is not writable")
        raise AttributeError(f"'torch.device' object has no attribute '{attribute}'")

    def __enter__(self) -> device:
        """Within `with device:` the factories make their tensors there; as that can only be the CPU, another device
        is refused at once."""
        return check_device(self, "device.__enter__")

    def __exit__(self, *exception: object) -> None:
        return None


_UNSET: Final = object()


def _device_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, int | None]:
    """What device() was given: (a device, a string or an int; the index or None)."""
    values = list(args)
    if kwargs:
        for names in (("device",), ("type", "index")):
            if set(kwargs) <= set(names[len(args) :]):
                values += [kwargs.get(name, _UNSET) for name in names[len(args) :]]
                break
        else:
            values = []
    while values and values[-1] is _UNSET:
        values.pop()
    named = values[0] if values else None
    good = isinstance(named, (device, str)) or (isinstance(named, int) and not isinstance(named, bool))
    if not good or not 1 <= len(values) <= 2 or (len(values) == 2 and not isinstance(named, str)):
        got = ", ".join([type(each).__name__ for each in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()])
        raise TypeError(
            f"device() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (torch.device device)\n * (str type, int index = -1)\n"
        )
    if len(values) == 1 or values[1] is None:
        return named, None
    index = values[1]
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise TypeError(f"device(): argument 'index' (position 2) must be int, not {type(index).__name__}")
    index = operator.index(index)
    if index < 0:
        raise RuntimeError("Device index must not be negative")
    return named, index


def _parse_device(text: str) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError("Device string must not be empty")
    kind, colon, digits = text.partition(":")
    # an index is a plain number: no sign, no leading zero
    well_formed = kind and kind.replace("_", "a").isalpha() and kind.isascii()
    if colon:
        well_formed = well_formed and digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    if not well_formed:
        raise RuntimeError(f"Invalid device string: '{text}'")
    if kind not in _DEVICE_TYPES:
        raise RuntimeError(f"Expected one of {', '.join(_DEVICE_TYPES)} device type at start of device string: {kind}")
    return kind, int(digits) if colon else None


CPU: Final = device("cpu")
"""The device of every tensor."""


def check_device(given: Any, function: str = "to") -> device:
    """The device on which a tensor asked for on `given` is made: the CPU, or an error of PyTorch's type that says why
    not. In come a device, a string, an index or None (the default device).

    Raises:
        AssertionError: for CUDA and XPU, with PyTorch's first words.
        NotImplementedError: for the other devices that PyTorch knows.
        RuntimeError: for a string that names no device, or an index alone.
        TypeError: for arguments of other types.
    """
    if given is None or given is CPU or given == "cpu":
        return CPU
    if not isinstance(given, device):
        if not isinstance(given, (str, int)) or isinstance(given, bool):
            raise TypeError(f"{function}(): argument 'device' must be torch.device, not {type(given).__name__}")
        given = device(given)
    if given.type == "cpu":
        return CPU
    if given.type in ("cuda", "xpu"):
        raise AssertionError(
            f"Torch not compiled with {given.type.upper()} enabled: this is bibun, whose tensors live on the CPU, and "
            f"'{given}' was asked for. Use device='cpu', or let torch.{given.type}.is_available() (False here) choose."
        )
    raise NotImplementedError(
        f"Could not make a tensor on '{given}': bibun's tensors live on the CPU. Use device='cpu'."
    )


# ---------------------------------------------------------------------------------------- layouts, memory formats


class _Named:
    """A constant known by its name: one object each, printed `torch.name`, the same object after copy and pickle."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, *args: object, **kwargs: object) -> _Named:
        raise TypeError(f"cannot create 'torch.{cls.__name__}' instances")

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:
        return self.name  # pickle then finds the global of that name in this module

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute '{attribute}' of 'torch.{type(self).__name__}' objects is not writable")


class layout(_Named):
    """How the elements lie: every tensor's is `strided`; the sparse ones are names only."""

    __slots__ = ()


class memory_format(_Named):
    """The order of dimensions in memory: contiguous, channels last, or that of the input (preserve)."""

    __slots__ = ()


def _layout(name: str) -> layout:
    made = object.__new__(layout)
    object.__setattr__(made, "name", name)
    return made


def _memory_format(name: str) -> memory_format:
    made = object.__new__(memory_format)
    object.__setattr__(made, "name", name)
    return made


strided = _layout("strided")
sparse_coo = _layout("sparse_coo")
sparse_csr = _layout("sparse_csr")
sparse_csc = _layout("sparse_csc")
sparse_bsr = _layout("sparse_bsr")
sparse_bsc = _layout("sparse_bsc")
jagged = _layout("jagged")
_mkldnn = _layout("_mkldnn")

contiguous_format = legacy_contiguous_format = _memory_format("contiguous_format")
preserve_format = _memory_format("preserve_format")
channels_last = _memory_format("channels_last")
channels_last_3d = _memory_format("channels_last_3d")


def check_layout(given: Any, function: str) -> layout:
    """`strided`, which is what every tensor has; TypeError for what is no layout, NotImplementedError for others."""
    if given is None or given is strided:
        return strided
    if not isinstance(given, layout):
        raise TypeError(f"{function}(): argument 'layout' must be torch.layout, not {type(given).__name__}")
    raise NotImplementedError(f"{function}(): layout {given} is not supported: bibun's tensors are torch.strided")
