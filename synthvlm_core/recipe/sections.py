"""The recipe: one YAML file that determines a data set and its models completely.

Belongs here: the typed sections that every recipe has. Does not belong here: sections that come in kinds (parts/ and
the rooms), loading and explaining (loading.py), any number of a recipe (presets/*.yaml), any work (the stages).
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from synthvlm_core import hashing
from synthvlm_core.errors import RecipeError, meant
from synthvlm_core.parts.benchmark import Benchmark
from synthvlm_core.parts.format import Format
from synthvlm_core.parts.generator import Generator
from synthvlm_core.parts.part import OneOf
from synthvlm_core.parts.rule import Rule
from synthvlm_core.parts.score import WEIGHTED, Score
from synthvlm_core.parts.section import Absent, Incidental, Location, Model, Name, Positive, Section, Share
from synthvlm_core.parts.source import Source

T = TypeVar("T")

AnySource = Annotated[Source, OneOf("synthvlm_core.captions.readers")]
Mapper = Literal["fix_unicode", "normalize_punctuation"]
"""What may be done to a caption's words; captions/mappers.py does it."""
AnyRule = Annotated[Rule, OneOf("synthvlm_core.captions.rules")]
AnyGenerator = Annotated[Generator, OneOf("synthvlm_core.images.generators")]
AnyScore = Annotated[Score, OneOf("synthvlm_core.scoring.scorers")]
AnyFormat = Annotated[Format, OneOf("synthvlm_core.release.formats")]
AnyBenchmark = Annotated[Benchmark, OneOf("synthvlm_core.evaluation.benchmarks")]


class Captions(Section):
    """Which captions go on."""

    text_form: Literal["wrapped", "bare"]
    """How a caption is spelled for statistics: in Data-Juicer's LLaVA wrapper, or as it is."""
    mappers: Annotated[tuple[Mapper, ...], Absent([])] = ()
    """What mends captions before they are measured, in order; captions/mappers.py says how."""
    rules: tuple[AnyRule, ...]
    """In order: of several rules that a caption breaks, the first is told. Cheap measurements come before dear ones all
    the same, and a model reads no caption that is rejected anyway."""
    rejected_share: Annotated[tuple[Share, Share], Incidental()] = (0.0, 1.0)
    """Expected range of the rejected share of a source; outside it a check warns."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _differ("captions.rules", [rule.kind_name for rule in self.rules])
        _differ("captions.mappers", list(self.mappers))
        kinds = [rule.kind_name for rule in self.rules]
        for number, rule in enumerate(self.rules):
            if missing := [kind for kind in rule.needs_rules if kind not in kinds]:
                what = " and ".join(missing)
                raise ValueError(f"captions.rules.{number}: {rule.kind_name} reads what {what} measures; add that rule")
        return self


Bounds = Annotated[dict[str, float], Absent({})]


class Thresholds(Section):
    """What the scores of a source must reach."""

    mean: Bounds = Field(default_factory=dict)
    """Least mean by score; `weighted_score` is one of them."""
    share_above_floor: Annotated[Share | None, Absent(None)] = None


class SourceThresholds(Thresholds):
    """What the scores of every source must reach, else none of its pairs is taken and nothing is released."""

    by_source: Annotated[dict[str, Thresholds], Absent({})] = Field(default_factory=dict)
    """By source, what stands there in place of the others' thresholds, key by key."""

    def of(self, source: str) -> Thresholds:
        """The thresholds of one source."""
        own = self.by_source.get(source, Thresholds())
        share = self.share_above_floor if own.share_above_floor is None else own.share_above_floor
        return Thresholds(mean={**self.mean, **own.mean}, share_above_floor=share)


class ReleasedSet(Section):
    """A named set made of the scored pairs: one partition of synthvlm_100k."""

    name: Name
    by: Annotated[Literal["weighted_score", "random", "first_image"], Absent("weighted_score")] = "weighted_score"
    """weighted_score: the best. random: as many captions drawn by lot, of each one image by lot. first_image: captions
    by lot, of each its first image that can be taken."""
    size: Annotated[Positive | None, Absent(None)] = None
    """None takes the selection's."""
    weights: Annotated[dict[str, float] | None, Field(min_length=1), Absent(None)] = None
    """None takes the selection's; `{clip_score: 1.0}` selects by CLIPScore alone."""


class Selection(Section):
    """Best of K per caption, then the global top `size` by the weighted score, ties broken by id."""

    size: Positive
    weights: Annotated[dict[str, float], Field(min_length=1)]
    """By score; what is not named does not count."""
    floor: Bounds = Field(default_factory=dict)
    """By score, `weighted_score` among them: no pair below is ever taken."""
    source_thresholds: Annotated[SourceThresholds, Absent({})] = SourceThresholds()
    may_be_empty: Annotated[tuple[Name, ...], Incidental()] = ()
    """Sources that need not have a pair which can be taken; any other without one stops a release."""
    sets: Annotated[tuple[ReleasedSet, ...], Field(min_length=1)]
    """The first is the paper's; controls and other sizes follow."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _differ("selection.sets", [found.name for found in self.sets])
        return self


class Release(Section):
    """The published sets."""

    name: Annotated[Name | None, Absent(None)] = None
    """None takes the recipe's name."""
    title: str
    formats: Annotated[tuple[AnyFormat, ...], Field(min_length=1)]
    """`huggingface` is the set's own table, written in any case; the others are made from it."""
    instructions: Annotated[tuple[str, ...], Field(min_length=1)]
    """The human turn of a pair, drawn per caption from the recipe's seed."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _differ("release.formats", [form.kind_name for form in self.formats])
        return self


class TrainingStage(Section):
    """One pass of training."""

    global_batch: Positive
    micro_batch: Annotated[Positive, Incidental()]
    learning_rate: Annotated[float, Field(gt=0.0)]
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Share
    epochs: Annotated[float, Field(gt=0.0)]
    weight_decay: Annotated[float, Field(ge=0.0)]
    max_length: Positive
    precision: Literal["bfloat16", "float16", "float32"]
    gradient_checkpointing: Annotated[bool, Incidental()]
    image_aspect: Literal["crop", "pad"]
    """crop: short side resized, centre cut; pad: square with the mean colour."""
    group_by_modality_length: Annotated[bool, Absent(False)] = False

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.global_batch % self.micro_batch:
            raise ValueError("global_batch must be a multiple of micro_batch")
        return self


class Variant(Section):
    """A model to train, one Dagster partition: a backbone on a released set."""

    name: Name
    language_model: Model
    selection: Name
    """One of `selection.sets`."""
    automatic: Annotated[bool, Incidental()] = False
    """With `automation: [training]`, train it by itself from the first set on; otherwise a person trains it once,
    before it follows its set."""


class Training(Section):
    """Projector alignment on the set, then instruction tuning of projector and language model."""

    vision_tower: Model
    feature_layer: int
    projector: Literal["mlp2x_gelu"]
    instructions: Annotated[str, Location("file")]
    """LLaVA instruction JSON for the second stage."""
    align: TrainingStage
    finetune: TrainingStage
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _differ("training.variants", [variant.name for variant in self.variants])
        return self


class Evaluation(Section):
    """What a checkpoint is asked."""

    benchmarks: Annotated[tuple[AnyBenchmark, ...], Field(min_length=1)]
    texts: Annotated[str | None, Location("file"), Absent(None)] = None
    """Held-out texts, one a line, whose perplexity is measured before and after training."""
    batch_size: Annotated[Positive, Incidental()]
    max_new_tokens: Positive

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        _differ("evaluation.benchmarks", [benchmark.title for benchmark in self.benchmarks])
        return self


class Checks(Section):
    """How closely stored work is looked at. Changes no result."""

    share: Annotated[Share, Incidental()] = 0.01
    """Of pictures decoded and scores computed again by checks, of a few hundred at least; 1.0 looks at all."""


Link = Literal["captions", "images", "set", "training"]
"""A link of the chain from files to models: what is before it changed, so it is made anew."""


class Recipe(Section):
    """A whole recipe."""

    name: Annotated[Name, Incidental()]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    threads: Positive
    """CPU threads of a worker: bytes are reproducible for a thread count."""
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1)]
    """Largest first: the order of the partitions."""
    captions: Captions
    generator: AnyGenerator
    scores: Annotated[tuple[AnyScore, ...], Field(min_length=1)]
    selection: Selection
    release: Release
    training: Training
    evaluation: Evaluation
    checks: Annotated[Checks, Incidental()] = Checks()
    automation: Annotated[tuple[Link, ...], Incidental()] = ()
    """What is made by itself: captions of new or changed files; images and scores of new captions; sets of new scores;
    checkpoints and evaluation on new sets."""
    folder: Annotated[str, Incidental()] = ""
    """Folder of the recipe file, set on loading: relative paths start here."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = list(misfits(self.sources, self.scores, self.selection, self.training))
        if found:
            raise ValueError("\n".join(found))
        return self

    @property
    def hash(self) -> str:
        """Digest of everything but the folder, so that two checkouts of a recipe agree."""
        return hashing.of_json(self.model_dump(mode="json", exclude={"folder"}))

    def source(self, name: str) -> Source:
        """The source of that name. Raises RecipeError if there is none."""
        return self._by_name("source", name, {source.name: source for source in self.sources})

    def variant(self, name: str) -> Variant:
        """The training variant of that name. Raises RecipeError if there is none."""
        return self._by_name("training variant", name, {variant.name: variant for variant in self.training.variants})

    def released_set(self, name: str) -> ReleasedSet:
        """The set of that name. Raises RecipeError if there is none."""
        return self._by_name("set", name, {found.name: found for found in self.selection.sets})

    def _by_name(self, what: str, name: str, offered: dict[str, T]) -> T:
        if name not in offered:
            raise RecipeError(f"recipe {self.name!r} has no {what} {name!r}; it has {list(offered)}")
        return offered[name]


def misfits(
    sources: "tuple[AnySource, ...] | None",
    scores: "tuple[AnyScore, ...] | None",
    selection: Selection | None,
    training: Training | None,
) -> Iterator[str]:
    """What does not fit together in a recipe, each with the key at fault. A section that is None is not looked at."""
    if sources is not None and (wrong := _same("sources", [source.name for source in sources])):
        yield wrong
    if scores is not None:
        if wrong := _same("scores", [score.column for score in scores]):
            yield wrong
        if WEIGHTED in [score.column for score in scores]:
            yield f"scores: {WEIGHTED!r} is the sum of the others and no score's own name"
    if selection is None:
        return
    if scores is not None:
        known = [score.column for score in scores]
        bounds = {
            "selection.floor": selection.floor,
            "selection.source_thresholds.mean": selection.source_thresholds.mean,
            **{
                f"selection.source_thresholds.by_source.{name}.mean": found.mean
                for name, found in selection.source_thresholds.by_source.items()
            },
        }
        weights = {
            "selection.weights": selection.weights,
            **{f"selection.sets.{n}.weights": found.weights or {} for n, found in enumerate(selection.sets)},
        }
        for key, named in (*weights.items(), *bounds.items()):
            there = [*known, *([WEIGHTED] if key in bounds else [])]
            for score in named:
                if score not in there:
                    yield f"{key}: {score!r} is no score of this recipe; there are {there}{meant(score, there)}"
    if sources is not None:
        there = [source.name for source in sources]
        for key, names in (
            ("selection.source_thresholds.by_source", selection.source_thresholds.by_source),
            ("selection.may_be_empty", selection.may_be_empty),
        ):
            for name in names:
                if name not in there:
                    yield f"{key}: {name!r} is no source of this recipe; there are {there}{meant(name, there)}"
    sets = [found.name for found in selection.sets]
    for number, variant in enumerate(training.variants if training else ()):
        if variant.selection not in sets:
            yield (
                f"training.variants.{number}.selection: {variant.selection!r} is no set of selection.sets; there are "
                f"{sets}{meant(variant.selection, sets)}"
            )


def _differ(key: str, names: list[str]) -> None:
    if wrong := _same(key, names):
        raise ValueError(wrong)


def _same(key: str, names: list[str]) -> str | None:
    return f"{key}: names must differ, got {names}" if len(set(names)) < len(names) else None
