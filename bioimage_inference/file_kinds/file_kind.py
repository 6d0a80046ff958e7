"""The kind of a file that is read neither as an image nor as a model, with the step that helps its owner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Content = Literal["image", "network", "another file", "other"]
Signature = Mapping[int, bytes]
"""Bytes by their offset. A file has the signature if it has all of them."""


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes
    ----------
    words
        The kind with its article, e.g. ``a movie (MP4)``.
    next_step
        What the user can do to get an image from the file. For a ``network`` of another program: how to run it. For a
        file in place of ``another file``: how to get that file.
    content
        ``image``: an image in a format that is not read. ``network``: a model that is not run. ``another file``: a
        file, such as an archive or a saved web page, that stands in place of the wanted file.
    """

    words: str
    next_step: str
    content: Content = "other"


def has_signature(start: bytes, signature: Signature) -> bool:
    """Return whether the first bytes of a file have a signature."""
    return all(start[offset : offset + len(mark)] == mark for offset, mark in signature.items())
