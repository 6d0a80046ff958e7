"""The start of the program: no second interpreter, images before torch, lines and a moving bar at once."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bioimage_inference
from bioimage_inference.batch.one_image import Summary
from bioimage_inference.options import Options
from bioimage_inference.provenance.record import RunPlan, from_json
from bioimage_inference.terminal import Display
from tests.machine import on_terminal

# Writes to a file what is on standard output at the moment when torch is imported.
_WATCH = """
import sys
from pathlib import Path
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            said = Path(sys.argv[1])
            said.with_name("before_torch").write_text(said.read_text())
            sys.meta_path.remove(self)
        return None
sys.meta_path.insert(0, Watch())
from bioimage_inference.cli import main
sys.exit(main(sys.argv[2:]))
"""


def before_torch(folder: Path, *arguments: object) -> tuple[str | None, subprocess.CompletedProcess[str]]:
    """What a run had printed when it began to import torch, ``None`` where it never did; and the run."""
    said = folder / "stdout"
    with said.open("w") as stream:
        run = subprocess.run(
            [sys.executable, "-c", _WATCH, str(said), *map(str, arguments)],
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    run.stdout = said.read_text()
    early = folder / "before_torch"
    return early.read_text() if early.exists() else None, run


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.tif"
    path.write_text("no image")
    return path


# No second interpreter


@pytest.mark.parametrize("executable", [None, ""])
def test_no_process_is_started_and_no_interpreter_is_needed(test_data: Path, executable: str | None) -> None:
    program = f"""
import sys
started = []
starting = ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system")
sys.addaudithook(lambda event, arguments: started.append((event, arguments)) if event in starting else None)
sys.executable = {executable!r}
import bioimage_inference
with bioimage_inference.open_model({str(test_data / "demo-model.zip")!r}) as model:
    bioimage_inference.predict(model, {str(test_data / "nuclei.tif")!r})
sys.exit(repr(started) if started else 0)
"""
    run = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


# Images before torch


def test_an_image_that_is_missing_or_broken_is_told_before_torch_is_imported(
    test_data: Path, tmp_path: Path, broken: Path
) -> None:
    for image, code in ((tmp_path / "missing.tif", 2), (broken, 5)):
        early, run = before_torch(tmp_path, "predict", test_data / "demo-model.zip", image, "-o", tmp_path / "out")
        assert (early, run.returncode, run.stdout) == (None, code, "")
        assert image.name in run.stderr


def test_where_no_image_of_several_can_be_read_torch_is_not_imported(
    test_data: Path, tmp_path: Path, broken: Path
) -> None:
    images = (broken, tmp_path / "missing.tif")
    early, run = before_torch(tmp_path, "predict", test_data / "demo-model.zip", *images, "-o", tmp_path / "out")
    assert (early, run.returncode) == (None, 5)


def test_of_several_images_the_broken_one_is_told_first_and_the_others_are_predicted(
    test_data: Path, tmp_path: Path, broken: Path
) -> None:
    program = (
        "import sys\n"
        "from bioimage_inference.model import weights\n"
        "load = weights._load_torchscript\n"
        "def loading(*arguments):\n"
        "    print('now the network is loaded', file=sys.stderr)\n"
        "    return load(*arguments)\n"
        "weights._load_torchscript = loading\n"
        "from bioimage_inference.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    images = (test_data / "nuclei.tif", broken)
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, "predict", test_data / "demo-model.zip", *images, "-o", out]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert run.returncode == 5
    first, second, *_ = run.stderr.splitlines()
    assert first.startswith("[broken.tif]")
    assert second == "now the network is loaded"
    assert (out / "nuclei_prediction.tif").is_file()
    rows = (out / "summary.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["done", "failed"]  # in the order given


# What is said, and when


@pytest.mark.parametrize("command", ["predict", "named", "several", "demo"])
def test_what_was_understood_is_said_before_torch_is_imported(test_data: Path, tmp_path: Path, command: str) -> None:
    model, image, out = test_data / "demo-model.zip", test_data / "nuclei.tif", tmp_path / "out"
    arguments = {
        "predict": ["predict", model, image, "-o", out],
        "named": ["predict", model, image, "--npy", tmp_path / "o.npy"],
        "several": ["predict", model, image, test_data / "nuclei_timeseries.tif", "-o", out],
        "demo": ["demo", "-o", out],
    }[command]
    early, run = before_torch(tmp_path, *arguments)
    assert run.returncode == 0, run.stderr
    assert early is not None
    labels = [line.split()[0] for line in early.splitlines()]
    assert labels == ["[nuclei.tif]", "model", "input", "memory", "tiles"]
    assert run.stdout.startswith(early)
    assert run.stdout.count("[nuclei.tif]") == run.stdout.count("(300,380) uint16") == 1


def test_json_alone_is_on_standard_output(test_data: Path, tmp_path: Path) -> None:
    early, run = before_torch(
        tmp_path, "predict", test_data / "demo-model.zip", test_data / "nuclei.tif", "-o", tmp_path / "out", "--json"
    )
    assert (early, run.returncode, run.stderr) == ("", 0, "")
    assert [output["id"] for output in json.loads(run.stdout)["outputs"]] == ["prediction"]


def test_tiles_that_change_are_said_once_more_and_nothing_else(test_data: Path) -> None:
    """The network may take more memory than was assumed; then the line that was printed is not true any more."""
    seen: list[dict[str, Any]] = []
    bioimage_inference.predict(test_data / "demo-model.zip", test_data / "nuclei.tif", planned=seen.append)
    (record,) = seen
    plan = from_json(RunPlan, record)
    said: list[tuple[str, ...]] = []
    summary = Summary(lambda *lines: said.append(lines), Display())
    summary.planned(plan)
    summary.planned(plan)
    first = said.copy()
    summary.planned(replace(plan, plan=replace(plan.plan, tiles=4)))
    assert len(first) == 1
    ((correction,),) = said[1:]
    assert correction.startswith("  tiles   changed to 4 of ")


def test_smaller_tiles_after_a_lack_of_memory_are_told(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_inference.network.torch_network import TorchNetwork

    compute = TorchNetwork.__call__

    def small_only(network: TorchNetwork, inputs: Any) -> Any:
        if inputs[0].shape[-1] > 300:
            raise bioimage_inference.OutOfMemoryError("too large")
        return compute(network, inputs)

    monkeypatch.setattr(TorchNetwork, "__call__", small_only)
    seen: list[dict[str, Any]] = []
    done: list[tuple[int, int]] = []
    prediction = bioimage_inference.predict(
        test_data / "demo-model.zip",
        test_data / "nuclei.tif",
        options=Options(engine="torch"),
        planned=seen.append,
        progress=lambda *now: done.append(now),
    )
    assert [seen[0]["plan"]["tiles"], seen[-1]["plan"]] == [1, prediction.record["plan"]]
    assert prediction.record["plan"]["tiles"] > 1
    assert (done[0], done[-1]) == ((0, 1), (seen[-1]["plan"]["tiles"],) * 2)


# On a terminal


def test_a_bar_moves_while_model_and_network_are_loaded(test_data: Path, tmp_path: Path) -> None:
    arguments = ["predict", test_data / "demo-model.zip", test_data / "nuclei.tif", "-o", tmp_path / "out"]
    code, screen, said = on_terminal(arguments, tmp_path / "stdout")
    assert code == 0
    places = [screen.find(text) for text in ("reading the model", "loading the network", "1/1 tiles")]
    assert -1 not in places
    assert places == sorted(places)
    assert screen.count("loading the network") > 1  # it moves
    assert screen.rindex("\x1b[2K") > screen.rindex("tiles")  # and is gone in the end
    assert [line.split()[0] for line in said.splitlines()[:5]] == [
        *("[nuclei.tif]", "model", "input", "memory", "tiles")
    ]


def test_a_dumb_terminal_gets_no_animation(test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_inference import terminal

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.can_animate()
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.can_animate()


def test_of_two_animations_one_is_visible_and_lines_stay_above(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of the zoo is downloaded, with bars of its own, while the program shows that it reads the model."""
    from rich.progress import TextColumn

    from bioimage_inference import terminal

    monkeypatch.setenv("FORCE_COLOR", "1")
    column = TextColumn("{task.description}")
    with terminal.animated(column) as outer:
        outer.add_task("outer")
        with terminal.animated(column) as inner:
            inner.add_task("inner")
            assert (outer.live.is_started, inner.live.is_started) == (False, True)
            terminal.say("a line")
            assert (outer.live.is_started, inner.live.is_started) == (False, True)
        assert (outer.live.is_started, inner.live.is_started) == (True, False)
    assert not outer.live.is_started
    assert capfd.readouterr().out == "a line\n"
