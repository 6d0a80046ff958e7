"""``--output-name``: the pattern of the names of an image's outputs."""

import re
from collections.abc import Mapping
from string import Formatter

from ..errors import UsageError

FIELDS = ("image", "output", "model", "folder")
_EXAMPLE = "for instance {image}_{output}"
_MARKS = "_-. "
"""Marks between the parts of a name. They go with an empty part."""


class OutputName:
    """A pattern such as ``{image}_{output}``, without the suffix of the file.

    ``image`` is the name of the image without its suffix, ``output`` the id of the output, ``model`` the id or name of
    the model, ``folder`` the name of the image's folder. ``fields`` are the fields that occur in the pattern. Raises
    :class:`UsageError` for any other field, and for a text that is no file name.
    """

    def __init__(self, pattern: str = "{image}_{output}") -> None:
        self.pattern = pattern
        try:
            self._parts = list(Formatter().parse(pattern))
        except ValueError as error:
            raise UsageError(
                f"--output-name {pattern!r} is not understood ({error}). Put fields into braces, {_EXAMPLE}."
            ) from error
        self.fields = {field for _, field, _, _ in self._parts}
        for _, field, spec, conversion in self._parts:
            if field is not None and (field not in FIELDS or spec or conversion):
                raise UsageError(
                    f"--output-name {pattern!r} has the unknown field {{{field}}}. The fields are "
                    f"{', '.join(f'{{{name}}}' for name in FIELDS)}, {_EXAMPLE}."
                )
        if re.search(r"[/\\\0]", pattern) or not pattern.strip(_MARKS):
            raise UsageError(
                f"--output-name {pattern!r} is no file name. -o names the folder, --output-name the files in it, "
                f"{_EXAMPLE}."
            )

    def output(self, values: Mapping[str, str], output: str) -> str:
        """Return the name of a file of an output, without its suffix. ``values`` are those of the other fields."""
        return self.pattern.format(**values, output=output)

    def beginning(self, values: Mapping[str, str]) -> str:
        """Return the beginning of the names of all other files: the name of an output without ``{output}``."""
        kept = ""
        for text, field, _, _ in self._parts:
            kept += text.replace("{", "{{").replace("}", "}}")
            if field == "output":
                kept = kept.rstrip(_MARKS)
            elif field is not None:
                kept += f"{{{field}}}"
        if "output" in self.fields:
            kept = kept.strip(_MARKS)
        return (kept or "{image}").format(**values)
