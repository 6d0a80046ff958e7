"""The Python interface: open a model once, and predict, inspect, validate and segment with it.

The command line and Galaxy predict with the same models, by the same steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from .files.typed_path import Address
from .inference.outputs import Target as Target
from .options import OptionWords, options_of
from .prediction import Prediction
from .predictor import Predictor
from .python_functions import (
    IterationArguments,
    Planned,
    PredictionArguments,
    inspect,
    predict,
    predict_many,
    segment,
    validate,
)

if TYPE_CHECKING:
    from .network.network import Network
    from .python_functions import AnyImage
    from .report.model_facts import Facts
    from .reproduction.findings import WeightsFinding
    from .segmentation.found_objects import Segmentation

__all__ = [
    "Model",
    "Planned",
    "Target",
    "inspect",
    "load_model",
    "open_model",
    "predict",
    "predict_many",
    "segment",
    "validate",
]


class Model(Predictor):
    """An opened model, see :func:`load_model`. The network is loaded for the first prediction, and kept.

    Threads of a process may share a model; their predictions take turns.
    """

    def __repr__(self) -> str:
        closed = "" if self.is_open else ", closed"
        ids = " and ".join(", ".join(one.id for one in tensors) for tensors in (self.spec.inputs, self.spec.outputs))
        return f"<Model {self.spec.name!r}: {ids}{closed}>"

    def predict(self, image: "AnyImage", **arguments: Unpack[PredictionArguments]) -> Prediction:
        """Predict one image. The arguments, errors and result are those of the function :func:`predict`.

        Examples
        --------
        >>> with load_model("demo-model.zip") as model:
        ...     prediction = model.predict("nuclei.tif", tile=128)
        >>> prediction.record["plan"]["tiles"]
        20
        """
        return predict(self, image, **arguments)

    def predict_many(
        self, images: "Iterable[AnyImage]", **arguments: Unpack[IterationArguments]
    ) -> Iterator[Prediction]:
        """Predict several images, one after the other. See the function :func:`predict_many`.

        Examples
        --------
        >>> with load_model("demo-model.zip") as model:
        ...     for prediction in model.predict_many(["nuclei.tif", numpy.ones((64, 64))]):
        ...         print(prediction.outputs["prediction"].shape)
        (1, 2, 300, 380)
        (1, 2, 64, 64)
        """
        return predict_many(self, images, **arguments)

    def inspect(self) -> "Facts":
        """Return what the model is for, what it takes and gives, and whether it runs here; see :func:`inspect`.

        Examples
        --------
        >>> with load_model("demo-model.zip") as model:
        ...     facts = model.inspect()
        >>> facts["name"], facts["runs_here"]
        ('Demo U-Net for nuclei', True)
        """
        return inspect(self)

    def validate(self, **arguments: Any) -> "list[WeightsFinding]":
        """Return whether the model reproduces its published outputs here. See the function :func:`validate`.

        Examples
        --------
        >>> with load_model("demo-model.zip") as model:
        ...     [finding.verdict for finding in model.validate(weights="torchscript")]
        ['reproduced']
        """
        return validate(self, **arguments)

    def segment(
        self, image: "AnyImage", *, objects: Mapping[str, Any] | None = None, **arguments: Unpack[PredictionArguments]
    ) -> "Segmentation":
        """Predict an image and find the objects in its first output. The table has the intensities of the image.

        Parameters
        ----------
        objects
            Arguments of the function :func:`segment`: ``foreground``, ``boundary``, ``threshold``, ``min_size``.
        **arguments
            Arguments of the function :func:`predict`.

        Examples
        --------
        >>> with load_model("demo-model.zip") as model:
        ...     found = model.segment("nuclei.tif", objects={"min_size": 20})
        >>> found.count, found.labels.shape
        (72, (300, 380))
        """
        from .image.array_likes import image_like
        from .image.readers.reading import open_image
        from .inference.planning import selection_of
        from .segmentation.segmenting import OTHER_SIZE

        prediction = self.predict(image, **arguments)
        if not prediction.has_size_of_image:
            found = segment(prediction, **(objects or {}))
            return replace(found, notes=(*found.notes, OTHER_SIZE))
        words = {name: value for name, value in arguments.items() if name in OptionWords.__annotations__}
        chosen = options_of(arguments.get("options"), words)
        how = {"image_axes": chosen.axes, **(objects or {})}
        given = image_like(image, how["image_axes"])
        if isinstance(given, Path | Address):
            given = open_image(given, how["image_axes"], selection_of(chosen))
        return segment(prediction, given, **how)


def load_model(
    model: Path | str,
    *,
    description: Path | str | None = None,
    model_axes: str | None = None,
    model_size: str | None = None,
    offline: bool = False,
    network: "Network | None" = None,
) -> Model:
    """Open a model until its ``close()``, or for as long as a ``with`` block lasts. No weights are loaded yet.

    ``open_model`` is another name of this function.

    Parameters
    ----------
    model
        A package (zip, folder or its yaml), a weights file, or the id, title, DOI or page of a model of the BioImage.IO
        zoo. A model of the zoo is downloaded unless it is in the cache.
    description
        The yaml file of the description, for a weights file alone.
    model_axes
        The axes of the first input, such as ``"bcyx"``, for TorchScript weights without a description.
    model_size
        The size that such weights take, in pixels in the order x, y, z, c, such as ``"256,256,1,1"``.
    offline
        Use no network: download nothing, and refuse images at addresses.
    network
        A network that computes tiles in place of the model's weights, for tests and experiments
        (:class:`~bioimage_inference.network.network.Network`).

    Returns
    -------
    Model
        The opened model.

    Raises
    ------
    UsageError
        If there is no such model.
    ModelError
        If the model is broken or not supported.

    Examples
    --------
    >>> model = load_model("demo-model.zip")
    >>> model.predict(numpy.ones((80, 90)), axes="yx").outputs["prediction"].shape
    (1, 2, 80, 90)
    >>> model.close()

    >>> with open_model("demo-model.zip") as model:
    ...     prediction = model.predict("nuclei.tif")
    """
    return Model.open(
        model,
        description=description,
        model_axes=model_axes,
        model_size=model_size,
        offline=offline,
        network=network,
    )


open_model = load_model
