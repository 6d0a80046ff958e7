"""Run pre-trained BioImage.IO models on scientific images.

>>> prediction = predict("model.zip", "cells.tif")  # doctest: +SKIP
>>> prediction.outputs["probability"].array.shape  # doctest: +SKIP
(1, 1, 512, 512)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import Model, Target, open_model, predict
    from .errors import (
        BioimageInferenceError,
        DiskFullError,
        ImageError,
        ModelError,
        NotPermittedError,
        OutOfMemoryError,
        OutputError,
        ReproductionError,
        TrustError,
        UsageError,
    )
    from .options import Options
    from .prediction import Output, Prediction

_HOME = {
    **dict.fromkeys(("Model", "Target", "open_model", "predict"), ".api"),
    **dict.fromkeys(
        (
            "BioimageInferenceError",
            "DiskFullError",
            "ImageError",
            "ModelError",
            "NotPermittedError",
            "OutOfMemoryError",
            "OutputError",
            "ReproductionError",
            "TrustError",
            "UsageError",
        ),
        ".errors",
    ),
    "Options": ".options",
    **dict.fromkeys(("Output", "Prediction"), ".prediction"),
}

__all__ = [
    "BioimageInferenceError",
    "DiskFullError",
    "ImageError",
    "Model",
    "ModelError",
    "NotPermittedError",
    "Options",
    "OutOfMemoryError",
    "Output",
    "OutputError",
    "Prediction",
    "ReproductionError",
    "Target",
    "TrustError",
    "UsageError",
    "__version__",
    "open_model",
    "predict",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that ``--help`` does not wait for them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
