"""Who decides what may run: the bundled list, the administrator, the user, in this order of power."""

import hashlib
import re
from pathlib import Path

import pytest

from bioimage_inference.errors import UsageError
from bioimage_inference.model.trust import (
    HASHES_VARIABLE,
    KNOWN_ARCHITECTURES,
    TRUST_VARIABLE,
    TrustPolicy,
    read_hashes,
)

STRANGER = hashlib.sha256(b"import os").hexdigest()
PUBLISHED = "7f5b15948e8e2c91f78dcff34fbf30af517073e91ba487f3edb982b948d099b3"  # unet.py of affable-shark


@pytest.fixture
def administrators_list(tmp_path: Path) -> Path:
    path = tmp_path / "trusted.txt"
    path.write_text(f"# our own models\n\n{STRANGER.upper()}  unet.py\n")
    return path


def test_by_default_only_published_code_runs_but_any_weights_load() -> None:
    policy = TrustPolicy.from_environment(environment={})
    assert policy.may_run_code(PUBLISHED).allowed
    verdict = policy.may_run_code(STRANGER)
    assert not verdict.allowed
    assert STRANGER in verdict.reason
    assert "--trust-model-code" in verdict.reason
    assert policy.may_load_weights(STRANGER).allowed


def test_the_user_may_trust_a_models_code() -> None:
    policy = TrustPolicy.from_environment(trust_model_code=True, environment={})
    assert policy.may_run_code(STRANGER).allowed


def test_the_administrator_may_vouch_for_files(administrators_list: Path) -> None:
    policy = TrustPolicy.from_environment(environment={HASHES_VARIABLE: str(administrators_list)})
    assert policy.may_run_code(STRANGER).allowed
    assert "administrator" in policy.may_run_code(STRANGER).reason


def test_known_only_cannot_be_overridden_by_the_user(administrators_list: Path) -> None:
    policy = TrustPolicy.from_environment(trust_model_code=True, environment={TRUST_VARIABLE: "known"})
    for verdict in (policy.may_run_code(STRANGER), policy.may_load_weights(STRANGER)):
        assert not verdict.allowed
        assert "administrator" in verdict.reason
        assert "--trust-model-code" not in verdict.reason
    assert policy.may_run_code(PUBLISHED).allowed

    both = {TRUST_VARIABLE: "known", HASHES_VARIABLE: str(administrators_list)}
    policy = TrustPolicy.from_environment(environment=both)
    assert policy.may_run_code(STRANGER).allowed
    assert policy.may_load_weights(STRANGER).allowed


def test_the_environment_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    assert TrustPolicy.from_environment().known_only


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({TRUST_VARIABLE: "konwn"}, "'konwn'; it can be 'known' or unset"),
        ({HASHES_VARIABLE: "/no/such/file"}, "/no/such/file"),
    ],
)
def test_a_restriction_is_never_lost_by_a_typing_error(environment: dict[str, str], found: str) -> None:
    with pytest.raises(UsageError, match=re.escape(found)):
        TrustPolicy.from_environment(environment=environment)


@pytest.mark.parametrize("content", [b"unet.py\n", b"7f5b15948e8e\n", b"\xff\xfe\n"])
def test_a_broken_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trusted.txt").write_bytes(content)
    with pytest.raises(UsageError, match="list of trusted files"):
        read_hashes(tmp_path / "trusted.txt")


def test_each_bundled_hash_says_what_it_is() -> None:
    blocks = KNOWN_ARCHITECTURES.read_text(encoding="utf-8").strip().split("\n\n")[1:]
    assert len(blocks) == len(read_hashes(KNOWN_ARCHITECTURES)) > 30
    for block in blocks:
        assert re.fullmatch(r"# \S+\.py: \w+(, \w+)*; [^\n]+(\n#   [^\n]+)*\n[0-9a-f]{64}", block)
