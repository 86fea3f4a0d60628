"""What becomes of a worker that crashes, hangs, grows or says nothing: told in words, tried again where that helps."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_assets import compute
from synthvlm_assets.definitions import build
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Hook = Callable[[str], None]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_hook) -> Hook:
    """Code that the workers run first. `attempt()` counts the workers so far, this one included."""

    def put(code: str) -> None:
        counted = f"""
            import os, pathlib, time
            def attempt(folder=pathlib.Path({str(tmp_path)!r})):
                (folder / f"attempt-{{os.getpid()}}").touch()
                return len(list(folder.glob("attempt-*")))
            """
        monkeypatch.setenv("PYTHONPATH", worker_hook(tmp_path / "hook", counted + code))

    return put


RAW = dg.AssetSelection.assets("raw_captions").without_checks()
Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def raw(location) -> Run:
    """Materialize the raw captions of laion, with the checks of a selection."""

    def run(checks: dg.AssetSelection | None = None) -> dg.ExecuteInProcessResult:
        job = dg.define_asset_job("raw", RAW if checks is None else RAW | checks)
        found = dg.Definitions.merge(location.definitions, dg.Definitions(jobs=[job])).resolve_job_def("raw")
        return found.execute_in_process(partition_key="laion", instance=location.instance, raise_on_error=False)

    return run


def retries(result: dg.ExecuteInProcessResult) -> list[str]:
    """What is told of each worker that was tried again."""
    events = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    return [str(event.step_retry_data.error.cause) for event in events]


def failure(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.user_failure_data.description)


def told_once(result: dg.ExecuteInProcessResult) -> str:
    """What a person must mend: told without a traceback and not tried again."""
    assert not result.success
    assert retries(result) == []
    [event] = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.error.cause is None
    return failure(result)


def test_a_full_store_is_told_once(raw, store: Store, mounted) -> None:
    disk = mounted(Path(store.root), "size=16k")
    assert told_once(raw()).startswith(f"Unusable: {disk}/raw_captions/")
    assert "no space is left there; make room or name another place; what is stored stays" in told_once(raw())


def test_a_read_only_store_is_told_once(raw, store: Store, mounted) -> None:
    disk = mounted(Path(store.root), "ro")
    assert told_once(raw()) == (
        f"Unusable: {disk}/recipes: it is mounted read-only; mount it for writing, or name another place"
    )


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_full_disk_of_temporary_files_is_told_once(
    raw, hook: Hook, tmp_path: Path, mounted, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The worker's reports are written there: its last words have their room from the start."""
    disk = mounted(tmp_path / "tmp", "size=256k")
    monkeypatch.setattr("tempfile.tempdir", str(disk))
    monkeypatch.setitem(os.environ, "TMPDIR", str(disk))
    fill = f"""
            def fill():
                with open({str(disk / "filling")!r}, "wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(bytes(4096))
                    except OSError:
                        pass
            """
    if when == "before":
        (disk / "filling").write_bytes(bytes(255 << 10))
    else:
        hook(
            fill
            + """
            from synthvlm_core.captions.raw import RawCaptions
            make = RawCaptions.make
            def filled(stage, progress):
                fill()
                for number in range(100):
                    progress(f"kind {number}", 0, 1)
                return make(stage, progress)
            RawCaptions.make = filled
            """
        )
    told = told_once(raw())
    assert told == f"Unusable: {disk}: no space is left there; make room or name another place; what is stored stays"


def test_a_store_that_nothing_here_reads_is_told_once(small_recipe: Recipe, instance: dg.DagsterInstance) -> None:
    defs = build(small_recipe, "foo://bucket/data")
    job = dg.define_asset_job("raw", RAW)
    found = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("raw")
    result = found.execute_in_process(partition_key="laion", instance=instance, raise_on_error=False)
    assert told_once(result).startswith("Unusable: store foo://bucket/data: Protocol not known: foo; write a path, or")


CRASHES_READING = """
            import ctypes
            from synthvlm_core.captions import judging
            judging.read = lambda source, file: ctypes.string_at(0)
            """


def test_a_file_that_crashes_its_parser_is_named_and_tried_twice(raw, hook: Hook, tmp_path: Path) -> None:
    hook("attempt()" + CRASHES_READING)
    result = raw()
    told = failure(result)
    assert "raw_captions of 'laion' was ended by SIGSEGV" in told
    assert "laion.parquet" in told
    assert "take it out of the recipe" in told
    assert "Traceback" not in told
    assert len(retries(result)) == 1, "it may have been chance once"
    assert len(list(tmp_path.glob("attempt-*"))) == 2


def test_a_file_that_takes_all_memory_is_named(raw, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compute.MEMORY_BYTES, "raw_captions", 400 << 20)
    hook("""
            from synthvlm_core.captions import judging
            def read(source, file):
                held = []
                while True:
                    held.append(b"[" * (4 << 20))
                    time.sleep(0.01)
            judging.read = read
            """)
    result = raw()
    assert "of memory and was ended" in failure(result)
    assert "laion.parquet" in failure(result)
    assert len(retries(result)) == 1


def test_a_worker_killed_from_outside_is_told_and_tried_again(raw, hook: Hook) -> None:
    hook("""
            import signal
            from synthvlm_core.store import shards
            if attempt() == 1:
                shards.seal = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
            """)
    result = raw()
    assert result.success
    [told] = retries(result)
    assert "ended by SIGKILL from outside. What it did last: files: laion.parquet, 8 rows: 0 of 1." in told
    assert "out of memory" in told


def test_a_stuck_worker_is_ended_told_and_tried_again(raw, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is stuck in compiled code and lets no thread run, the second reports the same again and again."""
    monkeypatch.setenv("SYNTHVLM_SILENT_SECONDS", "5")
    hook("""
            import collections, itertools
            from synthvlm_core.captions.raw import RawCaptions
            def stuck(stage, progress):
                progress("files: laion.parquet", 0, 1)
                collections.deque(itertools.repeat(None), maxlen=0)
            def turning(stage, progress):
                while True:
                    progress("files: laion.parquet", 0, 1)
                    time.sleep(0.01)
            made = {1: stuck, 2: turning}.get(attempt())
            if made:
                RawCaptions.make = made
            """)
    result = raw()
    assert result.success
    told = retries(result)
    assert len(told) == 2
    for words in told:
        assert "told nothing new for 5 s and was ended. What it did last: files: laion.parquet: 0 of 1." in words
        assert "SYNTHVLM_SILENT_SECONDS" in words


def test_a_limit_that_is_no_number_is_told(raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTHVLM_SILENT_SECONDS", "one hour")
    assert "SYNTHVLM_SILENT_SECONDS is 'one hour': set it to a number" in failure(raw())


def test_a_worker_that_ends_without_a_report_is_tried_again(raw, hook: Hook) -> None:
    hook("""
            from synthvlm_core.captions.raw import RawCaptions
            make = RawCaptions.make
            def silenced(stage, progress):
                make(stage, progress)
                os._exit(0)
            if attempt() == 1:
                RawCaptions.make = silenced
            """)
    result = raw()
    assert result.success
    [told] = retries(result)
    assert "ended without a report; what it stored stays" in told


def test_a_message_seen_half_written_is_read_whole(raw, location, hook: Hook) -> None:
    hook("""
            import json, dagster_pipes
            def write_message(channel, message):
                line = json.dumps(message).encode() + b"\\n"
                with open(channel._path, "ab", buffering=0) as file:
                    file.write(line[:20])
                    time.sleep(0.15)
                    file.write(line[20:])
            dagster_pipes.PipesFileMessageWriterChannel.write_message = write_message
            """)
    result = raw(dg.AssetSelection.checks_for_assets("raw_captions"))
    assert result.success
    assert len(result.get_asset_check_evaluations()) == 4
    assert location.latest("raw_captions").metadata["rows"].value == 7


def test_a_check_that_crashes_is_named_and_holds_back_what_follows(location, hook: Hook) -> None:
    hook("""
            import ctypes
            from synthvlm_core.captions import checks
            def ids_are_sound(stage):
                ctypes.string_at(0)
            checks.ids_are_sound = ids_are_sound
            """)
    result = location.run("laion")
    assert not result.success
    assert "What it did last: check ids_are_sound." in failure(result)
    assert result.asset_materializations_for_node("filtered_captions") == []


def test_a_check_that_a_person_must_mend_does_not_hold(raw, hook: Hook) -> None:
    """A stored file is lost between the asset and its check."""
    hook("""
            import sys
            from synthvlm_core.store import shards
            def gone(*arguments, **options):
                raise FileNotFoundError("part-0.parquet is gone")
            if len(sys.orig_argv) > 4:
                shards.undamaged = gone
            """)
    result = raw(dg.AssetSelection.checks_for_assets("raw_captions"))
    evaluations = {found.check_name: found for found in result.get_asset_check_evaluations()}
    assert evaluations["ids_are_sound"].passed
    assert not evaluations["shards_are_undamaged"].passed
    assert "part-0.parquet is gone" in str(evaluations["shards_are_undamaged"].description)


def test_one_check_alone_can_be_asked_for(raw) -> None:
    result = raw(dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("raw_captions"), "ids_are_sound")))
    assert [found.check_name for found in result.get_asset_check_evaluations()] == ["ids_are_sound"]


def test_nothing_of_a_worker_is_left_in_the_folder_for_temporary_files(
    raw, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setitem(os.environ, "TMPDIR", str(tmp_path / "tmp"))
    hook("attempt()" + CRASHES_READING)
    assert not raw().success
    assert list((tmp_path / "tmp").iterdir()) == []
