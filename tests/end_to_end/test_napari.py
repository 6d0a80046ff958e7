"""The plugin for napari: its manifest, the widget in a viewer, and the picture of the documentation."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.machine import HANG_SECONDS, ROOT, missing

# A library that napari imports uses pydantic as pydantic 2.12 deprecates it.
WARNINGS = ("-W", "ignore::pydantic.PydanticDeprecatedSince212")


@pytest.fixture
def installed_napari() -> None:
    """End a test of the plugin where napari is not installed, or where Qt does not start."""
    if any(find_spec(name) is None for name in ("napari", "PyQt6", "pytestqt")):
        missing("napari", 'pip install "bioimage_inference[napari]" pytest-qt')
    qt = subprocess.run([sys.executable, "-c", "import PyQt6.QtWidgets"], capture_output=True, text=True, check=False)
    if qt.returncode:
        missing(
            f"a library of Qt ({qt.stderr.strip().splitlines()[-1]})", "apt-get install libegl1 libgl1 libxkbcommon0"
        )


def test_napari_finds_the_plugin(installed_napari: None) -> None:
    """npe2 takes the manifest, and everything that the manifest names can be imported."""
    code = """
import npe2
manifest = npe2.PluginManifest.from_distribution("bioimage_inference")
manifest.validate_imports()
(widget,) = manifest.contributions.widgets
print(manifest.name, widget.display_name, sep="; ")
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
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
def test_the_widget_in_a_viewer(installed_napari: None, tmp_path: Path) -> None:
    """Qt's application and napari's settings last as long as their process, so the tests get one of their own."""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTEST_ADDOPTS": ""}
    environment["NAPARI_CONFIG"] = str(tmp_path / "settings.yaml")  # the settings of the user stay as they are
    options = ("--override-ini", "addopts=", *WARNINGS, "-p", "no:cacheprovider", "-p", "no:xdist")
    command = [sys.executable, "-m", "pytest", *options, "tests/end_to_end/napari_viewer.py"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
