"""What a person looks at of a decision: the captions nearest to its thresholds, and the words that rejected most.

Belongs here: finding them in a stream. Does not belong here: the decision (filtered.py), how they are
shown (synthvlm_assets).
"""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core.captions.filtered import FilteredCaptions, rules_context
from synthvlm_core.parts.originals import OK
from synthvlm_core.parts.rule import Rule
from synthvlm_core.store import sql

Example = tuple[str, float]
"""Text and value of a caption."""


def nearest(stage: FilteredCaptions, *, per_side: int = 3) -> dict[str, dict[str, list[Example]]]:
    """For each rule the captions nearest to its bounds on either side: {rule: {"kept": [...], "rejected": [...]}}.

    Of captions at one distance the first of the input come first. A rule without bounds has none.
    """
    kept, rejected = _kept(stage, per_side), _rejected(stage, per_side)
    rules = [rule.kind_name for family in stage.families for rule in family.rules]
    rules += [rule.kind_name for rule in stage.comparing]
    return {rule: {"kept": kept.get(rule, []), "rejected": rejected.get(rule, [])} for rule in rules}


def _kept(stage: FilteredCaptions, per_side: int) -> dict[str, list[Example]]:
    captions, originals = stage.kept_captions()
    near: dict[str, pa.Table] = {}
    with sql.scratch() as scratch:
        for family in stage.families:
            values = stage.stored(scratch, captions, family, captions.all(), originals)
            for rule in family.rules:
                sides = [side for side in (rule.bounds().minimum, rule.bounds().maximum) if side is not None]
                for part in values.tables([rule.statistic]) if sides else ():
                    value = part[rule.statistic].to_numpy()
                    distance = np.min([np.abs(value - side) for side in sides], axis=0)
                    rows = pa.table({"distance": distance, "place": part["place"], "value": value})
                    near[rule.kind_name] = _first([near.get(rule.kind_name), rows], per_side)
    wanted = np.zeros(captions.rows, np.bool_)
    for rows in near.values():
        wanted[rows["place"].to_numpy()] = True
    texts = (text for table in captions.tables(wanted, ["text"]) for text in table["text"].to_pylist())
    of_place = dict(zip(np.flatnonzero(wanted).tolist(), texts, strict=True))
    return {rule: [(of_place[row["place"]], row["value"]) for row in rows.to_pylist()] for rule, rows in near.items()}


def _rejected(stage: FilteredCaptions, per_side: int) -> dict[str, list[Example]]:
    near: dict[str, pa.Table] = {}
    first = 0
    for table in stage.rejected(["text", "rule", "value", "threshold"]):
        distance = pc.abs(pc.subtract(table["value"], table["threshold"]))
        places = pa.array(np.arange(first, first + table.num_rows))
        whole = pa.table([distance, places, table["value"], table["text"]], ["distance", "place", "value", "text"])
        first += table.num_rows
        for rule in table["rule"].unique().to_pylist():
            near[rule] = _first([near.get(rule), whole.filter(pc.equal(table["rule"], rule))], per_side)
    return {rule: [(row["text"], row["value"]) for row in rows.to_pylist()] for rule, rows in near.items()}


def _first(parts: Sequence[pa.Table | None], count: int) -> pa.Table:
    """The rows of the smallest distances, those of equal ones in the order of the input."""
    whole = pa.concat_tables([part for part in parts if part is not None])
    return whole.take(pc.sort_indices(whole, [("distance", "ascending"), ("place", "ascending")])[:count])


def original_pictures(stage: FilteredCaptions, texts: Collection[str], *, shards: int = 20) -> dict[str, bytes]:
    """The original images of some captions by their texts, as far as the first `shards` shards hold them."""
    if stage.original is None:
        return {}
    folder = stage.original_folder()
    wanted = pa.array(list(texts), pa.string())
    found: dict[str, bytes] = {}
    for name in folder.names()[:shards]:
        rows = folder.narrow(name, ["text", "outcome"])
        if pc.any(pc.and_(pc.is_in(rows["text"], wanted), pc.equal(rows["outcome"], OK))).as_py():
            whole = folder.read(name, ["text", "outcome", "image"])
            some = whole.filter(pc.and_(pc.is_in(whole["text"], wanted), pc.equal(whole["outcome"], OK)))
            found |= {row["text"]: row["image"]["bytes"] for row in some.to_pylist()}
        if len(found) == len(wanted):
            break
    return found


def counted_most(stage: FilteredCaptions, *, most: int = 10, rows: int = 100_000) -> list[tuple[str, str, int]]:
    """For each rule that counts spans, the spans that stand in the most captions it rejected: (rule, span, captions).

    Args:
        most: spans of each rule.
        rows: rejected captions of each rule that are looked at, the first of the input.
    """
    context = rules_context(stage.recipe)
    rules = {rule.kind_name: rule for family in stage.families for rule in family.rules}
    counts: dict[str, Counter[str]] = {}
    seen: Counter[str] = Counter()
    for table in stage.rejected(["text", "rule"]):
        for name in table["rule"].unique().to_pylist():
            texts = table["text"].filter(pc.equal(table["rule"], name))[: rows - seen[name]].to_pylist()
            seen[name] += len(texts)
            if name in rules and type(rules[name]).counted is not Rule.counted:
                for text in texts:
                    counts.setdefault(name, Counter()).update(set(rules[name].counted(text, context)))
    return [
        (name, span, count)
        for name in rules
        for span, count in sorted(counts.get(name, Counter()).items(), key=lambda one: (-one[1], one[0]))[:most]
    ]
