"""The findings of a validation as one HTML page, for the authors of a model to attach to it. The page loads nothing."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from ..model.spec import WEIGHTS_TITLES, ModelSpec
from ..report.describe_model import NO_LICENCE
from ..report.rendering import render
from .findings import WeightsFinding
from .findings_in_words import facts


def validation_page(spec: ModelSpec, findings: Sequence[WeightsFinding]) -> str:
    """Return the page of the findings of :func:`~bioimage_inference.reproduction.validation.validate`.

    It holds the pictures of differences. Raises :class:`OSError` if one cannot be read.
    """
    libraries = ("torch", "bioimageio.core", "numpy")
    where = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)])
    return render(
        "validation",
        spec=spec,
        findings=findings,
        facts=lambda finding: [(heading, text) for heading, text in facts(finding) if heading],
        pictures=lambda finding: [
            (one.id, one.picture.read_bytes()) for one in finding.outputs if one.picture is not None
        ],
        weights_names=WEIGHTS_TITLES,
        no_licence=NO_LICENCE,
        where=f"{where}, {platform.system()} {platform.machine()}",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
