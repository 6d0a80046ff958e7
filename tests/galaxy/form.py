"""What a user does in the browser: logs in, fills in the form of a tool, runs it, looks at the results.

Run by browser.py: `form.py JSON`, JSON being the fields of :class:`FormVisit`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from playwright.sync_api import Page
from visit import Visit, field, result, switch_on, take_picture, window

# Seconds: how long Galaxy may take for a page, and for a job.
PAGE_TIMEOUT, JOB_TIMEOUT = 60, 180


@dataclass(frozen=True)
class FormVisit(Visit):
    """The form, and what to do there."""

    tool: str
    labels: dict[str, str]
    """Name of a parameter, as the form's page has it, to the words that the user shall see."""
    offers: dict[str, str]
    """Name of a select to the words of an option that it offers."""
    choices: dict[str, str]
    """Name of a parameter to the dataset that is chosen for it."""
    switches: list[str]
    """Names of the parameters that are switched on."""
    results: list[str]
    """How the names of the datasets begin that must turn up in the history."""
    page: str
    """The one of them that is a page with pictures, of which Galaxy is to show all."""
    heading: str
    """What this page says first."""


def main(visit: FormVisit) -> None:
    """Make the visit."""
    with window(visit, 1500, 1100, PAGE_TIMEOUT) as page:
        page.goto(f"{visit.url}/?tool_id={visit.tool}")
        page.wait_for_selector("#execute")
        take_picture(page, visit, "form_empty")
        check_labels(page, visit)
        check_offers(page, visit)
        fill_in(page, visit)
        take_picture(page, visit, "form")
        page.click("#execute")
        await_results(page, visit)
        take_picture(page, visit, "results")
        read_page(page, visit)


def check_labels(page: Page, visit: FormVisit) -> None:
    """The form must have every parameter under its label, those in sections that are closed too."""
    for name, label in visit.labels.items():
        found = (field(page, name).locator("label").first.text_content() or "").strip()
        if found != label:
            sys.exit(f"The form shows {name} as {found!r}, not as {label!r}.")


def check_offers(page: Page, visit: FormVisit) -> None:
    """The selects must offer their options in these words."""
    for name, words in visit.offers.items():
        field(page, name).locator(".multiselect").click()
        field(page, name).get_by_role("option").filter(has_text=words).first.wait_for()
        take_picture(page, visit, name)
        page.keyboard.press("Escape")


def fill_in(page: Page, visit: FormVisit) -> None:
    """Choose the datasets, open the sections of the switches and switch them on."""
    for name, dataset in visit.choices.items():
        field(page, name).locator(".multiselect").click()
        field(page, name).get_by_role("option").filter(has_text=dataset).click()
    for name in visit.switches:
        switch_on(page, name)


def await_results(page: Page, visit: FormVisit) -> None:
    """The history panel shows by itself that the results are there."""
    for name in visit.results:
        result(page, name).wait_for(timeout=JOB_TIMEOUT * 1000)


def read_page(page: Page, visit: FormVisit) -> None:
    """The result that is a page is shown as such, with its pictures."""
    result(page, visit.page).locator(".display-btn").first.click()
    shown = page.frame_locator("iframe[src*=display]")
    shown.locator("h1", has_text=visit.heading).wait_for()
    take_picture(page, visit, "page")
    widths = shown.locator("img").evaluate_all("pictures => pictures.map(one => one.naturalWidth)")
    if not widths or not all(widths):
        sys.exit(f"The page does not show its pictures, they are {widths} pixels wide. See {visit.pictures}/page.png.")


if __name__ == "__main__":
    main(FormVisit(**json.loads(sys.argv[1])))
