"""The judge on a server as a rule: nothing is asked twice, and nobody learns its key."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from judge_server import JudgeServer

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules.served_judge import ADDRESS
from synthvlm_core.models import served
from synthvlm_core.models.served import Unanswering
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

KEY = "sk-secret-0123456789"
Edit = Callable[[Recipe, dict[str, object]], Recipe]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    """Says No to what has a square in it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with JudgeServer(lambda prompt, count: [("No" if "square" in prompt else "Yes", 0.0)], key=KEY) as found:
        monkeypatch.setenv(ADDRESS, found.url)
        yield found


@pytest.fixture
def stage(store: Store, small_recipe: Recipe, edited: Edit) -> Callable[..., FilteredCaptions]:
    RawCaptions(store, small_recipe, "laion").make()

    def build(**keys: object) -> FilteredCaptions:
        rule = {"rule": "served_judge", "model": "judge", "prompt": "Draw {caption}?", "concurrency": 1, **keys}
        return FilteredCaptions(store, edited(small_recipe, {"captions.rules": [rule]}), "laion")

    return build


def test_captions_that_it_says_no_to_are_rejected(server: JudgeServer, stage: Callable[..., FilteredCaptions]) -> None:
    manifest = stage().make()
    assert manifest["captions"] == manifest["kept"] + manifest["rejected"] == len(server.asked)
    [rejected] = stage().rejected(["text", "rule", "value", "threshold"])
    assert all("square" in row["text"] for row in rejected.to_pylist())
    assert {tuple(row.values())[1:] for row in rejected.to_pylist()} == {("served_judge", 0.0, 0.5)}


def test_what_was_answered_before_the_server_died_is_not_asked_again(
    server: JudgeServer, stage: Callable[..., FilteredCaptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "RETRIES", 0)
    server.faults.extend([None, None, "cut", "cut", "cut", "cut"])
    with pytest.raises(Unanswering, match="cannot be reached"):
        stage().make()
    server.faults.clear()
    answered = server.asked[:2]
    server.asked.clear()
    manifest = stage().make()
    assert len(server.asked) == manifest["captions"] - 2
    assert not set(answered) & set(server.asked)


def test_only_what_changes_an_answer_asks_anew(server: JudgeServer, stage: Callable[..., FilteredCaptions]) -> None:
    stage().make()
    server.asked.clear()
    stage(min_yes=0.9, concurrency=3, timeout=9.0, server="http://elsewhere/v1").make()
    assert server.asked == []
    stage(prompt="Paint {caption}?").make()
    assert server.asked


def test_the_key_is_written_nowhere(
    server: JudgeServer, stage: Callable[..., FilteredCaptions], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    stage().make()
    assert KEY not in caplog.text
    files = [path for path in Path(store.root).rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
