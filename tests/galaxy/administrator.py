"""The way of an administrator in the browser: to the data manager, through its form, to the data table.

Run by data_manager.py: `administrator.py JSON`, JSON being the fields of :class:`AdministratorVisit`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from form import JOB_TIMEOUT, PAGE_TIMEOUT
from playwright.sync_api import Page, TimeoutError
from visit import Visit, field, result, take_picture, window

NAME = "Offer a BioImage.IO model"
TABLE = "bioimageio_models"
TRIES = 4


@dataclass(frozen=True)
class AdministratorVisit(Visit):
    """The model of the zoo to offer, whose `row` must turn up in the table."""

    model: str
    row: str


def main(visit: AdministratorVisit) -> None:
    """Make the visit."""
    with window(visit, 1300, 900, PAGE_TIMEOUT) as page:
        page.goto(f"{visit.url}/admin/data_manager")
        with page.expect_popup() as opened:
            page.get_by_role("link").filter(has_text=NAME).click()
        form = opened.value
        form.wait_for_selector("#execute")
        name_model_and_run(form, visit)
        result(form, NAME).wait_for(timeout=JOB_TIMEOUT * 1000)
        form.goto(f"{visit.url}/admin/data_manager/table/{TABLE}")
        form.get_by_text(visit.row, exact=True).wait_for()
        take_picture(form, visit, "table")


def name_model_and_run(form: Page, visit: AdministratorVisit) -> None:
    """Type the model, and run the tool. On a busy machine Galaxy's complaint about the empty field may come last.

    Then the tool cannot be run, until the model is typed once more.
    """
    model = field(form, "model|zoo_model").locator("input")
    for tries_left in reversed(range(TRIES)):
        model.fill(visit.model)
        take_picture(form, visit, "form")
        try:
            form.click("#execute", timeout=PAGE_TIMEOUT * 1000 / TRIES)
        except TimeoutError:
            if not tries_left:
                raise
            model.fill("")
        else:
            return


if __name__ == "__main__":
    main(AdministratorVisit(**json.loads(sys.argv[1])))
