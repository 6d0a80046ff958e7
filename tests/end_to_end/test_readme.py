"""The README is true: its Python runs, the options it names exist, and it installs what `make demo` installs."""

import importlib
import re
from pathlib import Path

import pytest

from bioimage_inference.cli import main
from bioimage_inference.cli.program import COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OURS = README.partition("## In Galaxy")[0]  # what follows speaks of Galaxy's options too


def test_its_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["probabilities"].shape == (1, 2, 300, 380)  # type: ignore[attr-defined]


def test_every_option_it_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    text = ""
    commands = [command.__name__.rpartition(".")[2] for command in COMMANDS]
    assert "predict" in commands
    for arguments in (["--help"], *([name, "--help"] for name in commands)):
        with pytest.raises(SystemExit):
            main(arguments)
        text += capsys.readouterr().out
    for option in set(re.findall(r"(?<![\w-])(--[a-z]+[a-z-]*)", OURS)) - {"--help", "--index-url"}:  # pip's
        assert option in text, option


def test_by_hand_the_same_torch_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("install_torch")
    page = (ROOT / "docs" / "install.md").read_text()
    assert f"pip install torch=={script.VERSION} --index-url {script.CPU_INDEX}\n" in page


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []
