"""Runs as a Process Run Crate: an RO-Crate 1.2 of the profile ``process/0.5`` with images, model, outputs and records.

Files that lie in the crate's folder are described where they are. All others are brought into it, as hard links where
the file system has them, so that large images take no more room, else as copies.
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
from ..files.overwriting import make_folder
from ..files.partial_file import PartialFile, write_whole
from ..image.writers.output_formats import FILE_FORMATS, FORMATS
from ..text import for_address, for_json, is_utf8
from ..zoo.names import recorded_name
from .citation import methods, references

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

Record = Mapping[str, Any]

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CRATE = "ro-crate-metadata.json"
"""The file that makes a folder a crate."""
_VERSION = "1.2"  # of RO-Crate
_INDEX = "https://pypi.org/project"
_HOME = f"{_INDEX}/bioimage_inference/"
_ENCODINGS = {
    **{form.suffix: form.media_type for form in FILE_FORMATS.values()},
    ".tiff": "image/tiff",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".zip": "application/zip",
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".yaml": "application/yaml",
}
_OBJECTS = {
    "labels": "Objects found in the output, each with a number of its own.",
    "table": "Measurements of these objects, a row for each.",
    "overlay": "Outlines of these objects on the image.",
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
    """Whether the folder is a crate that this program wrote."""
    if not (folder / CRATE).is_file():  # a pipe would be waited for
        return False
    try:
        entities = json.loads((folder / CRATE).read_text(encoding="utf-8"))["@graph"]
        return any(str(one["@id"]).startswith(_HOME) for one in entities)
    except (OSError, ValueError, KeyError, TypeError):  # no crate, or no text of the form of one
        return False


def write_crate(records: Sequence[Record], folder: Path) -> None:
    """Write a crate of some runs into ``folder``, with an action for each.

    Nobody is named as who did it, because no record says so, and no licence is given to images and outputs. Raises
    :class:`UsageError` where the library is missing, :class:`OutputError` where the folder cannot be written or one of
    the files is not there any more.
    """
    check_installed()
    from rocrate.rocrate import ROCrate

    try:
        make_folder(folder)
        crate = ROCrate(version=_VERSION)
        _describe(crate, records)
        writer = _Writer(crate, folder)
        runs = [writer.add_run(record, number) for number, record in enumerate(records, 1)]
        _with(crate.root_dataset, {"mentions": runs})
        # the library would write through links, and leave bidirectional controls in texts as they are
        write_whole(folder / CRATE, (for_json(crate.metadata.generate()) + "\n").encode(), noted=False)
    except OSError as error:
        place = error.filename or folder
        raise cannot_write(
            f"The RO-Crate {folder} cannot be written: {place}: {error.strerror or error}.", error
        ) from error


def _describe(crate: "ROCrate", records: Sequence[Record]) -> None:
    from rocrate.model.contextentity import ContextEntity

    models = " and ".join(dict.fromkeys(str(record["model"]["name"]) for record in records))
    images = records[0]["inputs"][0]["name"] if len(records) == 1 else f"{len(records)} images"
    crate.name = f"Prediction of {models} on {images}"
    crate.description = (
        f"Images, model, outputs and records of {len(records)} run{'s' * (len(records) > 1)} of bioimage_inference."
    )
    licence = {
        "@type": "CreativeWork",
        "name": "Not stated",
        "description": "The licence of the images, and of what was computed from them, is their owner's to state.",
    }
    crate.license = crate.add(ContextEntity(crate, "#licence", properties=licence))
    profile = {"@type": ["CreativeWork", "Profile"], "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, PROFILE, properties=profile))


@dataclass
class _Writer:
    """Adds runs to a crate; ``known`` are the entities of files by where these came from."""

    crate: "ROCrate"
    folder: Path
    known: dict[Path, "Entity"] = field(default_factory=dict)

    def add_run(self, record: Record, number: int) -> "Entity":
        """Add one run; returns its action, which refers to everything else."""
        objects = [*self._images(record), *self._model(record), *self._options(record, number)]
        image = record["inputs"][0]["name"]
        return self.crate.add_action(
            self._program(record),
            identifier=f"#run-{number}",
            object=objects,
            result=self._results(record, number),
            properties={
                "name": f"Prediction of {record['model']['name']} on {image}",
                "description": methods(record),
                "startTime": record["started"],
                "endTime": record["ended"],
                "actionStatus": "http://schema.org/CompletedActionStatus",
            },
        )

    def _images(self, record: Record) -> Iterator["Entity"]:
        for one in record["inputs"]:
            if one["file"] is not None:
                facts = {"sha256": one["sha256"], "description": f"Image for the input {one['tensor']} of the model."}
                yield self._data(Path(one["file"]), "images", facts)

    def _model(self, record: Record) -> Iterator["Entity"]:
        """The model's files; one of the zoo by its address."""
        model = record["model"]
        _, about, *cited = references(record)
        facts = {
            "name": model["name"],
            "description": about.text,
            "version": model["version"],
            "sha256": model["sha256"],
            "license": self._licence(model["licence"]),
            "citation": [self._citation(one.text, one.url) for one in cited],
        }
        source = Path(model["source"])
        if recorded_name(model["source"]) is not None or not source.exists():
            yield self._context(about.url or f"urn:sha256:{model['sha256']}", "CreativeWork", facts)
            return
        yield self._data(source, "model", facts)
        if model["description_file"] is not None:
            yield self._data(Path(model["description_file"]), "model", {"description": "Description of the model."})
        weights = source.parent / record["weights"]["file"]
        if source.suffix in (".yaml", ".yml") and weights.is_file():
            yield self._data(weights, "model", {"sha256": record["weights"]["sha256"]})

    def _options(self, record: Record, number: int) -> Iterator["Entity"]:
        for name, value in record["options"].items():
            text = value if isinstance(value, str) else json.dumps(value)
            yield self._context(f"#run-{number}-{name}", "PropertyValue", {"name": name, "value": text})

    def _results(self, record: Record, number: int) -> list["Entity"]:
        found = []
        for output in record["outputs"]:
            for kind in FORMATS:
                if output.get(kind) is not None:
                    words = f"Output {output['id']}, axes {output['axes'].upper()}, {output['dtype']}."
                    facts = {"sha256": output["sha256"][kind], "description": words}
                    found.append(self._data(Path(output[kind]), "outputs", facts))
        objects = record.get("objects", {})
        for key, words in _OBJECTS.items():
            if objects.get(key):
                facts = {"sha256": objects.get("sha256", {}).get(key), "description": words}
                found.append(self._data(Path(objects[key]), "outputs", facts))
        return [*found, self._record(record, number)]

    def _record(self, record: Record, number: int) -> "Entity":
        """The record itself: the file that is there already, else one written for the crate."""
        facts = {"description": "Provenance: what was computed, from what, how, and with which values."}
        path = _record_file(record)
        if path is None:
            path = self.folder / "records" / f"{number}_provenance.json"
            make_folder(path.parent)
            write_whole(path, (for_json(record) + "\n").encode(), noted=False)
        return self._data(path, "records", facts)

    def _program(self, record: Record) -> "Entity":
        """This program, and the libraries that it ran with."""
        versions = {name: version for name, version in record["versions"].items() if name != "python"}
        version = versions.pop("bioimage_inference")
        needed = [self._software(name, number, f"{_INDEX}/{name}/") for name, number in versions.items()]
        return self._software("bioimage_inference", version, _HOME, softwareRequirements=needed)

    def _software(self, name: str, version: str, url: str, **facts: Any) -> "Entity":
        """A package of the index, by its version; local parts of that such as ``+cpu`` are not in addresses there."""
        address = f"{url}{version.partition('+')[0]}/"
        return self._context(address, "SoftwareApplication", {"name": name, "version": version, "url": url, **facts})

    def _licence(self, identifier: str | None) -> "Entity | None":
        if identifier is None:
            return None
        facts = {"name": identifier, "description": f"The licence with the SPDX identifier {identifier}."}
        return self._context(f"https://spdx.org/licenses/{for_address(identifier)}", "CreativeWork", facts)

    def _citation(self, text: str, url: str | None) -> "Entity":
        return self._context(url or f"#{for_address(text)}", "ScholarlyArticle", {"name": text or url})

    def _context(self, identifier: str, kind: str, facts: Mapping[str, Any]) -> "Entity":
        from rocrate.model.contextentity import ContextEntity

        known = self.crate.dereference(identifier)
        if known is not None:
            return known
        entity = self.crate.add(ContextEntity(self.crate, identifier, properties={"@type": kind}))
        return _with(entity, facts)

    def _data(self, path: Path, place: str, facts: Mapping[str, Any]) -> "Entity":
        """A file or folder as part of the crate, brought into the folder ``place`` where it lies elsewhere."""
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
    """Where a file or folder lies in the crate: where it is, or in ``place``, linked or copied there."""
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
    """A name that no other file has: ``cells.tif``, ``2_cells.tif`` …"""
    number, path = 1, wanted
    while os.path.lexists(path) and not _same(path, source):
        number += 1
        path = wanted.with_name(f"{number}_{wanted.name}")
    return path


def _same(one: Path, other: Path) -> bool:
    """Whether two files or folders hold the same, as those of a crate that is written again do; a link never does."""
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


def _record_file(record: Record) -> Path | None:
    """The record's own file beside the outputs, where there is one."""
    paths = [Path(output[kind]) for output in record["outputs"] for kind in FORMATS if output.get(kind)]
    if not paths:
        return None
    end = "provenance.json"
    beside = (one for one in paths[0].parent.glob(f"*_{end}") if paths[0].name.startswith(one.name.removesuffix(end)))
    return next((one for one in beside if one.is_file() and _started(one) == record["started"]), None)


def _started(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")).get("started")
