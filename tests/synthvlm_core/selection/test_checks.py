"""The check holds on a sound store and fails on the one that it is there for."""

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.selection import checks
from synthvlm_core.store.objects import Store

from .conftest import Edit, stages


def test_scores_reach_the_thresholds(scored: Store, painted: Recipe, edited: Edit) -> None:
    laion, _ = stages(scored, painted)
    assert checks.scores_reach_the_thresholds(laion).summary == "8 pairs: no thresholds are set"
    mean = laion.statistics["ssim"]["mean"]
    reached, _ = stages(scored, edited(painted, {"selection.source_thresholds": {"mean": {"ssim": mean}}}))
    assert checks.scores_reach_the_thresholds(reached).passed
    missed, _ = stages(scored, edited(painted, {"selection.source_thresholds": {"mean": {"ssim": 0.99}}}))
    finding = checks.scores_reach_the_thresholds(missed)
    assert not finding.passed
    assert finding.summary == f"mean ssim {mean:.4f} is below 0.99"
