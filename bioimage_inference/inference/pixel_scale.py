"""Pixel size of an image and of the images that a network was trained on: comparison, and size after rescaling.

Nothing is guessed. The pixel size of the image comes from its file or from ``--pixel-size``, that of the network from
the description or from ``--model-pixel-size``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..errors import UsageError
from ..image.axes import SPACE, spatial
from ..image.axis_mapping import AxisMapping
from ..image.image import Image, PixelSize
from ..image.units import MICROMETRES, pixel_size
from ..model.spec import TensorSpec
from ..options import Options
from ..tiling.axis_relations import Link

_NOTED = 1.2  # ratio of pixel sizes from which a note is given; the augmentation of most trainings covers smaller ones

_MOST = 100  # ratio of pixel sizes beyond which a unit must be wrong; most microscopes' lenses span 1.25× to 100×


def with_given_size(image: Image, options: Options) -> Image:
    """Return the image with the pixel size of ``--pixel-size``, if there is one, in place of that of the file."""
    if options.pixel_size is None:
        return image
    given = parse_pixel_size(options.pixel_size, "--pixel-size")
    sizes = {**image.pixel_size, **given}
    return replace(image, pixel_size={letter: size for letter, size in sizes.items() if letter in image.axes})


def network_pixel_size(tensor: TensorSpec, options: Options) -> dict[str, PixelSize]:
    """Return the pixel size that the network expects, by axis, as far as the user or the description states it."""
    if options.model_pixel_size is not None:
        given = parse_pixel_size(options.model_pixel_size, "--model-pixel-size")
        return {letter: size for letter, size in given.items() if letter in tensor.letters}
    declared = {axis.letter: pixel_size(axis.letter, axis.scale, axis.unit) for axis in tensor.axes}
    return {letter: size for letter, size in declared.items() if size is not None and letter in SPACE}


def parse_pixel_size(text: str, option: str) -> dict[str, PixelSize]:
    """Return the pixel sizes in ``Z,Y,X``, ``Y,X``, or one for y and x; each in µm, or with its unit.

    Raises :class:`UsageError`.

    >>> parse_pixel_size("2,300nm,300nm", "--pixel-size")["x"]
    PixelSize(value=300.0, unit='nm', origin=0.0)
    """
    parts = [part.strip() for part in text.split(",")]
    letters = SPACE if len(parts) == len(SPACE) else "yx"
    parts = parts * 2 if len(parts) == 1 else parts
    found = {}
    for letter, part in zip(letters, parts, strict=False):
        number = part.rstrip('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZÅåµμ "')
        size = pixel_size(letter, number, part[len(number) :].strip() or "µm")
        if size is None or len(parts) != len(letters):
            raise UsageError(
                f"{option} {text!r} is not understood. Give one size for y and x, or one for each of y,x or z,y,x, in "
                "µm or with a unit: 0.3 or 300nm or 1,0.3,0.3."
            )
        found[letter] = size
    return found


def mismatch_notes(matched: AxisMapping, expected: Mapping[str, PixelSize]) -> Iterator[str]:
    """Yield a note if the pixels of an image differ in size by more than 20 % from those that the network expects."""
    ratios = _ratios(matched, expected)
    wrong = {letter: ratio for letter, ratio in ratios.items() if max(ratio, 1 / ratio) > _NOTED}
    if wrong:
        yield (
            f"{matched.image.name} has pixels of {sizes_in_words(matched.image.pixel_size, wrong)}, but the network "
            f"was trained with {sizes_in_words(expected, wrong)}, so objects look "
            f"{_by_axes({letter: _compared(ratio) for letter, ratio in wrong.items()})} to it than in training. "
            "--rescale brings the image to the network's pixel size."
        )


def match_in_words(matched: AxisMapping, expected: Mapping[str, PixelSize]) -> str:
    """Return how the pixel size of an image compares with the pixel size that the network expects.

    For example ``0.325 µm, as in training``, ``0.1 µm, trained with 0.3 µm``, or ``unknown for the model``.
    """
    ratios = _ratios(matched, expected)
    if not ratios:
        missing = [name for name, known in (("model", expected), ("image", matched.image.pixel_size)) if not known]
        return f"unknown for the {' and the '.join(missing)}" if missing else "unknown"
    here = sizes_in_words(matched.image.pixel_size, ratios)
    if all(max(ratio, 1 / ratio) <= _NOTED for ratio in ratios.values()):
        return f"{here}, as in training"
    return f"{here}, trained with {sizes_in_words(expected, ratios)}"


def rescaled_sizes(matched: AxisMapping, tensor: TensorSpec, expected: Mapping[str, PixelSize]) -> dict[str, int]:
    """Return the pixels along the image axes at the pixel size that the network expects.

    Raises :class:`UsageError` if a pixel size is unknown, or a hundred times the other.
    """
    image = matched.image
    if not expected:
        raise UsageError(
            "--rescale needs the pixel size that the network was trained with, but the description of the model states "
            f"none for the input {tensor.id!r}. Look into the model's documentation, and give it in µm, for instance "
            "--model-pixel-size 0.3."
        )
    unknown = spatial("".join(letter for letter in expected if letter in image.axes and letter not in image.pixel_size))
    if unknown:
        raise UsageError(
            f"--rescale needs the pixel size of {image.name} along {unknown}, but the file does not state it. Give it "
            f"in µm, for instance --pixel-size {'1,0.1,0.1' if 'z' in unknown else '0.1'}."
        )
    ratios = _ratios(matched, expected)
    extreme = [letter for letter, ratio in ratios.items() if max(ratio, 1 / ratio) > _MOST]
    if extreme:
        raise UsageError(
            f"{image.name} has pixels of {sizes_in_words(image.pixel_size, extreme)}, and the network expects "
            f"{sizes_in_words(expected, extreme)}. No network sees the same structures at both sizes. Check the "
            "units of --pixel-size and --model-pixel-size, or of the file."
        )
    return {letter: max(1, round(image.size(letter) * ratio)) for letter, ratio in ratios.items()}


def restored_sizes(sizes: Mapping[str, int], links: Mapping[str, Link], leading: AxisMapping) -> dict[str, int]:
    """Return the pixels of an output along each axis, after it was brought back to the pixels of the given image.

    ``sizes`` are those of the network's output, ``links`` relate its axes to the axes of the leading image.
    """
    if not leading.rescaled:
        return dict(sizes)
    return {
        letter: _restored(size, links[letter].letter, leading) if letter in links and letter in SPACE else size
        for letter, size in sizes.items()
    }


def _restored(size: int, letter: str, leading: AxisMapping) -> int:
    before, after = leading.given.size(letter), leading.image.size(letter)
    return max(1, round(size * before / after)) if size else 0


def rescaled_note(before: Image, after: Image, sizes: Mapping[str, int]) -> str:
    """Return the note on an image that was rescaled."""
    changed = [letter for letter in spatial("".join(sizes)) if before.size(letter) != after.size(letter)]
    if not changed:
        return f"{before.name} already has the pixel size that the network expects; --rescale changed nothing."
    pixels = ", ".join(f"{letter} from {before.size(letter)} to {after.size(letter)}" for letter in changed)
    return (
        f"{before.name} was rescaled as asked, from {sizes_in_words(before.pixel_size, changed)} to "
        f"{sizes_in_words(after.pixel_size, changed)} per pixel ({pixels}). Outputs are brought back to the pixels of "
        "the image: decimal numbers are interpolated, whole numbers are taken from the nearest pixel. Tiles and halo "
        "are in rescaled pixels."
    )


def sizes_in_words(sizes: Mapping[str, PixelSize], letters: Iterable[str]) -> str:
    """Return pixel sizes along some axes, for example ``0.1 µm`` or ``1 µm (z) and 0.1 µm (y, x)``."""
    return _by_axes({letter: f"{sizes[letter].value:.4g} {sizes[letter].unit}" for letter in letters})


def _ratios(matched: AxisMapping, expected: Mapping[str, PixelSize]) -> dict[str, float]:
    """Return the size of the image's pixels divided by the expected size, along axes where both are known."""
    known = matched.image.pixel_size
    return {
        letter: known[letter].value * MICROMETRES[known[letter].unit] / size.value / MICROMETRES[size.unit]
        for letter, size in expected.items()
        if letter in matched.axes and letter in known and known[letter].unit in MICROMETRES
    }


def _compared(ratio: float) -> str:
    """Return how large objects look: ``3 times larger``, or ``3 times smaller``."""
    return f"{max(ratio, 1 / ratio):.2g} times {'larger' if ratio < 1 else 'smaller'}"


def _by_axes(words: Mapping[str, str]) -> str:
    """Return the words with the axes that they hold for, or alone if they are the same along all axes."""
    groups: dict[str, list[str]] = {}
    for letter in spatial("".join(words)):
        groups.setdefault(words[letter], []).append(letter)
    if len(groups) == 1:
        return next(iter(groups))
    return " and ".join(f"{word} ({', '.join(axes)})" for word, axes in groups.items())
