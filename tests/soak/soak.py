"""The soak: trials of all kinds, one after the other, for as long as there is time.

Belongs here: which trial comes next, warming up, keeping what failed. Does not belong here: what a trial does
(trials.py), what is told of all (report.py).

    python -m soak.soak --minutes 30 --seed 1 --folder /tmp/soak

A trial is repeated by its number: the seed and the number decide all of it.
"""

import argparse
import importlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from soak import faults, processes, report, trials, world
from soak.trials import Shelf, Trial
from soak.world import STAGES

TRAINING = ("projector_checkpoint", "vlm_checkpoint")
LINES = "trials.jsonl"
SEEDS = 1_000_000
"""A trial's seed is the soak's times this, plus the trial's number."""


def soak(
    folder: Path, *, seconds: float, seed: int, only: Sequence[int] = (), matching: str = "", kind: str = ""
) -> list[Trial]:
    """Try for some seconds. Returns all trials; what failed is kept in `folder`, what did not is gone.

    Args:
        only: the numbers of the only trials to try.
        matching: tries only objects or stages whose kind holds this.
        kind: tries only this kind of trial.
    """
    end = time.monotonic() + seconds
    warm()
    shelf = trials.build(folder / "reference")
    print(
        f"reference: {sum(shelf.seconds.values()):.0f} s, {sum(map(len, shelf.objects.values()))} objects", flush=True
    )
    warm(shelf)
    done: list[Trial] = []
    for number, (name, what, way) in enumerate(_plan(shelf, seed)):
        if time.monotonic() > end or (only and number > max(only)):
            break
        if (only and number not in only) or (kind and name != kind) or matching not in f"{what} {way}":
            continue
        trial = _try(shelf, folder / f"trial-{number:05d}", seed, number, name, what, way)
        if trial.kind == "not applicable":
            continue
        trials.write(trial, folder / LINES)
        done.append(trial)
        _say(number, trial)
    return done


def _try(shelf: Shelf, folder: Path, seed: int, number: int, name: str, what: str, way: str) -> Trial:
    trial = Trial(name, seed=seed * SEEDS + number, what=what, way=way)
    started = time.monotonic()
    if name == "planted":
        [planted] = [found for found in faults.WAYS if found.__name__ == way]
        trial.what = world.kind(what)
        trials.planted(shelf, folder, trial, what, planted)
    elif name == "killed":
        trials.killed(shelf, folder, trial, what)
    elif name == "two at once":
        trials.two_at_once(shelf, folder, trial, what)
    else:
        trials.step_damaged(shelf, folder, trial, what)
    trial.seconds = round(time.monotonic() - started, 2)
    if not trial.faults:
        shutil.rmtree(folder, ignore_errors=True)
    return trial


def _plan(shelf: Shelf, seed: int):  # type: ignore[no-untyped-def]  # an endless iterator of (kind, what, way)
    """What to try, endlessly: of eight trials five plant a fault, and go through every way at every kind of object
    before any comes again."""
    chance = random.Random(seed)
    planted = _pairs(shelf, chance)
    killed, twice, steps = (_again(chance, names) for names in (STAGES, STAGES, TRAINING))
    while True:
        for name in ("planted", "killed", "planted", "planted", "two at once", "planted", "planted", "step damaged"):
            if name == "planted":
                yield (name, *next(planted))
            elif name == "killed":
                yield (name, next(killed), "")
            elif name == "two at once":
                yield (name, next(twice), "")
            else:
                yield (name, next(steps), "")


def _again(chance, names):  # type: ignore[no-untyped-def]
    while True:
        some = list(names)
        chance.shuffle(some)
        yield from some


def _pairs(shelf: Shelf, chance):  # type: ignore[no-untyped-def]
    """(object, way): every way at every kind of object, at an object chosen by chance."""
    every = [(kind, way) for kind in shelf.objects for way in faults.WAYS]
    for kind, way in _again(chance, every):
        path = chance.choice(shelf.objects[kind])
        if path.endswith(".lock") or not faults.applies(way, Path(path)):
            continue
        yield path, way.__name__


def warm(shelf: Shelf | None = None) -> None:
    """Import here what the work imports, so that no process has to: importing starts no threads, working does."""
    names = ["torch", "transformers", "diffusers", "open_clip", "peft", "skimage.metrics"]
    if shelf is not None:
        here = shelf.world(shelf.folder / "warm", shelf.whole)

        def loaded() -> list[str]:
            world.look(here)
            for stage in here.stages():
                shutil.rmtree(here.folder / "store", ignore_errors=True)
                shutil.copytree(shelf.before(stage.name), here.folder / "store")
                world.make(here.stage(stage.name, stage.partition))
            return sorted(sys.modules)

        ended = processes.run(loaded, here.temporary, 300)
        names = [name for name in ended.value or [] if name not in sys.modules and not name.startswith("__")]
    import torch

    torch.set_num_threads(1)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  # modules that others make on the fly
            continue


def _say(number: int, trial: Trial) -> None:
    mark = "FAULT" if trial.faults else "ok"
    print(
        f"{number:5d} {mark:5} {trial.kind} {trial.way or trial.what} {trial.seconds:.1f} s: {trial.told}", flush=True
    )
    for fault in trial.faults:
        print(f"            {fault}", flush=True)
    if trial.faults:
        print(f"            again: --seed {trial.seed // SEEDS} --only {number}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "synthvlm-soak"))
    parser.add_argument("--document", type=Path, help="where to write what was found, as docs/reliability.md")
    parser.add_argument("--only", type=int, nargs="*", default=[], help="the numbers of trials to repeat")
    parser.add_argument("--matching", default="")
    parser.add_argument("--kind", default="")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    done = soak(
        asked.folder,
        seconds=60 * asked.minutes,
        seed=asked.seed,
        only=asked.only,
        matching=asked.matching,
        kind=asked.kind,
    )
    told = report.figures([trial.as_json() for trial in done])
    (asked.folder / "figures.json").write_text(json.dumps(told, indent=1, ensure_ascii=False))
    if asked.document is not None:
        command = f"python -m soak.soak --minutes {asked.minutes:g} --seed {asked.seed}"
        asked.document.write_text(report.document([trial.as_json() for trial in done], command))
    failed = [trial for trial in done if trial.faults]
    print(f"{len(done)} trials, {len(done) - len(failed)} survived; all are told in {asked.folder}", flush=True)
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
