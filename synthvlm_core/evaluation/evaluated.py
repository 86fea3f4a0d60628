"""Stage evaluation: what a checkpoint's answers are worth, with intervals, and whether it still knows its language.

Belongs here: which benchmarks are asked, what is stored, comparing variants, answered pictures for people. Does not
belong here: the benchmarks (benchmarks/), numbers of answers (accuracy.py), training.

    evaluations/<variant>/<checkpoint key>/benchmarks/<definition>.json    accuracies and answers of one benchmark
    evaluations/<variant>/<checkpoint key>/language/<definition>.json      perplexity before and after
    evaluations/<variant>/<checkpoint key>/<evaluation key>.json           all together

A benchmark that was asked is not asked again when another joins the recipe.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired

from PIL import Image
from typing_extensions import TypedDict

from synthvlm_core import hashing
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.evaluation import accuracy, perplexity
from synthvlm_core.models import vlm, weights
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.parts.benchmark import Benchmark
from synthvlm_core.parts.locations import locate
from synthvlm_core.parts.section import definition, named
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage, context
from synthvlm_core.store.documents import Hash, Json, document
from synthvlm_core.store.objects import DamagedDocument, DamagedObject
from synthvlm_core.training.asking import ask
from synthvlm_core.training.data.pictures import local_file
from synthvlm_core.training.tuned import VlmCheckpoint

log = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same answers give another result."""
LANGUAGE_VERSION = 1
"""Raised when the same models and texts give another perplexity."""
EXAMPLES = 12
_RESULT = ("benchmarks", "not_applied", "language")
"""Keys of a manifest that its content hash is over."""


@document
class Inputs(TypedDict):
    """What was asked."""

    checkpoint: Hash


@document
class Result(TypedDict):
    """Of one benchmark, or the perplexities."""

    inputs: Inputs
    found: Json
    content_hash: NotRequired[Hash]
    """Of `found`; results from before it was kept have none."""


@document
class Manifest(TypedDict):
    """All results of a checkpoint."""

    benchmarks: dict[str, accuracy.Accuracies]
    not_applied: dict[str, str]
    language: dict[str, float] | None
    content_hash: Hash
    inputs: Inputs


class NothingToAsk(Mendable):
    """A recipe none of whose benchmarks this version or installation can run; the message says why for each."""


@dataclass(frozen=True)
class Example:
    """One answered question to look at."""

    picture: bytes
    """Encoded."""
    question: str
    answer: str
    """As generated, at most `accuracy.KEPT_CHARACTERS`."""
    truth: str
    """The usual one of the accepted answers; empty where there is none."""
    right: float | None
    kind: str


class Evaluation(Stage):
    """What one variant's checkpoint answers."""

    name = "evaluation"
    over = "variant"
    form = Manifest

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        versions = {found.title: found.version for found in recipe.evaluation.benchmarks}
        return definition(cls.name, VERSION, {**named(recipe.evaluation), "versions": versions})

    @cached_property
    def checkpoint(self) -> VlmCheckpoint:
        """The model that is asked."""
        return VlmCheckpoint(self.store, self.recipe, self.partition)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.checkpoint,)

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """The recipe's benchmarks that this version and installation can run."""
        return [found for found in self.recipe.evaluation.benchmarks if found.title not in self.not_applied]

    @cached_property
    def not_applied(self) -> dict[str, str]:
        """Why the others cannot be run, with the remedy, by their titles."""
        return not_applied(self.recipe)

    @cached_property
    def key(self) -> str:
        """Hash of what is asked.

        Raises:
            Mendable: if a file of a benchmark cannot be read.
        """
        values = {
            "benchmarks": {found.title: self._definition_of(found) for found in self.benchmarks},
            "not_applied": sorted(self.not_applied),
            "language": self._language_definition,
        }
        return definition(self.name, VERSION, values)

    @property
    def path(self) -> str:
        """Path of the folder of all results of the checkpoint."""
        return self.store.path("evaluations", self.partition, self.checkpoint.key)

    @property
    def manifest_path(self) -> str:
        return f"{self.path}/{self.key}.json"

    def find(self) -> dict[str, Any] | None:
        found = super().find()
        if found is None or not self._is_of_checkpoint(found):
            return None
        if found["content_hash"] != hashing.of_json({name: found[name] for name in _RESULT}):
            where = self.store.unstrip(self.manifest_path)
            raise DamagedDocument(f"{where}: its numbers are not those that were stored; {self.remedy}")
        return found

    def make(self, progress: Progress = silent) -> dict[str, Any]:
        """Ask what was not asked yet, and put the numbers together.

        Returns:
            `benchmarks` (by title, as `accuracy.accuracies`), `not_applied` (by title, why), `language` (as
            `perplexity.change`, or None without texts), `content_hash`, `variant`, `inputs`.

        Raises:
            NothingToAsk: if none of the benchmarks can be run.
            NotMaterialized: if there is no checkpoint yet.
            DamagedProduct: if a file of the checkpoint is gone or altered.
            DataError: if a question, picture or text cannot be used.
        """
        if not self.benchmarks:
            why = "; ".join(f"{title}: {reason}" for title, reason in self.not_applied.items())
            raise NothingToAsk(f"evaluation.benchmarks: none of them can be run ({why})")
        if (found := self.find_sound()) is not None:
            return self.made(found)
        with self.checkpoint.product.local_folder() as folder:
            model = _Once(lambda: vlm.load(folder))
            result: dict[str, Any] = {
                "benchmarks": {found.title: self._asked(found, folder, model, progress) for found in self.benchmarks},
                "not_applied": self.not_applied,
                "language": self._language(model),
            }
        result["content_hash"] = hashing.of_json({name: result[name] for name in _RESULT})
        result["variant"] = self.partition
        result["inputs"] = {**self._inputs, "checkpoint_key": self.checkpoint.key, "evaluation_key": self.key}
        self.store.put_json(self.manifest_path, result)
        return self.made(result)

    def comparisons(self) -> dict[str, dict[str, dict[str, accuracy.Difference]]]:
        """`accuracy.compare` of this variant with each other evaluated one of the recipe, by the other's name."""
        found = {}
        for other in self.recipe.training.variants:
            if other.name != self.partition:
                with contextlib.suppress(NotMaterialized):  # not evaluated yet
                    theirs = Evaluation(self.store, self.recipe, other.name).manifest
                    found[other.name] = accuracy.compare(self.manifest["benchmarks"], theirs["benchmarks"])
        return found

    def examples(self, n: int = EXAMPLES) -> list[Example]:
        """A few answered pictures: one question of a picture, kinds in turn, the first ones of the list."""
        chosen: list[Example] = []
        for benchmark in self.benchmarks:
            found = self.manifest["benchmarks"][benchmark.title]
            kinds = list(found["by_kind"])
            seen: set[str] = set()
            for row in found["answers"]:
                if len(chosen) == n:
                    break
                if row["picture"] is None or row["picture"] in seen or row["kind"] != kinds[len(chosen) % len(kinds)]:
                    continue
                seen.add(row["picture"])
                picture = benchmark.picture(row["picture"], self.context)
                if picture is not None:
                    truth = row["truth"][0] if row["truth"] else ""
                    chosen.append(Example(picture, row["question"], row["answer"], truth, row["right"], row["kind"]))
        return chosen

    def _asked(self, benchmark: Benchmark, folder: Path, model: "_Once", progress: Progress) -> dict[str, Any]:
        """Accuracies and answers of one benchmark."""

        def asked() -> dict[str, Any]:
            def answers(
                pictures: Sequence[Image.Image | None], questions: Sequence[str], progress: Progress
            ) -> list[str]:
                section = self.recipe.evaluation
                return ask(
                    model(),
                    pictures,
                    questions,
                    batch_size=section.batch_size,
                    max_new_tokens=section.max_new_tokens,
                    progress=progress,
                )

            return accuracy.accuracies(benchmark.answers(folder, answers, self.context, progress))

        return self._measured("benchmarks", self._definition_of(benchmark), asked)

    def _language(self, model: "_Once") -> dict[str, Any] | None:
        if self._texts is None or self._language_definition is None:
            return None
        texts = perplexity.read_texts(self._texts)

        def measured() -> dict[str, Any]:
            base, tokenizer = weights.causal_language_model(
                self.checkpoint.variant.language_model, self.recipe.folder, self._language_model_key
            )
            before = perplexity.perplexities(texts, base, tokenizer)
            after = perplexity.perplexities(texts, model().model, model().tokenizer)
            return perplexity.change(before, after)

        return self._measured("language", self._language_definition, measured)

    def _measured(self, kind: str, defined: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is stored under a definition for the checkpoint as it is, or what `measure` finds, stored."""
        path = f"{self.path}/{kind}/{defined}.json"
        try:
            stored: dict[str, Any] | None = self.store.get_json(path, Result)
            if stored is not None and stored.get("content_hash") not in (None, hashing.of_json(stored["found"])):
                raise DamagedDocument(f"{self.store.unstrip(path)}: its numbers are not those that were stored")
        except DamagedObject as damage:
            log.warning("%s; it is measured again now", damage)
            stored = None
        if stored is None or not self._is_of_checkpoint(stored):
            found = measure()
            stored = {"inputs": self._inputs, "found": found, "content_hash": hashing.of_json(found)}
            self.store.put_json(path, stored)
        return dict(stored["found"])

    @property
    def _inputs(self) -> dict[str, str]:
        return {"checkpoint": self.checkpoint.manifest["content_hash"]}

    def _is_of_checkpoint(self, stored: dict[str, Any]) -> bool:
        """Whether a stored result is about the files of the checkpoint, which may have been trained again elsewhere."""
        return bool(stored["inputs"]["checkpoint"] == self._inputs["checkpoint"])

    def _definition_of(self, benchmark: Benchmark) -> str:
        return self._definitions[benchmark.title]

    @cached_property
    def _definitions(self) -> dict[str, str]:
        longest = self.recipe.evaluation.max_new_tokens
        return {found.title: found.definition(self.context, longest) for found in self.benchmarks}

    @cached_property
    def _texts(self) -> Path | None:
        texts = self.recipe.evaluation.texts
        if texts is None:
            return None
        return local_file(locate(texts, self.recipe.folder), "evaluation.texts", "held-out texts, one a line")

    @property
    def _language_model_key(self) -> str:
        return f"training.variants.{self.partition}.language_model"

    @cached_property
    def _language_definition(self) -> str | None:
        """Hash of what the perplexities depend on beside the checkpoint, whose key names the language model."""
        if self._texts is None:
            return None
        return definition("language", LANGUAGE_VERSION, {"texts": perplexity.read_texts(self._texts)})


def not_applied(recipe: Recipe) -> dict[str, str]:
    """By title: why a benchmark of the recipe cannot be run by this version or installation, with the remedy."""
    about = context(recipe)
    reasons = {found.title: found.unavailable(about) for found in recipe.evaluation.benchmarks}
    return {title: reason for title, reason in reasons.items() if reason is not None}


class _Once:
    """A model that is loaded when it is wanted first."""

    def __init__(self, load: Callable[[], Vlm]) -> None:
        self._load = load
        self._loaded: Vlm | None = None

    def __call__(self) -> Vlm:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded
