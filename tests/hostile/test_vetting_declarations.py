"""Files are refused whose objects are not of the classes that the code declares: PyTorch would read beyond them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bioimage_inference.model.vetting.source_code import NotVetted
from bioimage_inference.model.vetting.vetted_loading import load_vetted

CODE = """\
class Small(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  _is_full_backward_hook : Optional[bool]
  number : int
  def forward(self: __torch__.Small) -> int:
    return self.number
class Large(Module):
  first : int
  second : int
  def forward(self: __torch__.Large) -> int:
    return self.second
class Network(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  _is_full_backward_hook : Optional[bool]
  pair : Tuple[int, int]
  part : {declared}
  def forward(self: __torch__.Network, x: Tensor) -> Tensor:
    part = {value}
    a, b, = self.pair
    return torch.add(x, (part).forward())
"""
SOUND = {"declared": "__torch__.Small", "value": "self.part"}


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.number = 1

    def forward(self) -> int:
        return self.number


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = (1, 2)
        self.part = Small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.part() + self.pair[0]


def written(path: Path, code: str, edit: Callable[[bytes], bytes] = bytes) -> Path:
    """A network of this code, with its pickle edited."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(Network()), saved)
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w") as file:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("data.pkl"):
                own_names = content.replace(b"__torch__.tests.hostile.test_vetting_declarations\n", b"__torch__\n")
                edited = edit(own_names)
                assert edited != own_names or edit is bytes
                file.writestr(name, edited)
            elif "/code/" not in name:
                file.writestr(name, content)
        file.writestr(f"{archive.namelist()[0].partition('/')[0]}/code/__torch__.py", code)
    return path


def test_the_sound_file_passes(tmp_path: Path) -> None:
    network = load_vetted(written(tmp_path / "network.pt", CODE.format(**SOUND)))
    assert network(torch.zeros(2)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"declared": "__torch__.Large"}, "attribute part of __torch__.Network is no __torch__.Large"),
        ({"value": "unchecked_cast(__torch__.Large, self.part)"}, "uses __torch__.Small as __torch__.Large"),
        ({"declared": "Any", "value": "unchecked_cast(__torch__.Large, self.part)"}, "uses Any as __torch__.Large"),
        ({"declared": "List[__torch__.Large]", "value": "self.part[0]"}, "is no List"),
        ({"declared": "Optional[__torch__.Large]", "value": "unchecked_cast(__torch__.Large, self.part)"}, "is no Opt"),
    ],
)
def test_objects_have_the_class_that_the_code_declares(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(NotVetted, match=message.replace("[", r"\[")):
        load_vetted(written(tmp_path / "network.pt", CODE.format(**{**SOUND, **changes})))


def test_code_may_use_an_optional_part(tmp_path: Path) -> None:
    changes = {"declared": "Optional[__torch__.Small]", "value": "unchecked_cast(__torch__.Small, self.part)"}
    assert load_vetted(written(tmp_path / "network.pt", CODE.format(**changes)))(torch.zeros(1)).tolist() == [1]


def test_code_may_use_a_value_as_any(tmp_path: Path) -> None:
    code = CODE.format(**SOUND).replace("    part =", "    anything = unchecked_cast(Any, x)\n    part =")
    assert load_vetted(written(tmp_path / "network.pt", code))(torch.zeros(1)).tolist() == [1]


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("class", lambda pickle: pickle.replace(b"__torch__\nSmall\n", b"__torch__\nLarge\n"), "is no __torch__.Small"),
        (
            "no class",
            lambda pickle: pickle.replace(b"__torch__\nSmall\n", b"__torch__\nOther\n"),
            "is no __torch__.Small",
        ),
        ("shorter tuple", lambda pickle: pickle.replace(b"K\x01K\x02\x86", b"K\x01\x85"), "attribute pair"),
        ("filled twice", lambda pickle: pickle[:-1] + b"}b.", "unusual way"),
        ("a function is filled", lambda pickle: pickle[:-1] + b"ctorch._utils\n_rebuild_parameter\n}b.", "unusual way"),
    ],
)
def test_pickles_describe_objects_in_the_usual_way(
    tmp_path: Path, name: str, edit: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(NotVetted, match=message):
        load_vetted(written(tmp_path / "network.pt", CODE.format(**SOUND), edit))
