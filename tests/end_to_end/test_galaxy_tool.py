"""What can be promised of the Galaxy tools without a Galaxy; `python -m tests.galaxy run` tests them on a real one."""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from packaging.requirements import Requirement

import bioimage_inference
from bioimage_inference.cli.program import make_parser
from bioimage_inference.errors import BioimageInferenceError
from tests.reading_plates import write_plate

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "bioimage_inference"
FILES = ("bioimage_inference.xml", "bioimage_model_info.xml", "bioimage_segment.xml", "bioimage_compare.xml")
# What the tools' jobs never import: bars on terminals, downloads of zoo models.
# bioimageio.core brings platformdirs.
NOT_IN_JOBS = {"rich", "httpx", "filelock", "shtab", "platformdirs"}
CONDA_NAMES = {"torch": "pytorch", "PyYAML": "pyyaml", "matplotlib": "matplotlib-base"}

sys.path.insert(0, str(TOOL))
import form_messages  # noqa: E402  (a script beside the tools)

MACROS = ET.parse(TOOL / "macros.xml").getroot()
TOKENS = {token.attrib["name"]: token.text or "" for token in MACROS.iter("token")}
NAMED = {macro.attrib["name"]: macro for macro in MACROS.iter("xml")}


def tool(name: str) -> ET.Element:
    return ET.parse(TOOL / name).getroot()


def command(name: str) -> str:
    text = tool(name).findtext("command") or ""
    for token, value in TOKENS.items():
        text = text.replace(token, value)
    return text


def form_fields(name: str) -> dict[str, str]:
    return form_messages.fields(TOOL / name)


def top_level(element: ET.Element) -> Iterator[ET.Element]:
    """The children of an element, those from macros included."""
    for child in element:
        if child.tag == "expand":
            yield from NAMED[child.attrib["macro"]]
        else:
            yield child


def test_the_tools_have_the_version_of_the_program() -> None:
    assert TOKENS["@TOOL_VERSION@"] == bioimage_inference.__version__


def test_galaxy_says_what_the_exit_codes_mean() -> None:
    """Each code of the program has a text of its own, and every other code is an error too."""
    told = {one.attrib["range"] for one in NAMED["exit_codes"].iter("exit_code")}
    errors, codes = [BioimageInferenceError], set()
    while errors:
        error = errors.pop()
        errors += error.__subclasses__()
        codes.add(str(error.exit_code))
    assert told == codes | {":-1", "10:127", "128:"}
    for name in FILES:
        assert "exit_codes" in {one.attrib["macro"] for one in tool(name).iter("expand")}
        own = {one.attrib["name"] for one in tool(name).iterfind("macros/token")}
        assert own == {"@IMAGE_FIELDS@", "@MEMORY_FIELDS@"}


def test_the_package_is_shipped_with_the_tools() -> None:
    repositories = yaml.safe_load((ROOT / ".shed.yml").read_text())["repositories"]
    package = {
        "bioimage_inference": {"source": "bioimage_inference/**"},
        "data_manager_bioimageio_models": {"source": "bioimage_inference/**", "destination": "data_manager/"},
    }
    for name, repository in repositories.items():
        assert repository["include"] == [{"source": f"tools/{name}/**", "strip_components": 2}, package.pop(name)]
    assert not package
    assert (ROOT / "bioimage_inference").resolve() == Path(bioimage_inference.__file__).parent.resolve()
    assert not [path for path in TOOL.rglob("*") if path.is_symlink() and path.is_dir()]
    pattern = NAMED["requirements"].find("required_files/include").attrib["path"]  # type: ignore[union-attr]
    for file in (
        "collect_outputs.py",
        "form_messages.py",
        "bioimage_inference.xml",
        "macros.xml",
        "bioimage_inference/cli/predict.py",
        "bioimage_inference/report/templates/model_card.html.j2",
    ):
        assert re.match(pattern, file)


def test_the_requirements_are_what_the_program_needs() -> None:
    required = {node.text: node.attrib["version"] for node in NAMED["requirements"].iter("requirement")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    assert {CONDA_NAMES.get(name, name) for name in needed.keys() - NOT_IN_JOBS} == required.keys() - {"python"}
    for name, versions in needed.items():
        if name not in NOT_IN_JOBS:
            assert versions.contains(required[CONDA_NAMES.get(name, name)]), name


@pytest.mark.parametrize(
    ("file", "subcommand"), [(FILES[0], "predict"), (FILES[1], "inspect"), (FILES[2], "segment"), (FILES[3], "compare")]
)
def test_the_command_line_knows_the_options_of_the_tool(file: str, subcommand: str) -> None:
    """Also by old names, which help does not show."""
    (commands,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    known = set(commands.choices[subcommand]._option_string_actions)
    used = re.findall(r"^ *(--[a-z-]+)", command(file), re.MULTILINE)
    used += re.findall(rf"xml {subcommand} .*?(--[a-z-]+)", command(file))
    used += [option for option in form_fields(file) if option not in form_messages.WITHOUT_FIELD]
    assert used
    assert set(used) <= known


def test_workflows_of_version_2_4_1_find_their_parameters() -> None:
    """They are at the top level, with their names, types and values; what is new beside them may be left out."""
    inputs = {one.get("name"): one for one in top_level(tool(FILES[0]).find("inputs"))}  # type: ignore[arg-type]
    old = {
        "input_imaging_model": "data",
        "input_image_file": "data",
        "input_image_input_size": "text",
        "input_image_input_axes": "select",
    }
    assert {name: inputs[name].get("type") for name in old} == old
    assert "zip" in inputs["input_imaging_model"].attrib["format"].split(",")
    assert {"tiff", "png"} <= set(inputs["input_image_file"].attrib["format"].split(","))
    values = [option.get("value") for option in inputs["input_image_input_axes"].iter("option")]
    assert values == ["bcyx", "bczyx"]
    assert all(one.get("expanded") == "false" for one in inputs.values() if one.tag == "section")
    new = [one for name, one in inputs.items() if name not in old and one.tag == "param"]
    assert new
    assert all(one.get("optional") == "true" for one in new)
    outputs = {one.get("name"): one.get("format") for one in tool(FILES[0]).find("outputs")}  # type: ignore[union-attr]
    assert outputs["output_predicted_image"] == "tiff"
    assert outputs["output_predicted_image_matrix"] == "npy"


def test_test_files_are_small_and_there() -> None:
    assert all(file.stat().st_size <= 1_000_000 for file in (TOOL / "test-data").iterdir())
    used = {
        file
        for name in FILES
        for node in tool(name).find("tests").iter()  # type: ignore[union-attr]
        for attribute in ("value", "file")
        for file in node.get(attribute, "").split(",")
        if "." in file and node.get("ftype")
    }
    assert used
    assert not [file for file in used if not (TOOL / "test-data" / file).exists()]


def test_what_the_galaxy_tests_expect_is_what_the_program_gives() -> None:
    """If this fails because the demo model changed: python tools/make_test_data.py"""
    sample = bioimage_inference.predict(TOOL / "test-data" / "demo-model.zip", TOOL / "test-data" / "sample_input.png")
    array = sample.outputs["prediction"].array
    assert array is not None
    np.testing.assert_allclose(array[0], tifffile.imread(TOOL / "test-data" / "expected_sample.tiff"), atol=1e-5)


def outputs_of(folder: Path, image: str, names: list[str], series: str = "") -> None:
    """What `predict -o outputs` writes for an image, as far as it matters here."""
    (folder / image).parent.mkdir(parents=True, exist_ok=True)
    (folder / image).touch()
    written = folder / "outputs"
    written.mkdir(exist_ok=True)
    stem = Path(image).stem + series
    outputs = []
    for name in names:
        for suffix in ("tif", "npy"):
            (written / f"{stem}_{name}.{suffix}").write_text(f"{stem} {name} {suffix}")
        files = {"tiff": f"outputs/{stem}_{name}.tif", "npy": f"outputs/{stem}_{name}.npy"}
        outputs.append({"id": name, **files})
    record = {"inputs": [{"file": str(folder / image)}], "outputs": outputs}
    (written / f"{stem}_provenance.json").write_text(json.dumps(record))
    (written / f"{stem}_report.html").write_text(f"{stem} report")


def collect(folder: Path, *arguments: str, code: int = 0) -> tuple[dict[str, str], str]:
    """The collected files by their names, and what was printed."""
    command = [sys.executable, str(TOOL / "collect_outputs.py"), *(arguments or ["0"])]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == code, ran.stderr
    collected = folder / "collected"
    files = {str(path.relative_to(collected)): path.read_text() for path in collected.rglob("*.*")}
    return files, ran.stdout + ran.stderr


def test_outputs_are_collected_under_the_name_of_the_image_folder(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/00000 well A1/cells.tif", ["prediction"])
    outputs_of(tmp_path, "images/00001 well A2/more.tif", ["prediction"])
    files, printed = collect(tmp_path)
    assert printed == ""
    assert files["tiff/00001 well A2.tiff"] == "more prediction tif"
    assert files["html/00000 well A1.html"] == "cells report"
    assert sorted(files) == sorted(
        f"{kind}/{name}.{kind}"
        for kind in ("tiff", "npy", "json", "html")
        for name in ("00000 well A1", "00001 well A2")
    )


def test_several_images_of_a_file_are_told_apart_by_their_series(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/00000 slide/slide.czi", ["prediction"], "_left")
    outputs_of(tmp_path, "images/00000 slide/slide.czi", ["prediction"], "_right")
    outputs_of(tmp_path, "images/00001 one.lif/one.lif", ["prediction"], "_only")
    files, _ = collect(tmp_path)
    names = [Path(file).stem for file in files if file.startswith("npy/")]
    assert sorted(names) == ["00000 slide left", "00000 slide right", "00001 one.lif"]


def test_several_images_do_not_fit_into_the_outputs_of_one(tmp_path: Path) -> None:
    """The program refuses a plate before it computes the first field."""
    write_plate(tmp_path / "plate.zarr", {"A/1": ["0"], "A/2": ["0"]})
    program = [sys.executable, str(TOOL / "form_messages.py"), "bioimage_inference.xml", "predict"]
    given = [str(TOOL / "test-data" / "demo-model.zip"), str(tmp_path / "plate.zarr"), "--single", "-o", "outputs"]
    ran = subprocess.run([*program, *given], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith('"Image" ')
    assert 'plate.zarr holds 2. Choose one with "Series" (under "Files with several images")' in ran.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_report_that_was_not_asked_for_is_not_collected(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/image/cells.tif", ["prediction"])
    (tmp_path / "outputs" / "cells_report.html").unlink()
    files, _ = collect(tmp_path)
    assert sorted(files) == ["json/image.json", "npy/image.npy", "tiff/image.tiff"]


def test_all_outputs_are_collected_in_the_order_of_the_model(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/image/cells.tif", ["seeds", "affinities"])
    files, printed = collect(tmp_path, "0", "--all")
    assert printed == ""
    assert files["tiff/image.tiff"] == "cells seeds tif"
    assert files["all/image/000 seeds.tiff"] == "cells seeds tif"
    assert files["all/image/001 affinities.npy"] == "cells affinities npy"


def test_outputs_that_were_not_asked_for_are_told(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/image/cells.tif", ["seeds", "affinities"])
    files, printed = collect(tmp_path)
    assert "This model also gives: affinities." in printed
    assert not [name for name in files if name.startswith("all/")]


def test_the_uncertainty_of_the_first_output_is_collected(tmp_path: Path) -> None:
    outputs_of(tmp_path, "images/image/cells.tif", ["seeds", "edges", "seeds_uncertainty", "edges_uncertainty"])
    files, printed = collect(tmp_path)
    assert files["uncertainty/image.tiff"] == "cells seeds_uncertainty tif"
    assert "This model also gives: edges." in printed


@pytest.mark.parametrize(
    ("arguments", "summary", "code"),
    [
        (["5"], True, 5),
        (["5", "--keep-going"], True, 0),
        (["5", "--keep-going"], False, 5),  # the run ended before it wrote its tables
    ],
)
def test_an_image_that_fails_fails_the_job_unless_the_others_are_kept(
    tmp_path: Path, arguments: list[str], summary: bool, code: int
) -> None:
    outputs_of(tmp_path, "images/00000 a & b.tif/a.tif", ["prediction"])
    (tmp_path / "images" / "00001 broken.tif").mkdir()
    (tmp_path / "images" / "00001 broken.tif" / "broken.tif").touch()
    if summary:
        path = "images/00001 broken.tif/broken.tif"
        header, done = "image,status,message,outputs", "images/00000 a & b.tif/a.tif,done,,a.npy"
        rows = f"{header}\n{done}\n{path},failed,Use --channels.,\n"
        (tmp_path / "outputs" / "summary.csv").write_text(rows)
        page = '<a href="#image-2">images/00000 a &amp; b.tif/a.tif</a> <a href="summary.csv">summary.csv</a>'
        (tmp_path / "outputs" / "index.html").write_text(page)
    files, _ = collect(tmp_path, *arguments, code=code)
    if code:
        assert not files
    else:
        assert files["tiff/00000 a & b.tif.tiff"]
        field = '"Channels of the image" (under "Advanced options")'
        assert files["summary.tsv"] == (
            f"image\tstatus\tmessage\na & b.tif\tdone\t\nbroken.tif\tfailed\tUse {field}.\n"
        )
        assert files["index.html"] == '<a href="#image-2">a &amp; b.tif</a> summary.csv'


def test_no_image_with_results_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "summary.csv").touch()
    assert not collect(tmp_path, "5", "--keep-going", code=5)[0]


@pytest.mark.parametrize("file", FILES)
def test_titles_of_fields_are_unique(file: str) -> None:
    titles = list(form_fields(file).values())
    assert len(set(titles)) == len(titles)


def test_messages_name_fields_of_the_form_instead_of_options(tmp_path: Path) -> None:
    image = str(TOOL / "test-data" / "colour.png")
    model = str(TOOL / "test-data" / "demo-model.zip")
    command = [sys.executable, str(TOOL / "form_messages.py"), FILES[0], "predict", model, image, "--fit", "exact"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == bioimage_inference.ImageError.exit_code
    assert 'Choose with "Channels of the image" (under "Advanced options")' in ran.stderr
    assert ran.stdout == ""


def test_the_message_of_a_failure_comes_before_all_else(tmp_path: Path) -> None:
    files = [str(TOOL / "test-data" / name) for name in ("with_code.zip", "sample.npy")]
    command = [sys.executable, str(TOOL / "form_messages.py"), FILES[0], "predict", *files, "--axes", "yx"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == bioimage_inference.TrustError.exit_code
    assert ran.stdout == ""
    first, *others = ran.stderr.splitlines()
    assert "which only the administrators of this server can give" in first
    assert others[0] == "[sample.npy] axes YX (96,96) uint8"


def test_options_without_a_field_and_json_stay_as_they_are() -> None:
    titles = form_fields(FILES[2])
    assert form_messages.in_words_of_the_form("--axes --json x--axes --axes-of", titles) == (
        '"Axes of the predicted image" --json x--axes --axes-of'
    )
    command = [sys.executable, str(TOOL / "form_messages.py"), FILES[1], "inspect", "--json", "--offline"]
    ran = subprocess.run([*command, str(TOOL / "test-data" / "demo-model.zip")], capture_output=True, check=True)
    assert json.loads(ran.stdout)["runs_here"]


WORKFLOWS = sorted(path.parent for path in (ROOT / "workflows").glob("*/.dockstore.yml"))


def test_dockstore_names_files_that_are_there() -> None:
    assert len(WORKFLOWS) == 4
    for folder in WORKFLOWS:
        for workflow in yaml.safe_load((folder / ".dockstore.yml").read_text())["workflows"]:
            for file in (workflow["primaryDescriptorPath"], *workflow["testParameterFiles"]):
                assert (folder / file.lstrip("/")).is_file()


@pytest.mark.parametrize("folder", WORKFLOWS, ids=lambda folder: folder.name)
def test_workflows_tell_what_they_are_and_show_their_results(folder: Path) -> None:
    workflow = json.loads((folder / f"{folder.name}.ga").read_text())
    assert workflow["annotation"].startswith("This workflow ")
    assert f"## [{workflow['release']}] - " in (folder / "CHANGELOG.md").read_text()
    labels = {one["label"] for step in workflow["steps"].values() for one in step["workflow_outputs"]}
    shown = re.findall(r"output=\"([^\"]+)\"", workflow["report"]["markdown"])
    assert shown
    assert set(shown) <= labels
    readme = (folder / "README.md").read_text()
    inputs = [step["label"] for step in workflow["steps"].values() if step["type"] != "tool"]
    assert not [label for label in inputs if f"**{label}**" not in readme]


@pytest.mark.parametrize("folder", WORKFLOWS, ids=lambda folder: folder.name)
def test_the_hashes_of_test_data_are_right(folder: Path) -> None:
    (job,) = (test["job"] for test in yaml.safe_load((folder / f"{folder.name}-tests.yml").read_text()))
    collections = [one["elements"] for one in job.values() if isinstance(one, dict) and "elements" in one]
    files = [one for one in job.values() if isinstance(one, dict) and one["class"] == "File"]
    for file in (*files, *(one for elements in collections for one in elements)):
        (digest,) = file["hashes"]
        assert digest["hash_value"] == hashlib.sha256((folder / file["path"]).read_bytes()).hexdigest()
