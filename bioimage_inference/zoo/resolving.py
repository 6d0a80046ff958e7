"""From what the user names as a model to its :class:`ModelSpec`, without loading any weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ModelError, UsageError
from ..files.typed_path import is_address, user_path
from ..model.description import bare_spec, read_description, sizes_from_text
from ..model.package import WHAT_IS_A_MODEL, Package, file_sha256, open_package, weights_kind
from ..model.spec import FixedSize, ModelSpec, StepSize
from .index import Entry, Index, load_index
from .names import ZooName
from .typed import did_you_mean, typed_name


@dataclass(frozen=True)
class OpenedModel:
    """A model's facts and where its files are; ``name`` is that in the zoo, where the user named it so."""

    spec: ModelSpec
    package: Package
    name: ZooName | None = None

    @property
    def described(self) -> Mapping[str, Any] | None:
        """The description as it was written, ``None`` for bare weights."""
        return self.package.description


def open_model_files(
    given: Path | str,
    scratch: Path,
    description: Path | None = None,
    axes: str | None = None,
    size: str | None = None,
    offline: bool = False,
) -> OpenedModel:
    """Open a package, folder, description, weights file, or a model of the zoo as ``zoo/typed.py`` reads its name.

    Weights that the zoo published need nothing else. ``axes`` and ``size`` (in the order x,y,z,c) describe others;
    where the model has a description, that is what counts, and a contradiction becomes a remark. A model of the zoo is
    downloaded where it is not in the cache and not ``offline``. Raises :class:`UsageError` and :class:`ModelError`.
    """
    index, notes = load_index(), []
    name = typed_name(str(given), index)
    if name is not None:
        from .download import zoo_model

        source = zoo_model(name, index, offline)
        if name.typed not in (str(name), name.id) or name.doi is not None:
            notes.append(f"{name.typed} is the model {source.parent.name} of the BioImage.IO zoo.")
        if name.doi is not None:
            same = sorted({entry.id for entry in index.entries if name.doi in entry.dois} - {source.parent.name})
            notes += [f"The zoo has this DOI also for {one}; for that model, give this name." for one in same]
    else:
        source = _existing(str(given), index)
    known = _published(source, index) if description is None else None
    package = known.package if known is not None else open_package(source, scratch, description)
    if known is not None:
        notes.append(known.note)
    if package.description is None:
        assert package.bare_weights is not None
        return OpenedModel(replace(bare_spec(package.bare_weights, axes, size), sha256=package.sha256), package)
    spec = read_description(package.description, package.root, package.sha256)
    notes = [*notes, *spec.notes, *_contradictions(spec, axes, size)]
    return OpenedModel(replace(spec, notes=tuple(notes)), package, name)


def _existing(given: str, index: Index) -> Path:
    """The path that the user gave as the model. Raises :class:`UsageError` where nothing is there."""
    if not given.strip():
        raise UsageError(f"The model is an empty text. {WHAT_IS_A_MODEL}")
    path = user_path(given)
    if not _is_missing(path):
        return path
    if is_address(given):
        raise UsageError(
            f"{given} is an address that this program does not read. Give the name of a model of the zoo, such as "
            "affable-shark, or download the file and give that."
        )
    raise UsageError(
        f"There is no file or folder {given}, nor a model of that name in the BioImage.IO zoo."
        f"{did_you_mean(given, index)} {WHAT_IS_A_MODEL} `bioimage-inference models` lists the models of the zoo."
    )


def _is_missing(path: Path) -> bool:
    """Whether there is nothing at this path; of what cannot be looked at, opening it says why."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte
        return True
    except OSError:
        return False
    return False


@dataclass(frozen=True)
class _Known:
    """Weights with their published description, and a remark for the user on where that comes from."""

    package: Package
    note: str


def _published(source: Path, index: Index) -> _Known | None:
    """The weights file ``source``, if the zoo published it.

    Raises :class:`ModelError` where it holds tensors only, and the code of their network is not beside it.
    """
    try:
        kind = weights_kind(source) if source.is_file() else None
        sha256 = file_sha256(source) if kind is not None else ""
    except OSError:  # the package is opened next, and says why it cannot be read
        return None
    found = index.with_weights(sha256)
    if not found:
        return None
    entry, root = found[0], source.absolute().parent
    weights = next(one for one in entry.weights.values() if one.get("sha256") == sha256)
    code = weights.get("architecture", {}).get("source")
    if kind == "state_dict" and code is not None and not (root / code).is_file():
        raise ModelError(
            f"{source.name} holds the weights of the model {entry.id} ({entry.name}), but not the network: that is "
            f"made by {code}, which belongs beside it. Give {entry.id} as the model to have all of it downloaded, or "
            "the model's package."
        )
    return _Known(Package(root, entry.description, None, source, sha256, source), _known_as(source, entry, found))


def _known_as(source: Path, entry: Entry, same_file: Sequence[Entry]) -> str:
    note = (
        f"{source.name} is known by its SHA-256 as weights of the published model {entry.id} ({entry.name}); axes, "
        "processing and halo are those of its description."
    )
    others = sorted({one.id for one in same_file if _tensors(one) != _tensors(entry)} - {entry.id})
    if others:
        note += (
            f" The same file serves {', '.join(others)} with other tensors or processing; for those, give that name."
        )
    return note


def _tensors(entry: Entry) -> tuple[Any, Any]:
    return entry.description["inputs"], entry.description["outputs"]


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
