"""Writes runs as a Process Run Crate: an RO-Crate 1.2, profile ``process/0.5``, of images, model, outputs and records.

Files in the crate's folder stay where they are. Other files become hard links in the folder, because large images then
take no more room, or copies where the file system has no links.
"""

import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, cannot_write
from ..files.partial_file import PartialFile, write_whole
from ..files.shared_folders import make_folder
from ..files.typed_path import is_address
from ..image.readers.reading import files_of_image
from ..image.writers.output_formats import FORMATS
from ..text import counted, for_address, for_json, is_utf8, parse_json
from ..zoo.names import recorded_name
from .citation import methods, references
from .record import RunRecord, read_record, write_record

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CRATE = "ro-crate-metadata.json"
"""Name of the file that makes a folder a crate."""
_VERSION = "1.2"  # of RO-Crate
_INDEX = "https://pypi.org/project"
_HOME = f"{_INDEX}/bioimage_inference/"
_ENCODINGS = {
    **{form.suffix: form.media_type for form in FORMATS.values() if form.media_type},
    ".tiff": "image/tiff",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".zip": "application/zip",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".geojson": "application/geo+json",
    ".json": "application/json",
    ".html": "text/html",
    ".yaml": "application/yaml",
}
_OBJECTS = {
    "labels": "Objects found in the output, each with a number of its own.",
    "zarr": "The same label map in the OME-Zarr of an image.",
    "table": "Measurements of these objects, a row for each.",
    "overlay": "Outlines of these objects on the image.",
    "rois_zip": "These objects as regions of interest for ImageJ.",
    "rois_geojson": "These objects as regions of interest for QuPath.",
    "rois_table": "These objects as regions of interest for OMERO.",
}


def check_installed() -> None:
    """Raise :class:`UsageError` where the library that writes crates is missing."""
    if find_spec("rocrate") is None:
        raise UsageError(
            "--ro-crate needs the package rocrate, which is not installed. Install it with "
            'pip install "bioimage_inference[crate]", or leave --ro-crate out.'
        )


def check_names(paths: Iterable[Path]) -> None:
    """Raise :class:`UsageError` for a file that a crate cannot name, because its name is not UTF-8."""
    for path in paths:
        if not is_utf8(path.name):
            raise UsageError(
                f"An RO-Crate cannot name the file {path}, because its name is not text in UTF-8. Rename the file, or "
                "leave --ro-crate out."
            )


def is_own_crate(folder: Path) -> bool:
    """Return whether the folder is a crate that this program wrote."""
    if not (folder / CRATE).is_file():  # opening a pipe would block
        return False
    try:
        entities = parse_json((folder / CRATE).read_text(encoding="utf-8"))["@graph"]
        return any(str(one["@id"]).startswith(_HOME) for one in entities)
    except (OSError, ValueError, KeyError, TypeError):  # the file is not a crate
        return False


def write_crate(records: Sequence[RunRecord], folder: Path) -> None:
    """Write a crate into ``folder``, with an action for each run.

    The crate names no agent and no licence of images and outputs, because records have neither. Raises
    :class:`UsageError` where the library is missing, :class:`OutputError` where the folder cannot be written or a file
    of a record is gone.
    """
    check_installed()
    from rocrate.rocrate import ROCrate

    try:
        make_folder(folder)
        crate = ROCrate(version=_VERSION)
        _Writer(crate, folder).add_runs(records)
        # the library's own write() follows links, and leaves bidirectional controls in texts
        write_whole(folder / CRATE, (for_json(crate.metadata.generate()) + "\n").encode(), noted=False)
    except OSError as error:
        place = error.filename or folder
        raise cannot_write(
            f"The RO-Crate {folder} cannot be written: {place}: {error.strerror or error}.", error
        ) from error


@dataclass
class _Writer:
    """Adds runs to a crate. ``known`` holds the entities of files by their sources."""

    crate: "ROCrate"
    folder: Path
    known: dict[Path, "Entity"] = field(default_factory=dict)

    def add_runs(self, records: Sequence[RunRecord]) -> None:
        """Add runs, and describe the crate."""
        models = " and ".join(dict.fromkeys(record.model.name for record in records))
        images = records[0].inputs[0].name if len(records) == 1 else f"{len(records)} images"
        runs = counted(len(records), "run")
        self.crate.name = f"Prediction of {models} on {images}"
        self.crate.description = f"Images, model, outputs and records of {runs} of bioimage_inference."
        words = "The owner of the images states the licence of the images and of the results."
        self.crate.license = self._context("#licence", "CreativeWork", {"name": "Not stated", "description": words})
        profile = {"name": "Process Run Crate", "version": "0.5"}
        self.crate.root_dataset["conformsTo"] = self._context(PROFILE, ["CreativeWork", "Profile"], profile)
        actions = [self._run(record, number) for number, record in enumerate(records, 1)]
        _with(self.crate.root_dataset, {"mentions": actions})

    def _run(self, record: RunRecord, number: int) -> "Entity":
        """Add a run, and return its action, which refers to all its entities."""
        objects = [*self._images(record), *self._model(record), *self._options(record, number)]
        return self.crate.add_action(
            self._program(record),
            identifier=f"#run-{number}",
            object=objects,
            result=self._results(record, number),
            properties={
                "name": f"Prediction of {record.model.name} on {record.inputs[0].name}",
                "description": methods(record),
                "startTime": record.started,
                "endTime": record.ended,
                "actionStatus": "http://schema.org/CompletedActionStatus",
            },
        )

    def _images(self, record: RunRecord) -> Iterator["Entity"]:
        for one in record.inputs:
            if one.file is not None and is_address(one.file):
                yield self.crate.add_file(one.file, properties={"name": one.name})
            elif one.file is not None:
                facts = {"sha256": one.sha256, "description": f"Image for the input {one.tensor} of the model."}
                yield self._data(Path(one.file), "images", facts)
                for member in files_of_image(Path(one.file))[1:]:
                    yield self._data(member, "images", {"description": f"File of the image {Path(one.file).name}."})

    def _model(self, record: RunRecord) -> Iterator["Entity"]:
        """Yield the model's files; a model of the zoo has its address instead."""
        model = record.model
        _, about, *cited = references(record)
        facts = {
            "name": model.name,
            "description": about.text,
            "version": model.version,
            "sha256": model.sha256,
            "license": self._licence(model.licence),
            "citation": [self._citation(one.text, one.url) for one in cited],
        }
        source = Path(model.source)
        if recorded_name(model.source) is not None or not source.exists():
            yield self._context(about.url or f"urn:sha256:{model.sha256}", "CreativeWork", facts)
            return
        yield self._data(source, "model", facts)
        if model.description_file is not None:
            yield self._data(Path(model.description_file), "model", {"description": "Description of the model."})
        weights = source.parent / record.weights.file
        if source.suffix in (".yaml", ".yml") and weights.is_file():
            yield self._data(weights, "model", {"sha256": record.weights.sha256})

    def _options(self, record: RunRecord, number: int) -> Iterator["Entity"]:
        for name, value in record.options.items():
            text = value if isinstance(value, str) else json.dumps(value)
            yield self._context(f"#run-{number}-{name}", "PropertyValue", {"name": name, "value": text})

    def _results(self, record: RunRecord, number: int) -> list["Entity"]:
        found = []
        for output in record.outputs:
            words = f"Output {output.id}, axes {output.axes.upper()}, {output.dtype}."
            for _, path, sha256 in output.files():
                found.append(self._data(path, "outputs", {"sha256": sha256, "description": words}))
        for kind, path, sha256 in () if record.objects is None else record.objects.files():
            found.append(self._data(path, "outputs", {"sha256": sha256, "description": _OBJECTS[kind]}))
        return [*found, self._record(record, number)]

    def _record(self, record: RunRecord, number: int) -> "Entity":
        """Return the record's file beside the outputs, or a file that is written into the crate."""
        facts = {"description": "Provenance: what was computed, from what, how, and with which values."}
        path = _record_file(record)
        if path is None:
            path = self.folder / "records" / f"{number}_provenance.json"
            make_folder(path.parent)
            write_record(record, path, noted=False)
        return self._data(path, "records", facts)

    def _program(self, record: RunRecord) -> "Entity":
        """Return this program, which refers to the libraries of the run."""
        versions = {name: version for name, version in record.versions.items() if name != "python"}
        version = versions.pop("bioimage_inference")
        needed = [self._software(name, number, f"{_INDEX}/{name}/") for name, number in versions.items()]
        return self._software("bioimage_inference", version, _HOME, softwareRequirements=needed)

    def _software(self, name: str, version: str, url: str, **facts: Any) -> "Entity":
        """Return a package of the index. Local parts of a version, such as ``+cpu``, have no address there."""
        address = f"{url}{version.partition('+')[0]}/"
        return self._context(address, "SoftwareApplication", {"name": name, "version": version, "url": url, **facts})

    def _licence(self, identifier: str | None) -> "Entity | None":
        if identifier is None:
            return None
        facts = {"name": identifier, "description": f"The licence with the SPDX identifier {identifier}."}
        return self._context(f"https://spdx.org/licenses/{for_address(identifier)}", "CreativeWork", facts)

    def _citation(self, text: str, url: str | None) -> "Entity":
        return self._context(url or f"#{for_address(text)}", "ScholarlyArticle", {"name": text or url})

    def _context(self, identifier: str, kind: str | list[str], facts: Mapping[str, Any]) -> "Entity":
        from rocrate.model.contextentity import ContextEntity

        known = self.crate.dereference(identifier)
        if known is not None:
            return known
        entity = self.crate.add(ContextEntity(self.crate, identifier, properties={"@type": kind}))
        return _with(entity, facts)

    def _data(self, path: Path, place: str, facts: Mapping[str, Any]) -> "Entity":
        """Return a file or folder of the crate. A path outside the crate is linked or copied into ``place``."""
        source = path.resolve()
        if source not in self.known:
            own = _brought(path, self.folder, place)
            name = own.relative_to(self.folder.resolve()).as_posix()
            if own.is_dir():
                entity = self.crate.add_dataset(dest_path=f"{name}/")
            else:
                size = {"contentSize": str(own.stat().st_size)}
                entity = self.crate.add_file(own, name, properties=size)
            encoding = None if own.is_dir() else _ENCODINGS.get(path.suffix.lower(), "application/octet-stream")
            self.known[source] = _with(entity, {"name": path.name, "encodingFormat": encoding})
        return _with(self.known[source], facts)


def _with(entity: "Entity", facts: Mapping[str, Any]) -> "Entity":
    for key, value in facts.items():
        if value:
            entity[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return entity


def _brought(path: Path, folder: Path, place: str) -> Path:
    """Return the path of a file or folder in the crate, linked or copied into ``place`` where it lies elsewhere."""
    source, root = path.resolve(), folder.resolve()
    if source.is_relative_to(root):
        return source
    target = _free(root / place / path.name, source)
    if source.is_dir():
        for file in (one for one in source.rglob("*") if one.is_file()):
            _link(file, target / file.relative_to(source))
    else:
        _link(source, target)
    return target


def _free(wanted: Path, source: Path) -> Path:
    """Return a path that no file with other content has: ``cells.tif``, ``2_cells.tif`` …"""
    number, path = 1, wanted
    while os.path.lexists(path) and not _same(path, source):
        number += 1
        path = wanted.with_name(f"{number}_{wanted.name}")
    return path


def _same(one: Path, other: Path) -> bool:
    """Return whether two files or folders have the same content, as in a crate that is written again.

    ``one`` must not be a link, because a link can lead out of the crate.
    """
    if one.is_symlink():
        return False
    if one.is_dir() and other.is_dir():
        names = [sorted(part.name for part in folder.iterdir()) for folder in (one, other)]
        return names[0] == names[1] and all(_same(one / name, other / name) for name in names[0])
    return one.is_file() and other.is_file() and (one.samefile(other) or filecmp.cmp(one, other, shallow=False))


def _link(source: Path, target: Path) -> None:
    make_folder(target.parent)
    if os.path.lexists(target):
        return
    try:
        os.link(source, target)  # fails where anything has this name
    except OSError:  # another file system, or one without links
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    file = PartialFile(target, source.stat().st_size, noted=False)
    try:
        with source.open("rb") as content, file.stream() as stream:
            shutil.copyfileobj(content, stream)
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def _record_file(record: RunRecord) -> Path | None:
    """Return the file of the record beside the outputs, ``None`` where there is none."""
    paths = [path for output in record.outputs for _, path, _ in output.files()]
    if not paths:
        return None
    end = "provenance.json"
    beside = (one for one in paths[0].parent.glob(f"*_{end}") if paths[0].name.startswith(one.name.removesuffix(end)))
    return next((one for one in beside if one.is_file() and _started(one) == record.started), None)


def _started(path: Path) -> str | None:
    """Return when the run of a record began, ``None`` where the file is not a record."""
    try:
        return read_record(path).started
    except (OSError, ValueError):
        return None
