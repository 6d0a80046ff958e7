"""Writes the list of operators that vetted TorchScript may use, from networks that are known to compute and no more.

    python scripts/list_operations.py            # writes bioimage_inference/model/vetting/allowed_operations.tsv
    python scripts/list_operations.py --keep     # the same where a library is missing: keeps the lines seen only there
    python scripts/list_operations.py --check    # loads every network with the list, and compares its results
    python scripts/list_operations.py --check --passed FILE    # the same, and goes on where it was stopped

Needs torchvision, timm, segmentation_models_pytorch and monai beside PyTorch (``pip install --no-deps`` is enough,
with pillow, pyyaml, safetensors, huggingface_hub, einops and scipy). It downloads no weights. The networks of these
libraries and those of ``operation_networks/`` are scripted and traced, saved and loaded. Each operator that the
loaded graphs or the saved code use goes on the list, except those of ``never_allowed.py``.
"""

import argparse
import importlib
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from never_allowed import why_never
from operation_networks import LIBRARIES, Network, installed, library_networks, networks, same

from bioimage_inference.model.vetting.source_code import NotVetted, vetted_sources
from bioimage_inference.model.vetting.vetted_loading import OPERATIONS, kinds, load_vetted

ROOT = Path(__file__).parents[1]
EXAMPLES = 3  # networks that a line names


class Recorder(set[str]):
    """A vocabulary that allows every operator, and holds the operators that were looked up."""

    def __contains__(self, name: object) -> bool:
        self.add(str(name))
        return True


def main() -> None:
    """Write the list, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write although a library is missing, and keep its lines")
    parser.add_argument("--check", action="store_true", help="write nothing, load every network with the list")
    parser.add_argument("--only", default="", help="with --check: networks whose name contains this text")
    parser.add_argument(
        "--passed", type=Path, help="with --check: a file of networks that passed, to go on after a stop"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    missing = [name for name in LIBRARIES if name not in installed()]
    if missing:
        print(f"Not installed: {', '.join(missing)}.", file=sys.stderr)
    if options.check:
        sys.exit(check(options.only, options.passed))
    if missing and not options.keep:
        sys.exit("Install the missing libraries, or keep the lines that were seen in them with --keep.")
    seen: dict[str, list[str]] = defaultdict(list)
    for name, file, _ in files():
        for operator in used_operators(file):
            seen[operator].append(name)
    write_list(seen, missing)


def write_list(seen: Mapping[str, list[str]], missing: list[str]) -> None:
    """Write the operators that were seen, each with the networks in which it was."""
    lines = {operator: f"{operator}\t{len(found)}\t{', '.join(found[:EXAMPLES])}" for operator, found in seen.items()}
    if missing:
        lines = {**dict(earlier_lines()), **lines}
    for operator in sorted(lines):
        if reason := why_never(operator):
            networks_that_use = lines.pop(operator).split("\t")[2]
            print(f"Left out: {operator}, because it {reason}. It was seen in: {networks_that_use}")
    text = "\n".join([*header(missing), *(lines[operator] for operator in sorted(lines)), ""])
    OPERATIONS.write_text(text, encoding="utf-8")
    print(f"{OPERATIONS.relative_to(ROOT)}: {len(lines)} operators")


def header(missing: Iterable[str]) -> list[str]:
    """Comments at the top of the list."""
    versions = [f"torch {torch.__version__.partition('+')[0]}"]
    for name in LIBRARIES:
        if name not in missing:
            versions.append(f"{name} {importlib.import_module(name).__version__.partition('+')[0]}")
    return [
        "# Operators that TorchScript may use without anybody's consent. All others are refused.",
        "# scripts/list_operations.py writes this file and says which operators it leaves out. Do not edit the file.",
        f"# Seen with {', '.join(versions)}.",
        "# operator, number of files in which it was seen, some of them",
    ]


def earlier_lines() -> Iterator[tuple[str, str]]:
    """Operators on the list as it is, with their lines."""
    if OPERATIONS.exists():
        for line in OPERATIONS.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                yield line.split("\t")[0], line


def used_operators(file: Path) -> set[str]:
    """Operators in the graphs of a TorchScript file, and in its code."""
    unit: Any = torch._C.CompilationUnit()
    load: Any = torch._C.import_ir_module  # its types are wrong in torch
    load(unit, str(file), torch.device("cpu"), {}, False)
    found = {kind for function in unit.get_functions() for kind in kinds(function.graph)}
    reader: Any = torch._C.PyTorchFileReader(str(file))
    code = {name: reader.get_record(name) for name in reader.get_all_records() if name.endswith(".py")}
    recorder = Recorder()
    try:
        vetted_sources(code, recorder, lambda _: False)
    except NotVetted as error:
        print(f"The code of {file.stem} is refused: {error}")
    return found | recorder


def check(only: str, passed_before: Path | None) -> int:
    """Load every network with and without vetting, and compare results and times; the number of failures.

    Networks named in the file ``passed_before`` are left out, and those that pass now are added to it.
    """
    refused, different, slower, unused = [], [], [], []
    before: set[str] = set()
    if passed_before is not None and passed_before.exists():
        before.update(passed_before.read_text(encoding="utf-8").splitlines())
    passed = len(before)
    for name, file, inputs in files(only, before):
        start = time.perf_counter()
        known = torch.jit.load(str(file))
        between = time.perf_counter()
        try:
            vetted = load_vetted(file)
        except NotVetted as error:
            refused.append(f"{name}: {error}")
            continue
        slower.append((time.perf_counter() - between - (between - start), name, file.stat().st_size))
        try:
            expected = result(known, inputs)
        except (RuntimeError, torch.jit.Error):  # some networks cannot run as TorchScript, or with this input
            unused.append(name)
        else:
            if not _computes(vetted, inputs, expected):
                different.append(name)
                continue
        passed += 1
        if passed_before is not None:
            with passed_before.open("a", encoding="utf-8") as file_of_names:
                print(name, file=file_of_names)
    print(f"{passed} passed, {len(refused)} refused, {len(different)} with other results")
    for line in (*refused, *(f"other results: {name}" for name in different)):
        print(line)
    print(f"Loaded, but PyTorch cannot run them even without vetting: {', '.join(unused) or 'none'}")
    if slower:
        longest = max(slower)
        print(
            f"Vetting adds {statistics.median(seconds for seconds, *_ in slower):.3f} s (median), at most "
            f"{longest[0]:.3f} s ({longest[1]}, {longest[2] >> 10} KiB)."
        )
    return len(refused) + len(different)


def _computes(network: Any, inputs: tuple[Any, ...], expected: Any) -> bool:
    try:
        return same(expected, result(network, inputs))
    except (RuntimeError, torch.jit.Error) as error:
        print(last_line(error), file=sys.stderr)
        return False


def result(network: Any, inputs: tuple[Any, ...]) -> Any:
    """What a network returns; random numbers are the same each time."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return network(*(one.clone() if isinstance(one, torch.Tensor) else one for one in inputs))


def files(only: str = "", without: Collection[str] = ()) -> Iterator[tuple[str, Path, tuple[Any, ...]]]:
    """Saved networks, each with its name and inputs; a file lives until the next one is asked for."""
    numbers: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        for network in (*networks(), *library_networks()):
            if only not in network.name:
                continue
            numbers["networks"] += 1
            for kind in ("scripted", "traced"):
                name = f"{network.name} ({kind})"
                if not getattr(network, kind) or name in without:
                    continue
                file = Path(folder) / "network.pt"
                try:
                    save(network, kind, file)
                except Exception as error:  # a library raises anything where its network cannot be scripted
                    numbers[f"cannot be {kind}"] += 1
                    print(f"{network.name} cannot be {kind}: {last_line(error)}", file=sys.stderr)
                    continue
                numbers[kind] += 1
                yield name, file, network.inputs
    print(", ".join(f"{number} {name}" for name, number in numbers.items()))


def last_line(error: Exception) -> str:
    """The beginning of an error's text."""
    return " ".join(str(error).split())[:160]


def save(network: Network, kind: str, file: Path) -> None:
    """Script or trace a network."""
    torch.manual_seed(0)
    module = network.build().eval()
    with torch.no_grad():
        if kind == "scripted":
            program = torch.jit.script(module)
        else:
            program = torch.jit.trace(module, network.inputs, check_trace=False, strict=False)
        torch.jit.save(program, str(file))


if __name__ == "__main__":
    main()
