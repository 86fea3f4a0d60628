"""A small whole graph: a recipe over drawn sources with the models that ship, its stages, its checks, what it holds.

Belongs here: making the inputs, running stages and checks as Dagster runs them, naming what a store holds and what its
rows are. Does not belong here: damage (faults.py), processes and their deaths (processes.py), judging (trials.py).
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from synthvlm_assets.defs import captions, images, release, training
from synthvlm_core import graph, plan
from synthvlm_core.errors import Mendable
from synthvlm_core.findings import Finding
from synthvlm_core.machine import in_words
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.formats import huggingface, webdataset
from synthvlm_core.stages import Stage
from synthvlm_core.store.objects import Store
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_miniature.making import benchmark, instructions, source_files

ROWS = 14
"""Of each source."""
SHARD_ROWS = 8
"""So that every table has several shards."""
PAIRS = 9
ROWS_PER_FILE = 5
NAMES = ("laion", "cc")
SET, VARIANT = "synthvlm", "synthvlm"
REFERENCE = "reference"
STAGES = tuple(stage.name for stage in graph.STAGES)

Property = Callable[[Any], Finding]


@dataclass(frozen=True)
class World:
    """A store under the recipe, in a folder of its own."""

    folder: Path
    recipe: Recipe

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    @property
    def temporary(self) -> Path:
        """The folder for temporary files of all processes that work here."""
        return self.folder / "tmp"

    def stages(self) -> Iterator[Stage]:
        """Every stage of the one way to a model, all of its sources, in the order of the graph."""
        for stage in graph.STAGES:
            for partition in stage.partitions(self.recipe):
                yield self.stage(stage.name, partition)

    def stage(self, name: str, partition: str) -> Stage:
        cls = graph.stage(name)
        if issubclass(cls, Checkpoint):
            return cls(self.store, self.recipe, partition, save_steps=1)
        return cls(self.store, self.recipe, partition)


def cut_small() -> None:
    """Cut files and shards small in this process, so that there are several of each."""
    huggingface.ROWS_PER_FILE = ROWS_PER_FILE
    webdataset.ROWS_PER_FILE = ROWS_PER_FILE


def make(stage: Stage) -> dict[str, Any]:
    """Run a stage."""
    cut_small()
    if stage.over == "source":
        return stage.make(shard_rows=SHARD_ROWS)  # type: ignore[call-arg]  # as those over sources take
    return stage.make()


def write_inputs(folder: Path) -> Recipe:
    """Sources, an instruction mix and a benchmark of the miniature's world; the recipe over them."""
    source_files.write(folder / "sources", seed=5, rows=ROWS)
    mix = instructions.write(folder / "mix", n=24)[0]
    benchmark.write(folder / "benchmark", {"test": 8, "held_out": 4}, captions=4)
    values = json.loads(loading.dumps(loading.load("miniature")))
    values |= {"name": "soak", "threads": 1, "folder": str(folder)}
    values["sources"] = [source for source in values["sources"] if source["name"] in NAMES]
    for source in values["sources"]:
        source["files"] = [name.replace("package:synthvlm_miniature/", "") for name in source["files"]]
    values["captions"]["rejected_share"] = [0.0, 1.0]
    values["generator"] |= {"steps": 2, "images_per_caption": 2, "batch_size": 4}
    for score in values["scores"]:
        if "batch_size" in score:
            score["batch_size"] = 4
    values["selection"] |= {"size": PAIRS, "floor": {}, "source_thresholds": {}}
    values["selection"]["sets"] = [one for one in values["selection"]["sets"] if one["name"] == SET]
    values["release"]["formats"] = [{"format": name} for name in ("huggingface", "llava", "webdataset")]
    trained = values["training"]
    trained["instructions"] = str(mix)
    trained["variants"] = [{**trained["variants"][0], "name": VARIANT, "selection": SET}]
    for stage in ("align", "finetune"):
        trained[stage] |= {"global_batch": 4, "micro_batch": 4, "epochs": 1.0}
    trained["finetune"]["epochs"] = 0.5
    values["evaluation"]["benchmarks"][0]["file"] = str(folder / "benchmark" / "questions.jsonl")
    values["evaluation"]["texts"] = str(folder / "benchmark" / "held_out_captions.txt")
    return loading.loads(json.dumps(values))


def checks(recipe: Recipe) -> list[tuple[type[Stage], Property]]:
    """Every check of every asset, as the code location puts it together."""
    rooms = (captions, images, release, training)
    return [(check.stage, check.holds) for room in rooms for check in room.checks(recipe)]


@dataclass(frozen=True)
class Verdict:
    """What one check said of one partition."""

    stage: str
    partition: str
    check: str
    passed: bool
    words: str
    error: str = ""
    """The type of the error that it ended in."""
    crash: bool = False
    """Whether that is none that a person can mend."""

    @property
    def name(self) -> str:
        return f"{self.stage}.{self.check}"

    @property
    def state(self) -> str:
        """What must not change: green, red or the error that it ended in."""
        return self.error or ("green" if self.passed else "red")


def look(world: World) -> list[Verdict]:
    """The verdict of every check of every partition, and of `synthvlm plan`. An error that a person can mend is a check
    that does not pass, as in Dagster; any other is a crash."""
    cut_small()
    found = []
    for cls, holds in checks(world.recipe):
        for partition in cls.partitions(world.recipe):
            found.append(
                _verdict(cls.name, partition, holds.__name__, partial(_held, world, cls.name, partition, holds))
            )
    found.append(_verdict("plan", "", "plan", lambda: _planned(world)))
    return found


def _held(world: World, name: str, partition: str, holds: Property) -> Finding:
    return graph.look(world.stage(name, partition), holds)


def _planned(world: World) -> Finding:
    plan.plan(world.store, world.recipe)
    return Finding(True, "")


def _verdict(stage: str, partition: str, check: str, ask: Callable[[], Finding]) -> Verdict:
    try:
        with in_words():
            finding = ask()
    except Mendable as error:
        return Verdict(stage, partition, check, False, f"{type(error).__name__}: {error}", type(error).__name__)
    except Exception as error:  # noqa: BLE001  # what is looked for
        words = f"{type(error).__name__}: {error}"[:600]
        return Verdict(stage, partition, check, False, words, type(error).__name__, crash=True)
    return Verdict(stage, partition, check, finding.passed, finding.summary)


def results(world: World) -> dict[str, str]:
    """By stage and partition a hash of all that it made: rows in full, files byte by byte, numbers that a run does not
    time."""
    found = {}
    for stage in world.stages():
        found[f"{stage.name} {stage.partition}"] = _digest(_told(stage))
    return found


def _told(stage: Any) -> Iterator[Any]:
    yield stage.manifest["content_hash"]
    if stage.name == "raw_captions":
        yield from _rows(stage.captions())
        yield from _rows(stage.quarantine())
    elif stage.name == "filtered_captions":
        yield from _rows(stage.kept())
        yield from _rows(stage.rejected())
    elif stage.name == "synthetic_images":
        yield from sorted(_rows(stage.counting_images()), key=lambda row: str(row["image_id"]))
    elif stage.name == "scored_pairs":
        yield from _rows(stage.pairs())
    elif stage.name == "synthvlm_100k":
        yield from _rows(stage.rows())
        yield from _files(stage.product)
    elif stage.name == "evaluation":
        yield {key: stage.manifest[key] for key in ("benchmarks", "not_applied", "language")}
    else:
        yield from _files(stage.product)


def _rows(tables: Iterator[Any]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield from table.to_pylist()


def _files(product: Any) -> Iterator[Any]:
    for name in product.names():
        yield name, hashlib.sha256(product.get(name)).hexdigest()


def _digest(values: Iterator[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(value).encode())
    return digest.hexdigest()


_HASHES = re.compile(r"(?<![0-9a-zA-Z])[0-9a-f]{8,64}(?![0-9a-zA-Z])")
_NUMBERS = re.compile(r"\d{4,}")


def kind(name: str) -> str:
    """What kind of object a stored file is: its path without hashes, numbers and names of partitions."""
    name = re.sub(r"source=\w+", "source=…", name)
    name = re.sub(r"/images/[0-9a-f]{2}/", "/images/…/", name)
    name = re.sub(r"^latest/(.*)/\w+\.json$", r"latest/\1/….json", name)
    return _NUMBERS.sub("#", _HASHES.sub("…", name))


def objects(world: World) -> dict[str, list[str]]:
    """The files of a store below its root, by kind, both in order."""
    root = world.folder / "store"
    found: dict[str, list[str]] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file() or path.is_symlink()):
        name = path.relative_to(root).as_posix()
        found.setdefault(kind(name), []).append(name)
    return dict(sorted(found.items()))


def leftovers(world: World) -> list[str]:
    """Temporary files in the store, in its work folder and in the folder for temporary files."""
    store = world.folder / "store"
    inside = [path for path in store.rglob("*") if path.name.endswith(".tmp") or path.is_relative_to(store / "work")]
    outside = world.temporary.glob("*") if world.temporary.is_dir() else []
    files = [path for path in (*inside, *outside) if not path.is_dir() or path.parent == world.temporary]
    return sorted(os.path.relpath(path, world.folder) for path in files if path.suffix != ".lock")
