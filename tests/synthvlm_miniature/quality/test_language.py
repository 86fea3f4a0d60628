"""The part of the table that the language model fills, on few texts."""

from pathlib import Path

from synthvlm_miniature.quality.language import rows


def test_perplexity_judge_and_answers(models: Path) -> None:
    found = {name: value for name, value, _ in rows(models, 40)}
    assert found["perplexity: clean, plain"] < 6 < found["perplexity: words shuffled"]
    assert found["judge says yes to captions"] > 0.9
    assert found["text answers: every kind"] > 0.6
