"""Rule kenlm_perplexity: an upper bound of the caption's perplexity under an n-gram model of KenLM.

SynthVLM, Appendix Table 1; the value is Data-Juicer's, over the same form of the text as the text statistics
(models/kenlm.py says how it is defined).
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from synthvlm_core import machine
from synthvlm_core.captions.rules.wrapping import wrapped
from synthvlm_core.models import kenlm
from synthvlm_core.models.kenlm import ModelFile
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.parts.section import Location, definition
from synthvlm_core.store import records
from synthvlm_core.store.measurements import Measure, Measurement

VERSION = 1


class KenlmPerplexity(Rule):
    """Captions whose pieces follow each other as in the text that the model was made of."""

    rule: Literal["kenlm_perplexity"]
    statistic = "kenlm_perplexity"

    model: Annotated[str, Field(min_length=1), Location("hub_file")]
    """The n-gram model, binary or ARPA: a path, or a hub's file, `hf://owner/name@commit/path`."""
    sentencepiece: Annotated[str, Field(min_length=1), Location("hub_file")]
    """The sentencepiece model whose pieces are its words, named likewise."""
    max_ppl: Annotated[float, Field(gt=0.0)]

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_ppl)

    def unavailable(self, context: Context) -> str | None:
        if missing := [name for name in kenlm.PACKAGES if not machine.has(name)]:
            return f"{' and '.join(missing)} not installed; pip install 'synthvlm[kenlm]'"
        return None

    def measurement(self, context: CaptionContext) -> Measurement:
        model, pieces = self._files(context, f"captions.rules.{self.kind_name}.")
        values = {"form": context.text_form, "model": model.identity, "sentencepiece": pieces.identity}
        return Measurement(
            table=records.KENLM_PERPLEXITY,
            definition=definition(records.KENLM_PERPLEXITY.name, VERSION, values),
            load=partial(_load, model, pieces, context.text_form),
            cost=1,
        )

    def _files(self, context: Context, key: str) -> tuple[ModelFile, ModelFile]:
        return (
            kenlm.model_file(self.model, context.folder, f"{key}model"),
            kenlm.model_file(self.sentencepiece, context.folder, f"{key}sentencepiece"),
        )


def _load(model: ModelFile, pieces: ModelFile, form: str) -> Measure:
    scorer = kenlm.Scorer(model, pieces)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        texts = [wrapped(text, form) for text in rows["text"].to_pylist()]
        values = scorer.perplexities(texts, on_progress=tick)
        return pa.table({"caption_id": rows["caption_id"], "kenlm_perplexity": values})

    return measure
