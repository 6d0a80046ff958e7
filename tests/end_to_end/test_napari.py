"""The plugin for napari: its manifest, and the widget in a viewer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.machine import HANG_SECONDS, ROOT, missing

# Libraries of napari use pydantic in ways that it deprecates.
WARNINGS = ("-W", "ignore::pydantic.warnings.PydanticDeprecationWarning")
PACKAGES = (
    "xvfb libegl1 libgl1 libgl1-mesa-dri libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 "
    "libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1"
)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a process with napari: a screen of its own, and settings that are not the user's."""
    if any(find_spec(name) is None for name in ("napari", "PyQt6", "pytestqt")):
        missing("napari", 'pip install "bioimage_inference[napari]" pytest-qt')
    if shutil.which("Xvfb") is None:
        missing("Xvfb", f"apt-get install {PACKAGES}")
    chosen, named = os.pipe()
    arguments = ("-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-displayfd", str(named))
    with subprocess.Popen(["Xvfb", *arguments], pass_fds=[named], stderr=subprocess.DEVNULL) as screen:
        os.close(named)
        with os.fdopen(chosen) as number:
            display = f":{number.readline().strip()}"
        variables = {
            **os.environ,
            "DISPLAY": display,
            "QT_QPA_PLATFORM": "xcb",
            "NAPARI_CONFIG": str(tmp_path / "settings.yaml"),
            "PYTEST_ADDOPTS": "",
        }
        try:
            start = [sys.executable, "-c", "from PyQt6.QtWidgets import QApplication; QApplication([])"]
            qt = subprocess.run(start, env=variables, capture_output=True, text=True, check=False)
            if qt.returncode:
                missing(f"a library of Qt ({qt.stderr.strip()})", f"apt-get install {PACKAGES}")
            yield variables
        finally:
            screen.terminate()


def test_napari_finds_the_plugin(environment: dict[str, str]) -> None:
    """npe2 takes the manifest, and everything that the manifest names can be imported."""
    code = """
import npe2
manifest = npe2.PluginManifest.from_distribution("bioimage_inference")
manifest.validate_imports()
(widget,) = manifest.contributions.widgets
print(manifest.name, widget.display_name, sep="; ")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "bioimage_inference; Predict with a BioImage.IO model\n", done.stderr


def test_the_manifest_is_beside_the_module_that_the_entry_point_names() -> None:
    (point,) = [one for one in entry_points(group="napari.manifest") if one.name == "bioimage_inference"]
    module, _, file = point.value.partition(":")
    found = find_spec(module)
    assert found is not None
    assert Path(str(found.origin)).with_name(file).is_file()


@pytest.mark.slow
def test_the_widget_in_a_viewer(environment: dict[str, str]) -> None:
    """Qt's application and napari's settings last as long as their process, so the tests get one of their own."""
    options = ("--override-ini", "addopts=", *WARNINGS, "-p", "no:cacheprovider", "-p", "no:xdist")
    command = [sys.executable, "-m", "pytest", *options, "tests/end_to_end/napari_viewer.py"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3 * HANG_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
