"""Packages that operations of a description need, and that are not installed with this program."""

from collections.abc import Sequence
from importlib.util import find_spec

from ..errors import ModelError
from .spec import Operation

_PACKAGES = {"stardist_postprocessing": "stardist", "cellpose_flow_dynamics": "cellpose"}


def check_packages(operations: Sequence[Operation]) -> None:
    """Raises :class:`ModelError` where a package is missing, before anything is computed."""
    for operation in operations:
        package = _PACKAGES.get(operation.name)
        if package is not None and find_spec(package) is None:
            raise ModelError(
                f"The model's postprocessing {operation.name} needs the package {package}, which is not installed. "
                f"Install it with: pip install {package}"
            )
