"""Stage filtered_captions: merge exact duplicates, measure, decide, keep every verdict.

Belongs here: the order of merging, measuring and deciding, and the manifest of a decision. Does not belong here: what
is measured and where the bounds come from (rules/), the loop that measures (engine.py).

    caption_measurements/<definition>/source=<name>/   append-only, keyed by caption id, one folder per measurement
    original_images/<definition>/source=<name>/        where rules look at them: original_images.py
    filtered_captions/<key>/source=<name>/             kept/ and rejected/, sealed; key = rules and raw content
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from synthvlm_core import hashing
from synthvlm_core.captions import mappers, original_images
from synthvlm_core.captions.measured import Values, measure
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.captions.original_images import KeptOriginals, OriginalImages, Originals, halves
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.verdicts import Verdicts
from synthvlm_core.errors import Mendable
from synthvlm_core.parts import originals as ways
from synthvlm_core.parts.rule import CaptionContext, Rule
from synthvlm_core.parts.section import named
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage
from synthvlm_core.store import records, shards, sql
from synthvlm_core.store.documents import Count, Hash, Json, Sealed, document
from synthvlm_core.store.measurements import Measurement
from synthvlm_core.store.rows import Rows
from synthvlm_core.store.shards import Folder, Shard
from synthvlm_core.store.sql import Scratch

log = logging.getLogger(__name__)

VERSION = 1


@document
class Manifest(Sealed):
    """A decision about the captions of a source."""

    rows: Count
    captions: Count
    merged: Count
    kept: Count
    rejected: Count
    rejected_by_rule: dict[str, int]
    content_hash: Hash
    measured: Count
    measured_by_family: dict[str, int]
    histograms: dict[str, Json]
    rules: list[Json]
    not_applied: dict[str, str]
    inputs: Json


TABLES = {"kept": records.FILTERED_CAPTIONS, "rejected": records.REJECTED}


@dataclass(frozen=True)
class Family:
    """A measurement and the rules that read it."""

    measurement: Measurement
    rules: tuple[Rule, ...]

    @property
    def name(self) -> str:
        """The measurement's table."""
        return self.measurement.table.name


def rules_context(recipe: Recipe) -> CaptionContext:
    """What the rules of a recipe may need to know."""
    captions = recipe.captions
    return CaptionContext(recipe.folder, recipe.seed, recipe.threads, captions.text_form, captions.rules)


def not_applied(recipe: Recipe) -> dict[str, str]:
    """Rules of the recipe that are not applied, each with the reason."""
    context = rules_context(recipe)
    reasons = {rule.kind_name: rule.unavailable(context) for rule in recipe.captions.rules}
    return {name: why for name, why in reasons.items() if why is not None}


def without_originals(recipe: Recipe, source: str) -> list[str]:
    """Rules of the recipe that let every caption of a source pass, as it names no original images."""
    if recipe.source(source).originals is not None:
        return []
    return [rule.kind_name for rule in recipe.captions.rules if rule.of_originals]


def families(recipe: Recipe, source: str) -> list[Family]:
    """What is measured, in the order in which it applies: cheap before dear, else in the order of the rules.

    Raises:
        Mendable: if weights or a list of words are not there.
    """
    context = rules_context(recipe)
    passing = without_originals(recipe, source)
    found: dict[tuple[str, str], Family] = {}
    for rule in recipe.captions.rules:
        if rule.unavailable(context) is None and rule.kind_name not in passing and not rule.compares:
            measurement = rule.measurement(context)
            key = (measurement.table.name, measurement.definition)
            before = found.get(key, Family(measurement, ()))
            found[key] = Family(before.measurement, (*before.rules, rule))
    return sorted(found.values(), key=lambda family: family.measurement.cost)


class FilteredCaptions(Stage):
    """The captions of one source that pass every rule."""

    name = "filtered_captions"
    over = "source"
    form = Manifest

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of what a verdict depends on apart from captions and weights: the rules and the files they name."""
        contents = []
        for rule in recipe.captions.rules:
            try:
                contents.append(rule.content(rules_context(recipe)))
            except Mendable:  # told when the stage runs; the definitions must load all the same
                contents.append("unreadable")
        ways = {source.name: named(source.originals) for source in recipe.sources if source.originals is not None}
        # what came later stands in the hash only where it is used
        return hashing.of_json([VERSION, named(recipe.captions), contents, *([ways] if ways else [])])

    @cached_property
    def raw(self) -> RawCaptions:
        """What is decided about."""
        return RawCaptions(self.store, self.recipe, self.partition)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.raw,)

    @cached_property
    def families(self) -> list[Family]:
        """What is measured."""
        return families(self.recipe, self.partition)

    @property
    def comparing(self) -> list[Rule]:
        """The rules that compare captions with each other, after all others."""
        return [rule for rule in self.recipe.captions.rules if rule.compares]

    @property
    def original(self) -> ways.Originals | None:
        """Where the original images are had; None if no rule looks at them."""
        looked_at = any(family.measurement.takes == "original" for family in self.families)
        return self.raw.source.originals if looked_at else None

    @cached_property
    def having(self) -> Measurement:
        """Having the original images. To be asked for where rules look at them."""
        assert self.original is not None
        return original_images.measurement(self.original, self.partition, self.context)

    @cached_property
    def asked(self) -> str:
        """What is asked for original images, as it is now; empty if nothing is.

        Raises:
            Mendable: if it is not there.
        """
        return "" if self.original is None else self.original.asked(self.partition, self.context)

    @cached_property
    def definitions(self) -> dict[str, str]:
        """What each measurement depends on apart from captions, by its name."""
        found = {family.name: family.measurement.definition for family in self.families}
        if self.original is not None:
            found[self.having.table.name] = self.having.definition
        return found

    @cached_property
    def key(self) -> str:
        """Names the decision: the rules, what the measurements depend on, and the raw captions' content."""
        definitions = self.definitions
        return hashing.of_json([self.code_version(self.recipe), definitions, self.raw.manifest["content_hash"]])

    @cached_property
    def path(self) -> str:
        """Where the decision lies."""
        return self.store.path(self.name, self.key, f"source={self.partition}")

    @property
    def manifest_path(self) -> str:
        return f"{self.path}/{shards.MANIFEST}"

    @property
    def folders(self) -> dict[str, Folder]:
        """Where the verdicts lie: kept and rejected."""
        return {name: Folder(self.store, table, f"{self.path}/{name}", self.name) for name, table in TABLES.items()}

    @cached_property
    def read(self) -> mappers.Read:
        """What is decided about, as tables in the order of the input: raw captions through the recipe's mappers."""
        chosen = self.recipe.captions.mappers
        return mappers.reader(self.raw.captions, self.partition, chosen) if chosen else self.raw.captions

    def kept(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The captions that go on, as tables."""
        return self._rows("kept", columns)

    def rejected(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The captions that do not, as tables, with the first rule that each broke."""
        return self._rows("rejected", columns)

    def measured(self, family: Family) -> Folder:
        """Where the values of a family lie."""
        place = ("caption_measurements", "{definition}", f"source={self.partition}")
        return family.measurement.folder(self.store, *place, made_by=self.name)

    def originals(self, captions: Captions) -> OriginalImages | None:
        """The original images of the source's captions, of which nothing is known yet; None if no rule looks at any."""
        if self.original is None:
            return None
        return OriginalImages(captions, self.partition, self.original_folder(), self.asked)

    def original_folder(self) -> Folder:
        """Where the original images lie. To be asked for where rules look at them."""
        place = (self.having.table.name, "{definition}", f"source={self.partition}")
        return self.having.folder(self.store, *place, made_by=self.name)

    def stored(
        self, scratch: Scratch, captions: Captions, family: Family, wanted: Chosen, images: Originals | None
    ) -> Values:
        """What is stored of the values of a family for some captions.

        Args:
            images: where the family's rules look at originals, what is known of those of `captions`.

        Raises:
            DamagedShard: naming shard and remedy.
        """
        of = None
        if family.measurement.takes == "original" and images is not None:
            wanted, of = wanted & images.there, images.ids
        values = Values(scratch, captions, family.measurement, wanted, of=of)
        folder = self.measured(family)
        values.take(partial(folder.tables, folder.names(), values.read))
        return values

    def kept_captions(self) -> tuple[Captions, Originals | None]:
        """The captions that go on, and what is known of their originals if rules looked at any."""
        captions = Captions(self.manifest["kept"], self.kept)
        return captions, None if self.original is None else KeptOriginals(captions)

    def make(self, progress: Progress = silent, *, shard_rows: int = shards.SHARD_ROWS) -> dict[str, Any]:
        """Keep or reject every caption of a source; measure only what was never measured.

        Families of measurements apply one after the other: a caption that breaks a rule of one is not measured by the
        next, so that the dearest model reads the fewest captions.

        Args:
            progress: called with (family, captions measured, captions to measure).

        Returns:
            The manifest: rows in, captions, kept, rejected, merged, rejected_by_rule, histograms, content_hash of the
            kept captions, the inputs it was decided from and the rules not applied.
        """
        found = shards.sealed(self.store, self.path, self.folders, self.form)
        if found is not None and self.asked_as_now(found) and self._is_measured(found):
            self.made(found)
            return {**found, "measured": 0, "measured_by_family": dict.fromkeys(found["measured_by_family"], 0)}
        captions = Captions(self.raw.manifest["rows"], self.read)
        with sql.scratch() as scratch:
            verdicts, images = Verdicts(scratch, captions), self.originals(captions)
            measured: dict[str, int] = {}
            for family in self.families:
                wanted, looks = verdicts.open(), family.measurement.takes == "original"
                if looks and images is not None:
                    asked = images.have(wanted, self.having, shard_rows=shard_rows, progress=progress)
                    measured[self.having.table.name] = measured.get(self.having.table.name, 0) + asked
                    wanted &= images.there
                values, measured[family.name] = measure(
                    scratch,
                    captions,
                    wanted,
                    family.measurement,
                    self.measured(family),
                    shard_rows=shard_rows,
                    progress=progress,
                    originals=images if looks else None,
                )
                without = ~images.there if looks and images is not None else None
                verdicts.judge(family.name, family.rules, values, without=without)
            for rule in self.comparing:
                progress(rule.kind_name, 0, 1)
                verdicts.compare(rule)
            applied = [(family.name, rule) for family in self.families for rule in family.rules]
            applied += [(rule.kind_name, rule) for rule in self.comparing]
            kept, rejected = self._store(captions, verdicts, images, shard_rows)
            manifest = {
                "table": records.FILTERED_CAPTIONS.name,
                "source": self.partition,
                **verdicts.counts(),
                "content_hash": shards.content_hash(kept),
                "measured": sum(measured.values()),
                "measured_by_family": measured,
                "histograms": verdicts.histograms(),
                "rules": [
                    {
                        "name": rule.kind_name,
                        "statistic": rule.statistic,
                        "minimum": verdicts.bounds(rule).minimum,
                        "maximum": verdicts.bounds(rule).maximum,
                        "family": family,
                    }
                    for family, rule in applied
                ],
                "not_applied": not_applied(self.recipe),
                "without_originals": without_originals(self.recipe, self.partition),
                "mappers": list(self.recipe.captions.mappers),
                **({} if images is None else {"original_images": images.said()}),
                "inputs": {
                    "raw_content": self.raw.manifest["content_hash"],
                    "definitions": self.definitions,
                    **({} if images is None else {"asked": self.asked}),
                    "files": {rule.kind_name: said for _, rule in applied if (said := rule.files(self.context))},
                },
            }
        sealed = shards.seal(self.store, self.path, manifest, {"kept": kept, "rejected": rejected})
        return self.made(sealed)

    def asked_as_now(self, manifest: dict[str, Any]) -> bool:
        """Whether a decision asked for original images where they are had now; else some may be there that were not."""
        return bool(manifest["inputs"].get("asked", "") == self.asked)

    def _is_measured(self, found: dict[str, Any]) -> bool:
        """Whether every measurement of the kept captions of a decision is still there, undamaged."""
        kept = [shard.name for shard in shards.shards_of(found, "kept")]
        captions = Captions(found["kept"], partial(self.folders["kept"].tables, kept))
        images = None if self.original is None else KeptOriginals(captions)
        for family in self.families:
            known = np.zeros(found["kept"], np.bool_)
            folder, columns = self.measured(family), ["caption_id"]
            if family.measurement.takes == "original" and images is not None:
                known |= ~images.there
                columns.append("original_id")
            for where, rows in captions.places.find(partial(folder.sound_tables, columns)):
                if "original_id" in columns and images is not None:
                    where = np.where(images.ids[where] == halves(rows["original_id"]), where, -1)
                known[where[where >= 0]] = True
            if missing := len(known) - int(np.count_nonzero(known)):
                log.warning("%s of %d kept captions is gone; it is measured again now", family.name, missing)
                return False
        return True

    def _rows(self, table: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        return self.folders[table].tables((shard.name for shard in self.shards(table)), columns)

    def _store(
        self, captions: Captions, verdicts: Verdicts, images: OriginalImages | None, shard_rows: int
    ) -> tuple[list[Shard], list[Shard]]:
        """Write both sides of the verdicts, in the order of the input."""
        writers = {name: shards.Writer(folder, shard_rows=shard_rows) for name, folder in self.folders.items()}
        chosen = {"kept": verdicts.open(), "rejected": verdicts.broken()}
        reasons, held = verdicts.reasons(), Rows()
        mapped = ["raw_caption_id"] if self.recipe.captions.mappers else []
        where = [] if images is None else ["image_url", "image_uid"]
        for places, table in captions.shards(["caption_id", "text", "origin", *mapped, *where]):
            if not mapped:
                table = table.append_column("raw_caption_id", pa.nulls(table.num_rows, pa.string()))
            outcomes, ids = (pa.nulls(table.num_rows, pa.string()),) * 2
            if images is not None:
                outcomes, ids = images.columns(places, table)
            table = table.append_column("original_image", outcomes).append_column("original_id", ids)
            source = pa.repeat(pa.scalar(self.partition), table.num_rows)
            copies = pa.array(captions.copies[places].astype(np.int64))
            table = table.append_column("source", source).append_column("duplicates", copies)
            instead = verdicts.kept_instead(places)
            for name, writer in writers.items():
                mask = chosen[name][places]
                rows = table.filter(pa.array(mask))
                if name == "rejected" and rows.num_rows:
                    while len(held) < rows.num_rows:
                        held.add(next(reasons))
                    why = held.take(rows.num_rows)
                    names = [*rows.column_names, *why.column_names, "kept_instead"]
                    rows = pa.table([*rows.columns, *why.columns, instead.filter(pa.array(mask))], names)
                if rows.num_rows:
                    writer.add(rows.select(self.folders[name].table.names))
        return writers["kept"].close(), writers["rejected"].close()
