"""The data manager on a real Galaxy: an administrator offers models of the zoo, and a user predicts with them.

A server on this machine plays the zoo. Its log tells what was downloaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .browser import FILES, datasets, find_browser, run_visit, upload
from .checks import Result
from .layout import Failure, Site, python
from .server import ZOO_MODEL, as_user, call, log_of, publish

DATA_MANAGER = "data_manager_bioimageio_models"
TABLE = "bioimageio_models"
WEIGHTS = f"/{ZOO_MODEL}/weights.pt"
WORDS = "2-D, one channel, nuclei, fluorescence-light-microscopy, semantic-segmentation"
JOB_TIMEOUT = 300
FOUR = ["value", "name", "path", "sha256"]
SIX = ["value", "name", "version", "tags", "path", "sha256"]
ADD_ROW = """
import json, sys
from galaxy.tool_util.data import ToolDataTableManager
folder, name, row = sys.argv[1:]
for attempt in range(2):  # the second reads what the first wrote
    table = ToolDataTableManager(folder, f"{folder}/tables.xml")[name]
    if not attempt:
        table.add_entry(json.loads(row), persist=True)
json.dump(table.get_named_fields_list(), sys.stdout)
"""


def check_data_manager(site: Site) -> list[Result]:
    """Offer a model, offer it again, offer its next version, predict with the first, offer a third in the browser."""
    history = upload(site, "Data manager", FILES)
    results = []
    checks = offers_a_model, offers_it_once, offers_an_update, runs_a_prediction, takes_old_lists, works_in_a_browser
    for check in checks:
        try:
            problem = "\n".join(check(site, history))
        except Failure as failure:
            problem = str(failure)
        results.append(Result(f"data manager {check.__name__.replace('_', ' ')}", problem))
    return results


def offers_a_model(site: Site, history: str) -> Iterator[str]:
    """The row has all columns, and an absolute path to a file with the listed hash. Nothing else stays behind."""
    earlier = set((site.offered / TABLE).glob("*"))  # the data manager's own tests offer a model, too
    offer(site, history)
    row = rows(site).get(f"{ZOO_MODEL}-1.0.0")
    if row is None:
        yield f"the table has no such row, only {list(rows(site))}"
        return
    package = Path(row["path"])
    expected = {
        "value": f"{ZOO_MODEL}-1.0.0",
        "name": f"Demo U-Net for nuclei ({ZOO_MODEL} 1.0.0): {WORDS}",
        "version": "1.0.0",
        "tags": f"{WORDS}, instance-segmentation",
        "path": str(site.offered / TABLE / f"{ZOO_MODEL}-1.0.0.zip"),
        "sha256": hashlib.sha256(package.read_bytes()).hexdigest(),
    }
    if row != expected:
        yield f"the row is {row}, not {expected}"
    if left := [path.name for path in package.parent.iterdir() if path not in (package, *earlier)]:
        yield f"beside the package lies {left}"


def offers_it_once(site: Site, history: str) -> Iterator[str]:
    """A second run downloads nothing, and the table stays, also when Galaxy reads it anew."""
    before, downloads = rows(site), downloads_of_weights(site)
    offer(site, history)
    call(site, "GET", f"tool_data/{TABLE}/reload")
    if downloads_of_weights(site) != downloads:
        yield "the weights were downloaded again"
    if rows(site) != before:
        yield f"the table changed from {before} to {rows(site)}"


def offers_an_update(site: Site, history: str) -> Iterator[str]:
    """The next version of the zoo gets a row of its own, and the old row stays."""
    before = rows(site)
    publish(site, "1.1.0")
    offer(site, history)
    after = rows(site)
    if any(after.get(value) != row for value, row in before.items()):
        yield f"rows of {before} are lost in {after}"
    if set(after) - set(before) != {f"{ZOO_MODEL}-1.1.0"}:
        yield f"the new rows are {set(after) - set(before)}"


def runs_a_prediction(site: Site, history: str) -> Iterator[str]:
    """A user chooses the offered model in the form."""
    image = next(one for one in datasets(site, history) if one["name"] == "nuclei.tif")
    inputs = {"listed_model": f"{ZOO_MODEL}-1.0.0", "input_image_file": {"src": "hda", "id": image["id"]}}
    job = run(site, history, "bioimage_inference", inputs)
    if "  model   Demo U-Net for nuclei" not in job["tool_stdout"].splitlines():
        yield f"the job tells of another model: {job['tool_stdout']}"


def takes_old_lists(site: Site, _history: str) -> Iterator[str]:
    """Galaxy's own data table reads a list of four columns, and adds a row to it; `awk` gives it six columns."""
    folder = site.server / "old_list"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    old, new = folder / "old.loc", folder / "new.loc"
    old.write_text("# a remark\nold-1.0\tAn old model\t/data/old-1.0.zip\t\n")
    sample = (site.packages / DATA_MANAGER / "tool-data" / f"{TABLE}.loc.sample").read_text()
    command = re.sub(r"\n# ", " ", sample).partition("awk ")[2].replace("OLD", str(old)).replace("NEW", str(new))
    subprocess.run(["bash", "-c", f"awk {command}"], check=True)
    row = dict.fromkeys(SIX, "") | {"value": "old-1.0", "name": "An old model", "path": "/data/old-1.0.zip"}
    added = dict.fromkeys(SIX, "x") | {"value": "new-1.0"}
    for list_file, columns in ((old, FOUR), (new, SIX)):
        table = f'<table name="{TABLE}"><columns>{", ".join(columns)}</columns><file path="{list_file}"/></table>'
        (folder / "tables.xml").write_text(f"<tables>{table}</tables>")
        command = [python(site.galaxy), "-c", ADD_ROW, str(folder), TABLE, json.dumps(added)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        if found != [{name: one[name] for name in columns} for one in (row, added)]:
            yield f"Galaxy reads {found} in {list_file}"


def works_in_a_browser(site: Site, _history: str) -> Iterator[str]:
    """The administrator finds the data manager, fills in its form and sees the new row. Pictures stay."""
    browser = find_browser()
    if browser is None:  # check_form says so
        return
    publish(site, "1.2.0")
    history = as_user(site, "POST", "histories", {"name": "Data manager in a browser"})["id"]  # without earlier results
    plan = {"model": ZOO_MODEL, "row": f"{ZOO_MODEL}-1.2.0"}
    if problem := run_visit(site, browser, history, "administrator.py", site.results / "data_manager", plan):
        yield problem
    if f"{ZOO_MODEL}-1.2.0" not in rows(site):
        yield f"the table has only {list(rows(site))}"


def offer(site: Site, history: str) -> None:
    """Run the data manager for the model of the zoo, as the administrator."""
    run(site, history, DATA_MANAGER, {"model|source": "zoo", "model|zoo_model": ZOO_MODEL})


def run(site: Site, history: str, tool: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run a tool and return its job. Raises :class:`Failure` where the job fails."""
    made = as_user(site, "POST", "tools", {"history_id": history, "tool_id": tool, "inputs": inputs})
    deadline = time.monotonic() + JOB_TIMEOUT
    while True:
        job: Mapping[str, Any] = as_user(site, "GET", f"jobs/{made['jobs'][0]['id']}?full=true")
        if job["state"] == "ok":
            return job
        if job["state"] in ("error", "deleted") or time.monotonic() > deadline:
            raise Failure(f"the job of {tool} is {job['state']}: {job['tool_stderr']}{job['job_messages']}")
        time.sleep(0.2)


def rows(site: Site) -> dict[str, dict[str, str]]:
    """The rows of the data table by their values."""
    table = call(site, "GET", f"tool_data/{TABLE}")
    return {fields[0]: dict(zip(table["columns"], fields, strict=True)) for fields in table["fields"]}


def downloads_of_weights(site: Site) -> int:
    return log_of(site, "zoo").read_text().splitlines().count(WEIGHTS)
