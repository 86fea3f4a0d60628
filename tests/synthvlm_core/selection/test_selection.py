"""Selection against brute force, for any sharding, order, ties, K, scores, weights, floors and thresholds."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_core.errors import NotMaterialized
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import checks, examples
from synthvlm_core.scoring.scored import ScoredPairs, score_columns
from synthvlm_core.selection import selection, thresholds
from synthvlm_core.selection.selection import TooFewPairs, UnsoundScores
from synthvlm_core.store import records
from synthvlm_core.store.objects import Store

from .conftest import SSIM, Edit, Pair, Pool, pair, rows_of, select, stages

Make = Callable[..., Recipe]


def lot(seed: int, what: str, value: str) -> str:
    return hashlib.sha256(f"synthvlm {what} {seed} {value}".encode()).hexdigest()


def weighted(weights: dict[str, float], row: Pair) -> float:
    """The products in the order of the scores' names, added from the left."""
    first, *others = [weights[name] * row[name] for name in sorted(weights)]
    for product in others:
        first += product
    return float(first)


def brute_force(rows: list[Pair], recipe: Recipe, name: str) -> list[Pair] | None:
    """The definition, in memory; None where too few remain."""
    section, chosen = recipe.selection, recipe.released_set(name)
    weights, size = chosen.weights or section.weights, chosen.size or section.size

    def value(row: Pair, score: str) -> float:
        """What floors and thresholds ask: the selection's weights, whatever the set's are."""
        return weighted(section.weights, row) if score == WEIGHTED else float(row[score])

    def above(row: Pair) -> bool:
        return all(value(row, score) >= bound for score, bound in section.floor.items())

    def passes(source: str) -> bool:
        own = [row for row in rows if row["source"] == source]
        share = section.source_thresholds.share_above_floor
        return all(
            math.fsum(value(row, score) for row in own) / len(own) >= bound
            for score, bound in section.source_thresholds.mean.items()
        ) and (share is None or sum(map(above, own)) / len(own) >= share)

    good = {source for source in {row["source"] for row in rows} if passes(source)}
    able = [{**row, WEIGHTED: weighted(weights, row)} for row in rows if row["source"] in good and above(row)]
    seed = recipe.seed
    images: dict[str, Callable[[Pair], Any]] = {
        "weighted_score": lambda row: (-row[WEIGHTED], row["image_id"]),
        "random": lambda row: (lot(seed, "image", row["image_id"]), row["image_id"]),
        "first_image": lambda row: (row["k"], row["image_id"]),
    }
    best: dict[str, Pair] = {}
    for row in sorted(able, key=images[chosen.by]):
        best.setdefault(row["caption_id"], row)
    captions: dict[str, Callable[[Pair], Any]] = {
        "weighted_score": images["weighted_score"],
        "random": lambda row: (lot(seed, "caption", row["caption_id"]), row["image_id"]),
        "first_image": lambda row: (lot(seed, "caption", row["caption_id"]), row["image_id"]),
    }
    taken = sorted(best.values(), key=captions[chosen.by])
    if len(taken) < size:
        return None
    hidden = ("k", "picture_hash")
    return [
        {"rank": rank, "text": f"text of {row['caption_id']}", **{k: v for k, v in row.items() if k not in hidden}}
        for rank, row in enumerate(taken[:size], 1)
    ]


NAMES = ("clip", "ssim", "vivid")
# few values, so that ties abound, in single scores and in their sum
VALUES = st.sampled_from([-0.2, 0.0, 0.1, 0.2, 0.30000000000000004, 0.3, 0.8, 0.8000000000000002])
WEIGHTS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.7, -1.0])
BOUNDS = st.sampled_from([-0.2, 0.1, 0.2, 0.3, 0.5])


@st.composite
def problems(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[str, Any], list[Pair]]:
    """Names of scores, a selection's section, and pairs."""
    names = NAMES[: draw(st.integers(1, 3))]
    some = st.dictionaries(st.sampled_from(names), WEIGHTS, min_size=1)
    bounds = st.dictionaries(st.sampled_from([*names, WEIGHTED]), BOUNDS, max_size=2)
    section = {
        "size": draw(st.integers(1, 6)),
        "weights": draw(some),
        "floor": draw(bounds),
        "source_thresholds": {
            "mean": draw(bounds),
            "share_above_floor": draw(st.none() | st.sampled_from([0.25, 0.5, 1.0])),
        },
        "sets": [
            {
                "name": "synthvlm",
                "by": draw(st.sampled_from(["weighted_score", "random", "first_image"])),
                "size": draw(st.none() | st.integers(1, 5)),
                "weights": draw(st.none() | some),
            },
            {"name": "random"},
        ],
    }
    rows = [
        pair(source, caption, k, **{name: draw(VALUES) for name in names})
        for source in ("a", "b", "c")[: draw(st.integers(1, 3))]
        for caption in range(draw(st.integers(1, 6)))
        for k in range(draw(st.integers(1, 3)))
    ]
    return names, section, rows


@settings(max_examples=100)
@given(
    problem=problems(),
    seed=st.integers(0, 3),
    cuts=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    order=st.randoms(use_true_random=False),
    rows=st.integers(1, 20),
)
def test_equals_brute_force(
    chosen_by: Make,
    problem: tuple[tuple[str, ...], dict[str, Any], list[Pair]],
    seed: int,
    cuts: tuple[int, ...],
    order: Any,
    rows: int,
) -> None:
    names, section, scored = problem
    recipe = chosen_by(*names, **section).model_copy(update={"seed": seed})
    expected = brute_force(scored, recipe, "synthvlm")
    shuffled = order.sample(scored, len(scored))
    homes = order.sample(sorted({row["source"] for row in scored}), len({row["source"] for row in scored}))
    sources = [Pool(home, [row for row in shuffled if row["source"] == home], recipe, cuts) for home in homes]
    size = recipe.released_set("synthvlm").size or recipe.selection.size
    if expected is None:
        with pytest.raises(TooFewPairs, match=f"{size} pairs are wanted"):
            select(sources, recipe)
        return
    found, report = select(sources, recipe, rows=rows)
    assert found == expected
    for name in (*names, WEIGHTED):
        assert report["means"][name] == math.fsum(row[name] for row in expected) / size
    assert sum(counted["selected"] for counted in report["sources"].values()) == size
    by_weight = recipe.released_set("synthvlm").by == "weighted_score"
    assert report["threshold_score"] == (expected[-1][WEIGHTED] if by_weight else None)


def test_ties_go_to_the_lower_id(chosen_by: Make) -> None:
    recipe = chosen_by()
    pairs = [pair("a", caption, clip=0.3, ssim=0.8) for caption in range(20)]
    found, report = select([Pool("a", pairs, recipe)], recipe)
    assert [row["image_id"] for row in found] == sorted(row["image_id"] for row in pairs)[:2]
    assert report["next_score"] == report["threshold_score"]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_table_has_the_released_columns(chosen_by: Make, rows: int) -> None:
    recipe = chosen_by(size=4)
    pool = Pool("a", [pair("a", n, clip=n / 10, ssim=0.5) for n in range(5)], recipe)
    with selection.ranked([pool], recipe, "synthvlm") as found:
        tables = list(found.tables(rows))
    assert [table.num_rows for table in tables] == [rows] * (4 // rows) + [4 % rows] * (4 % rows > 0)
    columns = score_columns(recipe)
    for table in tables:
        assert table.schema.equals(records.ranked(columns).schema)
    assert tables[0].column_names == records.synthvlm_100k(columns).names[: len(tables[0].column_names)]


def test_the_floor_comes_before_the_best_of_a_caption(chosen_by: Make) -> None:
    recipe = chosen_by(size=1, floor={"ssim": 0.5})
    blurred, sharp = pair("a", 0, 0, clip=0.9, ssim=0.3), pair("a", 0, 1, clip=0.4, ssim=0.9)
    [row], report = select([Pool("a", [blurred, sharp], recipe)], recipe)
    assert row["image_id"] == sharp["image_id"]
    assert report["sources"]["a"]["below_floor"] == 1


@pytest.mark.parametrize("by", ["weighted_score", "random", "first_image"])
def test_a_pair_exactly_at_the_floor_is_taken(chosen_by: Make, by: str) -> None:
    """The floor is closed: least values, not values that are not enough."""
    sets = [{"name": "synthvlm", "by": by}, {"name": "random"}]
    floor = {"clip": 0.3, WEIGHTED: 0.7}
    recipe = chosen_by(size=1, floor=floor, sets=sets)
    just_below = math.nextafter(0.3, 0)
    pairs = [pair("a", 0, clip=0.3, ssim=0.8), pair("a", 1, clip=just_below, ssim=0.9)]
    assert 0.3 + 0.5 * 0.8 == 0.7
    [row], report = select([Pool("a", pairs, recipe)], recipe)
    assert row["image_id"] == pairs[0]["image_id"]
    assert report["sources"]["a"]["below_floor"] == 1


def test_the_first_image_is_the_first_that_can_be_taken(chosen_by: Make) -> None:
    sets = [{"name": "synthvlm", "by": "first_image"}, {"name": "random"}]
    recipe = chosen_by(size=2, floor={"ssim": 0.5}, sets=sets)
    poor_first = [pair("a", 0, k, clip=0.1, ssim=ssim) for k, ssim in enumerate([0.4, 0.6, 0.9])]
    good_first = [pair("a", 1, k, clip=clip, ssim=0.9) for k, clip in enumerate([0.1, 0.9])]
    found, report = select([Pool("a", poor_first + good_first, recipe)], recipe)
    assert {row["image_id"] for row in found} == {poor_first[1]["image_id"], good_first[0]["image_id"]}
    assert report["threshold_score"] is report["next_score"] is None


def test_a_floor_on_the_weighted_score_means_the_selections_weights(chosen_by: Make) -> None:
    """Also for a set with weights of its own, so that a control chooses among the same pairs."""
    sets = [{"name": "synthvlm"}, {"name": "random", "by": "random"}, {"name": "clip", "weights": {"clip": 1.0}}]
    recipe = chosen_by(size=1, floor={WEIGHTED: 0.7}, source_thresholds={"mean": {WEIGHTED: 0.6}}, sets=sets)
    pairs = [pair("a", 0, clip=0.6, ssim=0.1), pair("a", 1, clip=0.3, ssim=0.9)]  # weighted 0.65 and 0.75
    for name in ("synthvlm", "random", "clip"):
        [row], report = select([Pool("a", pairs, recipe)], recipe, name)
        assert row["image_id"] == pairs[1]["image_id"], name
        assert row[WEIGHTED] == (0.3 if name == "clip" else 0.75)
        assert report["sources"]["a"]["below_floor"] == 1
        assert report["sources"]["a"]["numbers"]["mean_weighted_score"] == 0.7
        assert report["weights"] == ({"clip": 1.0} if name == "clip" else {"clip": 1.0, "ssim": 0.5})


def test_a_set_has_its_own_size_and_weights(chosen_by: Make) -> None:
    sets = [{"name": "synthvlm"}, {"name": "random"}, {"name": "sharp", "weights": {"ssim": 1.0}, "size": 3}]
    recipe = chosen_by(sets=sets)
    pairs = [pair("a", n, clip=n / 10, ssim=1 - n / 10) for n in range(6)]
    found, report = select([Pool("a", pairs, recipe)], recipe, "sharp")
    assert [row["ssim"] for row in found] == [1.0, 0.9, 0.8]
    assert report["size"] == 3
    best, _ = select([Pool("a", pairs, recipe)], recipe)
    assert [row["clip"] for row in best] == [0.5, 0.4]


def test_a_failing_source_contributes_nothing_and_is_reported(chosen_by: Make) -> None:
    recipe = chosen_by(size=5, source_thresholds={"mean": {"clip": 0.36}})
    good = [pair("good", n, clip=0.4, ssim=0.8) for n in range(5)]
    bad = [pair("bad", n, clip=0.2 if n else 0.9, ssim=0.8) for n in range(5)]  # the best pair of all is here
    found, report = select([Pool("good", good, recipe), Pool("bad", bad, recipe)], recipe)
    assert {row["source"] for row in found} == {"good"}
    assert report["sources"]["bad"]["selected"] == 0
    assert "mean clip 0.3400 is below 0.36" in report["sources"]["bad"]["verdict"]


def test_a_source_whose_mean_is_exactly_the_threshold_is_taken(chosen_by: Make) -> None:
    recipe = chosen_by(size=1, source_thresholds={"mean": {"clip": 0.422}})
    found, _ = select([Pool("a", [pair("a", 0, clip=0.422, ssim=0.8)], recipe)], recipe)
    assert len(found) == 1


def test_the_control_is_another_set_of_the_same_pairs(chosen_by: Make) -> None:
    recipe = chosen_by(size=20, floor={"clip": 0.1})
    pairs = [pair("a", n // 2, n % 2, clip=n / 100, ssim=0.8) for n in range(100)]
    best, _ = select([Pool("a", pairs, recipe)], recipe)
    control, report = select([Pool("a", pairs, recipe)], recipe, "random")
    other, _ = select([Pool("a", pairs, recipe)], recipe.model_copy(update={"seed": 1}), "random")
    ids = [{row["image_id"] for row in found} for found in (best, control, other)]
    assert all(len(some) == 20 for some in ids)
    assert ids[0] != ids[1] != ids[2]
    assert all(row["clip"] >= 0.1 for row in control)
    assert len({row["caption_id"] for row in control}) == 20
    assert report["threshold_score"] is report["next_score"] is None


@pytest.mark.parametrize("by", ["random", "first_image"])
def test_a_control_takes_captions_with_many_images_no_more_often(chosen_by: Make, by: str) -> None:
    recipe = chosen_by(size=100, sets=[{"name": "synthvlm"}, {"name": "random", "by": by}])
    scores = {"clip": 0.3, "ssim": 0.8}
    pairs = [pair("a", n, **scores) for n in range(100)] + [
        pair("b", n, k, **scores) for n in range(100) for k in range(8)
    ]
    sources = [Pool(name, [row for row in pairs if row["source"] == name], recipe) for name in ("a", "b")]
    found, _ = select(sources, recipe, "random")
    assert 35 <= sum(row["source"] == "a" for row in found) <= 65  # four standard deviations are 14


def test_an_unknown_set_is_refused(chosen_by: Make) -> None:
    recipe = chosen_by()
    with pytest.raises(ValueError, match="has no set 'best'"):
        select([Pool("a", [], recipe)], recipe, "best")


GOOD = {"spec": "spec", "image_definition": "images"}


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda a, r: Pool("a", a, r, manifest={**GOOD, "spec": "other"}), "scores of the sources have several def"),
        (
            lambda a, r: Pool("a", a, r, manifest={**GOOD, "image_definition": "o"}),
            "images of the sources have several",
        ),
        (lambda a, r: Pool("a", [*a[1:], {**a[0], "ssim": math.nan}], r), "has a score that is not finite"),
        (lambda a, r: Pool("a", [*a[1:], {**a[0], "clip": math.inf}], r), "has a score that is not finite"),
        (lambda a, r: Pool("a", [*a[1:], {**a[0], "clip": 1e308, "ssim": 1e308}], r), "a score that is not finite"),
        (lambda a, r: Pool("a", [*a, a[0]], r), "occurs more than once"),
        (lambda a, r: Pool("a", [*a, pair("b", 9, clip=0.1, ssim=0.1)], r), "is of another source"),
        (lambda a, r: Pool("a", a, r, texts_of=[]), "has 0 texts"),
        (lambda a, r: Pool("a", a, r, texts_of=[*a, pair("b", 0)]), "has 2 texts"),
    ],
    ids=["specs", "images", "nan", "infinite", "overflow", "doubled", "source", "no-text", "two-texts"],
)
def test_unsound_scores_are_refused(chosen_by: Make, break_it: Callable[[list[Pair], Recipe], Pool], said: str) -> None:
    recipe = chosen_by(size=4, weights={"clip": 1.0, "ssim": 1.5})
    good = Pool("b", [pair("b", n, clip=0.3, ssim=0.8) for n in range(3)], recipe)
    rows = [pair("a", n, clip=0.5, ssim=0.8) for n in range(3)]
    assert len(select([Pool("a", rows, recipe), good], recipe)[0]) == 4
    with pytest.raises(UnsoundScores, match=said) as raised:
        select([break_it(rows, recipe), good], recipe)
    assert "materialize" in str(raised.value)


def test_a_row_of_two_sources_names_image_and_source(chosen_by: Make) -> None:
    recipe = chosen_by()
    row = pair("a", 0, clip=math.nan, ssim=0.5)
    with pytest.raises(UnsoundScores, match=rf"image {row['image_id']} among the scores of source 'a' has a score"):
        select([Pool("a", [row, pair("a", 1, clip=0.1, ssim=0.1)], recipe)], recipe)


# from a store


def test_a_set_from_stored_scores(scored: Store, painted: Recipe) -> None:
    found, report = select(stages(scored, painted), painted)
    best: dict[str, str] = {}
    weights = painted.selection.weights
    rows = rows_of(scored, painted)
    for row in sorted(rows, key=lambda row: (-weighted(weights, row), row["image_id"])):
        best.setdefault(row["caption_id"], row["image_id"])
    assert [row["image_id"] for row in found] == list(best.values())[:5]
    assert {row["source"] for row in found} == {"laion", "cc"}
    assert all(len(row["text"]) > 20 for row in found)
    assert report["spec"] == stages(scored, painted)[0].spec
    assert report["image_definition"] == stages(scored, painted)[0].images.definition
    assert report["pairs"] == len(rows) == 16


def test_a_source_without_scores_is_no_silent_gap(scored: Store, painted: Recipe) -> None:
    _, cc = stages(scored, painted)
    scored.fs.rm(cc.manifest_path)
    with pytest.raises(NotMaterialized, match="scored_pairs of 'cc' is not in"):
        select(stages(scored, painted), painted)


def test_scores_of_another_recipe_do_not_count(scored: Store, painted: Recipe, edited: Edit) -> None:
    other = edited(painted, {"scores.ssim.window": 9})
    with pytest.raises(NotMaterialized, match="materialize scored_pairs"):
        select(stages(scored, other), other)


def test_scores_of_two_recipes_are_never_mixed(scored: Store, painted: Recipe, edited: Edit) -> None:
    other = edited(painted, {"scores.ssim.window": 9})
    mixed = [stages(scored, painted)[0], ScoredPairs(scored, other, "cc")]
    mixed[1].make()
    assert set(map(frozenset, (stage.table.names for stage in mixed))) == {frozenset(mixed[0].table.names)}
    with pytest.raises(UnsoundScores, match="the scores of the sources have several definitions") as raised:
        select(mixed, painted)
    assert f"laion {mixed[0].spec}, cc {mixed[1].spec}" in str(raised.value)


def test_a_third_score_needs_no_other_edit(scored: Store, painted: Recipe, edited: Edit) -> None:
    """It is scored, weighed, bounded, summed up, told and shown like the others."""
    third = edited(
        painted,
        {
            "scores": [SSIM, {"score": "colourfulness"}, {**SSIM, "name": "luma", "channels": "luma"}],
            "selection.weights": {"ssim": 1.0, "luma": 2.0},
            "selection.floor": {"luma": 0.1, "colourfulness": 1.0},
            "selection.source_thresholds": {"mean": {"luma": 0.2}, "share_above_floor": 0.5},
        },
    )
    for stage in stages(scored, third):
        assert stage.make()["scored_by_score"] == {"ssim": 0, "colourfulness": 0, "luma": 8}
    found, report = select(stages(scored, third), third)
    assert all(row[WEIGHTED] == 2.0 * row["luma"] + row["ssim"] for row in found)
    assert list(report["means"]) == ["ssim", "colourfulness", "luma", WEIGHTED]
    laion, _ = stages(scored, third)
    assert list(laion.statistics) == ["ssim", "colourfulness", "luma", WEIGHTED]
    assert "mean luma" in thresholds.verify_source(laion).summary
    assert list(examples.examples(laion)[0]["scores"]) == ["ssim", "colourfulness", "luma"]
    assert checks.every_image_has_one_score(laion).passed
    assert checks.scores_agree_with_stored_images(laion).numbers["luma"] == "0.0e+00"

    lifted = edited(third, {"selection.source_thresholds": {"mean": {"luma": 0.999}}})
    with pytest.raises(TooFewPairs, match=r"mean luma .* is below 0\.999"):
        select(stages(scored, lifted), lifted)
