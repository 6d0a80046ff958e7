"""The trust policy of a process: published models, the environment that the administrator sets, and the user's word."""

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from ..model.trust import HASHES_VARIABLE, TRUST_VARIABLE, TrustPolicy, read_hashes
from .index import load_index


def trust_policy(trust_model_code: bool = False, environment: Mapping[str, str] = os.environ) -> TrustPolicy:
    """Return the policy that the environment and the user's ``--trust-model-code`` amount to.

    Raises :class:`UsageError` where a variable is misspelt, or the administrator's list or index cannot be read:
    what was meant as a restriction must not get lost.
    """
    index = load_index(environment)
    mode = environment.get(TRUST_VARIABLE, "").strip()
    if mode not in ("", "known"):
        raise UsageError(f"{TRUST_VARIABLE} is {mode!r}; it can be 'known' or unset.")
    listed = environment.get(HASHES_VARIABLE, "").strip()
    return TrustPolicy(
        trust_model_code=trust_model_code,
        known_only=mode == "known",
        administrator=read_hashes(Path(listed)) if listed else frozenset(),
        published=index.code_sha256(),
        published_weights=index.weights_sha256(),
    )
