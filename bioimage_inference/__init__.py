"""Run pre-trained BioImage.IO models on scientific images.

>>> import bioimage_inference
>>> prediction = bioimage_inference.predict("demo-model.zip", "nuclei.tif")
>>> prediction.outputs["prediction"].array.shape
(1, 2, 300, 380)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import Model, Target, inspect, load_model, open_model, predict, predict_many, segment, validate
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
    from .options import Options, OptionWords
    from .prediction import Output, Prediction
    from .reproduction.findings import WeightsFinding
    from .segmentation.found_objects import Segmentation

_HOME = {
    **dict.fromkeys(
        (
            "Model",
            "Target",
            "inspect",
            "load_model",
            "open_model",
            "predict",
            "predict_many",
            "segment",
            "validate",
        ),
        ".api",
    ),
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
    **dict.fromkeys(("OptionWords", "Options"), ".options"),
    **dict.fromkeys(("Output", "Prediction"), ".prediction"),
    "Segmentation": ".segmentation.found_objects",
    "WeightsFinding": ".reproduction.validation",
}

__all__ = [
    "BioimageInferenceError",
    "DiskFullError",
    "ImageError",
    "Model",
    "ModelError",
    "NotPermittedError",
    "OptionWords",
    "Options",
    "OutOfMemoryError",
    "Output",
    "OutputError",
    "Prediction",
    "ReproductionError",
    "Segmentation",
    "Target",
    "TrustError",
    "UsageError",
    "WeightsFinding",
    "__version__",
    "inspect",
    "load_model",
    "open_model",
    "predict",
    "predict_many",
    "segment",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that ``--help`` does not wait for them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    """Return all public names, also those that are not imported yet."""
    return __all__
