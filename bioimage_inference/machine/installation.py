"""Versions of the installed program, of Python, and of the libraries of the program and its extras, without imports."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from .._version import __version__

LIBRARIES = ("torch", "numpy", "bioimageio.core", "bioimageio.spec", "tifffile", "imagecodecs", "zarr", "scikit-image")
"""Libraries of every installation that results or files depend on."""
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cluster": ("dask", "distributed", "cryptography"),
    "crate": ("rocrate",),
    "microscopes": ("nd2", "liffile", "czifile"),
    "napari": ("napari",),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "remote": ("fsspec", "aiohttp", "s3fs"),
    "zoo": ("timm", "segment-anything", "cellpose", "careamics", "monai", "stardist"),
}
"""Libraries of the extras for users, as ``pyproject.toml`` lists them."""

_OTHER_BUILDS = {"onnxruntime": ("onnxruntime-gpu",)}


@dataclass(frozen=True)
class Extra:
    """An extra with its libraries and their versions, ``None`` for a missing one. ``install`` is the line for pip."""

    name: str
    versions: Mapping[str, str | None]
    install: str

    @property
    def is_complete(self) -> bool:
        """Whether all libraries are installed."""
        return None not in self.versions.values()


@dataclass(frozen=True)
class Installation:
    """Versions of this program, Python and the libraries, with the name of the system and of the processor."""

    program: str
    python: str
    system: str
    processor: str
    libraries: Mapping[str, str | None]
    extras: tuple[Extra, ...]


def installation() -> Installation:
    """Return what is installed in this Python."""
    return Installation(
        program=__version__,
        python=f"{platform.python_version()} ({sys.executable or 'no interpreter'})",
        system=platform.platform(),
        processor=platform.machine(),
        libraries={name: _version(name) for name in LIBRARIES},
        extras=tuple(
            Extra(name, {one: _version(one) for one in names}, f'pip install "bioimage_inference[{name}]"')
            for name, names in EXTRAS.items()
        ),
    )


def _version(package: str) -> str | None:
    for name in (package, *_OTHER_BUILDS.get(package, ())):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
