"""Pixel sizes in the units of the project: nm, µm and mm for lengths, s for times."""

import math
import unicodedata
from collections.abc import Mapping

from .image import PixelSize

# Micrometres per unit, by its symbol in OME-XML (schema 2016-06, UnitsLength). Case matters: pm is a picometre, Pm a
# petametre.
_SYMBOLS: dict[str, float] = {
    **{"am": 1e-12, "fm": 1e-9, "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "μm": 1, "mm": 1e3, "cm": 1e4, "dm": 1e5, "m": 1e6},
    **{"dam": 1e7, "hm": 1e8, "km": 1e9, "Mm": 1e12, "Gm": 1e15, "Tm": 1e18, "Pm": 1e21},
    **{"thou": 25.4, "li": 25.4e3 / 12, "in": 25.4e3, "ft": 304.8e3, "yd": 914.4e3},
    **{"mi": 1609.344e6, "pt": 25.4e3 / 72},
}
# Other spellings, in which case does not matter.
_WORDS: dict[str, float] = {
    **{symbol: _SYMBOLS[symbol] for symbol in ("pm", "nm", "μm", "mm", "cm", "m", "in")},
    **dict.fromkeys(("um", "micron", "microns"), 1),
    **{
        f"{prefix}{word}": factor
        for prefix, factor in (("pico", 1e-6), ("nano", 1e-3), ("micro", 1), ("milli", 1e3), ("centi", 1e4), ("", 1e6))
        for word in ("meter", "meters", "metre", "metres")
    },
    **dict.fromkeys(("inch", "inches"), 25.4e3),
    **dict.fromkeys(("å", "angstrom", "angstroms"), 1e-4),
}
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}
_USUAL_MICROMETRES = (1e-3, 1e3)
_SECONDS: dict[str, float] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("μs", "us", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}


def pixel_size(axis: str, value: object, unit: object, origin: float = 0.0) -> PixelSize | None:
    """Return the extent of one pixel along ``axis``; None without a usable value and unit.

    ``value`` is a number or its text. Zero, negative and infinite values and units such as ``pixel`` are not usable.
    ``origin`` is the position of the first pixel, in the same unit.
    """
    number = positive_number(value)
    # ImageJ escapes its micro sign. NFKC unifies the micro sign and the Greek mu.
    name = unicodedata.normalize("NFKC", str(unit).replace("\\u00B5", "µ")).strip().strip('"')
    if number is None:
        return None
    if axis == "t":
        seconds = _SECONDS.get(name.lower())
        return None if seconds is None else PixelSize(_rounded(number * seconds), "s", _rounded(origin * seconds))
    factor = _SYMBOLS.get(name) or _WORDS.get(name.lower())
    if factor is None:
        return None
    shown = "nm" if factor < 1 else "mm" if factor == MICROMETRES["mm"] else "µm"
    factor /= MICROMETRES[shown]
    return PixelSize(_rounded(number * factor), shown, _rounded(origin * factor))


def unusual_size_note(sizes: Mapping[str, PixelSize]) -> str | None:
    """Return a note on pixel sizes below 1 nm or above 1 mm; they mostly come from a wrong unit in the file."""
    low, high = _USUAL_MICROMETRES
    unusual = [
        f"{axis} {size.value:g} {size.unit}"
        for axis, size in sizes.items()
        if size.unit in MICROMETRES and not low <= _rounded(size.value * MICROMETRES[size.unit]) <= high
    ]
    if not unusual:
        return None
    return (
        f"The file states an unusual pixel size ({', '.join(unusual)}). Check it before you use areas or lengths; the "
        "prediction does not depend on it."
    )


def positive_number(value: object) -> float | None:
    """Return ``value`` as a finite number above zero, else None."""
    number = finite_number(value)
    return number if number is not None and number > 0 else None


def finite_number(value: object) -> float | None:
    """Return ``value``, a number or its text, as a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _rounded(value: float) -> float:
    """Return 12 significant digits: unit conversions and fractions change the digits behind them."""
    return float(f"{value:.12g}")
