"""The card of a release: what is in it, how it was made, what to know before using it.

Belongs here: the text. Does not belong here: any number that is not in the manifest or the recipe.
"""

from typing import Any

import yaml

from synthvlm_core.recipe import Recipe


def render(recipe: Recipe, manifest: dict[str, Any]) -> str:
    """README.md with the front matter that the Hugging Face hub reads."""
    report = manifest["report"]
    title = " ".join(recipe.release.title.split())  # one line: a heading has no more
    means = report["means"]
    taken = "chosen at random, as a control" if manifest["method"] == "random" else "with the highest weighted scores"
    rows = "\n".join(
        f"| {name} | {source['pairs']:,} | {source['available']:,} | {source['selected']:,} |"
        f" {_number(source['means'], 'clip_score')} | {_number(source['means'], 'ssim')} |"
        for name, source in report["sources"].items()
    )
    generator = recipe.generator
    floor = {name: value for name, value in recipe.selection.floor.model_dump().items() if value is not None}
    thresholds = {n: v for n, v in recipe.selection.source_thresholds.model_dump().items() if v is not None}
    refined = f", refined by `{generator.refiner.id}`" if generator.refiner else ""
    front_matter = {
        "pretty_name": title,
        "task_categories": ["image-to-text", "text-to-image"],
        "tags": ["synthetic", "image-caption"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    return f"""---
{yaml.safe_dump(front_matter, allow_unicode=True, sort_keys=False)}---

# {title}

{manifest["rows"]:,} synthetic image-caption pairs {taken}. Every image was drawn by a model from its caption; no
image was taken from the web. Content hash `{manifest["content_hash"]}`.

| | mean |
|---|---|
| CLIPScore | {_number(means, "clip_score")} |
| SSIM | {_number(means, "ssim")} |
| weighted score, CLIPScore + {recipe.selection.weight:g} × SSIM | {_number(means, "weighted_score")} |

| source | scored pairs | could be taken | taken | mean CLIPScore | mean SSIM |
|---|---|---|---|---|---|
{rows}

## How it was made

- Images: `{generator.model.id}`{refined}, {generator.steps} steps, guidance {generator.guidance_scale:g},
  {generator.width}×{generator.height} pixels, {generator.images_per_caption} per caption.
- CLIPScore: `{recipe.scores.clip_score.model.id}` ({recipe.scores.clip_score.architecture}), prefix
  "{recipe.scores.clip_score.prefix}", weight {recipe.scores.clip_score.weight:g}; definition `{report["spec"]}`.
- SSIM: the image against itself after shrinking to {recipe.scores.ssim.shrink_to} pixels and back.
- Floor: {floor or "none"}. Thresholds of a source: {thresholds or "none"}.
- The resolved recipe is `recipe.json`; every image can be drawn again from its caption and the recipe.

## Files

`data/` is Parquet for `datasets.load_dataset`. `llava/` is the same set for LLaVA's loader: `synthvlm.json` with the
images below `images/`.

## Before you use it

The licences of the generator and of the caption sources apply. Captions come from the web and may name people.
A diffusion model can reproduce pictures it was trained on; no such check was made here.
"""


def _number(means: dict[str, float | None], score: str) -> str:
    value = means[score]
    return "–" if value is None else f"{value:.4f}"
