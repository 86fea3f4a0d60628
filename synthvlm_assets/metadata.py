"""Metadata that a person wants to see of a materialization.

Belongs here: turning manifests and previews of synthvlm_core into Dagster metadata under fixed keys, so that numbers
plot over time. Does not belong here: computing numbers or drawing pictures; Dagster, since workers call this.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from dagster_pipes import PipesMetadataValue

from synthvlm_core.captions.filtered import FilteredCaptions, rules_context
from synthvlm_core.captions.funnel import funnel
from synthvlm_core.captions.nearest import counted_most, nearest, original_pictures
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.evaluation.accuracy import OVERALL
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.rule import Rule
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.pictures import contact_sheets, funnels, histograms
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring import examples
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.selection.thresholds import verify_source
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint

Shown = PipesMetadataValue
Metadata = dict[str, Any]
"""By name: text, numbers, `Shown`."""
_TYPES = {str: "string", int: "int", float: "float", bool: "bool"}
SHEET = 18
"""Pictures on a contact sheet."""


def raw_captions(stage: RawCaptions) -> Metadata:
    """Quarantine by reason, input files, and some of what was read."""
    manifest, found = stage.manifest, stage.examples()
    captions = [
        {"file": _end(row["file"]), "row": row["row"], "text": histograms.one_line(row["text"])}
        for row in found["captions"]
    ]
    refused = [
        {
            "file": _end(row["file"]),
            "row": row["row"],
            "reason": row["reason"],
            "content": histograms.one_line(row["content"].decode(errors="replace")) or "(empty)",
        }
        for row in found["quarantine"]
    ]
    return {
        **_tables(
            {
                "quarantined by reason": _counts("reason", manifest["reasons"]),
                "input files": [
                    {"file": file["file"], "captions": file["rows"], "quarantined": file["quarantined"]}
                    for file in manifest["files"]
                ],
                "some captions": captions,
                "some quarantined rows": refused,
            }
        ),
        "dagster/uri": stage.store.url(stage.name, f"source={stage.partition}"),
    }


def filtered_captions(stage: FilteredCaptions) -> Metadata:
    """Beside the worker's counts: rules, histograms with thresholds, and the captions nearest to each threshold."""
    manifest = stage.manifest
    title = f"{stage.partition}: {manifest['kept']:,} of {manifest['captions']:,} captions kept"
    steps, context = funnel(manifest), rules_context(stage.recipe)
    rules = {rule.kind_name: rule for rule in stage.recipe.captions.rules}
    passing = dict.fromkeys(manifest.get("without_originals", ()), "the source names no original images; all pass")

    def counted(rule: str, text: str) -> list[str]:
        return rules[rule].counted(text, context)

    near = nearest(stage)
    examples = [
        {
            "rule": rule,
            "verdict": verdict,
            "value": f"{value:.4g}",
            "caption": histograms.one_line(text),
            "what counted": histograms.one_line(", ".join(counted(rule, text))),
        }
        for rule, sides in near.items()
        for verdict in ("kept", "rejected")
        for text, value in sides[verdict]
    ]
    shown = {}
    if pairs := _beside_originals(stage, rules, near):
        shown["beside their original images"] = jpeg(contact_sheets.contact_sheet(pairs))
    return {
        "rejected share": _four(manifest["rejected"] / max(manifest["captions"], 1)),
        "funnel": image(funnels.funnel(steps, title)),
        **shown,
        "histograms": image(histograms.histograms(manifest["histograms"], manifest["rules"], title)),
        **_tables(
            {
                "captions left": [{"step": step.name, "gone": step.gone, "left": step.left} for step in steps],
                "rules not applied": _counts("rule", {**passing, **manifest["not_applied"]}, "why"),
                "original images": _counts("outcome", manifest.get("original_images", {}), "captions"),
                "nearest to the thresholds": examples,
                "what counted most": [
                    {"rule": rule, "words": histograms.one_line(span), "captions rejected": count}
                    for rule, span, count in counted_most(stage)
                ],
            }
        ),
        "dagster/uri": stage.store.unstrip(stage.path),
    }


def _beside_originals(
    stage: FilteredCaptions, rules: Mapping[str, Rule], near: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]
) -> list[tuple[bytes, str, str]]:
    """The captions nearest to the thresholds of rules on originals: picture, caption, verdict and value."""
    told = {
        text: f"{verdict}, {rules[rule].statistic.removeprefix('image_').replace('_', ' ')} {value:.2f}"
        for rule, sides in near.items()
        if rules[rule].of_originals
        for verdict, captions in sides.items()
        for text, value in captions
    }
    pictures = original_pictures(stage, told)
    return [(pictures[text], text, words) for text, words in told.items() if text in pictures]


def synthetic_images(stage: SyntheticImages) -> Metadata:
    """What was drawn, and some of it to look at."""
    manifest = stage.manifest
    pictures: list[tuple[bytes, str, str]] = []
    for part in stage.counting_images():
        for row in part.slice(0, SHEET - len(pictures)).to_pylist():
            pictures.append((row["image"]["bytes"], row["text"], f"seed {row['seed']}"))
        if len(pictures) >= SHEET:
            break
    return {
        "unhealthy share": _four(manifest["unhealthy"] / max(manifest["attempts"], 1)),
        "some images": jpeg(contact_sheets.contact_sheet(pictures)),
        "dagster/uri": stage.store.unstrip(stage.folder.path),
    }


def scored_pairs(stage: ScoredPairs) -> Metadata:
    """Means against thresholds, histograms, and the best, borderline and worst pairs."""
    statistics, selection = stage.statistics, stage.recipe.selection
    means = selection.source_thresholds.of(stage.partition).mean
    bounds = {score: [found[score] for found in (selection.floor, means) if score in found] for score in statistics}
    title = f"{stage.partition}: {stage.manifest['pairs']:,} pairs, floor and thresholds dashed"
    pairs = [
        (row["data"], row["text"], f"{row['place']} {', '.join(f'{value:.3f}' for value in row['scores'].values())}")
        for row in examples.examples(stage)
    ]
    labels = ", ".join(score.label for score in stage.recipe.scores)
    return {
        **_known({f"mean {score.replace('_', ' ')}": numbers["mean"] for score, numbers in statistics.items()}),
        "verdict": verify_source(stage).summary,
        "histograms": image(histograms.score_histograms(statistics, bounds, title)),
        f"best, borderline and worst pairs ({labels})": jpeg(contact_sheets.contact_sheet(pairs)),
        "dagster/uri": stage.store.unstrip(stage.path),
    }


def released_set(stage: Synthvlm100k) -> Metadata:
    """Counts per source, means, the lowest score taken and the highest left out."""
    manifest = stage.manifest
    report = manifest["report"]
    by_source = [
        {
            "source": name,
            "pairs": found["pairs"],
            "could be taken": found["available"],
            "taken": found["selected"],
            "verdict": found["verdict"],
        }
        for name, found in report["sources"].items()
    ]
    first: list[tuple[bytes, str, str]] = []
    for part in stage.rows(["rank", "image", "text", WEIGHTED]):
        for row in part.slice(0, SHEET - len(first)).to_pylist():
            first.append((row["image"]["bytes"], row["text"], f"{row['rank']}.  {row[WEIGHTED]:.3f}"))
        if len(first) >= SHEET:
            break
    return {
        **_known({f"mean {score.replace('_', ' ')}": mean for score, mean in report["means"].items()}),
        **_known({"lowest weighted score taken": report["threshold_score"]}),
        **_tables({"by source": by_source}),
        "the first pairs": jpeg(contact_sheets.contact_sheet(first)),
        "formats": ", ".join(manifest["formats"]),
        "dagster/uri": stage.store.unstrip(stage.location),
    }


def checkpoint(stage: ProjectorCheckpoint | VlmCheckpoint) -> Metadata:
    """Beside the worker's counts: losses, the loss curve, on what it was trained."""
    manifest = stage.manifest
    losses = manifest["losses"]
    title = f"{stage.partition}, {stage.name.replace('_', ' ')}: loss per optimizer step and its running mean"
    return {
        "first loss": _four(losses[0]),
        "last loss": _four(losses[-1]),
        "precision": manifest["precision"],
        "device": manifest["device"],
        "seconds": round(manifest["seconds"], 1),
        "loss curve": image(histograms.loss_curve(losses, title)),
        "dagster/uri": stage.store.unstrip(stage.product.path),
    }


def evaluation(stage: Evaluation) -> Metadata:
    """Accuracy by kind against chance with intervals, the difference to other variants, language before and after,
    answered pictures."""
    result = stage.manifest
    rows, numbers = [], {}
    for name, scores in result["benchmarks"].items():
        for kind, found in {OVERALL: scores[OVERALL], **scores["by_kind"]}.items():
            rows.append(
                {
                    "benchmark": name,
                    "kind": kind,
                    "accuracy": _told(found["accuracy"]),
                    "95 % interval": f"{_told(found['low'])} to {_told(found['high'])}",
                    "chance": _told(found["chance"]),
                    "questions": found["n"],
                }
            )
        numbers[f"accuracy {name}"] = scores[OVERALL]["accuracy"]
        numbers[f"chance {name}"] = scores[OVERALL]["chance"]
    if (language := result["language"]) is not None:
        numbers |= {f"perplexity {when}": language[when] for when in ("before", "after")}
    shown = _known(numbers)
    differences = [
        {
            "other variant": other,
            "benchmark": name,
            "kind": kind,
            "difference": f"{found['difference']:+.4f}",
            "95 % interval": f"{found['low']:+.4f} to {found['high']:+.4f}",
            "questions": found["n"],
        }
        for other, benchmarks in stage.comparisons().items()
        for name, kinds in benchmarks.items()
        for kind, found in kinds.items()
    ]
    shown |= _tables(
        {
            "accuracy by kind": rows,
            "accuracy less that of other variants": differences,
            "benchmarks not run": _counts("benchmark", result["not_applied"], "why"),
        }
    )
    answered = [
        (a.picture, f"{a.question} {a.answer or '(nothing)'}", "right" if a.right else f"wrong: {a.truth}")
        for a in stage.examples()
    ]
    if answered:
        shown["answered questions"] = jpeg(contact_sheets.contact_sheet(answered))
    return {**shown, "dagster/uri": stage.store.unstrip(stage.manifest_path)}


def _four(value: float) -> float:
    """A number for people: four digits behind the point, of one below 1 its first four."""
    return round(value, 4) if abs(value) >= 1 else float(f"{value:.4g}")


def _end(name: str, limit: int = 30) -> str:
    """The end of a file's name, in a column that leaves room for others; the table of input files has the whole."""
    return name if len(name) <= limit else f"…{name[1 - limit :]}"


def _told(value: float | None) -> str:
    """A number that may not be known, as a cell of a table."""
    return "–" if value is None else f"{value:.4f}"


def _known(numbers: Mapping[str, float | None]) -> Metadata:
    """The numbers that there are, with four digits."""
    return {name: _four(value) for name, value in numbers.items() if value is not None}


def four_digits(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a check, for people."""
    return {name: _four(value) if isinstance(value, float) else value for name, value in numbers.items()}


def _counts(name: str, values: Mapping[str, Any], value_name: str = "rows") -> list[dict[str, Any]]:
    """Rows of a table of two columns; the column `name` holds the keys."""
    return [{name: key, value_name: value} for key, value in values.items()]


def _tables(named: Mapping[str, Sequence[Mapping[str, Any]]]) -> Metadata:
    """Tables by name, without those that have no rows. The UI shows text in a cell as it is: no markup is read.

    The rows of a table have the same columns.
    """
    return {name: _table(rows) for name, rows in named.items() if rows}


def _table(rows: Sequence[Mapping[str, Any]]) -> Shown:
    schema = [{"name": name, "type": _TYPES[type(value)]} for name, value in rows[0].items()]
    return {"raw_value": {"records": rows, "schema": schema}, "type": "table"}


def image(png: bytes) -> Shown:
    """A picture inside markdown, the one way the UI shows one. It is stored in the database: keep it below 150 kB."""
    return _markdown("png", png)


def jpeg(data: bytes) -> Shown:
    """A contact sheet inside markdown."""
    return _markdown("jpeg", data)


def _markdown(kind: str, data: bytes) -> Shown:
    return {"raw_value": f"![](data:image/{kind};base64,{base64.b64encode(data).decode()})", "type": "md"}
