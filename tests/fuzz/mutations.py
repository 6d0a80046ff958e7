"""Damage to sound files: bytes anywhere, values of a description, members of a zip; always the same for a number."""

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from .seeds import Kind, Seeds

# Counts, sizes and offsets at the edge of what fields can hold.
_EDGES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
_STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 3, 10**30, -(2**63), 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        "x",
        "b",
        "raw",
        "out",
        "../rdf.yaml",
        "/etc/passwd",
        "https://127.0.0.1:1/w.pt",
        "weights.pt",
        "\0",
        "µ" * 99,
    ),
    *("a" * 100_000, [], {}, [[]], [{}], {"id": "x"}, ["x"] * 2000, {"min": 0, "step": 0}, {"min": 1, "step": 2**40}),
)
_HEAD = 512


@dataclass(frozen=True)
class Mutant:
    """Input number ``number`` of a campaign."""

    number: int
    kind: Kind
    content: bytes


def mutant(seeds: Seeds, seed: int, number: int) -> Mutant:
    """The input of that number; it depends on nothing but ``seed`` and ``number``."""
    rng = random.Random(f"{seed} {number}")
    kinds: tuple[Kind, ...] = ("tiff", "tiff", "npy", "rdf", "zip", "zarr", "png")
    kind = rng.choice(kinds)
    content = rng.choice(seeds.files[kind])
    structured = _STRUCTURED.get(kind)
    if structured is not None and rng.random() < 0.7:
        return Mutant(number, kind, structured(rng, content))
    return Mutant(number, kind, _damaged(rng, content))


def _damaged(rng: random.Random, content: bytes) -> bytes:
    """One to six bits, bytes, fields or stretches changed; headers more often than what follows them."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        end = min(len(data), _HEAD) if rng.random() < 0.6 else len(data)
        if end < 2:
            break
        rng.choice(_DAMAGES)(rng, data, rng.randrange(end))
    return bytes(data)


def _flip_bit(rng: random.Random, data: bytearray, place: int) -> None:
    data[place] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, place: int) -> None:
    data[place] = rng.randrange(256)


def _set_number(rng: random.Random, data: bytearray, place: int) -> None:
    width, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
    number = rng.choice(_EDGES) % (1 << 8 * width)
    data[place : place + width] = number.to_bytes(width, order)  # type: ignore[arg-type]


def _set_digits(rng: random.Random, data: bytearray, place: int) -> None:
    """Another number where the header is text."""
    while place < len(data) and not chr(data[place]).isdigit():
        place += 1
    end = place
    while end < len(data) and chr(data[end]).isdigit():
        end += 1
    data[place:end] = str(rng.choice(_EDGES)).encode()


def _cut(rng: random.Random, data: bytearray, place: int) -> None:
    del data[max(1, place) :]


def _remove(rng: random.Random, data: bytearray, place: int) -> None:
    del data[place : place + rng.randint(1, 40)]


def _repeat(rng: random.Random, data: bytearray, place: int) -> None:
    data[place:place] = data[place : place + rng.randint(1, 200)] * rng.randint(1, 20)


def _insert(rng: random.Random, data: bytearray, place: int) -> None:
    data[place:place] = rng.randbytes(rng.randint(1, 20))


_DAMAGES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    *(_flip_bit, _set_byte, _set_byte, _set_number, _set_number, _set_digits, _cut, _remove, _repeat, _insert),
)


def _described_otherwise(rng: random.Random, content: bytes) -> bytes:
    """A description with one to four values replaced, removed or repeated."""
    data = yaml.safe_load(content)
    for _ in range(rng.randint(1, 4)):
        holder: Any = data
        key: Any = rng.choice(list(holder)) if holder else None
        while key is not None and rng.random() < 0.8 and isinstance(holder[key], dict | list) and holder[key]:
            holder = holder[key]
            key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        if key is None:
            break
        _change(rng, holder, key)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()


def _change(rng: random.Random, holder: Any, key: Any) -> None:
    choice = rng.randrange(4)
    if choice == 0:
        del holder[key]
    elif choice == 1 and isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[key] = rng.choice(_STRANGE)


def _repacked(rng: random.Random, content: bytes) -> bytes:
    """A zip of sound checksums with one member damaged, renamed or left out, also those of a zip inside."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    inside = members.pop(name)
    choice = rng.randrange(6)
    if choice == 0:
        members[rng.choice(("../x", "/x", "a/b", "RDF.YAML", "rdf.yaml", "zarr.json", "x" * 300))] = inside
    elif choice > 1:
        members[name] = _member(rng, name, inside)
    buffer = io.BytesIO()
    packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member), data, packed)  # always of the same date
    return buffer.getvalue()


def _member(rng: random.Random, name: str, content: bytes) -> bytes:
    if name.endswith(".yaml"):
        return _described_otherwise(rng, content)
    if content.startswith(b"PK\x03\x04") and rng.random() < 0.7:
        return _repacked(rng, content)
    return _damaged(rng, content)


_STRUCTURED: dict[Kind, Callable[[random.Random, bytes], bytes]] = {
    "rdf": _described_otherwise,
    "zip": _repacked,
    "zarr": _repacked,
}
