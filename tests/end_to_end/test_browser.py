"""What a person sees: the graph, a click on Materialize, what came out with its plots and pictures."""

import os
from pathlib import Path

import pytest

from synthvlm_core.recipe.sections import Recipe

pytestmark = pytest.mark.browser


def shot(page, name: str) -> None:
    """Keep a screenshot where SYNTHVLM_SCREENSHOTS says, for people to look at."""
    folder = os.environ.get("SYNTHVLM_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder, f"{name}.png")))


def look(page, url: str, text: str, name: str) -> None:
    """Open a page, wait until it shows a text, keep a screenshot."""
    page.goto(url)
    page.get_by_text(text).first.wait_for()
    page.wait_for_timeout(1500)
    shot(page, name)


def test_a_person_materializes_all_sources_and_looks_at_them(deploy, page, four_sources: Recipe) -> None:
    running = deploy(four_sources)
    look(page, running.url, "scored_pairs", "graph")  # the first page, with its groups open

    page.goto(f"{running.url}/locations/__repository__@synthvlm/jobs/curate_and_draw")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    page.wait_for_timeout(1000)
    dialog.get_by_text("All", exact=True).first.click()
    shot(page, "dialog")
    dialog.get_by_role("button", name="Launch backfill").click()

    def ended() -> bool:
        assert not running.runs("FAILURE"), [running.why(run["runId"]) for run in running.runs("FAILURE")]
        return len(running.runs("SUCCESS")) == len(four_sources.sources)

    running.wait(ended, "a backfill of all sources", 600)

    assets = f"{running.url}/assets"
    look(page, f"{assets}/filtered_captions?view=partitions&partition=laion", "captions left", "partition")
    look(page, f"{assets}/filtered_captions?view=events&partition=laion", "histograms", "events")
    look(page, f"{assets}/filtered_captions?view=overview", "caption_id", "overview")
    look(page, f"{assets}/scored_pairs?view=checks", "scores_reach_the_thresholds", "checks")
    for asset, told in (("synthetic_images", "some images"), ("scored_pairs", "best, borderline and worst pairs")):
        look(page, f"{assets}/{asset}?view=events&partition=sbu", told, asset)
        for number, link in enumerate(page.get_by_text("[Show Markdown]").all()):
            link.click()
            picture = page.get_by_role("dialog").locator("img[src^='data:image/']")
            picture.wait_for()
            page.wait_for_timeout(500)
            shot(page, f"{asset}_{number}")
            assert picture.evaluate("one => one.complete && one.naturalWidth > 300")
            page.get_by_role("dialog").get_by_role("button", name="Close").click()
            page.get_by_role("dialog").wait_for(state="detached")
