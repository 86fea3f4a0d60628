from synthvlm_miniature.making.rows import DIRT, SOURCES, source_rows, texts_by_truth
from synthvlm_miniature.world.scenes import split_of


def test_dirt_is_a_fifth_at_most_and_of_every_kind() -> None:
    for source in SOURCES:
        truths = [row.truth for row in source_rows(source, 1, 1000)]
        assert 0.8 < truths.count("clean") / len(truths) < 0.9
        assert set(truths) - {"clean", "columns"} == set(DIRT) - {"columns"}


def test_nothing_held_out_is_in_the_sources() -> None:
    for source in SOURCES:
        scenes = [row.scene for row in source_rows(source, 1, 200) if row.scene]
        assert {split_of(scene) for scene in scenes} == {"train"}


def test_texts_are_found_by_what_is_wrong_with_them() -> None:
    found = texts_by_truth(["empty", "markup"], seed=1, rows=300)
    assert all(not text.strip() for text in found["empty"])
    assert all("<" in text or "&" in text for text in found["markup"])
    assert min(map(len, found.values())) > 0
