"""The human turn of a pair."""

import math
from collections import Counter

from synthvlm_core.release.instructions import instruction


def test_instructions_are_drawn_evenly_and_by_the_seed() -> None:
    instructions = [f"instruction {number}" for number in range(8)]
    captions = [f"{number:032x}" for number in range(4000)]

    def drawn(seed: int) -> list[str]:
        return [instruction(instructions, seed, caption) for caption in captions]

    assert drawn(0) == drawn(0)
    single, pairs = Counter(drawn(0)), Counter(zip(drawn(0), drawn(1), strict=True))
    for counts, kinds in ((single, 8), (pairs, 64)):  # what one seed draws says nothing about another
        expected = len(captions) / kinds
        assert len(counts) == kinds
        assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts.values())


def test_the_turn_of_a_caption_stays_what_it_was() -> None:
    """Released conversations depend on it: another formula would rename every release."""
    turns = [instruction(["one", "two", "three"], 0, f"{number:032x}") for number in range(8)]
    assert turns == ["one", "one", "three", "three", "one", "one", "three", "two"]
