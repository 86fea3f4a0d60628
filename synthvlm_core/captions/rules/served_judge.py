"""Rule served_judge: a language model on a server that is asked whether a caption can be drawn.

SynthVLM, section 3.1 and appendix, where the judge is a 70B model; models/served.py defines the value. Where a model is
served, how many requests are open and with which key change no answer, so they are part of no definition.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import Field, model_validator

from synthvlm_core import machine
from synthvlm_core.models import served
from synthvlm_core.models.served import Server
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.parts.section import Absent, Incidental, Positive, Share, definition, named
from synthvlm_core.store import records
from synthvlm_core.store.measurements import Measure, Measurement, Partly

VERSION = 1
SHARD_ROWS = 1_000
ADDRESS = "SYNTHVLM_JUDGE_SERVER"
"""Environment variable that names another server than the recipe does."""


class ServedJudge(Rule):
    """Captions that a served language model says Yes to."""

    rule: Literal["served_judge"]
    statistic = "served_judge_yes"

    model: Annotated[str, Field(min_length=1)]
    """As the server names it."""
    server: Annotated[str, Incidental()] = "http://localhost:8000/v1"
    """Base address of an OpenAI-compatible server; SYNTHVLM_JUDGE_SERVER takes its place."""
    key_env: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$"), Incidental()] = "OPENAI_API_KEY"
    """The environment variable with the server's key, if it asks for one."""
    concurrency: Annotated[Positive, Field(le=1024), Incidental()] = 64
    """Requests open at once."""
    timeout: Annotated[float, Field(gt=0.0), Incidental()] = 120.0
    """Seconds for one request."""
    prompt: str
    """What is asked; `{caption}` stands for the caption."""
    min_yes: Annotated[Share, Absent(0.5)] = 0.5

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if "{caption}" not in self.prompt:
            raise ValueError("prompt must contain {caption}")
        parts = urlsplit(self.server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("server must be an address like http://localhost:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("server must hold no user, password or query: keys come from the environment (key_env)")
        return self

    def unavailable(self, context: Context) -> str | None:
        if not machine.has("openai"):
            return "openai is not installed; pip install 'synthvlm[served]'"
        return None

    def bounds(self) -> Bounds:
        return Bounds(minimum=self.min_yes)

    def measurement(self, context: CaptionContext) -> Measurement:
        values = named(self, leave_out=("rule", "min_yes"))
        return Measurement(
            table=records.SERVED_JUDGE,
            definition=definition(records.SERVED_JUDGE.name, VERSION, values),
            load=partial(_load, self),
            shard_rows=SHARD_ROWS,
            cost=3,
        )


def _load(rule: ServedJudge) -> Measure:
    where = Server(os.environ.get(ADDRESS) or rule.server, rule.key_env, rule.concurrency, rule.timeout)
    judge = served.Judge(where, rule.model, rule.prompt)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        places, values, ended = served.judge_yes(judge, rows["text"].to_pylist(), on_progress=tick)
        found = pa.table({"caption_id": rows["caption_id"].take(pa.array(places)), rule.statistic: values})
        if ended is not None:
            raise Partly(found, ended)
        return found

    return measure
