"""The card of a release: what is in it, how it was made, what to know before using it.

Belongs here: the text. Does not belong here: any number that is not in the manifest or the recipe, what a score, a
generator or a format is (the parts tell it themselves).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from synthvlm_core.parts.format import Format
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe, ReleasedSet, Thresholds
from synthvlm_core.release.formats.huggingface import HuggingFace

_CHOSEN = {
    "weighted_score": "with the highest weighted scores",
    "random": "chosen at random, as a control",
    "first_image": "chosen at random, of each caption its first image, as a control",
}


def render(
    recipe: Recipe, chosen: ReleasedSet, manifest: dict[str, Any], formats: Sequence[Format], files: Sequence[str]
) -> str:
    """README.md with the front matter that the Hugging Face hub reads.

    Args:
        chosen: the set that was released.
        manifest: its values, apart from the files.
        formats: all that the release has.
        files: names of all its files.
    """
    report = manifest["report"]
    title = " ".join(recipe.release.title.split())  # one line: a heading has no more
    labels = {score.column: score.label for score in recipe.scores}
    weights = chosen.weights or recipe.selection.weights
    weighted = " + ".join(f"{weight:g} × {labels[score]}" for score, weight in weights.items())
    shown = {**labels, WEIGHTED: f"weighted score, {weighted}"}
    front_matter = {
        "pretty_name": title,
        "task_categories": ["image-to-text", "text-to-image"],
        "tags": ["synthetic", "image-caption"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {
                        "split": "train",
                        "path": [name for name in files if name.startswith(f"{HuggingFace.folder}/")],
                    }
                ],
            }
        ],
    }
    return f"""---
{yaml.safe_dump(front_matter, allow_unicode=True, sort_keys=False)}---

# {title}

{manifest["rows"]:,} synthetic image-caption pairs {_CHOSEN[chosen.by]}. Every image was drawn by a model from its
caption; no image was taken from the web. Content hash `{manifest["content_hash"]}`.

| | mean |
|---|---|
{_lines(_row(label, _number(report["means"][score])) for score, label in shown.items())}

{_row("source", "scored pairs", "could be taken", "taken", *(f"mean {label}" for label in labels.values()))}
{_row(*("---" for _ in range(4 + len(labels))))}
{_lines(_source(name, source, list(labels)) for name, source in report["sources"].items())}

## How it was made

- Images: {recipe.generator.told()}.
{_lines(f"- {score.told()}" for score in recipe.scores)}
- Floor: {_bounds(recipe.selection.floor)}. Thresholds of a source: {_bounds(_thresholds(recipe))}.
- The resolved recipe is `recipe.json`. {_replay(recipe)}

## Files

{_lines(f"- `{form.folder}/`: {form.explained}" for form in formats)}
- `manifest.json`: every file with its SHA-256.

## Before you use it

The licences of the generator and of the caption sources apply. Captions come from the web and may name people.
A generator can reproduce pictures it was trained on; no such check was made here.
"""


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _source(name: str, source: dict[str, Any], scores: Sequence[str]) -> str:
    counts = (f"{source[count]:,}" for count in ("pairs", "available", "selected"))
    return _row(name, *counts, *(_number(source["means"][score]) for score in scores))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _thresholds(recipe: Recipe) -> dict[str, float]:
    whole = recipe.selection.source_thresholds
    found = _named(whole, "")
    for source, own in whole.by_source.items():
        found |= _named(own, f"{source}: ")
    return found


def _named(thresholds: Thresholds, prefix: str) -> dict[str, float]:
    share = {} if thresholds.share_above_floor is None else {"share above the floor": thresholds.share_above_floor}
    named = {**{f"mean {score}": bound for score, bound in thresholds.mean.items()}, **share}
    return {f"{prefix}{name}": bound for name, bound in named.items()}


def _bounds(bounds: dict[str, float]) -> str:
    return ", ".join(f"{name} ≥ {bound:g}" for name, bound in bounds.items()) or "none"


def _replay(recipe: Recipe) -> str:
    if not recipe.generator.replayable:
        return "No image can be drawn again: the generator, asked again, may answer with another picture."
    return (
        "Every image can be drawn again from its caption, `k` and `attempt` with that recipe and the weights that it "
        "names: `seed` is that of its noise, `definition` the hash of all that drew it. With the same versions of the "
        "libraries, processor, threads and batch size it is the same to the byte, elsewhere but for its last bits."
    )
