"""Reads paths as users type them. It looks at the text first, because ``Path`` turns ``https://`` into ``https:/``."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ..errors import UsageError

_READ = ("https", "http", "s3")


@dataclass(frozen=True, order=True)
class Address:
    """The address of an image on a server, such as ``https://host/cells.ome.zarr``, with the properties of a path."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.url}/{name}")

    @property
    def scheme(self) -> str:
        """The protocol, for example ``https``."""
        return urlsplit(self.url).scheme.lower()

    @property
    def parts(self) -> tuple[str, ...]:
        """Protocol, server and folders, and the name at the end."""
        split = urlsplit(self.url)
        return self.scheme, split.netloc, *(part for part in split.path.split("/") if part)

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> "Address":
        """The folder around it. The server itself is its own parent."""
        return self if len(self.parts) < 3 else Address(self.url.rpartition("/")[0])

    def absolute(self) -> "Address":
        """Return the same, because an address does not depend on the current folder."""
        return self


ImagePath = Path | Address
"""Where an image is: a file, a folder, or an address."""


def image_path(typed: Path | Address | str) -> ImagePath:
    """Return the path or address of an image. Raises :class:`UsageError` for an address that cannot be read."""
    text = str(typed)
    if not is_address(text) or os.path.lexists(text):
        return input_path(text)
    try:
        split = urlsplit(text)
    except ValueError as error:
        raise UsageError(f"The address {text!r} is not valid ({error}). Check it.") from error
    if split.scheme.lower() not in _READ:
        raise UsageError(
            f"{text} begins with {split.scheme}://, which is not read. Give an address that begins with "
            f"{', '.join(f'{scheme}://' for scheme in _READ)}, or download the image."
        )
    if split.username or split.password or split.query or split.fragment:
        raise UsageError(
            f"The address of {split.hostname} holds a password, a query or a fragment (@, ? or #). Records name the "
            "address of an image, so that they would publish it. Give the plain address, or download the image."
        )
    if not split.netloc:
        raise UsageError(f"The address {text!r} names no server. Check it.")
    return Address(text.rstrip("/"))


def check_online(place: ImagePath, *, offline: bool) -> None:
    """Raise :class:`UsageError` for an address in a run that must not use the network."""
    if offline and isinstance(place, Address):
        raise UsageError(
            f"{place} is an address, and --offline forbids the network. Download the image, or leave out --offline."
        )


def known_path(text: str) -> ImagePath:
    """Return the path or address in a text that this program wrote, such as a record. Nothing is checked."""
    return Address(text) if is_address(text) and not os.path.lexists(text) else Path(text)


def user_path(typed: Path | str) -> Path:
    """Return the path, with the home folder for ``~`` at its beginning. Raises :class:`UsageError` without a home."""
    try:
        return Path(typed).expanduser()
    except RuntimeError as error:
        raise UsageError(f"There is no home folder for {typed}. Write out the folder.") from error


def input_path(typed: Path | str) -> Path:
    """Return the path of a file to read. Raises :class:`UsageError` for an empty text and for an internet address."""
    text = str(typed)
    if not text.strip():
        raise UsageError("The file name is an empty text. Give the file; perhaps a variable of a script is empty.")
    if is_address(text) and not os.path.lexists(text):
        raise UsageError(f"{text} is an address, and this program reads only files. Download it, and give the file.")
    return user_path(typed)


def is_address(text: str) -> bool:
    """Return whether a text is an address such as ``https://…`` rather than a path."""
    return "://" in text
