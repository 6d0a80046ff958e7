"""From what the user names as a model to its :class:`ModelSpec`, without loading any weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .bare import bare_spec, sizes_from_text
from .description import read_description
from .package import Package, open_package
from .spec import FixedSize, ModelSpec, StepSize


@dataclass(frozen=True)
class OpenedModel:
    """A model's facts and where its files are."""

    spec: ModelSpec
    package: Package

    @property
    def described(self) -> Mapping[str, Any] | None:
        """The description as it was written, ``None`` for bare weights."""
        return self.package.description


def open_model_files(
    source: Path,
    scratch: Path,
    description: Path | None = None,
    axes: str | None = None,
    size: str | None = None,
) -> OpenedModel:
    """Open a package, folder, description or bare TorchScript file.

    ``axes`` and ``size`` (in the order x,y,z,c) describe bare weights; where the model has a description of its own,
    that is what counts, and a contradiction becomes a remark. Raises :class:`UsageError` and :class:`ModelError`.
    """
    package = open_package(source, scratch, description)
    if package.description is None:
        assert package.bare_weights is not None
        return OpenedModel(replace(bare_spec(package.bare_weights, axes, size), sha256=package.sha256), package)
    spec = read_description(package.description, package.root, package.sha256)
    return OpenedModel(replace(spec, notes=(*spec.notes, *_contradictions(spec, axes, size))), package)


def _contradictions(spec: ModelSpec, axes: str | None, size: str | None) -> list[str]:
    """Where the user's axes and size are not those of the description."""
    first, found = spec.inputs[0], []
    if axes is not None and axes.lower() != first.letters:
        found.append(f"--model-axes {axes} is left aside: the model's description says {first.letters}.")
    if size is not None:
        wanted = sizes_from_text(size)
        for axis in first.axes:
            given = wanted.get(axis.letter)
            legal = given is None or _allows(axis.size, given)
            if not legal:
                found.append(
                    f"--model-size {size} is left aside: along {axis.letter} the model's description takes "
                    f"{axis.size.describe()}, not {given}."
                )
    return found


def _allows(size: object, pixels: int) -> bool:
    match size:
        case FixedSize(fixed):
            return fixed == pixels
        case StepSize(minimum, step):
            return pixels >= minimum and (pixels - minimum) % step == 0
        case _:
            return True
