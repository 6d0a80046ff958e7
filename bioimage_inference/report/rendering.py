"""The one way to make an HTML page: a Jinja2 template of this package, in which every value is escaped."""

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from ..text import capitalised, counted, one_line

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """Return the page that the template ``templates/TEMPLATE.html.j2`` makes of the values."""
    from .._version import __version__

    return (
        environment().get_template(f"{template}.html.j2").render(program=f"bioimage-inference {__version__}", **values)
    )


@cache
def environment() -> "Environment":
    """Return the environment of all templates.

    It writes every value as one line without control characters, escaped. A name that a template misspells raises an
    error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because only pages need the 45 ms

    made = Environment(
        loader=PackageLoader("bioimage_inference.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"capitalised": capitalised, "counted": counted, "data_url": _data_url}
    return made


def _cleaned(value: Any) -> Any:
    """Return what a template writes for a value; markup that a template made already stays."""
    if hasattr(value, "__html__"):
        return value
    return "" if value is None else one_line(value)


def _data_url(content: bytes, kind: str) -> "Markup":
    """Return a picture (``kind`` png or webp) as an address that holds the picture itself."""
    from markupsafe import Markup

    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")
