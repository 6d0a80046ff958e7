"""Runs many inputs through the command line, each batch in a process of its own, and tells which broke a promise.

A worker is forked from a process that has imported everything, so that an input costs milliseconds. It sets an alarm
that ends it for every input: what hangs, in Python or in a library, is seen as a worker that died of SIGALRM.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bioimage_inference.cli import main
from bioimage_inference.machine.process_settings import set_up_process
from tests.machine import HANG_SECONDS

from .mutations import Mutant, mutant
from .seeds import Seeds

MOST_MEMORY = 1 << 30
"""Bytes that an input may take besides those of the program itself; the system gives no more."""
_BATCH = 250
# One thread: a process that has computed with several cannot be forked.
_ALWAYS = ("--memory", "512MiB", "--offline", "--threads", "1")
DOCUMENTED = frozenset((0, 2, 3, 4, 5, 6))


@dataclass(frozen=True)
class Finding:
    """An input that broke a promise, and how."""

    mutant: Mutant
    what: str


@dataclass
class Campaign:
    """What was found: how many inputs ended in which exit code, and the inputs that broke a promise."""

    codes: Counter[int] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many inputs were run."""
        return sum(self.codes.values()) + len(self.findings)


def run_campaign(seeds: Seeds, scratch: Path, seed: int, inputs: int) -> Campaign:
    """Run inputs 0, 1, … of ``seed`` until there were ``inputs``."""
    campaign = Campaign()
    warm_up(seeds, scratch)
    while campaign.inputs < inputs:
        batch = range(campaign.inputs, min(inputs, campaign.inputs + _BATCH))
        for number, outcome in _batch(seeds, scratch, seed, batch):
            if outcome.isdecimal():
                campaign.codes[int(outcome)] += 1
            else:
                campaign.findings.append(Finding(mutant(seeds, seed, number), outcome))
    return campaign


def warm_up(seeds: Seeds, scratch: Path) -> None:
    """Predict what is not damaged, which must succeed; every module is imported then, and workers inherit it."""
    for kind, contents in seeds.files.items():
        for content in contents:
            outcome = outcome_of(Mutant(-1, kind, content), seeds, scratch)
            if outcome != "0":
                raise RuntimeError(f"a sound {kind} ended with {outcome}")


def _batch(seeds: Seeds, scratch: Path, seed: int, numbers: range) -> Iterator[tuple[int, str]]:
    """Numbers and outcomes of the first of these inputs, up to where the worker ends: exit code, or broken promise."""
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(reading)
        with contextlib.suppress(BaseException), os.fdopen(writing, "w") as told:
            _work(seeds, scratch, seed, numbers, told)
            told.flush()
            os._exit(0)
        os._exit(3)
    os.close(writing)
    number = numbers.start - 1
    with os.fdopen(reading) as lines:
        for line in lines:
            number, outcome = int(line.partition(" ")[0]), line.partition(" ")[2].strip()
            yield number, outcome
    _, status = os.waitpid(worker, 0)
    if status:
        ended = os.waitstatus_to_exitcode(status)
        what = f"died of {signal.Signals(-ended).name}" if ended < 0 else f"left the worker with {ended}"
        yield number + 1, f"it hung for {HANG_SECONDS} s" if ended == -signal.SIGALRM else what


def _work(seeds: Seeds, scratch: Path, seed: int, numbers: range, told: io.TextIOBase) -> None:
    """In the worker: run the inputs one by one and tell the outcome of each, in a line."""
    set_up_process()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in numbers:
        signal.alarm(HANG_SECONDS)
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + MOST_MEMORY, resource.RLIM_INFINITY))
        outcome = outcome_of(mutant(seeds, seed, number), seeds, scratch)
        signal.alarm(0)
        told.write(f"{number} {outcome}\n")
        told.flush()


def outcome_of(one: Mutant, seeds: Seeds, scratch: Path) -> str:
    """The exit code of the command on that input, in digits, or words for the promise that it broke."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    output, errors = scratch / "out", io.StringIO()
    command = ["predict", *_arguments(one, seeds, scratch), "-o", str(output), *_ALWAYS]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = main(command)
    message = errors.getvalue().strip()
    left = [file.name for file in output.iterdir()] if output.is_dir() else []
    if code not in DOCUMENTED or "Traceback" in message:
        return f"exit code {code}: {' '.join(message.split())[:300]}"
    if code and (not message or "\n" in message):
        return f"exit code {code} with a message that is no paragraph: {message[:300]!r}"
    if (code and left) or any(name.endswith(".partial") for name in left):
        return f"exit code {code}, but there is {', '.join(left)}"
    if "ran out of memory" in message:
        return f"it took more than {MOST_MEMORY >> 20} MiB"
    return str(code)


def _arguments(one: Mutant, seeds: Seeds, scratch: Path) -> list[str]:
    """The model and the image of the command, one of them the mutant."""
    if one.kind == "rdf":
        folder = scratch / "model"
        folder.mkdir()
        for file in seeds.model.parent.iterdir():
            if file != seeds.model:
                (folder / file.name).hardlink_to(file)
        (folder / "rdf.yaml").write_bytes(one.content)
        return [str(folder), str(seeds.image)]
    path = scratch / f"mutant.{one.kind}"
    path.write_bytes(one.content)
    return [str(path), str(seeds.image)] if one.kind == "zip" else [str(seeds.model), str(path)]


def _data_bytes() -> int:
    """Bytes that the process may write to, as Linux counts them for ``RLIMIT_DATA``."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
