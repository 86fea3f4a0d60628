"""Trials: a store is killed at, run at by two, or damaged; what comes of it is judged against an uninterrupted run.

Belongs here: one trial of each kind and its judgement. Does not belong here: how often which is tried (soak.py), the
ways of damaging (faults.py), the graph that is tried at (world.py).

What a trial finds wrong is a fault, in words. All chance of a trial comes from its seed.
"""

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from soak import faults, processes, world
from soak.faults import Circumstances, Way
from soak.processes import Ended, Running
from soak.world import STAGES, Verdict, World

from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words, mendable
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage

HANG = 60.0
"""Seconds after which something that takes about five is taken for hung."""
ROUNDS = 4
"""Times that a person does what messages say before giving up."""
REMEDIES = re.compile(
    r"materiali[sz]e|delete|remove|rename|redo|align again|correct|update|put (it|them)|move it", re.I
)
_PATHS = re.compile(r"(?:file://)?(/[^\s;:,()'\"]+)")


@dataclass(frozen=True)
class Shelf:
    """The uninterrupted run that everything is held against, and its store after each stage."""

    folder: Path
    recipe: Recipe
    results: dict[str, str]
    states: dict[str, str]
    """Of every check of every partition: `Verdict.state`."""
    objects: dict[str, list[str]]
    seconds: dict[str, float]
    """What a stage takes, by name."""

    def before(self, stage: str) -> Path:
        """The store with all that comes before a stage."""
        return self.folder / "before" / stage

    @property
    def whole(self) -> Path:
        """The store with everything."""
        return self.folder / "whole"

    def world(self, folder: Path, store: Path | None) -> World:
        """A world of a trial's own, with a copy of a store or an empty one."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if store is not None:
            shutil.copytree(store, folder / "store", symlinks=True)
        (folder / "tmp").mkdir()
        return World(folder, self.recipe)


@dataclass
class Trial:
    """What one trial did and found."""

    kind: str
    seed: int
    what: str = ""
    """The kind of object that was damaged, or the stage that was killed."""
    way: str = ""
    told: str = ""
    """What was done, in words."""
    noticed: list[str] = field(default_factory=list)
    """Checks and stages that told of it."""
    words: str = ""
    """The first message that told of it, best one first."""
    mended: str = ""
    """What mended it: nothing, the stages named, or the whole graph."""
    faults: list[str] = field(default_factory=list)
    deaths: int = 0
    left: list[str] = field(default_factory=list)
    """Temporary files that killed processes left, after everything was run to its end."""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def build(folder: Path) -> Shelf:
    """Make the inputs and run every stage once, each in a process of its own, undisturbed.

    Raises:
        RuntimeError: if that does not go well.
    """
    shutil.rmtree(folder, ignore_errors=True)
    recipe = _sound(processes.run(lambda: world.write_inputs(folder / "inputs"), folder / "tmp", 300))
    here = World(folder / "run", recipe)
    shelf = Shelf(folder, recipe, {}, {}, {}, {})
    (here.folder / "store").mkdir(parents=True)
    for name in STAGES:
        shutil.copytree(here.folder / "store", shelf.before(name))
        for stage in stages(here, name):
            started = time.monotonic()
            _sound(processes.run(partial(world.make, stage), here.temporary, 300))
            shelf.seconds[name] = time.monotonic() - started
    shelf.results.update(_sound(processes.run(partial(world.results, here), here.temporary, HANG)))
    shelf.states.update(_states(_sound(processes.run(partial(world.look, here), here.temporary, HANG))))
    shutil.copytree(here.folder / "store", shelf.whole)
    shelf.objects.update(world.objects(here))
    return shelf


def stages(here: World, name: str) -> list[Stage]:
    """All partitions of a stage."""
    return [stage for stage in here.stages() if stage.name == name]


def planted(shelf: Shelf, folder: Path, trial: Trial, path: str, way: Way) -> None:
    """Damage one object of a whole store; look; do what is said; look again."""
    here = shelf.world(folder, shelf.whole)
    root = here.folder / "store"
    target = root / path
    same = [root / name for name in shelf.objects[world.kind(path)]]
    others = tuple(one for one in same if one != target and one.read_bytes() != target.read_bytes())
    told = way(target, Circumstances(root, others, random.Random(trial.seed)))
    if told is None:
        trial.kind = "not applicable"
        return
    trial.told = f"{path}: {told}"
    verdicts = _look(here, trial, "checks")
    if verdicts is None:
        return
    noticed = _against(shelf, verdicts)
    _note(trial, noticed, path)
    if noticed:
        _mend(shelf, here, trial, noticed)
    else:
        _unnoticed(shelf, here, trial)


def killed(shelf: Shelf, folder: Path, trial: Trial, name: str) -> None:
    """Kill a stage a few times at random moments, run it to its end, and everything after it."""
    chance = random.Random(trial.seed)
    here = shelf.world(folder, shelf.before(name))
    stage = chance.choice(stages(here, name))
    told = []
    for _ in range(chance.randint(1, 3)):
        number = chance.choice([signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGINT])
        at = chance.choice(["time", "call", "call"])
        if at == "time":
            wait = chance.uniform(0.0, 1.1 * shelf.seconds[name])
            ended = Running(partial(world.make, stage), here.temporary).wait(wait, kill=number)
            told.append(f"signal {int(number)} after {wait:.2f} s")
        else:
            count, after = chance.randint(1, 24), chance.random() < 0.5
            ended = processes.run(partial(_dying, stage, count, number, after), here.temporary, HANG)
            told.append(f"signal {int(number)} {'after' if after else 'before'} file operation {count}")
        if not _death(trial, ended, number):
            break
    trial.told = f"{stage.name} of {stage.partition}: {', then '.join(told)}"
    _finish(shelf, here, trial)


def two_at_once(shelf: Shelf, folder: Path, trial: Trial, name: str) -> None:
    """Run a stage twice at the same time, kill one, both or none at random moments, run to the end."""
    chance = random.Random(trial.seed)
    here = shelf.world(folder, shelf.before(name))
    stage = chance.choice(stages(here, name))
    waits = [chance.choice([0.0, chance.uniform(0.0, 1.5 * shelf.seconds[name])]) for _ in range(2)]
    running = []
    for number in range(2):
        running.append(Running(partial(world.make, stage), folder / f"tmp{number}"))
        time.sleep(chance.choice([0.0, chance.uniform(0.0, 0.3 * shelf.seconds[name])]))
    for process, wait in sorted(zip(running, waits, strict=True), key=lambda pair: -pair[1]):
        ended = process.wait(wait or HANG, kill=signal.SIGKILL if wait else 0)
        _death(trial, ended, signal.SIGKILL if wait else 0)
    trial.told = f"{stage.name} of {stage.partition} twice, killed after {[f'{w:.2f} s' if w else '-' for w in waits]}"
    _finish(shelf, here, trial)


def step_damaged(shelf: Shelf, folder: Path, trial: Trial, name: str) -> None:
    """Kill a training after some steps, damage a file that it left to go on from, run to the end."""
    chance = random.Random(trial.seed)
    here = shelf.world(folder, shelf.before(name))
    [stage] = stages(here, name)
    _death(trial, processes.run(partial(_dying_at_step, stage, chance.randint(1, 2)), here.temporary, HANG), 9)
    work = here.folder / "store" / "work"
    files = sorted(path for path in work.rglob("*") if path.is_file() and path.suffix != ".lock")
    ways = [way for way in faults.WAYS if way.__name__ not in ("old", "foreign_beside", "copy_beside", "forged")]
    chance.shuffle(ways)
    for path in [chance.choice(files)] if files else []:
        others = tuple(one for one in files if one != path and one.suffix == path.suffix)
        for way in ways:
            if faults.applies(way, path) and not way.__name__.startswith("forged"):
                told = way(path, Circumstances(here.folder / "store", others, chance))
                if told is not None:
                    trial.what, trial.way = (
                        re.sub(r"[0-9a-f]{32}|\d+", "…", path.relative_to(work).as_posix()),
                        way.__name__,
                    )
                    trial.told = f"{path.relative_to(work).as_posix()}: {told}"
                    break
    for _ in range(ROUNDS):
        ended = processes.run(partial(world.make, stage), here.temporary, HANG)
        if ended.error is None:
            break
        if mendable(ended.error) is None:
            trial.faults.append(f"running again: {_crash(ended)}")
            return
        trial.words = trial.words or str(ended.error)
        trial.noticed.append(f"{name}.make")
        if not _delete(here, [str(ended.error)], trial):
            trial.faults.append(f"stuck: {ended.error}")
            return
    _finish(shelf, here, trial)


def _finish(shelf: Shelf, here: World, trial: Trial) -> None:
    """Run everything to its end and compare."""
    ended = processes.run(partial(_make_all, here, list(STAGES)), here.temporary, 2 * HANG)
    if ended.error is not None or ended.hung:
        trial.faults.append(f"running again: {_crash(ended)}")
        return
    _compare(shelf, here, trial, "afterwards")
    trial.left = world.leftovers(here)
    if trial.left:
        trial.faults.append(f"left for ever: {', '.join(trial.left[:6])}")


def _mend(shelf: Shelf, here: World, trial: Trial, noticed: list[Verdict]) -> None:
    """Do what the messages say, look again, until all is green or nothing helps."""
    done: list[str] = []
    helpless = False
    for number in range(ROUNDS):
        whole = helpless or number == ROUNDS - 1
        first = 0 if whole else min(_named_stages(noticed), default=0)
        deleted = _delete(here, [verdict.words for verdict in noticed], trial)
        done += [f"deleting {', '.join(map(world.kind, deleted))}"] if deleted else []
        done.append("the whole graph" if first == 0 else f"running from {STAGES[first]}")
        ended = processes.run(partial(_make_all, here, list(STAGES[first:])), here.temporary, 2 * HANG)
        if ended.hung or (ended.error is not None and mendable(ended.error) is None):
            trial.faults.append(f"mending by {done[-1]}: {_crash(ended)}")
            return
        again = _look(here, trial, "checks after mending")
        if again is None:
            return
        before, noticed = [verdict.words for verdict in noticed], _against(shelf, again)
        if ended.error is not None:
            stage = getattr(ended.error, "stage", STAGES[first])
            noticed.insert(0, Verdict(stage, "", "make", False, str(ended.error)))
        if not noticed or whole:
            break
        helpless = [verdict.words for verdict in noticed] == before and not deleted
    trial.mended = ", then ".join(done)
    if noticed:
        trial.faults.append(f"not mended by what messages say ({trial.mended}): {_best(noticed, '').words[:400]}")
        return
    if helpless:
        trial.faults.append(f"only the whole graph mended it, not what the messages said: {trial.words[:300]}")
    _compare(shelf, here, trial, "after mending", look=False)


def _unnoticed(shelf: Shelf, here: World, trial: Trial) -> None:
    """What nobody noticed must change nothing: not what is read, not what is made again."""
    trial.mended = "nothing to mend"
    _compare(shelf, here, trial, "unnoticed", look=False)
    for what, prepare in (("run again", lambda: None), ("decided again", partial(_forget_decisions, here))):
        if trial.faults:
            return
        prepare()
        ended = processes.run(partial(_make_all, here, list(STAGES)), here.temporary, 2 * HANG)
        if ended.error is not None or ended.hung:
            words = f"unnoticed by every check, then {what}: {_crash(ended)}"
            if mendable(ended.error) is None:
                trial.faults.append(words)
                return
            trial.noticed.append(f"{getattr(ended.error, 'stage', '?')}.make")
            trial.words = str(ended.error)
            _mend(
                shelf, here, trial, [Verdict(getattr(ended.error, "stage", STAGES[0]), "", "make", False, trial.words)]
            )
            return
        _compare(shelf, here, trial, f"unnoticed, then {what}", look=what != "run again")


def _forget_decisions(here: World) -> None:
    """Remove decisions and products, so that everything measured is read again."""
    root = here.folder / "store"
    for folder in ("filtered_captions", "scored_pairs", "releases"):
        shutil.rmtree(root / folder)
    for manifest in root.glob("synthetic_images/*/*/manifests/*"):
        manifest.unlink()


def _compare(shelf: Shelf, here: World, trial: Trial, when: str, *, look: bool = True) -> None:
    ended = processes.run(partial(world.results, here), here.temporary, HANG)
    if ended.error is not None or ended.hung:
        trial.faults.append(f"{when}: reading the results: {_crash(ended)}")
        return
    other = [name for name, value in shelf.results.items() if ended.value.get(name) != value]
    if other:
        trial.faults.append(f"{when}: other results in {', '.join(other)}")
    if look and not other:
        verdicts = _look(here, trial, f"checks {when}")
        for verdict in _against(shelf, verdicts or [])[:3]:
            trial.faults.append(f"{when}: {verdict.name} of {verdict.partition}: {verdict.words[:300]}")


def _look(here: World, trial: Trial, when: str) -> list[Verdict] | None:
    """All verdicts; None if there are none, which is a fault."""
    ended = processes.run(partial(world.look, here), here.temporary, HANG)
    if ended.hung:
        trial.faults.append(f"{when}: hang")
    elif ended.error is not None or ended.value is None:
        trial.faults.append(f"{when}: {_crash(ended)}")
    else:
        verdicts: list[Verdict] = ended.value
        for verdict in [verdict for verdict in verdicts if verdict.crash][:3]:
            trial.faults.append(f"{when}: {verdict.name} of {verdict.partition} crashes: {verdict.words[:300]}")
        return verdicts
    return None


def _against(shelf: Shelf, verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts that are not those of the uninterrupted run."""
    return [verdict for verdict in verdicts if verdict.state != shelf.states[f"{verdict.name} {verdict.partition}"]]


def _states(verdicts: list[Verdict]) -> dict[str, str]:
    return {f"{verdict.name} {verdict.partition}": verdict.state for verdict in verdicts}


def _note(trial: Trial, noticed: list[Verdict], path: str) -> None:
    """By whom a fault was noticed, and whether a person can tell from the words where it is and what to do."""
    trial.noticed = sorted({verdict.name for verdict in noticed})
    if not noticed:
        return
    best = _best(noticed, path)
    trial.words = best.words
    if not _names(best.words, path):
        trial.faults.append(f"no message names the file: {best.name}: {best.words[:300]}")
    elif not REMEDIES.search(best.words):
        trial.faults.append(f"no message names a remedy: {best.name}: {best.words[:300]}")


def _best(noticed: list[Verdict], path: str) -> Verdict:
    """The most helpful verdict: names file and remedy, is no crash."""
    return max(noticed, key=lambda v: (not v.crash, _names(v.words, path), bool(REMEDIES.search(v.words))))


def _names(words: str, path: str) -> bool:
    """Whether a message names a file, or the folder that it lies in; of what is not there at all, whose it is."""
    name = path.rsplit("/", 1)[-1]
    return name in words or "is not in file:" in words or (len(path.split("/")) > 2 and path.rsplit("/", 1)[0] in words)


def _named_stages(noticed: list[Verdict]) -> Iterator[int]:
    """Which stages the messages say to materialize; where they name none, those whose check says so."""
    for verdict in noticed:
        named = re.findall(r"materialize (\w+)", verdict.words)
        found = [STAGES.index(name) for name in named if name in STAGES]
        if not found and verdict.stage in STAGES:
            found = [STAGES.index(verdict.stage)]
        yield from found


def _delete(here: World, messages: list[str], trial: Trial) -> list[str]:
    """Delete what messages say to delete: the paths behind the word, else the last one before it."""
    deleted = []
    for words in messages:
        for part in re.finditer(r"\bdelete\b", words):
            behind = re.match(r"delete ((?:(?:file://)?/[^\s;,]+(?:, )?)+)", words[part.start() :])
            paths = _PATHS.findall(behind[1]) if behind else _PATHS.findall(words[: part.start()])[-1:]
            for path in (Path(found.rstrip(".")) for found in paths):
                if not path.is_relative_to(here.folder):
                    trial.faults.append(f"says to delete {path}, which is not in the store: {words[:300]}")
                elif path.is_symlink() or path.exists():
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                    deleted.append(os.path.relpath(path, here.folder / "store"))
    return deleted


def _make_all(here: World, names: list[str]) -> None:
    """Run stages in their order."""
    for name in names:
        for stage in stages(here, name):
            try:
                with in_words():
                    world.make(stage)
            except Mendable as error:
                error.stage = name  # type: ignore[attr-defined]  # told along
                raise


_OPERATIONS = ("fsync", "link", "replace", "rename", "mkdir", "unlink")


def _dying(stage: Stage, count: int, number: int, after: bool) -> None:
    """Run a stage whose process gets a signal at its `count`-th operation on files."""
    left = [count]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not after:
                os.kill(os.getpid(), number)
            result = real(*arguments, **options)
            if left[0] == 0 and after:
                os.kill(os.getpid(), number)
            return result

        return operation

    for name in _OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    world.make(stage)


def _dying_at_step(stage: Any, steps: int) -> None:
    """Train until a step checkpoint is whole, and die."""
    from synthvlm_core.training import loop

    real, done = loop._Mark.on_save, [0]

    def on_save(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        done[0] += 1
        if done[0] == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    loop._Mark.on_save = on_save  # type: ignore[method-assign]
    world.make(stage)


def _death(trial: Trial, ended: Ended, number: int) -> bool:
    """Whether a process died of its signal; whatever else it died of is a fault."""
    if ended.hung:
        trial.faults.append("hang" if not number else f"does not end on signal {int(number)}")
    if ended.signal == number and number:
        trial.deaths += 1
        return True
    if isinstance(ended.error, KeyboardInterrupt) and number == signal.SIGINT:
        trial.deaths += 1
        return True
    if ended.error is not None or ended.signal:
        trial.faults.append(f"before it was killed: {_crash(ended)}")
    return False


def _crash(ended: Ended) -> str:
    if ended.hung:
        return f"hang; {ended.log[-300:]}"
    if ended.error is None:
        return f"died of signal {ended.signal}; {ended.log[-300:]}"
    where = [line.strip() for line in ended.trace.splitlines() if "synthvlm_core" in line]
    return f"{type(ended.error).__name__}: {str(ended.error)[:400]} ({where[-1] if where else ''})"


def _sound(ended: Ended) -> Any:
    if ended.error is not None or ended.hung or ended.signal:
        raise RuntimeError(f"the uninterrupted run: {_crash(ended)}\n{ended.trace}\n{ended.log}")
    return ended.value


def write(trial: Trial, file: Path) -> None:
    """Add a trial to a file of one JSON object a line."""
    with file.open("a") as lines:
        lines.write(json.dumps(trial.as_json(), ensure_ascii=False) + "\n")
