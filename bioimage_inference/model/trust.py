"""Decides whose code may run: SHA-256 of the published models and of the administrator, the environment, the user.

:func:`bioimage_inference.zoo.index.trust_policy` makes the policy of a process.

``BIOIMAGE_INFERENCE_TRUST=known`` restricts everything to known files, weights too, whatever the user says.
``BIOIMAGE_INFERENCE_TRUSTED_HASHES`` names the administrator's list, one SHA-256 per line.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

TRUST_VARIABLE = "BIOIMAGE_INFERENCE_TRUST"
HASHES_VARIABLE = "BIOIMAGE_INFERENCE_TRUSTED_HASHES"


@dataclass(frozen=True)
class Verdict:
    """Whether something may be used, and why; ``reason`` is a clause such as "it is in the administrator's list".

    ``trusted`` is false where nobody vouches for it: then TorchScript is vetted before it is loaded.
    """

    allowed: bool
    reason: str
    trusted: bool = True

    @property
    def in_words(self) -> str:
        """What a user reads of it."""
        start = "Not trusted" if not self.allowed else "Trusted" if self.trusted else "Not known"
        return f"{start}: {self.reason}."


@dataclass(frozen=True)
class TrustPolicy:
    """What may run here.

    ``published`` are the Python files and ``published_weights`` the weights of the zoo's models, ``administrator`` is
    what the administrator vouches for (code and weights alike), all as lower-case SHA-256. ``known_only`` refuses all
    else; ``trust_model_code`` is the user's word for the model's code, which counts only without ``known_only``.
    """

    trust_model_code: bool = False
    known_only: bool = False
    administrator: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    published_weights: frozenset[str] = frozenset()

    def may_run_code(self, sha256: str) -> Verdict:
        """May the model's Python file with this SHA-256 be executed?"""
        if sha256 in self.published:
            return Verdict(True, "its code is that of a model published in the BioImage.IO zoo")
        if sha256 in self.administrator:
            return Verdict(True, "its code is in the administrator's list of known files")
        if self.known_only:
            return Verdict(False, _refused_by_administrator("code", sha256))
        if self.trust_model_code:
            return Verdict(True, "you trust its code (--trust-model-code)")
        return Verdict(
            False,
            f"its code (SHA-256 {sha256}) is not that of a known model; read it, and add --trust-model-code if you "
            "trust its authors",
        )

    def may_load_weights(self, sha256: str) -> Verdict:
        """May the weights file, TorchScript or tensors, with this SHA-256 be loaded?"""
        if sha256 in self.administrator:
            return Verdict(True, "its weights are in the administrator's list of known files")
        if sha256 in self.published_weights:
            return Verdict(True, "its weights are those of a model published in the BioImage.IO zoo")
        if self.known_only:
            return Verdict(False, _refused_by_administrator("weights", sha256))
        if self.trust_model_code:
            return Verdict(True, "you trust its code (--trust-model-code)")
        return Verdict(
            True, "nobody vouches for its weights, so they are checked before they are loaded", trusted=False
        )


def read_hashes(path: Path) -> frozenset[str]:
    """The SHA-256 at the start of each line, as ``sha256sum`` writes them; ``#`` begins a comment.

    Raises :class:`UsageError` where the file cannot be read or a line begins otherwise.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The list of trusted files {path} ({HASHES_VARIABLE}) cannot be read: {error}.") from error
    hashes = set()
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            raise UsageError(
                f"Line {number} of the list of trusted files {path} begins with {words[0][:80]!r}; expected was a "
                "SHA-256 of 64 hexadecimal digits, as sha256sum prints it."
            )
        hashes.add(words[0].lower())
    return frozenset(hashes)


def _refused_by_administrator(what: str, sha256: str) -> str:
    return (
        f"the administrator of this installation allows only known files, and its {what} (SHA-256 {sha256}) are not "
        f"among them; ask for them to be added to the file that {HASHES_VARIABLE} names"
    )
