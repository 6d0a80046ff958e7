"""Finds the files of the model that the user names, and reads its :class:`ModelSpec`. Loads no weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ModelError, UsageError
from ..files.cache_folder import own_cache_folder
from ..files.typed_path import is_address, user_path
from ..model.description import bare_spec, read_description, sizes_from_text
from ..model.package import Package, file_sha256, may_be_weights, open_package, weights_kind
from ..model.spec import FixedSize, ModelSpec, StepSize
from ..model.unusable_files import WHAT_IS_A_MODEL
from .index import BUNDLED, Entry, Index, load_index
from .names import ZooName, did_you_mean, typed_name


@dataclass(frozen=True)
class OpenedModel:
    """Facts and files of a model. ``name`` is its name in the zoo, where the user gave such a name.

    Nothing but the description is known of a model that is not ``downloaded``: see :func:`model_in_index`.
    """

    spec: ModelSpec
    package: Package
    name: ZooName | None = None
    downloaded: bool = True

    @property
    def described(self) -> Mapping[str, Any] | None:
        """The original description; ``None`` for bare weights."""
        return self.package.description


def open_model_files(
    given: Path | str,
    scratch: Path,
    description: Path | None = None,
    axes: str | None = None,
    size: str | None = None,
    offline: bool = False,
) -> OpenedModel:
    """Return a model from a package, folder, description, weights file or zoo name (see :mod:`.names`).

    Parameters
    ----------
    scratch
        Folder for unpacked files.
    description
        Description of bare weights. Weights that the zoo published need none.
    axes, size
        Axis letters and size (in the order x,y,z,c) of bare weights. A description overrides them, with a note where it
        differs.
    offline
        Use a zoo model only from the cache.

    Raises
    ------
    UsageError, ModelError
        Where the model does not exist, cannot be downloaded, or is broken.
    """
    index = load_index()
    notes: list[str] = []
    name = typed_name(str(given), index)
    if name is None:
        source = _existing(str(given), index)
    else:
        from .model_cache import zoo_model

        source = zoo_model(name, index, offline)
        notes += _name_notes(name, source.parent.name, index)
    sha256 = _hash_of_weights(source)
    published = _published(source, sha256, index) if description is None and sha256 is not None else None
    if published is None:
        package = open_package(source, scratch, description, sha256)
    else:
        package, note = published
        notes.append(note)
    if package.description is None:
        assert package.bare_weights is not None
        return OpenedModel(replace(bare_spec(package.bare_weights, axes, size), sha256=package.sha256), package)
    spec = read_description(package.description, package.root, package.sha256, own_cache_folder() / "descriptions")
    notes = [*notes, *spec.notes, *_contradictions(spec, axes, size)]
    return OpenedModel(replace(spec, notes=tuple(notes)), package, name)


def model_in_index(given: Path | str) -> OpenedModel | None:
    """Return a zoo model as the index describes it, without its files; ``None`` if they are in the cache.

    ``None`` is also returned for a file, and for a model or version that the index does not have. Raises
    :class:`UsageError` for a title that several models have.
    """
    index = load_index()
    name = typed_name(str(given), index)
    entry = None if name is None else _entry_of(name, index)
    if name is None or entry is None:
        return None
    from .model_cache import is_cached

    if is_cached(entry.id, name.version):
        return None
    spec = read_description(entry.description, BUNDLED.parent)
    note = (
        "The package of this model is not downloaded. These facts come from the list of models in this program, which "
        f"has no texts and pictures. `bioimage-inference predict {entry.id} …` downloads the package."
    )
    spec = replace(spec, notes=(*_name_notes(name, entry.id, index), note, *spec.notes))
    package = Package(BUNDLED.parent, entry.description, None, None, "", BUNDLED)
    return OpenedModel(spec, package, name, downloaded=False)


def _entry_of(name: ZooName, index: Index) -> Entry | None:
    """Return the current description of a model, ``None`` if the name asks for another version."""
    entry = index.with_doi(name.doi) if name.doi is not None else index.current().get(name.id or "")
    if entry is None or name.version not in (None, str(entry.description.get("version"))):
        return None
    return entry


def _existing(given: str, index: Index) -> Path:
    """Return the path that the user gave as the model. Raises :class:`UsageError` where it does not exist."""
    if not given.strip():
        raise UsageError(f"The model is an empty text. {WHAT_IS_A_MODEL}")
    path = user_path(given)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a zero byte
        pass
    except OSError:  # opening the file gives the reason
        return path
    else:
        return path
    if is_address(given):
        raise UsageError(
            f"{given} is an address that this program does not read. Give the name of a model of the zoo, such as "
            "affable-shark, or download the file and give the file."
        )
    raise UsageError(
        f"There is no file or folder {given}, and no model of the BioImage.IO zoo has this name."
        f"{did_you_mean(given, index)} {WHAT_IS_A_MODEL} `bioimage-inference models` lists the models of the zoo. "
        f"{index.age_in_words}"
    )


def _name_notes(name: ZooName, model_id: str, index: Index) -> list[str]:
    """Return notes on the model that a name means, where the user typed another name than the id."""
    notes = []
    if name.typed not in (str(name), name.id) or name.doi is not None:
        notes.append(f"{name.typed} is the model {model_id} of the BioImage.IO zoo.")
    if name.doi is not None:
        others = sorted({entry.id for entry in index.entries if name.doi in entry.dois} - {model_id})
        notes += [f"The zoo has this DOI also for {other}; for that model, give this name." for other in others]
    return notes


def _hash_of_weights(source: Path) -> str | None:
    """Return the SHA-256 of a file that may hold weights, or be a package in a zip; ``None`` for others."""
    try:
        return file_sha256(source) if source.is_file() and may_be_weights(source) else None
    except OSError:  # opening the package gives the reason
        return None


def _published(source: Path, sha256: str, index: Index) -> tuple[Package, str] | None:
    """Return a weights file that the zoo published as a package with its description, and a note for the user.

    Raises :class:`ModelError` where the file holds only tensors, and the code of their network is not beside it.
    """
    found = index.with_weights(sha256)
    if not found:
        return None
    entry, root = found[0], source.absolute().parent
    weights = next(one for one in entry.weights.values() if one.get("sha256") == sha256)
    code = weights.get("architecture", {}).get("source")
    if weights_kind(source) == "state_dict" and code is not None and not (root / code).is_file():
        raise ModelError(
            f"{source.name} holds the weights of the model {entry.id} ({entry.name}), but not the network: the network "
            f"is made by {code}, which belongs beside it. Give {entry.id} as the model to download all its files, or "
            "give the model's package."
        )
    return Package(root, entry.description, None, source, sha256, source), _published_note(source, entry, found)


def _published_note(source: Path, entry: Entry, same_file: Sequence[Entry]) -> str:
    note = (
        f"{source.name} is known by its SHA-256 as weights of the published model {entry.id} ({entry.name}); axes, "
        "processing and halo come from its description."
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
    """Return notes where the axes and sizes of the user differ from the description."""
    first, notes = spec.inputs[0], []
    if axes is not None and axes.lower() != first.letters:
        notes.append(f"--model-axes {axes} is left aside: the model's description has the axes {first.letters}.")
    sizes = {} if size is None else sizes_from_text(size)
    for axis in first.axes:
        given = sizes.get(axis.letter)
        if given is not None and not _allows(axis.size, given):
            notes.append(
                f"--model-size {size} is left aside: along {axis.letter} the model's description takes "
                f"{axis.size.describe()}, not {given}."
            )
    return notes


def _allows(size: object, pixels: int) -> bool:
    match size:
        case FixedSize(fixed):
            return fixed == pixels
        case StepSize(minimum, step):
            return pixels >= minimum and (pixels - minimum) % step == 0
        case _:
            return True
