"""The shipped models, and the tokenizers that tiny trainings use."""

from pathlib import Path

import pytest

import synthvlm_miniature


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the shipped models."""
    return Path(synthvlm_miniature.__file__).parent / "models"
