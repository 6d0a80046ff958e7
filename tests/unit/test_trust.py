"""Who decides what may run: the bundled list, the administrator, the user, in this order of power."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bioimage_inference.errors import UsageError
from bioimage_inference.model.trust import (
    HASHES_VARIABLE,
    TRUST_VARIABLE,
    TrustPolicy,
    read_hashes,
)
from bioimage_inference.zoo.index import INDEX_VARIABLE, trust_policy

STRANGER = hashlib.sha256(b"import os").hexdigest()
PUBLISHED = "7f5b15948e8e2c91f78dcff34fbf30af517073e91ba487f3edb982b948d099b3"  # unet.py of affable-shark
PUBLISHED_WEIGHTS = "8410950508655a300793b389c815dc30b1334062fc1dadb1e15e55a93cbb99a0"  # its TorchScript
OWN = hashlib.sha256(b"our own file").hexdigest()


def policy(environment: Mapping[str, str]) -> TrustPolicy:
    return trust_policy(environment=environment)


@pytest.fixture
def administrators_list(tmp_path: Path) -> Path:
    path = tmp_path / "trusted.txt"
    path.write_text(f"# our own models\n\n{STRANGER.upper()}  unet.py\n")
    return path


def test_by_default_only_published_code_runs_but_any_weights_load() -> None:
    policy = trust_policy(environment={})
    assert policy.may_run_code(PUBLISHED).allowed
    verdict = policy.may_run_code(STRANGER)
    assert not verdict.allowed
    assert STRANGER in verdict.reason
    assert "--trust-model-code" in verdict.reason
    assert policy.may_load_weights(STRANGER).allowed


def test_the_user_may_trust_a_models_code() -> None:
    policy = trust_policy(trust_model_code=True, environment={})
    assert policy.may_run_code(STRANGER).allowed


def test_the_administrator_may_vouch_for_files(administrators_list: Path) -> None:
    policy = trust_policy(environment={HASHES_VARIABLE: str(administrators_list)})
    assert policy.may_run_code(STRANGER).allowed
    assert "administrator" in policy.may_run_code(STRANGER).reason


def test_known_only_cannot_be_overridden_by_the_user(administrators_list: Path) -> None:
    policy = trust_policy(trust_model_code=True, environment={TRUST_VARIABLE: "known"})
    for verdict in (policy.may_run_code(STRANGER), policy.may_load_weights(STRANGER)):
        assert not verdict.allowed
        assert "administrator" in verdict.reason
        assert "--trust-model-code" not in verdict.reason
    assert policy.may_run_code(PUBLISHED).allowed

    both = {TRUST_VARIABLE: "known", HASHES_VARIABLE: str(administrators_list)}
    policy = trust_policy(environment=both)
    assert policy.may_run_code(STRANGER).allowed
    assert policy.may_load_weights(STRANGER).allowed


def test_the_environment_of_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    assert trust_policy().known_only


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({TRUST_VARIABLE: "konwn"}, "'konwn'; it can be 'known' or unset"),
        ({HASHES_VARIABLE: "/no/such/file"}, "/no/such/file"),
    ],
)
def test_a_restriction_is_never_lost_by_a_typing_error(environment: dict[str, str], found: str) -> None:
    with pytest.raises(UsageError, match=re.escape(found)):
        trust_policy(environment=environment)


@pytest.mark.parametrize("content", [b"unet.py\n", b"7f5b15948e8e\n", b"\xff\xfe\n"])
def test_a_broken_list_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trusted.txt").write_bytes(content)
    with pytest.raises(UsageError, match="list of trusted files"):
        read_hashes(tmp_path / "trusted.txt")


def test_published_weights_are_known_and_the_administrators_index_adds_to_them(tmp_path: Path) -> None:
    only_known = {TRUST_VARIABLE: "known"}
    assert trust_policy(environment=only_known).may_load_weights(PUBLISHED_WEIGHTS).allowed
    weights = {
        "pytorch_state_dict": {"source": "w.pt", "sha256": OWN, "architecture": {"source": "n.py", "sha256": OWN}}
    }
    line = {
        "id": "own-model",
        "dois": [],
        "axes": {"inputs": ["bcyx"], "outputs": ["bcyx"]},
        "description": {"name": "Own", "inputs": [], "outputs": [], "weights": weights},
    }
    (tmp_path / "index.jsonl").write_text(json.dumps(line) + "\n")
    both = only_known | {INDEX_VARIABLE: str(tmp_path / "index.jsonl")}
    for verdict in (
        policy(both).may_load_weights(OWN),
        policy(both).may_run_code(OWN),
        policy(both).may_run_code(PUBLISHED),
    ):
        assert verdict.allowed
    assert not policy(only_known).may_load_weights(OWN).allowed
    assert not policy(only_known).may_run_code(OWN).allowed


@pytest.mark.parametrize("content", [b"{}\n", b"no json\n", b'{"id": "a"}\n', b"[]\n", b"\xff\n"])
def test_a_broken_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=r"index of models .*index\.jsonl"):
        policy({INDEX_VARIABLE: str(tmp_path / "index.jsonl")})
