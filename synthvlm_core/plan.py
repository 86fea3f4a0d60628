"""What a recipe would do to a store, counted before anything is spent.

Belongs here: wanted less stored for every stage, compared with what a recipe of this name made last. Does not belong
here: measuring anything, what is wrong with a recipe (checking.py), printing (cli.py).

Nothing is read but stored tables, and nothing is written. What was never measured cannot be judged: a caption whose
perplexity is not known is counted as one that goes on, so numbers behind it are upper bounds, and say so. Of what is to
be drawn the next attempt alone is counted: nobody knows how many pictures will be unhealthy and drawn again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.merged import Captions
from synthvlm_core.captions.verdicts import Verdicts
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.images.wanted import State
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import gathering
from synthvlm_core.release.formats.huggingface import HuggingFace
from synthvlm_core.release.released import AnotherRecipe, Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs, definitions, known_values, pairs_query, score_folder, spec
from synthvlm_core.selection import selection
from synthvlm_core.store import records, sql
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct
from synthvlm_core.store.shards import DamagedShard, Folder, shards_of
from synthvlm_core.store.sql import Relation, Scratch
from synthvlm_core.training.tuned import VlmCheckpoint

IDS = pa.schema([pa.field("caption_id", pa.string())])
PAIR_IDS = pa.schema([pa.field("image_id", pa.string()), pa.field("caption_id", pa.string())])


@dataclass
class SourcePlan:
    """What would become of one source."""

    source: str
    problem: str = ""
    """Why no more can be counted; empty if all is."""
    files: int = 0
    files_to_read: int = 0
    """Files that were never read as they are now. Their rows are counted nowhere below."""
    captions: int = 0
    """Different captions among the rows that were read."""
    to_measure: dict[str, int] = field(default_factory=dict)
    """By measurement, in their order: captions that were never measured. Behind the first that is not 0 they are upper
    bounds: it may reject what the next need not read."""
    exact: bool = True
    """Whether every verdict is known; else `kept` and what follows are upper bounds."""
    kept: int = 0
    enter: int = 0
    """Kept captions that were not kept before."""
    leave: int = 0
    images: int = 0
    """Images wanted: kept captions times K."""
    reused: int = 0
    """Images that are stored and count."""
    new: int = 0
    """Images to draw of captions and k that did not count before."""
    again: int = 0
    """Images to draw of captions and k that counted before, under another definition."""
    to_score: dict[str, int] = field(default_factory=dict)
    """By score: pictures without it, those to be drawn included."""

    @property
    def to_draw(self) -> int:
        """Images that would be drawn, unhealthy ones drawn again not counted."""
        return self.new + self.again

    @property
    def settled(self) -> bool:
        """Whether there is nothing to read, measure, draw or score."""
        work = (self.files_to_read, self.to_draw, *self.to_measure.values(), *self.to_score.values())
        return not self.problem and not any(work)


@dataclass
class SetPlan:
    """What would become of one released set."""

    name: str
    problem: str = ""
    """Why it cannot be known, or would be refused; empty if it is known."""
    refused: bool = False
    """Whether a run would stop here, and the released set stay as it is."""
    size: int = 0
    enter: int = 0
    """Pairs that would be in it and are not now."""
    leave: int = 0
    """Pairs that are in it now and would not be; where the set cannot be known, those whose caption goes."""
    words_change: bool = False
    """Whether its human turns would be drawn from other instructions or another seed."""
    formats: list[str] = field(default_factory=list)
    """Formats that would be added to the release that is there."""
    released: str = ""
    """Content hash of the release that is there; empty if there is none."""
    content: str = ""
    """Content hash of what would be released; empty if it is not known."""

    @property
    def changes(self) -> bool | None:
        """Whether its content would be another; None if that cannot be known."""
        if self.problem:
            return False if self.refused else None
        return self.content != self.released


@dataclass
class VariantPlan:
    """What would become of one model."""

    name: str
    problem: str = ""
    """Why it could not be trained; empty if it could."""
    trains: bool | None = None
    """None: if its set changes, which cannot be known."""
    by_itself: bool = False
    """Whether the retraining sensor would start it: it waits for other content, not for other settings, and trains
    nothing for the first time that the recipe does not mark."""


@dataclass
class Plan:
    """What a recipe would do to a store."""

    sources: list[SourcePlan]
    sets: list[SetPlan]
    variants: list[VariantPlan]


def plan(store: Store, recipe: Recipe) -> Plan:
    """Count what a run of the whole graph would cost. Measures, draws and writes nothing."""
    with sql.scratch() as scratch:
        sources = [Foreseen(scratch, store, recipe, source.name) for source in recipe.sources]
        names = [chosen.name for chosen in recipe.selection.sets]
        sets = {name: _set_plan(scratch, Synthvlm100k(store, recipe, name), sources) for name in names}
    variants = [
        _variant_plan(VlmCheckpoint(store, recipe, variant.name), sets[variant.selection])
        for variant in recipe.training.variants
    ]
    return Plan([source.plan for source in sources], list(sets.values()), variants)


class ForeseenImages(SyntheticImages):
    """The images of one source as they would be, as far as they are drawn."""

    foreseen: State

    def state(self, scratch: Scratch) -> State:
        return self.foreseen


class Foreseen:
    """One source as it would be: its plan, and its pairs as far as they are measured, for selection to choose from."""

    def __init__(self, scratch: Scratch, store: Store, recipe: Recipe, source: str) -> None:
        self.partition, self.plan = source, SourcePlan(source)
        self._scratch, self.images = scratch, ForeseenImages(store, recipe, source)
        self.kept: Relation | None = None
        """caption_id and text of the captions that would be kept; None if none can be counted."""
        self.measured: Relation | None = None
        """The pairs that have all scores, in the columns of records.scored_pairs; None as above."""
        captions = self.images.captions
        try:
            captions.raw.manifest, unread = captions.raw.foreseen()
            read = len(captions.raw.manifest["files"])
            self.plan.files, self.plan.files_to_read = read + len(unread), len(unread)
            if not read:
                self.plan.problem = "none of its files was ever read: materialize raw_captions to know more"
                return
            self.kept = _captions(scratch, self.plan, captions)
            self.images.foreseen = _images(scratch, self.plan, self.images, self.kept)
            self.measured = _scores(scratch, self.plan, self.images, self.images.foreseen)
        except Mendable as error:
            self.plan.problem = str(error)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What selection asks of a ScoredPairs' manifest."""
        return {"spec": spec(self.images.recipe), "image_definition": self.images.definition}

    def pairs(self) -> Iterator[pa.Table]:
        """The pairs that are measured."""
        return self._scratch.tables(f"select * from {self.measured}")

    def texts(self) -> Iterator[pa.Table]:
        """The captions that would be kept."""
        return self._scratch.tables(f"select caption_id, text from {self.kept}")


def _captions(scratch: Scratch, found: SourcePlan, stage: FilteredCaptions) -> Relation:
    """The captions that would be kept: caption_id and text."""
    texts = pa.schema([pa.field("caption_id", pa.string()), pa.field("text", pa.string())])
    if (made := stage.find()) is not None and stage.asked_as_now(made):
        found.captions = stage.manifest["captions"]
        kept = scratch.load(texts, stage.kept(["caption_id", "text"]))
        found.to_measure = {family.name: 0 for family in stage.families}
    else:
        captions = Captions(stage.raw.manifest["rows"], stage.read)
        found.captions = int(np.count_nonzero(captions.all()))
        verdicts, originals = Verdicts(scratch, captions), stage.originals(captions)
        for family in stage.families:
            wanted, unknown = verdicts.open(), 0
            if originals is not None and family.measurement.takes == "original":
                originals.look(wanted)
                unknown = int(np.count_nonzero(wanted & (originals.outcomes == 0)))
                found.to_measure.setdefault(records.ORIGINAL_IMAGES.name, unknown)
            values = stage.stored(scratch, captions, family, wanted, originals)
            found.to_measure[family.name] = int(np.count_nonzero(values.missing)) + unknown
            without = None if originals is None or values.of is None else originals.outcomes > 1
            partly = any(found.to_measure.values())
            verdicts.judge(family.name, family.rules, values, partly=partly, without=without)
        if not any(found.to_measure.values()):
            for rule in stage.comparing:
                verdicts.compare(rule)
        kept = scratch.load(texts, captions.tables(verdicts.open(), texts.names))
        found.exact = not any(found.to_measure.values())
    found.kept = scratch.count(kept)
    before = scratch.load(IDS, _kept_before(stage))
    found.enter = scratch.count(f"(from {kept} anti join {before} using (caption_id))")
    found.leave = scratch.count(f"(from {before} anti join {kept} using (caption_id))")
    return kept


def _kept_before(stage: FilteredCaptions) -> Iterator[pa.Table]:
    """The ids that a recipe of this name kept last."""
    previous = stage.previous()
    if previous is not None:
        path, manifest = previous
        folder = Folder(stage.store, records.FILTERED_CAPTIONS, f"{path}/kept")
        yield from folder.tables((shard.name for shard in shards_of(manifest, "kept")), ["caption_id"])


def _images(scratch: Scratch, found: SourcePlan, stage: SyntheticImages, kept: Relation) -> State:
    """What of the images is stored."""
    generator = stage.recipe.generator
    state = State(scratch, generator, scratch.tables(f"select caption_id, text from {kept}"))
    state.take(stage.folder, stage.folder.names())
    wanted = state.wanted()
    found.images = found.kept * generator.images_per_caption
    found.reused = scratch.count(state.counting)
    found.again = _drawn_otherwise(scratch, stage, kept, wanted)
    found.new = scratch.count(wanted) - found.again
    return state


def _drawn_otherwise(scratch: Scratch, stage: SyntheticImages, kept: Relation, wanted: Relation) -> int:
    """How many of the wanted images counted when a recipe of this name drew last, under another definition."""
    previous = stage.previous()
    if previous is None or previous[1]["definition"] == stage.definition:
        return 0
    path, manifest = previous
    folder = Folder(stage.store, records.SYNTHETIC_IMAGES, path.removesuffix("/manifests"))
    drawn = State(scratch, stage.recipe.generator, scratch.tables(f"select caption_id, text from {kept}"))
    try:
        drawn.take(folder, [shard["name"] for shard in manifest["shards"]])
    except DamagedShard:  # somebody deleted what nothing needs any more; then it is new, as far as anybody knows
        return 0
    return scratch.count(f"(from {wanted} semi join {drawn.counting} using (caption_id, k))")


def _scores(scratch: Scratch, found: SourcePlan, stage: SyntheticImages, state: State) -> Relation:
    """The pairs that have all scores."""
    columns = ("image_id", "picture_hash", "value")
    schema = pa.schema([records.SCORES.schema.field(name) for name in columns])
    defined, values = definitions(stage.recipe), {}
    for score in stage.recipe.scores:
        folder = score_folder(stage, score, defined[score.column])
        stored = scratch.load(schema, folder.tables(folder.names(), columns))
        values[score.column] = known_values(scratch, state, stored)
        missing = scratch.count(f"(from {state.counting} anti join {values[score.column]} using (image_id))")
        found.to_score[score.column] = missing + found.to_draw
    return scratch.create(pairs_query(state, values, stage.partition))


def _set_plan(scratch: Scratch, stage: Synthvlm100k, sources: Sequence[Foreseen]) -> SetPlan:
    found = SetPlan(stage.partition)
    try:
        manifest = stage.find()
        released = scratch.load(PAIR_IDS, _released(stage, manifest))
        found.released = manifest["content_hash"] if manifest else ""
        found.words_change = manifest is not None and _words_change(stage)
    except Mendable as error:
        found.problem, found.refused = str(error), isinstance(error, AnotherRecipe)
        return found
    unsettled = [source.partition for source in sources if not source.plan.settled]
    if unsettled:
        found.problem = f"unknown before {', '.join(unsettled)} {'is' if len(unsettled) == 1 else 'are'} scored"
        found.leave = _without_caption(scratch, released, sources)
        return found
    try:
        with selection.ranked(sources, stage.recipe, stage.partition) as ranked:
            failing = [source for source, told in ranked.report["sources"].items() if not told["passed"]]
            # of each source it asks for partition and images only
            rows = gathering.gather(scratch, ranked, cast(list[ScoredPairs], sources), stage.table)
    except Mendable as error:
        found.problem, found.refused = str(error), True
        return found
    if failing:
        found.problem, found.refused = f"{', '.join(failing)} would fail the recipe's thresholds", True
        return found
    found.content = rows.content_hash(stage.recipe.release.instructions, stage.recipe.seed)
    found.size = rows.count
    found.enter = scratch.count(f"(from {rows.rows} anti join {released} using (image_id))")
    found.leave = scratch.count(f"(from {released} anti join {rows.rows} using (image_id))")
    if manifest is not None and not found.changes:
        asked = [form.kind_name for form in stage.recipe.release.formats]
        found.formats = [name for name in asked if name not in manifest["formats"]]
    return found


def _released(stage: Synthvlm100k, manifest: dict[str, Any] | None) -> Iterator[pa.Table]:
    """Ids of the latest release of a set. Few bytes are fetched, and none proved: nothing is made from them."""
    for file in manifest["files"] if manifest else []:
        if file["name"].startswith(f"{HuggingFace.folder}/"):
            path = f"{stage.location}/{file['name']}"
            try:
                with stage.store.at(path), stage.store.fs.open(path, "rb") as handle:
                    yield pq.ParquetFile(handle).read(columns=PAIR_IDS.names)
            except (OSError, pa.ArrowException) as error:
                where = stage.store.unstrip(path)
                raise DamagedProduct(f"{where} is not readable ({error}); materialize {stage.name} again") from error


def _without_caption(scratch: Scratch, released: Relation, sources: Sequence[Foreseen]) -> int:
    """How many released pairs lose their caption, whatever is drawn and scored; 0 where captions are unknown."""
    kept = [source.kept for source in sources if not source.plan.files_to_read]
    if len(kept) < len(sources) or None in kept:
        return 0
    everywhere = " union all ".join(f"select caption_id from {relation}" for relation in kept)
    return scratch.count(f"(from {released} anti join ({everywhere}) using (caption_id))")


def _words_change(stage: Synthvlm100k) -> bool:
    """Whether the human turns of the latest release are drawn from other instructions or another seed."""
    told, recipe = json.loads(stage.product.get("recipe.json")), stage.recipe
    return bool(told["release"]["instructions"] != list(recipe.release.instructions) or told["seed"] != recipe.seed)


def _variant_plan(stage: VlmCheckpoint, released: SetPlan) -> VariantPlan:
    found = VariantPlan(stage.partition)
    aligned = stage.aligned
    try:
        if released.content:
            aligned.released.manifest = {"content_hash": released.content}
        untrained = stage.find() is None
    except NotMaterialized as error:
        untrained = True
        if released.refused:
            found.problem = str(error)
    except Mendable as error:
        found.problem = str(error)
    if not found.problem:
        found.trains = untrained or (None if released.changes is None else False)
        trained_before = aligned.previous() is not None
        edited = any((made := one.last_made()) and made.get("settings") != one.settings for one in (aligned, stage))
        waits = (edited or released.changes is False) if trained_before else not aligned.variant.automatic
        found.by_itself = "training" in stage.recipe.automation and found.trains is not False and not waits
    return found
