"""The sensor tick by tick; the daemon turning ticks into runs is tested in end_to_end."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from synthvlm_assets.defs import source_files as watching
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.readers import access
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


def tick(location) -> dict[str, dg.RunRequest]:
    return {str(request.partition_key): request for request in evaluated(location).run_requests or []}


def evaluated(location) -> Any:
    sensor = location.definitions.resolve_sensor_def("source_files")
    with dg.build_sensor_context(
        instance=location.instance,
        definitions=location.definitions,
        resources={"settings": location.definitions.resources["settings"]},
    ) as context:
        return sensor.evaluate_tick(context)


def test_new_sources_are_requested_until_they_are_read(location, store: Store, small_recipe: Recipe) -> None:
    assert set(tick(location)) == {"laion", "cc"}
    RawCaptions(store, small_recipe, "laion").make()
    assert set(tick(location)) == {"cc"}
    RawCaptions(store, small_recipe, "cc").make()
    assert tick(location) == {}


def test_a_changed_file_is_requested_once_per_change(
    location, store: Store, small_recipe: Recipe, source_files: Path
) -> None:
    RawCaptions(store, small_recipe, "laion").make()
    RawCaptions(store, small_recipe, "cc").make()
    (source_files / "cc.tsv").write_bytes(b"a black ring\thttps://example.com/1.jpg\n")
    first, again = tick(location)["cc"], tick(location)["cc"]
    assert first.run_key == again.run_key
    (source_files / "cc.tsv").write_bytes(b"a black ring and a red one\thttps://example.com/1.jpg\n")
    assert tick(location)["cc"].run_key != first.run_key


def test_a_missing_source_is_told_and_stops_no_other(location, source_files: Path) -> None:
    (source_files / "laion.parquet").unlink()
    assert set(tick(location)) == {"cc"}


def test_files_that_return_to_an_earlier_state_are_requested_again(
    location, source_files: Path, tmp_path: Path
) -> None:
    location.run("cc")
    (source_files / "more.tsv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    added = tick(location)["cc"].run_key
    location.run("cc")
    (source_files / "more.tsv").rename(tmp_path / "away.tsv")
    location.run("cc")
    (tmp_path / "away.tsv").rename(source_files / "more.tsv")
    assert tick(location)["cc"].run_key != added


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def sources(*patterns: str) -> list[dict[str, Any]]:
    """Sources that cannot be listed, and one that can behind them."""
    names = [f"odd{number}" for number in range(len(patterns))]
    found = [
        {"name": name, "format": "cc3m", "files": [pattern]} for name, pattern in zip(names, patterns, strict=True)
    ]
    return [*found, {"name": "cc", "format": "cc3m", "files": ["cc.tsv"]}]


def test_sources_that_cannot_be_listed_stop_no_other(
    locate: Callable[[Recipe], Any],
    edited: Callable[..., Recipe],
    small_recipe: Recipe,
    store: Store,
    black_hole: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No client installed, nobody at the endpoint, a place that is none, an address that is never asked, and a server
    that takes the question and does not answer."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    settings = {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "MAX_ATTEMPTS": "1",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
    }
    for name, value in {**settings, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    monkeypatch.setattr(watching, "WAIT", 15.0)
    hole = f"http://127.0.0.1:{black_hole}/a.tsv"
    odd = ["gs://bucket/*.tsv", "s3://bucket/*.tsv", "ftp://host/a.tsv", "http://10.0.0.1/a.tsv", hole]
    location = locate(edited(small_recipe, {"sources": sources(*odd)}))
    begin = time.monotonic()
    assert set(tick(location)) == {"cc"}
    assert time.monotonic() - begin < 40
    monkeypatch.setattr(watching, "WAIT", 3.0)
    RawCaptions(store, edited(small_recipe, {"sources": sources(*odd)}), "cc").make()
    told = str(evaluated(location).skip_message)
    for why in (
        "pip install gcsfs",
        "s3://bucket",
        "ftp:// is no place",
        "10.0.0.1 is a private address",
        "no answer for",
    ):
        assert why in told
    waiting = [thread for thread in threading.enumerate() if thread.name == "files of odd4"]
    assert len(waiting) == 1  # the second tick asked the one that waits


def test_an_unforeseen_error_of_one_source_is_told(location, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RawCaptions.changed

    def odd(self: RawCaptions) -> str | None:
        if self.partition == "laion":
            raise RuntimeError("odd client")
        return original(self)

    monkeypatch.setattr(RawCaptions, "changed", odd)
    assert set(tick(location)) == {"cc"}
