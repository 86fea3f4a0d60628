"""What is wanted and not stored is measured, once."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Killed, Mortal, killed_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.captions import measured
from synthvlm_core.captions.merged import Captions
from synthvlm_core.progress import Progress, silent
from synthvlm_core.store import sql
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.objects import Store
from synthvlm_core.store.records import Column, Table
from synthvlm_core.store.shards import SHARD_ROWS, Folder

LENGTHS = Table(
    "lengths",
    1,
    "caption_id",
    (Column("caption_id", pa.string(), "a name"), Column("length", pa.float64(), "of the text, in characters")),
)
TEXTS = {f"{n:032x}": "x" * n for n in range(40)}


@dataclass
class Ruler:
    """Measures texts and remembers which."""

    shard_rows: int = 10
    off: float = 0.0
    loads: int = 0
    measured: list[list[str]] = field(default_factory=list)

    @property
    def measurement(self) -> Measurement:
        return Measurement(LENGTHS, "d", self._load, shard_rows=self.shard_rows)

    def _load(self) -> Measure:
        self.loads += 1
        return self._measure

    def _measure(self, rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        self.measured.append(rows["caption_id"].to_pylist())
        lengths = [len(text) + self.off for text in rows["text"].to_pylist()]
        tick(len(lengths))
        return pa.table({"caption_id": rows["caption_id"], "length": lengths})


def run(
    store: Store,
    ruler: Ruler,
    ids: list[str],
    *,
    shard_rows: int | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, float], int]:
    """The values of some captions by id, and how many were measured now."""
    folder = Folder(store, LENGTHS, store.path("lengths"))
    table = pa.table({"caption_id": pa.array(ids, pa.string()), "text": [TEXTS[name] for name in ids]})
    captions = Captions(len(ids), lambda columns: iter([table.select(list(columns))]))
    with sql.scratch() as scratch:
        found, count = measured.measure(
            scratch,
            captions,
            captions.all(),
            ruler.measurement,
            folder,
            shard_rows=shard_rows or SHARD_ROWS,
            progress=progress,
        )
        rows = [row for part in found.tables(["length"]) for row in part.to_pylist()]
        return {ids[row["place"]]: row["length"] for row in rows}, count


def shards(store: Store) -> list[list[str]]:
    folder = Folder(store, LENGTHS, store.path("lengths"))
    return sorted(folder.read(name)["caption_id"].to_pylist() for name in folder.names())


ALL = list(TEXTS)
RIGHT = {name: float(len(text)) for name, text in TEXTS.items()}


def test_only_what_is_missing_is_measured_in_the_order_of_the_input(any_store: Store) -> None:
    ruler = Ruler()
    some = ALL[5:25]
    assert run(any_store, ruler, some) == ({name: RIGHT[name] for name in some}, 20)
    assert ruler.measured == [some[:10], some[10:]]
    assert run(any_store, ruler, ALL[:30]) == ({name: RIGHT[name] for name in ALL[:30]}, 10)
    assert ruler.measured[2:] == [[*ALL[:5], *ALL[25:30]]]
    assert ruler.loads == 2


def test_nothing_missing_loads_nothing(store: Store) -> None:
    run(store, Ruler(), ALL)
    idle = Ruler()
    assert run(store, idle, ALL[::2]) == ({name: RIGHT[name] for name in ALL[::2]}, 0)
    assert run(store, idle, []) == ({}, 0)
    assert (idle.loads, idle.measured) == (0, [])


@pytest.mark.parametrize(("asked", "own", "cut"), [(None, 10, 10), (4, 10, 4), (100, 10, 10)])
def test_the_smaller_number_of_rows_per_shard_stands(store: Store, asked: int | None, own: int, cut: int) -> None:
    run(store, Ruler(shard_rows=own), ALL, shard_rows=asked)
    assert [len(rows) for rows in shards(store)] == [cut] * (40 // cut)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=4), wanted=st.sets(st.sampled_from(ALL)))
def test_a_kill_costs_one_shard(tmp_path_factory, kills: list[tuple[int, bool]], wanted: set[str]) -> None:
    url = str(tmp_path_factory.mktemp("killed"))
    ruler, done = Ruler(shard_rows=7), 0
    for writes, after in kills:
        with suppress(Killed):
            run(Mortal(url, writes, after=after), ruler, sorted(wanted))
        done = sum(map(len, ruler.measured))
        stored = sum(map(len, shards(Store(url))))
        assert done - stored <= 7 * len(kills)
    assert run(Store(url), ruler, sorted(wanted))[0] == {name: RIGHT[name] for name in wanted}
    assert sum(map(len, ruler.measured)) <= len(wanted) + 7 * len(kills)
    assert sorted(itertools.chain.from_iterable(shards(Store(url)))) == sorted(wanted)  # nothing is stored twice


def test_a_death_while_measuring_keeps_what_was_stored(store: Store) -> None:
    ruler = Ruler()
    with pytest.raises(Killed):
        run(store, ruler, ALL, progress=killed_at(20))
    assert len(shards(store)) in (1, 2)
    kept = sum(map(len, shards(store)))
    assert run(store, ruler, ALL) == (RIGHT, 40 - kept)


def test_two_writers_meet_on_the_same_shards(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        work = [partial(run, Store(str(tmp_path)), Ruler(), ALL) for _ in range(4)]
        found = list(pool.map(lambda one: one(), work))
    assert [values for values, _ in found] == [RIGHT] * 4
    assert shards(Store(str(tmp_path))) == [ALL[n : n + 10] for n in range(0, 40, 10)]


def test_of_two_values_the_lowest_stands_whoever_was_first(tmp_path: Path) -> None:
    """Two machines that differ in the last bits: no reason to stop, nor to waver."""
    folders = []
    for offs in ((0.0, 1e-9), (1e-9, 0.0)):
        store = Store(str(tmp_path / f"first {offs[0]}"))
        for off in offs:
            apart = Store(str(tmp_path / f"apart {off} of {offs}"))
            run(apart, Ruler(off=off), ALL)
            folder = Folder(apart, LENGTHS, apart.path("lengths"))
            for rows in folder.tables(folder.names()):
                Folder(store, LENGTHS, store.path("lengths")).put(rows)
        folders.append(store)
    for store in folders:
        assert run(store, Ruler(), ALL) == (RIGHT, 0)


def test_damaged_shards_are_measured_again(store: Store) -> None:
    run(store, Ruler(), ALL)
    name = Folder(store, LENGTHS, store.path("lengths")).names()[0]
    Path(store.path("lengths"), name).write_bytes(b"")
    assert run(store, Ruler(), ALL) == (RIGHT, 10)


def test_progress_is_told_within_shards_and_ends_with_all(store: Store) -> None:
    told: list[tuple[str, int, int]] = []
    run(store, Ruler(), ALL, progress=lambda *said: told.append(said))
    assert {what for what, _, _ in told} == {"lengths"}
    assert {total for _, _, total in told} == {40}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert (told[0][1], told[-1][1]) == (0, 40)
    assert {10, 20, 30} <= {done for _, done, _ in told}
