"""Pickles of vetted networks hold no values that end the stack or the memory of Python or PyTorch."""

from pathlib import Path

import pytest

from bioimage_inference.model.vetting.source_code import NotVetted
from bioimage_inference.model.vetting.vetted_loading import load_vetted

from .test_torchscript import MEMBERS, network

DEEP = 200_000
DEEP_TUPLE = b")" + b"\x85" * DEEP
DEEP_VALUES = {
    "lists": (b"]" * DEEP + b"a" * (DEEP - 1), "deep"),
    "tuples": (DEEP_TUPLE, "deep"),
    "dictionaries": (b"}" + b"K\0}" * DEEP + b"s" * DEEP, "deep"),
    "objects": (
        b"c__torch__\nA\nq\0)\x81}" + b"X\1\0\0\0ah\0)\x81}" * DEEP + b"b" + b"sb" * DEEP,
        "deep",
    ),
    "objects as keys": (b"}c__torch__\nA\n)\x81}X\1\0\0\0a" * DEEP + b"N" + b"sbNs" * DEEP, "deep"),
    "a list in itself": (b"]q\0h\0a", "deep"),
    "a key": (b"}" + DEEP_TUPLE + b"Ns", "a tuple as a key"),
    "a key of data": (
        b"(X\7\0\0\0storagectorch\nFloatStorage\n" + DEEP_TUPLE + b"X\3\0\0\0cpuK\1tQ",
        "unusual way",
    ),
    "the content of a dictionary": (b"ccollections\nOrderedDict\n]" + DEEP_TUPLE + b"N\x86a\x85R", "damaged"),
    "a huge number of a value": (b"Nr\xff\xff\xff\x7f", "numbers its values"),
}


@pytest.mark.parametrize("name", DEEP_VALUES)
@pytest.mark.parametrize("member", ["constants.pkl", "data.pkl"])
def test_values_within_each_other_end(tmp_path: Path, member: str, name: str) -> None:
    """They crashed Python or PyTorch, as a constant or as the value of an attribute of any type."""
    value, words = DEEP_VALUES[name]

    def edit(content: MEMBERS) -> None:
        (path,) = (path for path in content if path.endswith(f"/{member}"))
        if member == "constants.pkl":
            content[path] = b"\x80\2" + value + b"\x85."
        else:
            (code,) = (path for path in content if path.endswith(".py"))
            content[code] = content[code].replace(b"  training : bool", b"  training : bool\n  deep : Any")
            attribute = b"X\x08\0\0\0training"
            content[path] = content[path].replace(attribute, b"X\4\0\0\0deep" + value + attribute, 1)

    with pytest.raises(NotVetted, match=words):
        load_vetted(network(tmp_path, edit))
