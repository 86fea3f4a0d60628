"""Metadata that a person wants to see of a materialization.

Belongs here: turning manifests and previews of synthvlm_core into Dagster metadata under fixed keys, so that numbers
plot over time. Does not belong here: computing numbers or drawing pictures.
"""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from synthvlm_core import contact_sheets, previews, records, selection
from synthvlm_core.captions import filtering
from synthvlm_core.evaluation import scores as evaluations
from synthvlm_core.images import synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import stage as release
from synthvlm_core.scoring import examples, summary
from synthvlm_core.scoring import stage as scoring
from synthvlm_core.store import Store
from synthvlm_core.training import checkpoints
from synthvlm_core.training.checkpoints import Stage

Metadata = dict[str, Any]
SHEET = 18
"""Pictures on a contact sheet."""


def column_schema(table: records.Table) -> dg.TableSchema:
    """The UI's column schema of a stored table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=_type_name(column.type),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=column.name == table.key),
            )
            for column in table.columns
        ]
    )


def raw_captions(store: Store, recipe: Recipe, manifest: Mapping[str, Any]) -> Metadata:
    """Rows, quarantine by reason, input files."""
    return {
        "recipe": recipe.name,
        "dagster/partition_row_count": manifest["rows"],
        "quarantined": manifest["quarantined"],
        "quarantined by reason": counts_table("reason", manifest["reasons"]),
        "input files": dg.MetadataValue.table(
            [
                dg.TableRecord({"file": file["file"], "captions": file["rows"], "quarantined": file["quarantined"]})
                for file in manifest["files"]
            ]
        ),
        "dagster/uri": store.url("raw_captions", f"source={manifest['source']}"),
    }


def filtered_captions(store: Store, recipe: Recipe, manifest: Mapping[str, Any]) -> Metadata:
    """Beside the worker's counts: rules, histograms with thresholds, and the captions nearest to each threshold."""
    title = f"{manifest['source']}: {manifest['kept']:,} of {manifest['captions']:,} captions kept"
    picture = previews.histograms(manifest["histograms"], manifest["rules"], title)
    examples = filtering.examples(store, recipe, manifest["source"])
    location = filtering.location(store, recipe, manifest["source"])
    return {
        "recipe": recipe.name,
        "dagster/partition_row_count": manifest["kept"],
        "rejected share": round(manifest["rejected"] / max(manifest["captions"], 1), 4),
        "rejected by rule": counts_table("rule", manifest["rejected_by_rule"]),
        "rules not applied": counts_table("rule", manifest["not_applied"], "why"),
        "histograms": image(picture),
        "nearest to the thresholds": dg.MetadataValue.md(_examples_table(examples)),
        "dagster/uri": str(store.fs.unstrip_protocol(location)),
    }


def synthetic_images(store: Store, recipe: Recipe, source: str) -> Metadata:
    """What was drawn, and some of it to look at."""
    manifest = synthesis.manifest(store, recipe, source)
    pictures: list[tuple[bytes, str, str]] = []
    for part in synthesis.counting_images(store, recipe, source):
        for row in part.slice(0, SHEET - len(pictures)).to_pylist():
            pictures.append((row["image"]["bytes"], row["text"], f"seed {row['seed']}"))
        if len(pictures) >= SHEET:
            break
    return {
        "recipe": recipe.name,
        "dagster/partition_row_count": manifest["healthy"],
        "unhealthy share": round(manifest["unhealthy"] / max(manifest["attempts"], 1), 4),
        "some images": jpeg(contact_sheets.contact_sheet(pictures)),
        "dagster/uri": str(store.fs.unstrip_protocol(synthesis.location(store, recipe, source).path)),
    }


def scored_pairs(store: Store, recipe: Recipe, source: str) -> Metadata:
    """Means against thresholds, histograms, and the best, borderline and worst pairs."""
    manifest = scoring.manifest(store, recipe, source)
    rows, weight = scoring.dataset(store, recipe, source), recipe.selection.weight
    statistics = {**manifest["statistics"], **summary.of(rows, weight, ("weighted_score",))}
    floor, thresholds = recipe.selection.floor, recipe.selection.source_thresholds
    bounds = {
        score: [bound for bound in (getattr(floor, score), getattr(thresholds, f"mean_{score}")) if bound is not None]
        for score in statistics
    }
    title = f"{source}: {manifest['pairs']:,} pairs, floor and thresholds dashed"
    pairs = [
        (row["data"], row["text"], f"{row['place']} {row['clip_score']:.3f}, {row['ssim']:.3f}")
        for row in examples.examples(store, recipe, source)
    ]
    return {
        "recipe": recipe.name,
        "dagster/partition_row_count": manifest["pairs"],
        **{f"mean {score.replace('_', ' ')}": numbers["mean"] for score, numbers in statistics.items()},
        "verdict": selection.verify_source(store, recipe, source).summary,
        "histograms": image(previews.score_histograms(statistics, bounds, title)),
        "best, borderline and worst pairs (CLIPScore, SSIM)": jpeg(contact_sheets.contact_sheet(pairs)),
        "dagster/uri": str(store.fs.unstrip_protocol(scoring.location(store, recipe, source))),
    }


def released_set(store: Store, recipe: Recipe, manifest: Mapping[str, Any]) -> Metadata:
    """Counts per source, means, the lowest score taken and the highest left out."""
    report = manifest["report"]
    by_source = [
        dg.TableRecord(
            {
                "source": name,
                "pairs": found["pairs"],
                "could be taken": found["available"],
                "taken": found["selected"],
                "verdict": found["verdict"],
            }
        )
        for name, found in report["sources"].items()
    ]
    best: list[tuple[bytes, str, str]] = []
    for part in release.rows(store, dict(manifest), ["rank", "image", "text", "weighted_score"]):
        for row in part.slice(0, SHEET - len(best)).to_pylist():
            best.append((row["image"]["bytes"], row["text"], f"{row['rank']}.  {row['weighted_score']:.3f}"))
        if len(best) >= SHEET:
            break
    return {
        "recipe": recipe.name,
        "dagster/row_count": manifest["rows"],
        **{f"mean {score.replace('_', ' ')}": mean for score, mean in report["means"].items() if mean is not None},
        "lowest weighted score taken": report["threshold_score"] or 0.0,
        "by source": dg.MetadataValue.table(by_source),
        "the first pairs": jpeg(contact_sheets.contact_sheet(best)),
        "dagster/uri": str(store.fs.unstrip_protocol(release.location(store, dict(manifest)))),
    }


def checkpoint(store: Store, recipe: Recipe, variant: str, stage: Stage) -> Metadata:
    """Steps, losses, the loss curve."""
    key = checkpoints.current_key(store, recipe, variant, stage)
    manifest = checkpoints.complete(store, variant, key)
    losses = manifest["losses"]
    return {
        "recipe": recipe.name,
        "steps": manifest["steps"],
        "rows": manifest["rows"],
        "seconds": round(manifest["seconds"], 1),
        "first loss": losses[0],
        "last loss": losses[-1],
        "trained parameters": manifest["trained_parameters"],
        "loss curve": image(previews.loss_curve(losses, f"{manifest['precision']}, {manifest['device']}")),
        "dagster/uri": str(store.fs.unstrip_protocol(checkpoints.path(store, variant, key))),
    }


def evaluation(store: Store, recipe: Recipe, variant: str) -> Metadata:
    """Accuracy by kind against chance with intervals, the difference to other variants, language before and after,
    answered pictures."""
    result = evaluations.current(store, recipe, variant)
    rows, numbers = [], {}
    for name, scores in result["benchmarks"].items():
        for kind, found in {"overall": scores["overall"], **scores["by_kind"]}.items():
            rows.append(
                dg.TableRecord(
                    {
                        "benchmark": name,
                        "kind": kind,
                        "accuracy": round(found["accuracy"], 4),
                        "95 % interval": f"{found['low']:.3f} to {found['high']:.3f}",
                        "chance": round(found["chance"], 4),
                        "questions": found["n"],
                    }
                )
            )
        numbers[f"accuracy {name}"] = round(scores["overall"]["accuracy"], 4)
        numbers[f"chance {name}"] = round(scores["overall"]["chance"], 4)
    answered = [
        (a.picture, f"{a.question} {a.answer or '(nothing)'}", "right" if a.right else f"wrong: {a.truth}")
        for a in evaluations.examples(result)
    ]
    differences = [
        dg.TableRecord(
            {
                "other variant": other,
                "benchmark": name,
                "kind": kind,
                "difference": round(found["difference"], 4),
                "95 % interval": f"{found['low']:+.3f} to {found['high']:+.3f}",
                "questions": found["n"],
            }
        )
        for other, benchmarks in evaluations.comparisons(store, recipe, variant).items()
        for name, kinds in benchmarks.items()
        for kind, found in kinds.items()
    ]
    against = {"accuracy less that of other variants": dg.MetadataValue.table(differences)} if differences else {}
    return {
        "recipe": recipe.name,
        **numbers,
        "perplexity before": round(result["language"]["before"], 3),
        "perplexity after": round(result["language"]["after"], 3),
        "accuracy by kind": dg.MetadataValue.table(rows),
        **against,
        "answered questions": jpeg(contact_sheets.contact_sheet(answered)),
        "dagster/uri": str(
            store.fs.unstrip_protocol(evaluations.location(store, variant, result["inputs"]["checkpoint_key"], recipe))
        ),
    }


def counts_table(name: str, values: Mapping[str, Any], value_name: str = "rows") -> dg.MetadataValue:
    """A two-column table; the column `name` holds the keys."""
    return dg.MetadataValue.table(
        [dg.TableRecord({name: key, value_name: value}) for key, value in values.items()],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn(name),
                dg.TableColumn(value_name, "string" if value_name == "why" else "int"),
            ]
        ),
    )


def image(png: bytes) -> dg.MetadataValue:
    """A picture inside markdown, the one way the UI shows one. It is stored in the database: keep it below 150 kB."""
    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")


def jpeg(data: bytes) -> dg.MetadataValue:
    """A contact sheet inside markdown."""
    return dg.MetadataValue.md(f"![](data:image/jpeg;base64,{base64.b64encode(data).decode()})")


def _examples_table(examples: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| rule | verdict | value | caption |", "|---|---|---|---|"]
    for rule, sides in examples.items():
        for verdict in ("kept", "rejected"):
            lines += [
                f"| {rule} | {verdict} | {value:.4g} | {previews.escape(text)} |" for text, value in sides[verdict]
            ]
    return "\n".join(lines)


def _type_name(kind: pa.DataType) -> str:
    return {
        pa.string(): "string",
        pa.int64(): "int",
        pa.int32(): "int",
        pa.bool_(): "bool",
        pa.float64(): "float",
        pa.binary(): "bytes",
    }.get(kind, "image" if pa.types.is_struct(kind) else str(kind))
