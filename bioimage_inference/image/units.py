"""Pixel sizes in the few units that the project speaks: µm, nm and mm for lengths, s for time."""

import math
import unicodedata

from .image import PixelSize

_MICROMETRE = "µm"
_LENGTHS: dict[str, tuple[float, str]] = {
    **dict.fromkeys(("μm", "um", "micron", "microns", "micrometer", "micrometers", "micrometre"), (1.0, _MICROMETRE)),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), (1.0, "nm")),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre"), (1.0, "mm")),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre"), (1e4, _MICROMETRE)),
    **dict.fromkeys(("m", "meter", "meters", "metre"), (1e6, _MICROMETRE)),
    **dict.fromkeys(("in", "inch", "inches"), (25400.0, _MICROMETRE)),
    **dict.fromkeys(("å", "angstrom"), (0.1, "nm")),
}
_SECONDS: dict[str, float] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("μs", "us", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}


def pixel_size(axis: str, value: object, unit: object) -> PixelSize | None:
    """The extent of one pixel along ``axis``, or None where value or unit say nothing.

    ``value`` may be a number or its text; zero, negative and infinite values, and units such as ``pixel``, say nothing.
    """
    number = positive_number(value)
    # ImageJ escapes its micro sign; NFKC makes the micro sign and the Greek mu one letter.
    name = unicodedata.normalize("NFKC", str(unit).replace("\\u00B5", "µ")).strip().strip('"').lower()
    if number is None:
        return None
    if axis == "t":
        seconds = _SECONDS.get(name)
        return None if seconds is None else PixelSize(_rounded(number * seconds), "s")
    factor, length = _LENGTHS.get(name, (0.0, ""))
    return PixelSize(_rounded(number * factor), length) if factor else None


def positive_number(value: object) -> float | None:
    """``value`` as a finite number above zero, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _rounded(value: float) -> float:
    """The value without the last digits that unit conversion and fractions leave behind."""
    return float(f"{value:.12g}")
