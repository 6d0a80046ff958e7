"""Decides whose code may run, by the SHA-256 of files: published models, the administrator's list, the user's word.

``BIOIMAGE_INFERENCE_TRUST=known`` allows known files only, weights too, whatever the user says.
``BIOIMAGE_INFERENCE_TRUSTED_HASHES`` names the administrator's list, with one SHA-256 per line.
:func:`bioimage_inference.zoo.index.trust_policy` makes the policy of a process.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

TRUST_VARIABLE = "BIOIMAGE_INFERENCE_TRUST"
HASHES_VARIABLE = "BIOIMAGE_INFERENCE_TRUSTED_HASHES"


@dataclass(frozen=True)
class Verdict:
    """Whether a file may be used, and why; ``reason`` is a clause such as "it is in the administrator's list".

    ``trusted`` is false where nobody vouches for the file. Such TorchScript is vetted before it is loaded.
    """

    allowed: bool
    reason: str
    trusted: bool = True

    @property
    def in_words(self) -> str:
        """Return the verdict as a sentence."""
        start = "Not trusted" if not self.allowed else "Trusted" if self.trusted else "Not known"
        return f"{start}: {self.reason}."


@dataclass(frozen=True)
class TrustPolicy:
    """The files that may be used in this process, as lower-case SHA-256.

    ``published`` are the Python files and ``published_weights`` the weights of the zoo's models. ``administrator`` are
    the files, code and weights alike, that the administrator vouches for. ``known_only`` refuses all other files.
    ``trust_model_code`` is the user's consent to all code of the model, which counts only without ``known_only``.
    """

    trust_model_code: bool = False
    known_only: bool = False
    administrator: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    published_weights: frozenset[str] = frozenset()

    @property
    def any_code(self) -> bool:
        """Return whether code may run that nobody but the user vouches for."""
        return self.trust_model_code and not self.known_only

    def may_run_code(self, sha256: str) -> Verdict:
        """Judge whether the model's Python file with this SHA-256 may be executed."""
        return self._known("code", "is", sha256, self.published) or Verdict(
            False,
            f"its code (SHA-256 {sha256}) is not that of a known model; read it, and add --trust-model-code if you "
            "trust its authors",
        )

    def may_load_weights(self, sha256: str) -> Verdict:
        """Judge whether the weights file, TorchScript or tensors, with this SHA-256 may be loaded."""
        return self._known("weights", "are", sha256, self.published_weights) or Verdict(
            True, "nobody vouches for its weights, so they are checked before they are loaded", trusted=False
        )

    def _known(self, what: str, verb: str, sha256: str, published: frozenset[str]) -> Verdict | None:
        """Return the verdict on a file that somebody vouches for or that must be known, else ``None``."""
        if sha256 in self.administrator:
            return Verdict(True, f"its {what} {verb} in the administrator's list of known files")
        if sha256 in published:
            those = "that" if verb == "is" else "those"
            return Verdict(True, f"its {what} {verb} {those} of a model published in the BioImage.IO zoo")
        if self.known_only:
            return Verdict(
                False,
                f"the administrator of this installation allows only known files, and its {what} (SHA-256 {sha256}) "
                f"{verb} not among them; ask for the file to be added to the list that {HASHES_VARIABLE} names",
            )
        return Verdict(True, "you trust its code (--trust-model-code)") if self.trust_model_code else None


def read_hashes(path: Path) -> frozenset[str]:
    """Return the SHA-256 at the start of each line, as ``sha256sum`` writes them; ``#`` begins a comment.

    Raises :class:`UsageError` where the file cannot be read or a line begins otherwise.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The list of trusted files {path} ({HASHES_VARIABLE}) cannot be read: {error}.") from error
    hashes: set[str] = set()
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if words and not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
            raise UsageError(
                f"Line {number} of the list of trusted files {path} begins with {words[0][:80]!r}; expected was a "
                "SHA-256 of 64 hexadecimal digits, as sha256sum prints it."
            )
        hashes.update(word.lower() for word in words[:1])
    return frozenset(hashes)
