"""Pixel sizes in the units of the project: nm, µm and mm for lengths, s for times."""

import math
import unicodedata
from collections.abc import Mapping

from .image import PixelSize

# Powers of ten of the SI prefixes, by symbol. Case matters: pm is a picometre, Pm a petametre.
_PREFIXES: dict[str, int] = {
    **{"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0},
    **{"d": -1, "c": -2, "m": -3, "μ": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24},
}
_PREFIX_NAMES: dict[str, int] = {
    **{"yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2},
    **{"deca": 1, "": 0, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12},
    **{"femto": -15, "atto": -18, "zepto": -21, "yocto": -24},
}
_METRE = 1e6
# Micrometres per unit, by its symbol in OME-XML (schema 2016-06, UnitsLength). The schema's "pixel" and "reference
# frame" are no lengths. ua is the astronomical unit (IAU 2012), ly the light year, pc the parsec (IAU 2015).
_SYMBOLS: dict[str, float] = {
    **{f"{prefix}m": float(f"1e{power + 6}") for prefix, power in _PREFIXES.items()},
    **{"Å": 1e-4, "thou": 25.4, "li": 25.4e3 / 12, "in": 25.4e3, "ft": 304.8e3, "yd": 914.4e3, "mi": 1609.344e6},
    **{"pt": 25.4e3 / 72, "ua": 149_597_870_700 * _METRE, "ly": 9_460_730_472_580_800 * _METRE},
    **{"pc": 149_597_870_700 * 648_000 / math.pi * _METRE},
}
# Other spellings, in which case does not matter; the words are those of OME-Zarr (UDUNITS).
_WORDS: dict[str, float] = {
    **{symbol: _SYMBOLS[symbol] for symbol in ("pm", "nm", "μm", "mm", "cm", "m", "in")},
    **dict.fromkeys(("um", "micron", "microns"), 1),
    **{
        f"{prefix}{word}": float(f"1e{power + 6}")
        for prefix, power in _PREFIX_NAMES.items()
        for word in ("meter", "meters", "metre", "metres")
    },
    **dict.fromkeys(("inch", "inches"), _SYMBOLS["in"]),
    **dict.fromkeys(("foot", "feet"), _SYMBOLS["ft"]),
    **dict.fromkeys(("yard", "yards"), _SYMBOLS["yd"]),
    **dict.fromkeys(("mile", "miles"), _SYMBOLS["mi"]),
    **dict.fromkeys(("parsec", "parsecs"), _SYMBOLS["pc"]),
    **dict.fromkeys(("å", "angstrom", "angstroms"), 1e-4),
}
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}
_USUAL_MICROMETRES = (1e-3, 1e3)
# Seconds per unit, by its symbol in OME-XML (UnitsTime). Case matters: ms is a millisecond, Ms a megasecond.
_TIME_SYMBOLS: dict[str, float] = {
    **{f"{prefix}s": float(f"1e{power}") for prefix, power in _PREFIXES.items()},
    **{"min": 60.0, "h": 3600.0, "d": 86_400.0},
}
_TIME_WORDS: dict[str, float] = {
    **{symbol: _TIME_SYMBOLS[symbol] for symbol in ("s", "ms", "μs", "ns", "min", "h", "d")},
    **{"us": 1e-6, "sec": 1.0, "secs": 1.0, "msec": 1e-3, "usec": 1e-6, "hr": 3600.0},
    **{
        f"{prefix}{word}": float(f"1e{power}")
        for prefix, power in _PREFIX_NAMES.items()
        for word in ("second", "seconds")
    },
    **dict.fromkeys(("minute", "minutes"), 60.0),
    **dict.fromkeys(("hour", "hours"), 3600.0),
    **dict.fromkeys(("day", "days"), 86_400.0),
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
        seconds = _TIME_SYMBOLS.get(name) or _TIME_WORDS.get(name.lower())
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
