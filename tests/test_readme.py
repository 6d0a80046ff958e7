"""The README is true: its Python runs, the options it names exist, and it installs what `make demo` installs."""

import importlib
import re
from pathlib import Path

import pytest

from bioimage_inference.cli import main
from bioimage_inference.cli.program import COMMANDS

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_by_hand_the_same_torch_is_installed(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("install_torch")
    assert f"pip install torch=={script.VERSION} --index-url {script.CPU_INDEX}\n" in (ROOT / page).read_text()
