"""The sensor that watches the sources' files.

Belongs here: deciding which source's files are not those last read, each source by itself and within the time of a
tick. Does not belong here: listing files (synthvlm_core.captions.files), reading them.

A source may lie where nobody answers, and a client may wait for minutes. So each source is looked at by a thread of
its own: a tick ends after `WAIT` seconds with those that answered, tells which did not, and no further thread is
started for a source as long as its last one waits.
"""

import threading
import time
from collections.abc import Iterator

import dagster as dg

from synthvlm_assets.automation import SECONDS
from synthvlm_assets.settings import RECIPE_TAG, Settings
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

WAIT = 40.0  # seconds; Dagster ends a tick after 60


class _Look(threading.Thread):
    """One look at a source's files, now or when it answers."""

    def __init__(self, stage: RawCaptions) -> None:
        super().__init__(name=f"files of {stage.partition}", daemon=True)
        self._stage = stage
        self.began = time.monotonic()
        self.change: str | None = None
        self.wrong: str | None = None

    def run(self) -> None:
        try:
            with in_words():
                self.change = self._stage.changed()
        except Mendable as error:
            self.wrong = str(error)
        except Exception as error:  # noqa: BLE001  # of one source: it is told, and the others are requested
            self.wrong = f"source {self._stage.partition!r}: {type(error).__name__}: {error}"


_waiting: dict[tuple[str, str, str], _Look] = {}
"""Looks of earlier ticks that have no answer yet, by store, recipe and source."""


def source_files_sensor(recipe: Recipe) -> dg.SensorDefinition:
    """Requests the caption assets of a source whose files are new or changed; on from the start where the recipe says
    so."""
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        target=[RawCaptions.name, FilteredCaptions.name],
        default_status=on if "captions" in recipe.automation else off,
        minimum_interval_seconds=SECONDS,
        description="New or changed source files: requests that source's captions.",
    )
    def source_files(
        context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        store, recipe = settings.open_store(), settings.recipe
        requested, unreadable = [], []
        for name, look in _looks(store, recipe).items():
            if look.wrong is not None:
                unreadable.append(look.wrong)
            elif look.is_alive():
                waited = time.monotonic() - look.began
                unreadable.append(
                    f"source {name!r}: no answer for {waited:.0f} s from where its files are. Check that it can be "
                    "reached from this machine"
                )
            elif look.change is not None:
                requested.append(name)
                # one run per state of the files since they were last read: a run that failed is not started again by
                # itself, and files that return to an earlier state are read again
                yield dg.RunRequest(
                    partition_key=name,
                    run_key=f"{name}:{look.change}:{_last_read(context.instance, name)}",
                    tags={RECIPE_TAG: recipe.hash},
                )
        for why in unreadable:
            context.log.warning(why)
        if not requested:
            yield dg.SkipReason("; ".join(unreadable) or "all source files are as they were last read")

    return source_files


def _looks(store: Store, recipe: Recipe) -> dict[str, _Look]:
    """A look at every source, the ones that answered within the time of a tick finished."""
    looks = {}
    for source in recipe.sources:
        key = (store.url(), recipe.hash, source.name)
        look = _waiting.pop(key, None)
        if look is None or not look.is_alive():  # an answer of an earlier tick is old
            look = _Look(RawCaptions(store, recipe, source.name))
            look.start()
        looks[source.name] = _waiting[key] = look
    end = time.monotonic() + WAIT
    for source in recipe.sources:
        looks[source.name].join(max(0.0, end - time.monotonic()))
        if not looks[source.name].is_alive():
            del _waiting[store.url(), recipe.hash, source.name]
    return looks


def _last_read(instance: dg.DagsterInstance, source_name: str) -> int:
    """A number that changes whenever the source's raw captions are materialized, 0 before the first time."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(RawCaptions.name), asset_partitions=[source_name]), limit=1
    ).records
    return records[0].storage_id if records else 0
