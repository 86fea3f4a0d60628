from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation import accuracy
from synthvlm_core.evaluation.grading import is_right
from synthvlm_core.parts.benchmark import Answered
from synthvlm_miniature.world.held_out import held_out_questions


@pytest.fixture(scope="module")
def asked() -> list[Answered]:
    """260 questions of the miniature, 200 of split test and 60 of split held_out, answered with nothing."""
    found = []
    for split, count in (("test", 200), ("held_out", 60)):
        pictures: dict[object, int] = {}
        for number, (scene, question) in enumerate(held_out_questions(count, split)):  # type: ignore[arg-type]
            picture = pictures.setdefault(scene, len(pictures))
            found.append(
                Answered(
                    id=f"{split}-{number}",
                    picture=f"{split}-{picture}.png",
                    kind=question.kind,
                    split=split,
                    question=question.question,
                    answer="",
                    truth=(question.answer,),
                    choices=tuple(question.choices),
                    right=0.0,
                )
            )
    return found


def answered(asked: list[Answered], answers: list[str]) -> list[Answered]:
    return [
        replace(found, answer=answer, right=float(is_right(answer, found.truth)))
        for found, answer in zip(asked, answers, strict=True)
    ]


def result_of(asked: list[Answered], answers: list[str]) -> dict[str, Any]:
    return {"miniature": accuracy.accuracies(answered(asked, answers))}


def test_accuracies_add_up(asked: list[Answered]) -> None:
    answers = [found.truth[0] if at % 4 else "nonsense" for at, found in enumerate(asked)]
    found = accuracy.accuracies(answered(asked, answers))
    assert (found["overall"]["asked"], found["overall"]["n"], found["overall"]["right"]) == (260, 260, 195)
    assert sum(kind["right"] for kind in found["by_kind"].values()) == 195
    assert sum(split["n"] for split in found["by_split"].values()) == 260
    for kind in ("size", "yes_no"):
        assert found["by_kind"][kind]["chance"] == pytest.approx(0.5)
    assert found["by_kind"]["shape"]["chance"] == pytest.approx(0.2)
    for part in (found["overall"], *found["by_kind"].values()):
        assert part["low"] < part["accuracy"] < part["high"]
        assert part["majority"] >= part["chance"] * 0.9


def test_guessing_finds_chance_and_the_most_frequent_answer_finds_majority(asked: list[Answered]) -> None:
    rng = np.random.default_rng(0)
    guesses = [str(rng.choice(found.choices)) for found in asked]
    guessed = accuracy.accuracies(answered(asked, guesses))["overall"]
    assert guessed["low"] < guessed["chance"] < guessed["high"]
    truths: dict[str, list[str]] = {}
    for found in asked:
        truths.setdefault(found.kind, []).append(found.truth[0])
    best = {kind: max(set(some), key=some.count) for kind, some in truths.items()}
    blind = accuracy.accuracies(answered(asked, [best[found.kind] for found in asked]))["overall"]
    assert blind["accuracy"] == blind["majority"]


def test_of_several_accepted_answers_the_blind_take_the_one_that_is_right_most_often() -> None:
    def question(number: int, *truth: str) -> Answered:
        return Answered(str(number), None, "what", "all", "what?", "", truth, (), 0.0)

    some = [question(1, "disc", "circle"), question(2, "Circle", "ring"), question(3, "square")]
    assert accuracy.accuracies(some)["overall"]["majority"] == pytest.approx(2 / 3)


def test_what_the_questions_do_not_allow_is_absent_and_not_zero(asked: list[Answered]) -> None:
    right = answered(asked, [found.truth[0] for found in asked])
    no_choices = accuracy.accuracies([replace(found, choices=()) for found in right])
    assert no_choices["overall"]["chance"] is None
    assert no_choices["overall"]["majority"] > 0
    nobody_knows = accuracy.accuracies([replace(found, truth=(), right=None) for found in right])
    overall = nobody_knows["overall"]
    assert (overall["asked"], overall["n"]) == (260, 0)
    assert overall["accuracy"] is overall["low"] is overall["high"] is overall["majority"] is None
    assert overall["chance"] > 0
    half = [found if at % 2 else replace(found, truth=(), right=None) for at, found in enumerate(right)]
    assert accuracy.accuracies(half)["overall"]["n"] == 130
    assert accuracy.accuracies(half)["overall"]["accuracy"] == 1.0


def test_parts_of_a_point_count(asked: list[Answered]) -> None:
    some = [replace(found, right=0.25) for found in asked]
    assert accuracy.accuracies(some)["overall"]["accuracy"] == 0.25


def test_two_checkpoints_are_compared_question_by_question(asked: list[Answered]) -> None:
    rng = np.random.default_rng(1)
    good = result_of(asked, [found.truth[0] if rng.random() < 0.8 else "x" for found in asked])
    poor = result_of(asked, [found.truth[0] if rng.random() < 0.6 else "x" for found in asked])
    found = accuracy.compare(good, poor, seed=3)["miniature"]
    wanted = good["miniature"]["overall"]["accuracy"] - poor["miniature"]["overall"]["accuracy"]
    assert found["overall"]["difference"] == pytest.approx(wanted)
    assert 0 < found["overall"]["low"] < found["overall"]["difference"] < found["overall"]["high"]
    assert found.keys() == {"overall", *good["miniature"]["by_kind"]}
    assert sum(part["n"] for kind, part in found.items() if kind != "overall") == found["overall"]["n"] == 260


def test_questions_of_one_picture_count_together_and_others_for_themselves(asked: list[Answered]) -> None:
    pictures = sorted({str(found.picture) for found in asked})
    lucky = set(pictures[::2])
    answers = [found.truth[0] if found.picture in lucky else "x" for found in asked]

    def width(questions: list[Answered]) -> float:
        found = accuracy.compare(result_of(questions, answers), result_of(questions, ["x"] * len(questions)))
        return found["miniature"]["overall"]["high"] - found["miniature"]["overall"]["low"]

    assert width(asked) > 1.5 * width([replace(found, picture=None) for found in asked])


def test_results_about_other_questions_are_not_compared(asked: list[Answered]) -> None:
    mine, theirs = result_of(asked, ["x"] * 260), result_of(asked[1:], ["x"] * 259)
    with pytest.raises(Mendable, match=r"miniature: .*same questions"):
        accuracy.compare(mine, theirs)
    with pytest.raises(Mendable, match="same questions"):
        accuracy.compare(mine, {})
    ungraded = {"open": accuracy.accuracies([replace(found, truth=(), right=None) for found in asked])}
    assert accuracy.compare(ungraded, ungraded) == {}
