"""Rule decontamination: how many n-grams a caption shares with the texts of benchmarks.

Beyond the paper; the overlap of n-grams by which language models' training sets are cleaned of their test sets (13
words in GPT-3, arXiv 2005.14165, appendix C). Captions are short, so a text of fewer words counts as a whole
(benchmark_texts.py).
"""

import functools
from functools import partial
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from synthvlm_core.captions.rules import benchmark_texts
from synthvlm_core.captions.rules.benchmark_texts import Index
from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent, Location, Positive
from synthvlm_core.store import records


class Decontamination(OwnStatistic):
    """Captions that give away nothing of what a model is asked later."""

    rule: Literal["decontamination"]
    statistic = "shared_ngrams"
    version = 1
    table = records.DECONTAMINATION
    bound = ("benchmarks",)

    benchmarks: Annotated[tuple[str, ...], Field(min_length=1), Location("word")]
    """Benchmarks' texts: .txt with one a line; .jsonl, .csv, .tsv or .parquet with a column of them."""
    column: Annotated[str, Absent("text")] = "text"
    ngram: Annotated[Positive, Absent(13)] = 13
    """Words that must follow each other in both."""
    shortest: Annotated[Positive, Absent(5)] = 5
    """Words that a shorter text must have to count as a whole."""

    def bounds(self) -> Bounds:
        return Bounds(maximum=0)

    def content(self, context: Context) -> str:
        return benchmark_texts.digest(self.benchmarks, context.folder)

    def depends_on(self, context: CaptionContext) -> dict[str, str]:
        return {"texts": self.content(context)}

    def files(self, context: Context) -> dict[str, str]:
        return {"origin": ", ".join(self.benchmarks), "sha256": self.content(context)}

    def problem(self, context: Context) -> str | None:
        wrong = []
        for name in self.benchmarks:
            try:
                next(benchmark_texts.texts(name, context.folder, self.column), None)
            except Mendable as error:
                wrong.append(str(error))
        return f"benchmarks: {'; '.join(wrong)}" if wrong else None

    def counted(self, text: str, context: CaptionContext) -> list[str]:
        shared = self._index(context).shared(text)
        return [f"{gram} ({place.file}, row {place.row})" for gram, place in shared]

    def measure(self, context: CaptionContext) -> Texts:
        return partial(_counts, self._index(context))

    def _index(self, context: CaptionContext) -> Index:
        return _indexed(self, context.folder, self.content(context))


@functools.lru_cache(maxsize=2)
def _indexed(rule: Decontamination, folder: str, content: str) -> Index:
    """The rule's n-grams; another content makes another entry of the cache."""
    return benchmark_texts.index(rule.benchmarks, folder, rule.column, rule.ngram, rule.shortest)


def _counts(index: Index, texts: pa.Array) -> pa.Array:
    return pa.array([len(index.shared(text)) for text in texts.to_pylist()], pa.float64())
