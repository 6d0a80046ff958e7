"""Vets the pickles in a TorchScript file: the objects that they make, and the bytes that their tensors use.

PyTorch reads these pickles with its own reader, which knows few names. This reader trusts the sizes that a pickle
states, so vetting compares them with the data in the file. Only the instructions that PyTorch writes are allowed,
because Python's reader and PyTorch's reader agree on their meaning.
"""

import io
import pickle
import pickletools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .source_code import NotVetted, is_plain

_INSTRUCTIONS = frozenset(
    {
        *("PROTO", "GLOBAL", "MARK", "STOP", "REDUCE", "BUILD", "NEWOBJ", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    }
)
_ITEM_BYTES = {
    **dict.fromkeys(("BoolStorage", "ByteStorage", "CharStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
}
_CONTAINERS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch.jit._pickle restore_type_tag",
        *(f"torch.jit._pickle build_{kind}" for kind in ("intlist", "tensorlist", "doublelist", "boollist")),
    }
)
_LONGEST = 8  # bytes of an integer
_DEEPEST = 100  # containers and objects within each other; PyTorch frees them by recursion, which ends its stack


def vet_pickle(name: str, content: bytes, sizes: Mapping[str, int]) -> Any:
    """Return the value in the pickle ``name``, made of inert objects. Raises :class:`NotVetted`.

    ``sizes`` holds the number of bytes of each tensor's data by key.
    """
    try:
        for instruction, argument, place in pickletools.genops(content):
            _check(name, instruction.name, argument, place or 0)
        value = _Reader(io.BytesIO(content), name, sizes).load()
        _check_nesting(name, value)
        return value
    except NotVetted:
        raise
    except Exception as error:  # the reader raises anything for a damaged pickle
        raise NotVetted(f"its {name} is damaged ({error})") from error


def _check(name: str, instruction: str, argument: Any, place: int) -> None:
    if instruction not in _INSTRUCTIONS:
        raise NotVetted(f"its {name} has the instruction {instruction}")
    if instruction == "GLOBAL":
        module, _, attribute = argument.partition(" ")
        is_storage = module == "torch" and attribute in _ITEM_BYTES
        is_own = module.split(".")[0] == "__torch__" and not argument.startswith("__torch__.torch.classes")
        if not (is_storage or is_own or argument in _CONTAINERS):
            raise NotVetted(f"its {name} names {argument.replace(' ', '.')}")
    if instruction == "BINUNICODE" and not is_plain(argument):
        raise NotVetted(f"its {name} holds a text with control characters")
    if instruction == "LONG1" and argument.bit_length() >= 8 * _LONGEST:
        raise NotVetted(f"its {name} holds a number of more than {_LONGEST} bytes")
    if instruction == "LONG_BINPUT" and argument > place:  # PyTorch counts values, and allocates as many as it reads
        raise NotVetted(f"its {name} numbers its values in an unusual way")


def _check_nesting(name: str, value: Any) -> None:
    """Raise NotVetted for values that lie too deep within each other, or within themselves."""
    level = [value]
    for _ in range(_DEEPEST):
        inner = {id(part): part for one in level for part in _parts(one)}
        level = list(inner.values())
    if level:
        raise NotVetted(f"its {name} has values within each other more than {_DEEPEST} deep")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, PickledObject):
        value = value.attributes
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list | tuple) else ()


class PickledObject:
    """An inert object of one of the file's classes, with its attributes."""

    class_name = ""
    attributes: dict[str, Any] | None = None

    def __init__(self, *_: Any) -> None:
        """Accept the value of a member of an enumeration."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or self.attributes is not None:  # PyTorch would make a second object
            raise NotVetted(f"it describes an object of {self.class_name} in an unusual way")
        self.attributes = state


class _StandIn:
    """A stand-in for a tensor, a function or a tensor type. It refuses changes."""

    def __setstate__(self, state: Any) -> None:
        raise NotVetted("it changes a tensor or function in an unusual way")


class _Function(_StandIn):
    """A stand-in for a function of PyTorch. It returns its first argument, or a stand-in for a tensor."""

    def __init__(self, returns_first: bool) -> None:
        self._returns_first = returns_first

    def __call__(self, first: Any, *_: Any) -> Any:
        return first if self._returns_first else _StandIn()


class _Dictionary(dict[Any, Any]):
    """Has no tuples as keys: Python computes the hash of deep tuples by recursion, which ends its stack."""

    def __init__(self) -> None:
        """Accept no content."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, tuple):
            raise NotVetted("it has a dictionary with a tuple as a key")
        super().__setitem__(key, value)


class _Storage(_StandIn):
    """A stand-in for the class of a tensor's data, with the name of the class."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Reader(pickle._Unpickler):
    """Reads a pickle into inert objects, and compares the sizes of tensors with their data.

    This is Python's reader in Python, because the reader in C makes dictionaries of its own.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.EMPTY_DICT[0]: lambda reader: reader.append(_Dictionary()),
    }

    def __init__(self, stream: io.BytesIO, name: str, sizes: Mapping[str, int]) -> None:
        super().__init__(stream)
        self._name, self._sizes = name, sizes
        self._classes: dict[str, type[PickledObject]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return an inert stand-in for any class or function."""
        if module == "torch":
            return _Storage(name)
        if module == "collections":
            return _Dictionary
        if module == "torch.jit._pickle":
            return _Function(returns_first=True)
        if module == "torch._utils":
            return _Function(returns_first=False)
        full = f"{module}.{name}"
        if full not in self._classes:
            self._classes[full] = type("PickledObject", (PickledObject,), {"class_name": full})
        return self._classes[full]

    def persistent_load(self, pid: Any) -> Any:
        """Return a stand-in for the data of a tensor: ``("storage", class, key, device, number of values)``.

        PyTorch before 1.5 adds ``None``, which PyTorch's reader ignores.
        """
        kind, storage, key, _, count, *more = pid
        usual = kind == "storage" and isinstance(storage, _Storage) and (type(key), type(count)) == (str, int)
        if not usual or more not in ([], [None]):
            raise NotVetted(f"its {self._name} describes a tensor in an unusual way")
        if count < 0 or count * _ITEM_BYTES[storage.name] > self._sizes.get(key, 0):
            raise NotVetted(f"its {self._name} states more values for the tensor {key!r} than the file holds")
        return _StandIn()
