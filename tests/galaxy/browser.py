"""The tool's form in a real browser: what planemo, which speaks to Galaxy's API alone, never sees."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checks import Result
from .layout import CHECKOUT, HERE, Failure, Site, environment, python, say
from .server import USER, as_user

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TOOL = "bioimage_inference"
FILES = {"test-data/demo-model.zip": "zip", "test-data/nuclei.tif": "tiff"}
LABELS = {
    "input_imaging_model": "BioImage.IO model",
    "listed_model": "Or a model of this server",
    "input_image_file": "Image",
    "many|images": "Images",
    "more_outputs|report": "Report",
    "more_outputs|record": "Record of the run",
    "more_outputs|ome_zarr": "OME-Zarr",
    "find_objects|segment": "Find objects in the prediction",
    "find_objects|rois": "Regions of interest",
    "find_objects|choices|max_size": "Largest object",
    "many|keep_going": "Keep the results of the other images if an image fails",
    "selection|series": "Series",
    "scale|rescale": "Rescale the image to the pixel size of the model",
    "advanced|image_axes": "Axes of the image",
    "advanced|channels": "Channels of the image",
}
OFFERS = {"listed_model": "Demo U-Net for nuclei (1.0.0): 2-D, one channel, nuclei"}
CHOICES = {"input_imaging_model": "demo-model.zip", "input_image_file": "nuclei.tif"}
SWITCHES = ["more_outputs|report", "more_outputs|record"]
RESULTS = ["Predicted image on", "Predicted image tensor on", "Report on", "Record on"]
UPLOAD_TIMEOUT = 600


def find_browser() -> str | None:
    """The system's Chromium."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def install_browser() -> None:
    """Where there is none, and this machine lets us: CI's containers do."""
    if find_browser() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing chromium …")
        for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "--yes", "chromium"]):
            environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            if subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode:
                say(f"`{' '.join(command)}` failed, see above; the form will not be tested in a browser")
                return


def check_form(site: Site) -> list[Result]:
    """Run the tool from its form; pictures of what a user sees lie in the state folder."""
    browser = find_browser()
    if browser is None:
        say("SKIPPED: THE FORM WAS NOT TESTED IN A BROWSER. Install chromium.")
        # as in `tests.machine.missing`, which Galaxy's tests, without pytest, cannot call
        return [Result("form in a browser", "Chromium is not installed")] if os.environ.get("CI") else []
    try:
        history = upload(site, "Form in a browser", FILES)
        return [Result("form in a browser", visit(site, browser, history) or wrong_results(site, history))]
    except Failure as failure:
        return [Result("form in a browser", str(failure))]


def upload(site: Site, name: str, files: Mapping[str, str]) -> str:
    """A history of this name with these files of the checkout, each path with its datatype; the history's id."""
    history: str = as_user(site, "POST", "histories", {"name": name})["id"]
    elements = [
        {"src": "url", "url": f"base64://{content_of(path)}", "name": Path(path).name, "ext": datatype}
        for path, datatype in files.items()
    ]
    targets = [{"destination": {"type": "hdas"}, "elements": elements}]
    as_user(site, "POST", "tools/fetch", {"history_id": history, "targets": targets})
    deadline = time.monotonic() + UPLOAD_TIMEOUT
    while (states := [dataset["state"] for dataset in datasets(site, history)]) != ["ok"] * len(files):
        if "error" in states or time.monotonic() > deadline:
            raise Failure(f"the files for the history could not be uploaded: {states}")
        time.sleep(0.5)
    return history


def content_of(path: str) -> str:
    return base64.b64encode((CHECKOUT / path).read_bytes()).decode()


def datasets(site: Site, history: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = as_user(site, "GET", f"histories/{history}/contents")
    return found


def visit(site: Site, browser: str, history: str) -> str:
    """Fill in and run the form; empty where all went well, else what the browser saw."""
    plan = {
        "tool": TOOL,
        "labels": LABELS,
        "offers": OFFERS,
        "choices": CHOICES,
        "switches": SWITCHES,
        "results": RESULTS,
        "page": "Report on",
        "heading": "nuclei.tif",
    }
    problem = run_visit(site, browser, history, "form.py", site.pictures, plan)
    say(f"pictures of the form and its results: {site.pictures}")
    return problem


def run_visit(
    site: Site, browser: str, history: str, script: str, pictures: Path, more: Mapping[str, Any] | None = None
) -> str:
    """Run a script that visits Galaxy; `more` are the fields of its own visit. Empty where all went well."""
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    fields = {
        "chromium": browser,
        "url": site.url,
        "login": USER["email"],
        "password": USER["password"],
        "history": history,
        "pictures": str(pictures),
        **(more or {}),
    }
    command = [python(site.browser), str(HERE / script), json.dumps(fields)]
    env = environment(site.browser)
    ran = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return (ran.stderr or f"the browser ended with {ran.returncode}") if ran.returncode else ""


def wrong_results(site: Site, history: str) -> str:
    """Empty where the history holds the expected results and nothing else, all in order."""
    made = datasets(site, history)[len(FILES) :]
    names = [dataset["name"] for dataset in made]
    if len(names) != len(RESULTS) or not all(any(name.startswith(one) for name in names) for one in RESULTS):
        return f"The tool made {names}, but these were expected: {RESULTS}."
    return "".join(f"{one['name']}: {one['state']}\n" for one in made if one["state"] != "ok")
