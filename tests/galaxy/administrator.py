"""What an administrator does in the browser: finds the data manager, offers a model, looks at the data table.

Run by data_manager.py with the Python of playwright's environment: `administrator.py JSON`, JSON being the fields of
:class:`Visit`. What is not as it should be ends it with a message; what it saw lies as pictures in `pictures`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from form import JOB_TIMEOUT, PAGE_TIMEOUT, field, log_in, result, take_picture
from playwright.sync_api import Error, sync_playwright

NAME = "Offer a BioImage.IO model"
TABLE = "bioimageio_models"


@dataclass(frozen=True)
class Visit:
    """Where to go and which model of the zoo to offer; its `row` must turn up in the table."""

    chromium: str
    url: str
    login: str
    password: str
    history: str
    model: str
    row: str
    pictures: str


def main(visit: Visit) -> None:
    """Make the visit."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=visit.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(PAGE_TIMEOUT * 1000)
        try:
            log_in(page, visit)
            page.goto(f"{visit.url}/admin/data_manager")
            with page.expect_popup() as opened:
                page.get_by_role("link").filter(has_text=NAME).click()
            page = opened.value
            page.set_default_timeout(PAGE_TIMEOUT * 1000)
            page.wait_for_selector("#execute")
            field(page, "model|zoo_model").locator("input").fill(visit.model)
            take_picture(page, visit, "form")
            page.click("#execute")
            result(page, NAME).wait_for(timeout=JOB_TIMEOUT * 1000)
            page.goto(f"{visit.url}/admin/data_manager/table/{TABLE}")
            page.get_by_text(visit.row, exact=True).wait_for()
            take_picture(page, visit, "table")
        except Error as error:
            take_picture(page, visit, "failure")
            sys.exit(f"{error.message}\nSee {visit.pictures}/failure.png.")
        finally:
            browser.close()


if __name__ == "__main__":
    main(Visit(**json.loads(sys.argv[1])))
