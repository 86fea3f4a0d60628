"""A tokenizer of few texts, and the shipped model."""

from pathlib import Path
from typing import Any

import pytest

from synthvlm_miniature.quality.embedding import Clip
from synthvlm_miniature.training.clip.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer(scenes=300)


@pytest.fixture(scope="session")
def shipped(models: Path) -> Clip:
    return Clip(models / "clip")
