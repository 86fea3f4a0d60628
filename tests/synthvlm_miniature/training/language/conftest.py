"""A tokenizer of few texts."""

from typing import Any

import pytest

from synthvlm_miniature.training.language.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return build_tokenizer(scenes=300)
