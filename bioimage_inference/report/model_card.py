"""The facts of a model as one HTML page, with the model's cover picture. The page loads nothing."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ModelError
from ..model.package import package_file
from ..model.spec import WEIGHTS_TITLES
from ..zoo.resolving import OpenedModel
from .colours import encoded
from .describe_model import NO_LICENCE, pixel_size_in_words
from .model_facts import Facts
from .rendering import render

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_MAX_COVER_BYTES = 20 * 2**20
_MAX_COVER_PIXELS = 50_000_000
_COVER_WIDTH = 640


def model_card(facts: Facts, cover: bytes | None = None) -> str:
    """Return the page for facts of :func:`model_facts`, and for a cover of :func:`cover_picture`."""
    version = facts["version"] and f"version {facts['version']}"
    return render(
        "model_card",
        facts=facts,
        details=_details,
        cover=cover,
        known=" · ".join(part for part in (facts["id"], version, facts["licence"]) if part),
        no_licence=NO_LICENCE,
        weights_names=WEIGHTS_TITLES,
    )


def _details(tensor: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    limits = ["any" if limit is None else f"{limit:g}" for limit in tensor["data_range"]]
    if limits != ["any", "any"]:
        yield "Values", " to ".join(limits)
    if tensor["pixel_size"]:
        yield "Pixel size", pixel_size_in_words(tensor["pixel_size"])
    halo = [f"{letter} {size}" for letter, size in tensor.get("halo", {}).items() if size]
    if halo:
        yield "Halo", ", ".join(halo)


def cover_picture(opened: OpenedModel) -> bytes | None:
    """Return the first cover of the package that is a picture, as a small PNG; ``None`` where there is none.

    The picture is decoded and written anew, so that only pixels get into the page.
    """
    covers = (opened.described or {}).get("covers")
    for cover in covers if isinstance(covers, list) else []:
        source = cover.get("source") if isinstance(cover, Mapping) else cover
        if isinstance(source, str) and (picture := _small_png(opened, source)) is not None:
            return picture
    return None


def _small_png(opened: OpenedModel, source: str) -> bytes | None:
    from PIL import Image

    try:
        path = package_file(opened.spec.root, source)
        if path.stat().st_size > _MAX_COVER_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of huge and odd pictures, which are left out below
            with Image.open(path, formats=_FORMATS) as picture:
                if picture.width * picture.height > _MAX_COVER_PIXELS:
                    return None
                picture.draft("RGB", (_COVER_WIDTH, _COVER_WIDTH))
                small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        small.thumbnail((_COVER_WIDTH, _COVER_WIDTH))
    except (ModelError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # missing, or no picture
        return None
    return encoded(small, "PNG")
