"""Takes the picture of the page of `compare` in the documentation, with chromium.

python scripts/make_comparison_picture.py
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from bioimage_inference.cli import main

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "comparison.png"
MODELS = ("demo-model.zip", "threshold-model.zip")
"""The models of the Galaxy tutorial."""
_WINDOW = (1240, 1370)


def take(page: Path, picture: Path) -> None:
    """Write a picture of a page, in 128 colours, which keeps it small."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("There is no chromium. Install it, and run the script again.")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={_WINDOW[0]},{_WINDOW[1]}", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True)
    shot = Image.open(picture).convert("RGB")
    shot.quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    data = ROOT / "test-data"
    with tempfile.TemporaryDirectory() as folder:
        models = [str(data / name) for name in MODELS]
        if main(["compare", str(data / "nuclei.tif"), "--models", *models, "-o", folder, "--quiet"]):
            sys.exit(1)
        take(Path(folder, "comparison.html"), PICTURE)
