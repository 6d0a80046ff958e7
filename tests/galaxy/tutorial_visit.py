"""What the tutorial asks its readers to do, done in the browser, with a picture of each step.

Run by tutorial.py: `tutorial_visit.py JSON`, JSON being the fields of :class:`~visit.Visit`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page
from visit import Visit, field, switch_on, window

PREDICT, SEGMENT, DESCRIBE = "bioimage_inference", "bioimage_segment", "bioimage_model_info"
MODEL, SECOND_MODEL, WEIGHTS, IMAGE = "demo-model.zip", "threshold-model.zip", "weights.pt", "nuclei.tif"
# Seconds: how long Galaxy may take for a page and for a job on a machine that does other work too.
PAGE_TIMEOUT, JOB_TIMEOUT = 180, 600
SIZE = 1500, 1700
MARGIN = 12  # pixels around what a picture shows
HIGHEST = 800  # pixels; what is longer is cut, so that a picture fits on a screen
MARKED = "outline: 3px solid #d55e00; outline-offset: 4px; border-radius: 2px"


class Reader:
    """Somebody who follows the tutorial."""

    def __init__(self, page: Page, visit: Visit) -> None:
        self.page, self.visit = page, visit

    def follow(self) -> None:
        """Take every step of the tutorial, in its order."""
        self.open_form(DESCRIBE)
        self.choose("input_imaging_model", MODEL)
        card = self.run(["Model card on"])[0]
        self.show_page(card, "model-card")

        self.open_form(PREDICT)
        self.choose("input_imaging_model", MODEL)
        self.choose("input_image_file", IMAGE)
        switch_on(self.page, "more_outputs|report")
        self.picture_form("predict-form", "input_imaging_model", "input_image_file", "more_outputs|report")
        prediction, report = self.run(["Predicted image on", "Report on"])
        self.picture_history("predict-history")
        self.show_page(report, "predict-report")

        self.open_form(SEGMENT)
        self.choose("prediction", prediction["hid"])
        self.choose("image", IMAGE)
        self.picture_form("segment-form", "prediction", "image")
        table, outlines = self.run(["Table of objects on", "Outlines of objects on"])
        self.show(outlines, "segment-outlines")
        self.show(table, "segment-table")

        self.open_form(PREDICT)
        self.choose("input_imaging_model", SECOND_MODEL)
        self.choose("input_image_file", IMAGE)
        (second,) = self.run(["Predicted image on"])
        self.open_form(SEGMENT)
        self.choose("prediction", second["hid"])
        self.choose("image", IMAGE)
        field(self.page, "boundary").locator("input[type=text]").fill("")
        self.picture_form("second-form", "prediction", "boundary")
        (outlines,) = self.run(["Outlines of objects on"])
        self.show(outlines, "second-outlines")

        self.open_form(PREDICT)
        self.choose("input_imaging_model", WEIGHTS)
        self.choose("input_image_file", IMAGE)
        (failed,) = self.run(["Predicted image on"], "error")
        self.picture_failure(failed, "failure")

    def open_form(self, tool: str) -> None:
        self.page.goto(f"{self.visit.url}/?tool_id={tool}")
        self.page.wait_for_selector("#execute")

    def choose(self, parameter: str, dataset: str | int) -> None:
        """Choose a dataset by its name or by its number in the history."""
        wanted = f"{dataset}: " if isinstance(dataset, int) else dataset
        field(self.page, parameter).locator(".multiselect").click()
        field(self.page, parameter).get_by_role("option").filter(has_text=wanted).first.click()

    def run(self, names: list[str], state: str = "ok") -> list[dict[str, Any]]:
        """Run the form; returns the newest dataset of each name once all new datasets are in this state."""
        before = {dataset["id"] for dataset in self.datasets()}
        self.page.click("#execute")
        new: list[dict[str, Any]] = []
        for _ in range(JOB_TIMEOUT):
            new = [dataset for dataset in self.datasets() if dataset["id"] not in before]
            if new and all(dataset["state"] in ("ok", "error") for dataset in new):
                break
            self.page.wait_for_timeout(1000)
        if {dataset["state"] for dataset in new} != {state}:
            sys.exit(f"Not all of these are {state}: {[(dataset['name'], dataset['state']) for dataset in new]}.")
        item = self.page.locator(f".content-item[data-state={state}]", has_text=names[-1]).first
        item.wait_for()  # the panel of the history shows it too
        return [max((one for one in new if one["name"].startswith(name)), key=lambda one: one["hid"]) for name in names]

    def datasets(self) -> list[dict[str, Any]]:
        address = f"{self.visit.url}/api/histories/{self.visit.history}/contents"
        found: list[dict[str, Any]] = self.page.request.get(address).json()
        return found

    def show(self, dataset: dict[str, Any], name: str) -> None:
        """Show a dataset in the middle of the window, as its eye icon does."""
        self.page.goto(f"{self.visit.url}/datasets/{dataset['id']}/preview")
        self.page.wait_for_timeout(3000)
        self.take(name, self.page.locator("#center"))

    def show_page(self, dataset: dict[str, Any], name: str) -> None:
        """Show a dataset that is a page, with its pictures."""
        self.page.goto(f"{self.visit.url}/datasets/{dataset['id']}/preview")
        shown = self.page.frame_locator("iframe[src*=display]")
        shown.locator("h1").first.wait_for()
        self.take(name, self.page.locator("#center"))

    def picture_form(self, name: str, *parameters: str) -> None:
        """Picture the form from its headline to the last of these fields, which are outlined."""
        parts = [field(self.page, parameter) for parameter in parameters]
        for part in parts:
            part.evaluate("(element, style) => element.style.cssText += style", MARKED)
        self.take(name, self.page.locator("#center"), *parts)

    def picture_history(self, name: str) -> None:
        panel = self.page.locator("#current-history-panel")
        self.take(name, panel, panel.locator(".content-item").last)

    def picture_failure(self, dataset: dict[str, Any], name: str) -> None:
        self.page.goto(f"{self.visit.url}/datasets/{dataset['id']}/error")
        message = self.page.locator("#center pre").last
        message.wait_for()
        self.take(name, self.page.locator("#center"), message)

    def take(self, name: str, first: Locator, *others: Locator) -> None:
        """Take a picture of these parts of the window: from the top of the first one to the bottom of the last."""
        boxes = [box for part in (first, *others) if (box := part.bounding_box())]
        left, top = boxes[0]["x"], boxes[0]["y"]
        bottom = max(box["y"] + box["height"] for box in boxes[1:] or boxes)
        clip = {"x": left, "y": top, "width": boxes[0]["width"], "height": min(bottom - top + MARGIN, HIGHEST)}
        self.page.screenshot(path=Path(self.visit.pictures) / f"{name}.png", clip=clip)


if __name__ == "__main__":
    made = Visit(**json.loads(sys.argv[1]))
    with window(made, *SIZE, PAGE_TIMEOUT, scale=2) as opened:
        Reader(opened, made).follow()
