"""What people are shown of a URL: never what opens it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web import FileServer

from synthvlm_core import hashing
from synthvlm_core.captions import checks, files, raw
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.readers import access
from synthvlm_core.parts.locations import shown, without_credentials
from synthvlm_core.parts.source import InputFile, Unreadable
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.recipe_file import published
from synthvlm_core.store.objects import Store

HOST = "https://files.example/in/cc.tsv"
SIGNED = "X-Amz-Algorithm=AWS4&X-Amz-Credential=A%2Fs3&X-Amz-Date=2026&X-Amz-Expires=60&X-Amz-Signature=SECRET"
SAS = "sv=2024-01-01&ss=b&srt=o&sp=r&se=2026-01-01&spr=https&sig=SECRET%3D"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:SECRET@files.example/in/cc.tsv", HOST),
        ("https://SECRET@files.example/in/cc.tsv", HOST),
        ("https://us%40er:SE%3ACRET@files.example/in/cc.tsv", HOST),
        (f"{HOST}?{SIGNED}", HOST),
        (f"{HOST}?{SAS}", HOST),
        (f"{HOST}?X-Goog-Signature=SECRET&X-Goog-Date=x", HOST),
        (f"{HOST}?AWSAccessKeyId=SECRET&Signature=SECRET&Expires=1", HOST),
        (f"{HOST}?Policy=SECRET&Signature=SECRET&Key-Pair-Id=SECRET", HOST),
        *((f"{HOST}?{name}=SECRET", HOST) for name in ("token", "access_token", "api_key", "apikey", "auth", "jwt")),
        *((f"{HOST}?{name}=SECRET", HOST) for name in ("password", "sig", "SIGNATURE", "key", "code", "session_id")),
        *((f"{HOST}?{name}=SECRET", HOST) for name in ("private_token", "t%6Fken", "client_secret", "hash", "authkey")),
        (f"{HOST}?version=3&token=SECRET&part=2", f"{HOST}?version=3&part=2"),
        (f"{HOST}?token=SECRET;part=2", f"{HOST}?part=2"),
        (f"{HOST}#access_token=SECRET", HOST),
        ("s3://user:SECRET@bucket/cc.tsv", "s3://bucket/cc.tsv"),
    ],
)
def test_credentials_are_in_no_name(url: str, name: str) -> None:
    assert shown(url) == name
    assert shown(name) == name
    told = [str(Unreadable(url, "odd", "Mend it")), str(SourceError(f"x: {url} is odd; '{url}'"))]
    told.append(without_credentials(f"GET {url}: 403, url='{url}'"))
    assert "SECRET" not in "".join(told)


@pytest.mark.parametrize(
    "url",
    [
        *(HOST, f"{HOST}?part=2", f"{HOST}?", f"{HOST}?a", f"{HOST}?file=a.tsv&sv=1&se=2", f"{HOST}#top", "/in/cc.tsv"),
        *("in/x?token=1.tsv", "s3://bucket/a@b/cc.tsv", "abfs://box@account.dfs.core.windows.net/cc.tsv"),
        *("hf://datasets/owner/name@main/cc.tsv", f"{HOST}?key=shard/cc.tsv", f"{HOST}?monkey=1&author=x&design=y"),
    ],
)
def test_a_url_without_credentials_is_its_own_name(url: str) -> None:
    assert shown(url) == url


@given(st.text("ab:@/?#=&;%._-", max_size=40))
def test_a_name_is_shown_as_itself(rest: str) -> None:
    once = shown(f"http://{rest}")
    assert shown(once) == once or "@" in once
    assert once.startswith("http://")


def test_two_files_that_credentials_alone_tell_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    with FileServer() as server:
        server.files["/cc.tsv"] = b"a\tb\n"
        urls = [f"http://127.0.0.1:{server.port}/cc.tsv?token={token}" for token in ("one", "two")]
        with pytest.raises(SourceError, match="told apart by what looks like credentials alone") as refused:
            files.resolve("cc", urls, str(tmp_path))
        assert "token" not in str(refused.value)


def test_neither_store_nor_messages_hold_credentials(
    store: Store, small_recipe: Recipe, edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    with FileServer() as server:
        server.files["/cc.tsv"] = b"a black ring\thttp://a\n" * 4 + b"bad\n"
        server.headers["ETag"] = '"1"'
        url = f"http://user:PASSWORD@127.0.0.1:{server.port}/cc.tsv?X-Amz-Signature=SIGNED"
        recipe = edited(small_recipe, {"sources.cc.files": [url], "sources.cc.max_quarantined_share": 0.1})
        stage = RawCaptions(store, recipe, "cc")
        manifest = stage.make()
        told = [str(manifest), checks.few_rows_are_quarantined(stage).summary]
        for table in (*stage.captions(), *stage.quarantine()):
            assert set(table["file"].to_pylist()) == {f"http://127.0.0.1:{server.port}/cc.tsv"}
        del server.files["/cc.tsv"]
        with pytest.raises(SourceError) as gone:
            RawCaptions(store, recipe, "cc").make()
        server.files["/cc.tsv"], server.statuses["/cc.tsv"] = b"", 403
        with pytest.raises(SourceError, match="403") as forbidden:
            RawCaptions(store, recipe, "cc").make()
        for text in (*told, str(gone.value), str(forbidden.value)):
            assert "127.0.0.1" in text
            assert "PASSWORD" not in text
            assert "SIGNED" not in text
        # signed anew it is the same file
        server.files["/cc.tsv"] = b"a black ring\thttp://a\n" * 4 + b"bad\n"
        server.statuses.clear()
        again = edited(recipe, {"sources.cc.files": [url.replace("SIGNED", "AGAIN")]})
        assert RawCaptions(store, again, "cc").make()["files"] == manifest["files"]
    stored = b"".join(path.read_bytes() for path in Path(store.root).rglob("*") if path.is_file())
    assert b"PASSWORD" not in stored
    assert b"SIGNED" not in stored


def test_a_published_recipe_holds_neither_credentials_nor_local_places(small_recipe: Recipe, edited) -> None:
    urls = [f"https://user:SECRET@files.example/cc.tsv?{SAS}", "file:///home/somebody/cc.tsv", f"{HOST}?part=2"]
    told = json.loads(published(edited(small_recipe, {"sources.cc.files": urls})))
    [found] = [source["files"] for source in told["sources"] if source["name"] == "cc"]
    assert found == ["https://files.example/cc.tsv", "cc.tsv", f"{HOST}?part=2"]


def test_the_key_of_a_file_without_credentials_is_what_it_always_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fingerprints", lambda inputs: ["mark"] * len(inputs))
    for name, url in (
        ("in/a.tsv", "/data/in/a.tsv"),
        ("s3://b/a@b.tsv", "s3://b/a@b.tsv"),
        (f"{HOST}?p=1", f"{HOST}?p=1"),
    ):
        assert raw._file_keys([InputFile(name, url)]) == [hashing.of_json([name, url, "mark"])]
