"""The objects that a model finds in a crop: from its foreground and boundary, or from a label map that it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..errors import ImageError, ModelError
from ..image.image import Image
from ..options import Options
from ..prediction import Output, Prediction
from ..predictor import Predictor, predict_image
from ..segmentation.found_objects import find_objects
from ..segmentation.prediction_maps import NO_BOUNDARY
from ..segmentation.segmenting import SegmentOptions

_BOUNDARY_WORDS = ("bound", "border", "edge", "contour", "outline")
_ROUNDING = 1e-3  # rounding error allowed for probabilities outside [0, 1]
_SEVERAL = 2  # channels from which a model may predict a boundary


@dataclass(frozen=True)
class ObjectRules:
    """How objects are found. ``typed`` has the names of the options of ``segment`` that the user gave."""

    segment: SegmentOptions
    typed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ModelObjects:
    """Objects in a crop, how they were found, and the run that predicted them.

    ``labels`` has the axes ``yx`` or ``zyx``. ``how`` names the channels, or the label map.
    """

    labels: NDArray[np.int64]
    how: str
    prediction: Prediction

    @property
    def seconds(self) -> float:
        """Seconds of the prediction without loading the network."""
        seconds = self.prediction.provenance.seconds
        return seconds["total"] - seconds.get("loading", 0.0)


def model_objects(
    model: Predictor, image: Image, shape: Sequence[int], options: Options, rules: ObjectRules
) -> ModelObjects:
    """Return the objects that a model finds in an image of this ``shape`` along (z), y and x.

    Raises :class:`ModelError` for a model whose output has another size than the image, or holds neither objects nor
    probabilities, and the errors of :func:`~bioimage_inference.predict` and :func:`~bioimage_inference.segment`.
    """
    prediction = predict_image(model, image, options)
    output = next(iter(prediction.outputs.values()))
    if not prediction.has_size_of_image or not {"y", "x"} <= set(output.picture_axes):
        raise ModelError(
            f"The output {output.id!r} of {model.spec.name} does not have the size of the image, so its objects cannot "
            "be compared. Leave the model out of the comparison."
        )
    pixels = np.asarray(output.kept_array())
    if _is_label_map(pixels, output):
        labels, how = np.asarray(output.to_image().read((slice(None),) * len(output.picture_axes))), "label map"
        labels = labels.astype(np.int64)
    else:
        segment = _chosen_channels(output, rules)
        low, high = float(pixels.min()), float(pixels.max())
        if "threshold" not in rules.typed and not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ModelError(
                f"The output {output.id!r} of {model.spec.name} has values from {low:.4g} to {high:.4g}, which are "
                "neither probabilities (0 to 1) nor numbers of objects, so it shows no objects to compare. If its "
                "first channel is high inside objects, give --object-threshold."
            )
        found = find_objects(prediction if pixels.dtype.kind == "f" else _as_float(output), None, segment)
        labels, how = found.labels.astype(np.int64), _channels_in_words(output, segment)
    if labels.size != np.prod(shape):
        raise ImageError(
            f"{model.spec.name} gives {labels.size} pixels for an image of {int(np.prod(shape))}. Leave the model out "
            "of the comparison."
        )
    return ModelObjects(labels.reshape(tuple(shape)), how, prediction)


def _is_label_map(pixels: Array, output: Output) -> bool:
    """Return whether an output holds numbers of objects: one channel of whole numbers from 0, some above 1."""
    channels = output.picture_shape[output.picture_axes.index("c")] if "c" in output.picture_axes else 1
    if channels != 1 or not pixels.size or not np.isfinite([pixels.min(), pixels.max()]).all():
        return False
    return pixels.min() >= 0 and pixels.max() > 1 and bool((pixels == np.floor(pixels)).all())


def _as_float(output: Output) -> Image:
    """Return a mask of whole numbers or booleans as numbers that segmentation takes."""
    image = output.to_image()
    return replace(image, dtype=np.dtype(np.float32), read=lambda region: image.read(region).astype(np.float32))


def _chosen_channels(output: Output, rules: ObjectRules) -> SegmentOptions:
    """Return the options with the channels of this output.

    Without --object-boundary, the boundary is the channel with such a name, else channel 1. A model without such a
    channel has no boundary.
    """
    channels = output.picture_shape[output.picture_axes.index("c")] if "c" in output.picture_axes else 1
    segment = rules.segment
    if channels < _SEVERAL:
        return replace(segment, foreground="0", boundary=NO_BOUNDARY)
    if "boundary" in rules.typed:
        return segment
    named = [number for number, name in enumerate(output.channel_names) if _is_boundary(name)]
    return replace(segment, boundary=str(named[0] if named else 1))


def _is_boundary(name: str) -> bool:
    return any(word in name.lower() for word in _BOUNDARY_WORDS)


def _channels_in_words(output: Output, segment: SegmentOptions) -> str:
    names = {str(number): name for number, name in enumerate(output.channel_names)}
    foreground = names.get(segment.foreground, f"channel {segment.foreground}")
    if segment.boundary == NO_BOUNDARY:
        return f"{foreground}, without a boundary"
    return f"{foreground} - {names.get(segment.boundary, f'channel {segment.boundary}')}"
