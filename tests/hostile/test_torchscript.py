"""TorchScript that nobody vouches for: what does anything but compute is refused, before any of it has run.

Every attack is a sound network whose saved code, pickle or archive was changed by hand, as an attacker would. Where an
attack needs no more than that to succeed in PyTorch alone, a test shows so: else a refusal would prove nothing.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bioimage_inference.cli import main
from bioimage_inference.model.vetting.source_code import NotVetted
from bioimage_inference.model.vetting.vetted_loading import load_vetted
from tests import models

from .conftest import Refused

MEMBERS = dict[str, bytes]
CODE = """\
class Identity(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  _is_full_backward_hook : NoneType
{members}
  def forward(self: __torch__.tests.models.Identity,
    x: Tensor{arguments}) -> Tensor:
{body}
    return x
{more}"""


def network(tmp_path: Path, edit: Callable[[MEMBERS], None]) -> Path:
    """A saved network after its members were edited."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(models.Identity().eval()), saved)
    with zipfile.ZipFile(saved) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    edit(content)
    path = tmp_path / "network.pt"
    write(path, content)
    return path


def write(path: Path, content: MEMBERS) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def program(tmp_path: Path, body: str = "", arguments: str = "", members: str = "", more: str = "") -> Path:
    """A network of this code."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    own = "\n".join(f"  {line}" for line in members.splitlines())
    code = CODE.format(members=own, arguments=arguments, body=lines, more=more)

    def edit(content: MEMBERS) -> None:
        for name in [name for name in content if name.endswith(".debug_pkl")]:
            del content[name]
        (name,) = (name for name in content if name.endswith(".py"))
        content[name] = code.encode()

    return network(tmp_path, edit)


def packaged(folder: Path, weights: Path) -> Path:
    """The network as a model."""
    description = models.write_model(folder, models.Identity(), *models.simple_tensors())
    content = yaml.safe_load(description.read_text())
    (folder / "weights.pt").write_bytes(weights.read_bytes())
    content["weights"]["torchscript"]["sha256"] = models.sha256(folder / "weights.pt")
    description.write_text(yaml.safe_dump(content))
    return description


COMPUTING = {  # what the code does while the network computes, and the words that the refusal names
    "reads a file": ('y = torch.from_file("/etc/passwd", False, 10, dtype=0)', "torch.from_file"),
    "writes a file": ('y = torch.from_file("{marker}", True, 4, dtype=0)', "torch.from_file"),
    "saves": ('torch.save(x, "{marker}")', "torch.save"),
    "saves by its full name": ('ops.aten.save(x, "{marker}")', "ops.aten.save"),
    "reads memory": ("y = ops.inductor._alloc_from_pool(x, 0, 6, [4], [1])", "ops.inductor._alloc_from_pool"),
    "views memory beyond a tensor": ("y = torch.as_strided(x, [1000000], [1], 0)", "torch.as_strided"),
    "takes another tensor's storage": ("y = torch.set_(x, x)", "torch.set_"),
    "resizes a tensor": ("y = torch.resize_(x, [1000000])", "torch.resize_"),
    "unpools with its own indices": (
        "y = torch.max_unpool2d(x, annotate(Tensor, x), [4, 4])",
        "torch.max_unpool2d",
    ),
    "makes a sparse tensor without checks": (
        "y = torch._sparse_coo_tensor_unsafe(x, x, [1])",
        "torch._sparse_coo_tensor_unsafe",
    ),
    "runs a recurrent network": (
        "y = torch.lstm(x, [x, x], [x], False, 1, 0., False, False, False)",
        "torch.lstm",
    ),
    "prints": (r'print("\033]0;owned\007")', "print"),
    "prints by an operator": ('ops.aten._print("owned")', "ops.aten._print"),
    "warns with an escape sequence": (r'torch.warn("\033[2J")', "control characters"),
    "fails with an escape sequence": (r'ops.prim.RaiseException("\033[2J")', "control characters"),
    "starts a thread": ("y = fork(x)", "fork"),
    "records": ('y = ops.profiler._record_function_enter("x")', "ops.profiler"),
    "seeds": ("torch.manual_seed(1)", "torch.manual_seed"),
    "asks for an attribute by a variable": ('name = "x"\ny = getattr(self, name)', "getattr"),
    "asks for a hidden attribute": ('y = getattr(self, "__class__")', "getattr"),
    "uses a hidden attribute": ("y = x.__class__", "__class__"),
    "gives an operator another name": ("f = torch.save\nf(x)", "torch.save"),
    "gives a namespace another name": ("f = torch\nf.save(x)", "torch"),
    "names print otherwise": ("f = print\nf(1)", "calls f"),
    "gives a function of TorchScript another meaning": ("range = x", "range"),
    "calls an operator as a method": ("x.set_(x)", "set_"),
    "calls a class of C++": ("y = __torch__.torch.classes.dist_c10d.Store()", "torch.classes"),
    "calls what it was given": ("(x)(x)", "calls x"),
    "computes with Python's operators": ("y = x @ x", "BinOp"),
    "uses a lambda": ("y = lambda x: x", "Lambda"),
    "comprehends": ("y = [i for i in range(3)]", "ListComp"),
    "formats": ('y = f"{x}"', "JoinedStr"),
    "uses a context": ("with x:\n  pass", "With"),
    "imports": ("import os", "Import"),
    "catches": ("try:\n  pass\nfinally:\n  pass", "Try"),
    "deletes": ("del x", "Delete"),
    "asserts": ('assert x, "owned"', "Assert"),
    "defines a function inside": ("def f(x: Tensor) -> Tensor:\n  return x", "FunctionDef"),
    "holds bytes": ('y = b"x"', "Constant"),
    "unpacks": ("y = torch.add(*[x, x])", "Starred"),
    "unpacks a dictionary": ("y = torch.add(**{})", "Call"),
}


@pytest.mark.parametrize("name", COMPUTING)
def test_code_that_does_more_than_compute_is_refused(tmp_path: Path, marker: Path, name: str) -> None:
    body, named = COMPUTING[name]
    with pytest.raises(NotVetted) as refusal:
        load_vetted(program(tmp_path, body.replace("{marker}", str(marker))))
    assert named in str(refusal.value)
    assert not marker.exists()


WRITES = 'torch.from_file("{marker}", True, 4, dtype=0)'
SETSTATE = f"""\
def __setstate__(self: __torch__.tests.models.Identity,
    state: Tuple[bool, int]) -> NoneType:
  y = {WRITES}
  self.training = False
  return None
"""
LOADING = {  # what runs while a network is loaded
    "__setstate__": {"members": SETSTATE},
    "__getstate__": {"members": "def __getstate__(self: __torch__.tests.models.Identity) -> int:\n  return 1"},
    "a default value of the network": {"arguments": f", y: Tensor={WRITES}"},
    "a default value of a function": {"more": f"def helper(y: Tensor={WRITES}) -> Tensor:\n  return y\n"},
    "a default value within a list": {"arguments": f", y: List[Tensor]=[{WRITES}]"},
    "a value of the class": {"members": f"a : Final[Tensor] = {WRITES}"},
    "a decorator": {"members": "@torch.jit.export\ndef f(self: __torch__.tests.models.Identity) -> int:\n  return 1"},
    "a base class": {"more": "class Other(torch.classes.Base):\n  pass\n"},
    "a statement outside of functions": {"more": f"{WRITES}\n"},
    "arguments in a row": {"more": "def helper(*x: Tensor) -> int:\n  return 1\n"},
}


@pytest.mark.parametrize("name", LOADING)
def test_code_that_runs_while_it_is_loaded_is_refused(tmp_path: Path, marker: Path, name: str) -> None:
    parts = {key: text.replace("{marker}", str(marker)) for key, text in LOADING[name].items()}
    with pytest.raises(NotVetted):
        load_vetted(program(tmp_path, **parts))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a default value of the network"])
def test_these_attacks_succeed_where_nothing_is_checked(tmp_path: Path, marker: Path, name: str) -> None:
    parts = {key: text.replace("{marker}", str(marker)) for key, text in LOADING[name].items()}
    torch.jit.load(program(tmp_path, **parts))  # type: ignore[no-untyped-call]
    assert marker.exists()


DISGUISES = {  # Python and TorchScript could read these differently
    "a line break that only Python knows": "y = x # \r    torch.save(x, 'a')",
    "a form feed": "y = x # \f    torch.save(x, 'a')",
    "a wide letter": "y = tｏrch.save(x, 'a')",
    "a text in three quotes": 'y = """\n""" ; torch.save(x, "a") #"""',
    "a continued line": "y = x # \\\n    torch.save(x, 'a')",
    "a type comment": "# type: (Tensor) -> __torch__.torch.classes.A",
    "an escaped quote": 'y = "\\\\" ; torch.save(x, "a") #"',
}


@pytest.mark.parametrize("name", DISGUISES)
def test_pytorch_parses_what_was_checked(tmp_path: Path, name: str) -> None:
    """The code is refused, or loaded without what Python took for a comment."""
    try:
        loaded: Any = load_vetted(program(tmp_path, DISGUISES[name]))
    except (NotVetted, RuntimeError):
        return
    assert "save" not in str(loaded.graph)


def test_constants_have_no_escape_sequences(tmp_path: Path) -> None:
    def edit(content: MEMBERS) -> None:
        (name,) = (name for name in content if name.endswith("constants.pkl"))
        content[name] = b"\x80\x02" + pickle.dumps(("\x1b[2J",), protocol=2)[2:]

    with pytest.raises(NotVetted, match="control characters"):
        load_vetted(network(tmp_path, edit))


def in_pickle(change: Callable[[bytes], bytes]) -> Callable[[MEMBERS], None]:
    """Change the pickle of a network's objects."""

    def edit(content: MEMBERS) -> None:
        (name,) = (name for name in content if name.endswith("/data.pkl"))
        content[name] = change(content[name])

    return edit


PICKLED = {
    "a function of Python": lambda _: b"\x80\x02cos\nsystem\n.",
    "a class of C++": lambda _: b"\x80\x02c__torch__.torch.classes.dist_c10d\nStore\n.",
    "another pickle's names": lambda _: b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "an extension": lambda _: b"\x80\x02\x82\x01.",
    "the instruction of an old pickle": lambda _: b"\x80\x02(ios\nsystem\n.",
    "a huge number": lambda _: b"\x80\x02\x8a\x09" + bytes(8) + b"\x01.",
    "no end": lambda data: data[:-1],
    "nothing": lambda _: b"",
    "no pickle": lambda _: b"hello",
}


@pytest.mark.parametrize("name", PICKLED)
def test_pickles_hold_nothing_but_a_network(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotVetted):
        load_vetted(network(tmp_path, in_pickle(PICKLED[name])))


def weighty(tmp_path: Path) -> Path:
    """A network with a tensor."""
    path = tmp_path / "weighty.pt"
    torch.jit.script(torch.nn.PReLU(3).eval()).save(str(path))
    return path


@pytest.mark.parametrize("count", [4, 1_000_000, -1])
def test_a_tensor_is_as_long_as_its_data(tmp_path: Path, count: int) -> None:
    """PyTorch reads on in the memory of the process where a pickle states more values than there are."""
    path = weighty(tmp_path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    number = b"K" + bytes([3])
    wrong = b"J" + struct.pack("<i", count)
    in_pickle(lambda data: data.replace(number, wrong))(content)
    write(path, content)
    with pytest.raises(NotVetted, match="more values"):
        load_vetted(path)


def test_names_that_differ_in_case_are_refused(tmp_path: Path) -> None:
    """PyTorch finds members whatever their case, so that two readers can see two networks."""

    def edit(content: MEMBERS) -> None:
        (name,) = (name for name in content if name.endswith(".py"))
        content[f"archive/{name.removeprefix('archive/').upper()}"] = content[name]

    with pytest.raises(NotVetted, match="case"):
        load_vetted(network(tmp_path, edit))


def two_networks(path: Path, pythons: MEMBERS, pytorchs: MEMBERS) -> None:
    """A zip with two directories: Python looks for the second one where it should be, PyTorch where a pointer says."""
    first, second = io.BytesIO(), io.BytesIO()
    for stream, content in ((first, pytorchs), (second, pythons)):
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    files, directories = [], []
    for stream in (first, second):
        size, start = struct.unpack_from("<II", stream.getvalue(), len(stream.getvalue()) - 10)
        files.append(stream.getvalue()[:start])
        directories.append(bytearray(stream.getvalue()[start : start + size]))
    moved = directories[1]
    place = 0
    while place < len(moved):
        (offset,) = struct.unpack_from("<I", moved, place + 42)
        struct.pack_into("<I", moved, place + 42, offset + len(files[0]))
        place += 46 + sum(struct.unpack_from("<HHH", moved, place + 28))
    content = b"".join(files)
    ends = []
    for directory, members in zip(directories, (pytorchs, pythons), strict=True):
        start = len(content)
        content += directory
        ends.append(len(content))
        count, size = len(members), len(directory)
        content += struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    content += struct.pack("<4sIQI", b"PK\6\7", 0, ends[0], 1)
    count, size = len(pythons), len(directories[1])
    start = ends[1] - size
    path.write_bytes(content + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, start, 0))


def test_the_network_that_pytorch_sees_is_the_one_that_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sound, evil = program(tmp_path / "a", "y = torch.add(x, 1)"), program(tmp_path / "b", 'print("evil")')
    both = []
    for one in (sound, evil):
        with zipfile.ZipFile(one) as archive:
            both.append({name: archive.read(name) for name in archive.namelist()})
    path = tmp_path / "two.pt"
    two_networks(path, *both)
    with zipfile.ZipFile(path) as archive:
        assert not any(b"evil" in archive.read(name) for name in archive.namelist())
    loaded: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
    assert "evil" in loaded.code
    with pytest.raises(NotVetted, match="calls print"):
        load_vetted(path)


def test_members_beyond_a_network_are_not_loaded(tmp_path: Path) -> None:
    loaded = load_vetted(network(tmp_path, lambda content: content.update({"archive/extra/evil.py": b"os.system('')"})))
    assert torch.equal(loaded(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))


ROWS = {name: COMPUTING[name][0] for name in ("reads a file", "writes a file", "prints", "reads memory", "records")}


@pytest.mark.parametrize("name", ROWS)
def test_commands_refuse_them_in_one_paragraph(
    tmp_path: Path, image: Path, marker: Path, refused: Refused, name: str
) -> None:
    weights = program(tmp_path, ROWS[name].replace("{marker}", str(marker)))
    model = packaged(tmp_path / "model", weights)
    assert refused("predict", model, image, "--axes", "yx") == 3
    assert refused("validate", model) == 3


def test_the_refusal_says_what_and_where_and_what_to_do(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = packaged(tmp_path / "model", program(tmp_path, "y = torch.add(x, 1)\n" + ROWS["reads a file"]))
    assert main(["predict", str(model), str(image), "-o", str(tmp_path / "out")]) == 3
    told = capsys.readouterr().err
    for words in ("torch.from_file", "line 10", "state dict", "--trust-model-code", "SHA-256"):
        assert words in told


def test_consent_and_known_hashes_load_any_code(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = packaged(tmp_path / "model", program(tmp_path, "torch.manual_seed(1)"))
    predict = ["predict", str(description), str(image), "-o", str(tmp_path / "out"), "--overwrite"]
    assert main(predict) == 3
    assert main([*predict, "--trust-model-code"]) == 0
    known = tmp_path / "known.txt"
    known.write_text(models.sha256(description.parent / "weights.pt"))
    monkeypatch.setenv("BIOIMAGE_INFERENCE_TRUSTED_HASHES", str(known))
    assert main(predict) == 0
