"""Rules that ask a model: captions per second of the miniature's models, beside asking it for one caption at a time.

    python benchmarks/model_rules.py [CAPTIONS]

Perplexity, judge and image similarity over captions of the miniature's sources and drawn pictures. The alternative asks
the same loaded model with batches of one, which is what a loop over rows does; values agree within the last digit kept.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from synthvlm_core.captions.filtered import rules_context
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.rule import Rule
from synthvlm_core.recipe import loading
from synthvlm_miniature.making import originals
from synthvlm_miniature.making.rows import source_rows

SINGLE = 200


def rule(values: dict[str, Any]) -> Rule:
    """A rule of the miniature, as it is read from a recipe."""
    found = kinds("synthvlm_core.captions.rules")[values["rule"]].model_validate_json(json.dumps(values))
    assert isinstance(found, Rule)
    return found


def rows(count: int) -> pa.Table:
    """Captions of different words, each with a picture."""
    found: dict[str, bytes] = {}
    for row in source_rows("cc", rows=4 * count):
        if isinstance(row.text, str) and row.scene is not None and row.text not in found:
            found[row.text] = originals.jpeg(row.scene)
        if len(found) == count:
            break
    ids = [f"{number:032x}" for number in range(len(found))]
    images = [{"bytes": data, "path": None} for data in found.values()]
    return pa.table({"caption_id": ids, "original_id": ids, "text": list(found), "image": images})


def timed(measure: Callable[[pa.Table, Callable[[int], None]], pa.Table], table: pa.Table) -> tuple[float, pa.Table]:
    start = time.perf_counter()
    found = measure(table, lambda done: None)
    return time.perf_counter() - start, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("captions", type=int, nargs="?", default=2_000)
    recipe = loading.load("miniature")
    context, table = rules_context(recipe), rows(parser.parse_args().captions)
    print(f"{table.num_rows:,} captions, {SINGLE} one at a time")
    for own in recipe.captions.rules:
        if own.kind_name not in ("perplexity", "judge", "image_text_similarity"):
            continue
        values = own.model_dump(mode="json")
        batched = rule(values).measurement(context).load()
        alone = rule({**values, "batch_size": 1}).measurement(context).load()
        timed(batched, table.slice(0, 64))  # what is made on first use
        seconds, found = timed(batched, table)
        single, other = timed(alone, table.slice(0, SINGLE))
        pairs = (found[own.statistic].to_numpy()[:SINGLE], other[own.statistic].to_numpy())
        difference = float(np.max(np.abs(pairs[0] - pairs[1]) / np.maximum(1.0, np.abs(pairs[1]))))
        rate, rate_alone = table.num_rows / seconds, SINGLE / single
        print(
            f"{own.kind_name:22} {rate:8,.0f} a second, one at a time {rate_alone:6,.0f}: ratio "
            f"{rate / rate_alone:4.1f}; largest difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
