"""The tutorial for Galaxy, followed in a real browser: its steps work, and its pictures are made."""

from __future__ import annotations

import shutil

from PIL import Image

from .browser import find_browser, run_visit, upload
from .checks import Result
from .layout import CHECKOUT, Failure, Site, say

# The files that the reader uploads, and the datatype of each.
FILES = {
    "test-data/demo-model.zip": "zip",
    "test-data/threshold-model.zip": "zip",
    "test-data/demo-model/weights.pt": "zip",
    "test-data/nuclei.tif": "tiff",
}
PAGE_PICTURES = CHECKOUT / "docs" / "images" / "galaxy"
QUALITY = 70  # of WebP: letters are sharp, and the noisy picture of the outlines takes less than 200 kB


def follow(site: Site) -> list[Result]:
    """Do what the tutorial says; nothing where no browser is installed, which `check_form` reports."""
    browser = find_browser()
    if browser is None:
        return []
    try:
        problem = run_visit(site, browser, upload(site, "Nuclei", FILES), "tutorial_visit.py", site.tutorial)
        say(f"pictures of the tutorial: {site.tutorial}")
        return [Result("tutorial in a browser", problem)]
    except Failure as failure:
        return [Result("tutorial in a browser", str(failure))]


def publish(site: Site) -> None:
    """Make the pictures of the documentation from those that the browser took."""
    shutil.rmtree(PAGE_PICTURES, ignore_errors=True)
    PAGE_PICTURES.mkdir(parents=True)
    for taken in sorted(site.tutorial.glob("*.png")):
        small = PAGE_PICTURES / f"{taken.stem}.webp"
        with Image.open(taken) as picture:
            picture.convert("RGB").save(small, quality=QUALITY, method=6)
        say(f"{small.relative_to(CHECKOUT)}: {small.stat().st_size // 1000} kB")
