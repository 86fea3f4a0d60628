"""What must hold for stored captions, found out from the stored files alone.

Belongs here: properties of raw_captions and filtered_captions, each as a Finding with its numbers. Does not belong
here: repeating a number that the stage itself reported, or what happens when a property fails (synthvlm_assets).
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core import hashing
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.findings import Finding
from synthvlm_core.parts.rule import Rule
from synthvlm_core.store import shards, sql
from synthvlm_core.store.shards import Folder, Shard

MAX_TOLD = 10  # files or kinds of things that a summary names
CaptionStage = RawCaptions | FilteredCaptions


def every_input_row_is_stored(stage: RawCaptions) -> Finding:
    """Each row of each input file, as far as the file tells how many it has, stands exactly once among the captions
    and the quarantine. What files hold beside rows is told."""
    wrong: list[str] = []
    bad: dict[str, None] = {}
    unused: dict[str, None] = {}
    rows = 0
    files = stage.files()
    for file, parts in files:
        with sql.scratch() as scratch:
            numbers = scratch.load(pa.schema([pa.field("row", pa.int64())]), [])
            for folder, found in parts.values():
                scratch.add(numbers, folder.tables((shard.name for shard in found), ["row"]))
            count, distinct, last = scratch.row(
                f"select count(*), count(distinct row), coalesce(max(row) + 1, 0) from {numbers}"
            )
        rows += count
        before = len(wrong)
        if not count == distinct == last:
            wrong.append(f"{file['file']}: {count} rows stored, {distinct} different, the last is row {last - 1}")
        if count != file["rows"] + file["quarantined"]:
            wrong.append(f"{file['file']}: {count} rows stored, manifest says {file['rows'] + file['quarantined']}")
        if file.get("in_file") not in (None, count):
            wrong.append(f"{file['file']}: {count} rows stored, the file has {file['in_file']}")
        if len(wrong) > before:
            bad[stage.store.unstrip(parts["captions"][0].path)] = None
        unused |= dict.fromkeys(file.get("unused", ()))
    if wrong:
        wrong.append(f"delete {', '.join(list(bad)[:MAX_TOLD])} and {stage.remedy}")
    summary = "; ".join(wrong) or f"all {rows} rows of {len(files)} files"
    if unused:
        more = f"; … ({len(unused)} in all)" if len(unused) > MAX_TOLD else ""
        summary += f"; not read: {'; '.join(list(unused)[:MAX_TOLD])}{more}"
    return Finding(not wrong, summary, {"rows": rows, "files": len(files)})


def few_rows_are_quarantined(stage: RawCaptions) -> Finding:
    """The source has captions, and of no file nor of the source more rows went to quarantine than the recipe allows."""
    most = stage.source.max_quarantined_share
    entries = [file for file, _ in stage.files()]
    captions, quarantined = (sum(file[name] for file in entries) for name in ("rows", "quarantined"))
    share = quarantined / max(1, captions + quarantined)
    bad = [file for file in entries if _share(file) > most]
    wrong = [_of_file(file) for file in sorted(bad, key=_share, reverse=True)[:MAX_TOLD]]
    if len(bad) > MAX_TOLD:
        wrong.append(f"{len(bad) - MAX_TOLD} more files")
    if not captions:
        wrong.insert(0, f"the source has no captions: {quarantined} rows of {len(entries)} files, all quarantined")
    elif share > most:
        wrong.insert(0, f"{share:.1%} of the source's rows are quarantined")
    summary = f"{share:.1%} of {captions + quarantined} rows quarantined, at most {most:.1%} allowed"
    if wrong:
        remedy = "Correct the source's format or files, or raise its max_quarantined_share"
        summary = f"{'; '.join(wrong)}. At most {most:.1%} are allowed. {remedy}"
    empty = [file["file"] for file in entries if not file["rows"] + file["quarantined"]]
    if empty:
        names = ", ".join(empty[:MAX_TOLD]) + (f" and {len(empty) - MAX_TOLD} more" if len(empty) > MAX_TOLD else "")
        summary += f"; files without any row: {names}"
    worst = max(map(_share, entries), default=0.0)
    numbers = {"share": share, "worst_file": worst, "maximum": most, "captions": captions, "empty_files": len(empty)}
    return Finding(not wrong, summary, numbers)


def _share(file: dict[str, Any]) -> float:
    return float(file["quarantined"] / max(1, file["rows"] + file["quarantined"]))


def _of_file(file: dict[str, Any]) -> str:
    """A file too much of which is quarantined: how much, mostly why, and what it looks like."""
    reason = f", mostly: {file['reason']}" if "reason" in file else ""
    looks = f"; it looks like {file['looks_like']}" if "looks_like" in file else ""
    return f"{file['file']}: {_share(file):.1%} quarantined{reason}{looks}"


def ids_are_sound(stage: CaptionStage) -> Finding:
    """Every caption id is the hash of its source and text, and every row belongs to the source."""
    rows = wrong = 0
    first = ""
    for name, folder, found in _parts(stage):
        if name == "quarantine":
            continue
        for shard in found:
            table = folder.read(shard.name)
            expected = hashing.caption_ids(stage.partition, table["text"])
            sound = pc.and_(pc.equal(table["caption_id"], expected), pc.equal(table["source"], stage.partition))
            bad = table.filter(pc.invert(sound))
            rows += table.num_rows
            wrong += bad.num_rows
            if bad.num_rows and not first:
                first = (
                    f", the first {bad['caption_id'][0].as_py()} in {shard.name}; delete "
                    f"{stage.store.unstrip(folder.path)} and {stage.remedy}"
                )
    return Finding(not wrong, f"{wrong} of {rows} ids wrong{first}", {"rows": rows, "wrong": wrong})


def rows_add_up(stage: FilteredCaptions) -> Finding:
    """Every raw row is in exactly one kept or rejected caption, counted as often as it occurred."""
    counted = pa.schema([pa.field("caption_id", pa.string()), pa.field("duplicates", pa.int64())])
    with sql.scratch() as scratch:
        raw = scratch.load(pa.schema([counted.field("caption_id")]), stage.read(["caption_id"]))
        kept = scratch.load(counted, stage.kept(["caption_id", "duplicates"]))
        rejected = scratch.load(counted, stage.rejected(["caption_id", "duplicates"]))
        raw_rows, kept_rows, rejected_rows, wrong = scratch.row(
            f"""
            with
                counted as (select caption_id, count(*) as n from {raw} group by caption_id),
                decided as (select * from {kept} union all select * from {rejected}),
                compared as (
                    select
                        caption_id,
                        any_value(n) as n,
                        sum(duplicates) as total,
                        count(duplicates) as times
                    from counted full join decided using (caption_id)
                    group by caption_id
                )
            select
                (select count(*) from {raw}),
                (select coalesce(sum(duplicates), 0)::bigint from {kept}),
                (select coalesce(sum(duplicates), 0)::bigint from {rejected}),
                (select count(*) from compared where n is null or total is null or n <> total or times <> 1)
            """
        )
    passed = wrong == 0 and raw_rows == kept_rows + rejected_rows
    summary = f"{raw_rows} rows = {kept_rows} kept + {rejected_rows} rejected, duplicates included"
    if not passed:
        summary = (
            f"{raw_rows} raw rows, {kept_rows} kept + {rejected_rows} rejected; {wrong} captions miscounted; "
            f"{_anew(stage)}"
        )
    return Finding(passed, summary, {"raw": raw_rows, "kept": kept_rows, "rejected": rejected_rows, "wrong": wrong})


def kept_captions_pass_every_rule(stage: FilteredCaptions) -> Finding:
    """Every kept caption passes every rule: what is cheap is measured anew from the stored text, what a model measured
    is read from the stored measurements and must be there for each. It warns where the recipe has rules that were not
    applied."""
    broken: dict[str, int] = {}
    gone: list[str] = []
    captions, originals = stage.kept_captions()
    rows = captions.rows
    with sql.scratch() as scratch:
        for family in stage.families:
            if family.measurement.cost == 0:
                measure = family.measurement.load()
                values = [
                    measure(table, lambda done: None).combine_chunks() for table in stage.kept(["caption_id", "text"])
                ]
                for rule in family.rules:
                    outside = [int((~_within(rule, part[rule.statistic].to_numpy())).sum()) for part in values]
                    broken[rule.kind_name] = sum(outside)
                continue
            stored = stage.stored(scratch, captions, family, captions.all(), originals)
            if missing := int(np.count_nonzero(stored.missing)):
                gone.append(
                    f"{family.name} of {missing} of {rows} kept captions is not in "
                    f"{stage.store.unstrip(stage.measured(family).path)} any more; {stage.remedy}"
                )
                continue
            for rule in family.rules:
                outside = [
                    int((~_within(rule, part[rule.statistic].to_numpy())).sum())
                    for part in stored.tables([rule.statistic])
                ]
                broken[rule.kind_name] = sum(outside)
                if rule.drops_without_original and originals is not None:
                    broken[rule.kind_name] += int(np.count_nonzero(~originals.there))
    for rule in stage.comparing:
        found = rule.instead(stage.kept, rows)
        broken[rule.kind_name] = int(np.count_nonzero(found.of >= 0))
    named = ", ".join(f"{name}: {count}" for name, count in broken.items() if count)
    skipped = stage.manifest["not_applied"]
    summary = f"kept captions that break a rule: {named or 'none'} of {rows}"
    if named:
        summary += f"; {_anew(stage)}"
    summary = "; ".join([summary, *gone])
    if skipped:
        summary += f"; rules of the recipe that were not applied: {'; '.join(f'{n} ({w})' for n, w in skipped.items())}"
    return Finding(
        not named and not gone and not skipped,
        summary,
        {"captions": rows, **broken, "rules_not_applied": len(skipped)},
        warning=not named and not gone,
    )


def rejected_share_is_usual(stage: FilteredCaptions) -> Finding:
    """The rejected share of different captions lies within the recipe's bounds."""
    low, high = stage.recipe.captions.rejected_share
    kept = sum(table.num_rows for table in stage.kept(["caption_id"]))
    rejected = sum(table.num_rows for table in stage.rejected(["caption_id"]))
    total = kept + rejected
    share = rejected / total if total else 0.0
    return Finding(
        low <= share <= high,
        f"{share:.1%} of {total} captions rejected, expected {low:.1%} to {high:.1%}",
        {"share": share, "minimum": low, "maximum": high},
    )


def shards_are_undamaged(stage: CaptionStage) -> Finding:
    """Every shard of a stage has the bytes that its name promises and the rows that its manifest counts."""
    return shards.undamaged((folder, found) for _, folder, found in _parts(stage))


def _parts(stage: CaptionStage) -> Iterator[tuple[str, Folder, list[Shard]]]:
    """Every table of a stage: its name, folder and shards."""
    if isinstance(stage, RawCaptions):
        for _, parts in stage.files():
            for name, (folder, found) in parts.items():
                yield name, folder, found
    else:
        for name, folder in stage.folders.items():
            yield name, folder, stage.shards(name)


def _anew(stage: FilteredCaptions) -> str:
    """What to do about a decision whose files are those of its manifest and wrong."""
    return f"delete {stage.store.unstrip(stage.path)} and {stage.remedy}"


def _within(rule: Rule, values: np.ndarray) -> np.ndarray:
    """Where values lie in the rule's closed interval; NaN lies nowhere."""
    low, high = _interval(rule)
    return np.asarray((values >= low) & (values <= high))


def _interval(rule: Rule) -> tuple[float, float]:
    bounds = rule.bounds()
    return (
        -sys.float_info.max if bounds.minimum is None else bounds.minimum,
        sys.float_info.max if bounds.maximum is None else bounds.maximum,
    )
