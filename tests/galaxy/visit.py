"""A visit to Galaxy in a browser: its window, the fields of a form, results in the history, pictures.

The scripts that visit Galaxy share it. They run with the Python of playwright's environment: `SCRIPT JSON`, JSON being
the fields of the script's own visit. A script ends with a message if it sees something that should be different.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Error, Locator, Page, sync_playwright


@dataclass(frozen=True)
class Visit:
    """The browser, the server and the account, the history to use, and the folder for the pictures."""

    chromium: str
    url: str
    login: str
    password: str
    history: str
    pictures: str


@contextmanager
def window(visit: Visit, width: int, height: int, page_timeout: int, scale: int = 1) -> Iterator[Page]:
    """Provide a window of this size in pixels, logged in. Galaxy has `page_timeout` seconds for a page.

    After an error of the browser, the newest page is in the picture `stopped.png`.
    """
    with sync_playwright() as playwright:
        # Chromium refuses to run in its sandbox as root, as which it runs in containers.
        browser = playwright.chromium.launch(executable_path=visit.chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=scale)
        context.set_default_timeout(page_timeout * 1000)
        page = context.new_page()
        try:
            log_in(page, visit)
            yield page
        except Error as error:
            take_picture(context.pages[-1], visit, "stopped")
            sys.exit(f"{error.message}\nSee {visit.pictures}/stopped.png.")
        finally:
            browser.close()


def log_in(page: Page, visit: Visit) -> None:
    """Log in, and choose the history of the visit."""
    page.goto(f"{visit.url}/login/start")
    page.fill("input[name=login]", visit.login)
    page.fill("input[name=password]", visit.password)
    page.click("button[name=login]")
    page.wait_for_url(lambda url: "login" not in url)
    page.request.get(f"{visit.url}/history/set_as_current", params={"id": visit.history})


def field(page: Page, name: str) -> Locator:
    """A parameter's part of the form."""
    return page.locator(f'[id="form-element-{name}"]')


def switch_on(page: Page, name: str) -> None:
    """Open the section of a switch, and switch it on."""
    if not field(page, name).is_visible():
        page.locator(".ui-portlet-section", has=field(page, name)).locator(".portlet-header").first.click()
    field(page, name).locator("label.custom-control-label").click()
    field(page, name).get_by_text("Yes", exact=True).wait_for()


def result(page: Page, name: str) -> Locator:
    """A dataset of the history panel, once its job went well."""
    return page.locator(".content-item[data-state=ok]", has_text=name).first


def take_picture(page: Page, visit: Visit, name: str) -> None:
    page.screenshot(path=Path(visit.pictures) / f"{name}.png")
