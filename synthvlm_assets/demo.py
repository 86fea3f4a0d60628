"""`make demo`: materialize the whole graph of the recipe from the shell and say what came out.

Belongs here: the order of the runs and the summary. Does not belong here: any stage. It uses the same definitions,
instance and store as the UI, so `make ui` afterwards shows the runs.

    python -m synthvlm_assets.demo [VARIANT …]

trains the recipe's first variant, or the ones named, and compares them. Sources are independent of each other, so as
many run at once as there are processors; what each draws does not depend on it. A table shows how far they are.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import dagster as dg

from synthvlm_assets import progress, settings
from synthvlm_assets.board import Board
from synthvlm_assets.console import why
from synthvlm_assets.definitions import build
from synthvlm_core.evaluation.accuracy import OVERALL
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store

RUN = "--run"
LOG_CHARACTERS = 2000


def main(variants: list[str]) -> int:
    """Run every source, release the set, train variants, print the summary. Returns the exit status.

    Raises:
        Mendable: if there is no such recipe or variant.
    """
    recipe, store = settings.load_recipe(), Store(settings.store_url())
    variants = variants or [recipe.training.variants[0].name]
    sets = list(dict.fromkeys([recipe.selection.sets[0].name, *(recipe.variant(v).selection for v in variants)]))
    start = time.monotonic()
    sources = [("curate_and_draw", source.name) for source in recipe.sources]
    released, trained = [("release_set", name) for name in sets], [("train", variant) for variant in variants]
    failed = _run_all(sources, at_once=os.cpu_count() or 1) or _run_all([*released, *trained], at_once=1)
    if failed:  # again, since the table and what ended after it stand below
        print("\n".join(["", *failed, "", "What was made is kept: mend this and run it again."]), file=sys.stderr)
        return 1
    _funnel(store, recipe)
    for name in sets:
        _set(store, recipe, name)
    for variant in variants:
        _answers(store, recipe, variant)
    _differences(store, recipe, variants)
    print(f"\nThat took {(time.monotonic() - start) / 60:.1f} minutes. Everything is in {store.url()}.")
    print("Look at it: make ui, then http://localhost:3000")
    return 0


def run(job: str, partition: str) -> int:
    """One run in this process. Prints how it went, and what went wrong. Returns the exit status."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # checks load models, too
    definitions = build(settings.load_recipe(), settings.store_url())
    start = time.monotonic()
    with dg.DagsterInstance.get() as instance:
        result = definitions.resolve_job_def(job).execute_in_process(
            partition_key=partition, instance=instance, raise_on_error=False
        )
    told = [f"{job.replace('_', ' '):<16} {partition:<14} {'done' if result.success else 'FAILED':<6}"]
    told[0] += f" in {time.monotonic() - start:.0f} s"
    for event in result.all_events:
        if event.is_step_failure and (reason := why(event.step_failure_data)):
            told.append(f"  {event.step_key}: {reason}")
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            told.append(f"  check {check.asset_key.to_user_string()}.{check.check_name}: {check.description}")
    print("\n".join(told), flush=True)
    return 0 if result.success else 1


def _run_all(jobs: list[tuple[str, str]], *, at_once: int) -> list[str]:
    """Run jobs in processes of their own. The first failure lets no further one begin. Returns what failed, and why."""
    waiting, running, failed = list(jobs), dict[tuple[str, str], _Running](), list[str]()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="synthvlm-demo-"))
        board = stack.enter_context(Board(Path(folder)))
        while running or (waiting and not failed):
            while waiting and not failed and len(running) < at_once:
                job = waiting.pop(0)
                told, logged = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
                process = subprocess.Popen(
                    [sys.executable, "-m", __spec__.name, RUN, *job],
                    env={**os.environ, progress.FOLDER: folder},
                    stdout=told,
                    stderr=logged,
                )
                running[job] = _Running(process, told, logged)
                board.begin(*job)
            time.sleep(0.2)
            board.look()
            for job, one in list(running.items()):
                if one.process.poll() is not None:
                    del running[job]
                    if one.process.returncode:
                        failed.append(one.words)
                    board.end(*job, one.words)
    return failed


class _Running(NamedTuple):
    """A run at work, what it tells and what it logs."""

    process: subprocess.Popen[bytes]
    told: IO[bytes]
    logged: IO[bytes]

    @property
    def words(self) -> str:
        """How it went; of one that died before it could tell, the end of its log."""
        found = [self._read(self.told)]
        if not found[0] and self.process.returncode:
            found = [f"ended with status {self.process.returncode}", self._read(self.logged)[-LOG_CHARACTERS:]]
        return "\n".join(found)

    @staticmethod
    def _read(file: IO[bytes]) -> str:
        file.seek(0)
        return file.read().decode(errors="replace").rstrip()


def _funnel(store: Store, recipe: Recipe) -> None:
    scores = {score.column: score.label for score in recipe.scores}
    print(
        f"\n{'source':<10} {'rows':>7} {'unreadable':>11} {'duplicates':>11} {'rejected':>9} {'kept':>7} {'images':>7} "
        + " ".join(f"{label:>12}" for label in scores.values())
    )
    for source in recipe.sources:
        scored = ScoredPairs(store, recipe, source.name)
        drawn = scored.images
        decided, read = drawn.captions.manifest, drawn.captions.raw.manifest
        print(
            f"{source.name:<10} {read['rows'] + read['quarantined']:>7,} {read['quarantined']:>11,}"
            f" {decided['merged']:>11,} {decided['rejected']:>9,} {decided['kept']:>7,}"
            f" {drawn.manifest['healthy']:>7,} "
            + " ".join(f"{scored.statistics[score]['mean'] or 0:>12.3f}" for score in scores)
        )


def _set(store: Store, recipe: Recipe, name: str) -> None:
    released = Synthvlm100k(store, recipe, name)
    manifest = released.manifest
    means = {score: mean for score, mean in manifest["report"]["means"].items() if mean is not None}
    told = ", ".join(f"{score.replace('_', ' ')} {mean:.3f}" for score, mean in means.items())
    print(
        f"\n{recipe.release.title}, {name}: {manifest['rows']:,} of {manifest['report']['pairs']:,} pairs, mean {told}"
    )
    print(f"  {store.unstrip(released.location)}")


def _answers(store: Store, recipe: Recipe, variant: str) -> None:
    result = Evaluation(store, recipe, variant).manifest
    for name, found in result["benchmarks"].items():
        print(f"\n{variant} on {name}, held-out questions:")
        for kind, numbers in {**found["by_kind"], OVERALL: found[OVERALL]}.items():
            if numbers["accuracy"] is None:
                print(f"  {kind:<12} {numbers['asked']:,} questions, none graded")
                continue
            bar = "█" * round(numbers["accuracy"] * 30)
            interval = f"({numbers['low']:.1%} to {numbers['high']:.1%})"
            chance = "" if numbers["chance"] is None else f", chance {numbers['chance']:>5.1%}"
            print(f"  {kind:<12} {numbers['accuracy']:>6.1%}  {interval}{chance}  {bar}")
    for name, reason in result["not_applied"].items():
        print(f"\n{variant} on {name}: not run: {reason}")
    if (language := result["language"]) is not None:
        print(
            f"  perplexity of held-out texts: {language['before']:.2f} before, {language['after']:.2f} after training"
        )


def _differences(store: Store, recipe: Recipe, variants: list[str]) -> None:
    for other, benchmarks in Evaluation(store, recipe, variants[0]).comparisons().items():
        for name, kinds in benchmarks.items():
            found = kinds[OVERALL]
            print(
                f"\n{variants[0]} less {other} on {name}: {found['difference']:+.1%}"
                f" ({found['low']:+.1%} to {found['high']:+.1%})"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == [RUN]:
        status = run(*sys.argv[2:])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # all is closed; DuckDB's binding would print pages of "leaks" while the interpreter ends
    sys.exit(main(sys.argv[1:]))
