"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

settings.register_profile("untimed", deadline=None)  # machines are noisy
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The project's own small models and images."""
    return ROOT / "test-data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real descriptions and example models that lie beside the checkout, not in it."""
    folder = ROOT.parent / "shared" / "bioimageio-data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/bioimageio-data with real models is not here")
    return folder
