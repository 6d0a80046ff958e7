"""The way of an administrator in the browser: to the data manager, through its form, to the data table.

Run by data_manager.py: `administrator.py JSON`, JSON being the fields of :class:`AdministratorVisit`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from form import JOB_TIMEOUT, PAGE_TIMEOUT
from visit import Visit, field, result, take_picture, window

NAME = "Offer a BioImage.IO model"
TABLE = "bioimageio_models"


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
        field(form, "model|zoo_model").locator("input").fill(visit.model)
        take_picture(form, visit, "form")
        form.click("#execute")
        result(form, NAME).wait_for(timeout=JOB_TIMEOUT * 1000)
        form.goto(f"{visit.url}/admin/data_manager/table/{TABLE}")
        form.get_by_text(visit.row, exact=True).wait_for()
        take_picture(form, visit, "table")


if __name__ == "__main__":
    main(AdministratorVisit(**json.loads(sys.argv[1])))
