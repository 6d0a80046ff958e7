"""What a user does in the browser: logs in, fills in the form of a tool, runs it, looks at the results.

Run by browser.py with the Python of playwright's environment: `form.py JSON`, JSON being the fields of :class:`Visit`.
What is not as it should be ends it with a message; what it saw lies as pictures in the folder `pictures`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, sync_playwright

# Seconds: how long Galaxy may take for a page, and for a job.
PAGE_TIMEOUT, JOB_TIMEOUT = 60, 180


@dataclass(frozen=True)
class Visit:
    """Where to go and what to do there."""

    chromium: str
    url: str
    login: str
    password: str
    history: str
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
    pictures: str


def main(visit: Visit) -> None:
    """Make the visit."""
    with sync_playwright() as playwright:
        # Chromium refuses to run in its sandbox as root, as which it runs in containers.
        browser = playwright.chromium.launch(executable_path=visit.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.set_default_timeout(PAGE_TIMEOUT * 1000)
        try:
            log_in(page, visit)
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
        except Error as error:
            take_picture(page, visit, "failure")
            sys.exit(f"{error.message}\nSee {visit.pictures}/failure.png.")
        finally:
            browser.close()


def log_in(page: Page, visit: Visit) -> None:
    """Log in, and choose the history that holds the model and the image."""
    page.goto(f"{visit.url}/login/start")
    page.fill("input[name=login]", visit.login)
    page.fill("input[name=password]", visit.password)
    page.click("button[name=login]")
    page.wait_for_url(lambda url: "login" not in url)
    page.request.get(f"{visit.url}/history/set_as_current", params={"id": visit.history})


def field(page: Page, name: str) -> Locator:
    """A parameter's part of the form."""
    return page.locator(f'[id="form-element-{name}"]')


def check_labels(page: Page, visit: Visit) -> None:
    """The form must have every parameter under its label, those in sections that are closed too."""
    for name, label in visit.labels.items():
        found = (field(page, name).locator("label").first.text_content() or "").strip()
        if found != label:
            sys.exit(f"The form shows {name} as {found!r}, not as {label!r}.")


def check_offers(page: Page, visit: Visit) -> None:
    """The selects must offer their options in these words."""
    for name, words in visit.offers.items():
        field(page, name).locator(".multiselect").click()
        field(page, name).get_by_role("option").filter(has_text=words).first.wait_for()
        take_picture(page, visit, name)
        page.keyboard.press("Escape")


def fill_in(page: Page, visit: Visit) -> None:
    """Choose the datasets, open the sections of the switches and switch them on."""
    for name, dataset in visit.choices.items():
        field(page, name).locator(".multiselect").click()
        field(page, name).get_by_role("option").filter(has_text=dataset).click()
    for name in visit.switches:
        if not field(page, name).is_visible():
            page.locator(".ui-portlet-section", has=field(page, name)).locator(".portlet-header").first.click()
        field(page, name).locator("label.custom-control-label").click()
        field(page, name).get_by_text("Yes", exact=True).wait_for()


def result(page: Page, name: str) -> Locator:
    """A dataset of the history panel, once its job went well."""
    return page.locator(".content-item[data-state=ok]", has_text=name).first


def await_results(page: Page, visit: Visit) -> None:
    """The history panel shows by itself that the results are there."""
    for name in visit.results:
        result(page, name).wait_for(timeout=JOB_TIMEOUT * 1000)


def read_page(page: Page, visit: Visit) -> None:
    """The result that is a page is shown as such, with its pictures."""
    result(page, visit.page).locator(".display-btn").first.click()
    shown = page.frame_locator("iframe[src*=display]")
    shown.locator("h1", has_text=visit.heading).wait_for()
    take_picture(page, visit, "page")
    widths = shown.locator("img").evaluate_all("pictures => pictures.map(one => one.naturalWidth)")
    if not widths or not all(widths):
        sys.exit(f"The page does not show its pictures, they are {widths} pixels wide. See {visit.pictures}/page.png.")


def take_picture(page: Page, visit: Visit, name: str) -> None:
    page.screenshot(path=Path(visit.pictures) / f"{name}.png")


if __name__ == "__main__":
    main(Visit(**json.loads(sys.argv[1])))
