"""A part that is missing is never overlooked where tests decide what is released."""

import pytest

from ..machine import missing


@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_part_fails_in_continuous_integration_only(
    value: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", value)
    with pytest.raises(outcome, match=r"Chromium is not installed here: apt-get install chromium"):
        missing("Chromium", "apt-get install chromium")
