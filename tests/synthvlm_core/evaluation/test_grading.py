import pytest

from synthvlm_core.evaluation.grading import is_right


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("red", ["red"], True),
        (" Red.", ["red"], True),
        ("a  Light Blue!", ["light blue"], True),
        ("light", ["light blue"], False),
        ("not red", ["red"], False),
        ("", ["red"], False),
        ("red red", ["red"], False),
        ("the disc", ["circle", "Disc"], True),
        ("anything", [], False),
    ],
)
def test_answers_are_compared_after_normalisation(answer: str, truth: list[str], right: bool) -> None:
    assert is_right(answer, truth) == right
