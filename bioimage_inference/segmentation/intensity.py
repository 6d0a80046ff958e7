"""Opens the image that was predicted, and reads its intensities at the samples of the prediction."""

from collections.abc import Mapping
from dataclasses import replace
from math import isclose
from typing import Any

from numpy.typing import NDArray

from ..errors import ImageError
from ..files.typed_path import ImagePath
from ..image.axis_mapping import channel_number
from ..image.image import Image, PixelSize, Region
from ..image.readers.reading import open_image
from ..image.series import Selection
from ..image.units import MICROMETRES
from .prediction_maps import Samples


class Intensities:
    """The channels of an image, read at the samples of a prediction."""

    def __init__(self, samples: Samples, prediction: Samples) -> None:
        self.samples = samples
        self._places = list(samples.indices())
        self._numbers = {index: number for number, index in enumerate(prediction.indices())}
        order = [samples.axes.find(letter) for letter in prediction.axes]
        if sorted(order) == list(range(len(samples.axes))) and order != sorted(order):
            back = [order.index(axis) for axis in range(len(order))]
            self._places = [tuple(index[axis] for axis in back) for index in prediction.indices()]

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names: ``channel_0``, … if the image has none, and an empty name for a single channel."""
        count = self.samples.channels
        if count == 1:
            return ("",)
        return self.samples.image.channel_names or tuple(f"channel_{number}" for number in range(count))

    def channel_number(self, channel: int | str) -> int:
        """Return the number, from 0, of a channel given by number or name. Raises UsageError for an unknown name."""
        if not isinstance(channel, str):
            return channel
        image = self.samples.image
        return channel_number(image.name, image.channel_names, self.samples.channels, channel)

    def read(self, index: tuple[int, ...], region: Region) -> list[NDArray[Any]]:
        """Return all channels of a region of the prediction's sample at ``index``."""
        return [self.read_channel(index, channel, region) for channel in range(self.samples.channels)]

    def read_channel(self, index: tuple[int, ...], channel: int, region: Region) -> NDArray[Any]:
        """Return one channel of a region of the prediction's sample at ``index``."""
        return self.samples.read(self._places[self._numbers[index]], channel, region)


def open_intensities(
    given: ImagePath | Image, axes: str | None, selection: Selection, prediction: Samples
) -> Intensities:
    """Return the intensities of the image that was predicted. The caller closes ``samples.image``.

    ``axes`` overrides the metadata of a file, and ``selection`` chooses one of its images; an opened image has both
    already. Raises ImageError if image and prediction differ in pixels or samples.
    """
    image = given if isinstance(given, Image) else open_image(given, axes, selection)
    samples = Samples(_named(image, prediction), prediction.spatial)
    if samples.shape != prediction.shape or samples.total != prediction.total:
        image.close()
        raise ImageError(
            f"The image {image.name} has the axes {image.axes.upper()} ({'×'.join(map(str, image.shape))}), the "
            f"prediction {prediction.image.name} {prediction.image.axes.upper()} "
            f"({'×'.join(map(str, prediction.image.shape))}). Intensities need the same pixels along x, y and z and "
            "the same number of samples in both. Give the image that the prediction was made from."
        )
    return Intensities(samples, prediction)


def _named(image: Image, prediction: Samples) -> Image:
    """Return the image with colours as channels, and an axis without a name as planes, samples or channels."""
    axes = image.axes if "c" in image.axes else image.axes.replace("s", "c")
    if axes.count("?") == 1:
        if prediction.spatial == "zyx" and "z" not in axes:
            letter = "z"
        elif prediction.axes:
            letter = next(letter for letter in prediction.axes + "pi" if letter not in axes)
        else:
            letter = "p" if "c" in axes else "c"
        axes = axes.replace("?", letter)
    return replace(image, axes=axes, channel_names=image.channel_names if "s" not in image.axes else ())


def pixel_sizes(samples: Samples, light: Intensities | None) -> Mapping[str, PixelSize]:
    """Return the pixel sizes of the prediction, with what the image knows besides: further axes, and its position.

    The position matters because the readers of TIFF return none, and a label map must lie on its image.
    """
    own = samples.image.pixel_size
    if light is None:
        return own
    image = light.samples.image.pixel_size
    return {**image, **{letter: size for letter, size in own.items() if not _is_same_extent(size, image.get(letter))}}


def _is_same_extent(size: PixelSize, other: PixelSize | None) -> bool:
    """Return whether a pixel size without a position equals another one, but for the rounding of TIFF's fractions."""
    if other is None or size.origin:
        return False
    one, two = (each.value * MICROMETRES.get(each.unit, 1.0) for each in (size, other))
    return isclose(one, two, rel_tol=1e-6)
