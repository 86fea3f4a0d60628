"""One million captions from a file to a filtered table: seconds, captions per second and peak memory, per stage.

    python benchmarks/million_captions.py [rows]

Captions are those of SYNTHVLM_REAL_DATA (LAION-style and CC), else of the miniature sources, repeated with a counter
so that none is a duplicate. The ratio is against the floor: reading the same Parquet file with pyarrow alone.

benchmarks/README.md has the last result.
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core.captions.filtered import FilteredCaptions, rules_context
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules import text_statistics
from synthvlm_core.captions.rules.text_statistics import TextRule
from synthvlm_core.parts.locations import locate
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


def captions() -> list[str]:
    real = os.environ.get("SYNTHVLM_REAL_DATA")
    if real:
        texts = pq.read_table(Path(real, "laion_style", "alt_text_half.parquet"))["TEXT"].to_pylist()
        lines = Path(real, "cc", "Validation_GCC_half.tsv").read_text().split("\n")
        texts += [line.split("\t")[0] for line in lines]
        return [text for text in texts if text]
    folder = Path(locate("package:synthvlm_miniature/sources/laion", ""))
    return [text for path in folder.glob("*.parquet") for text in pq.read_table(path)["TEXT"].to_pylist() if text]


def recipe_over(folder: str, *, without: tuple[str, ...] = ()) -> Recipe:
    """The miniature recipe over the file, with the rules on text alone."""
    values = json.loads(loading.dumps(loading.load("miniature")))
    apart = ("perplexity", "judge", "image_text_similarity", *without)
    rules = [rule for rule in values["captions"]["rules"] if rule["rule"] not in apart]
    values["captions"]["rules"] = rules
    values["sources"] = [{"name": "million", "format": "laion", "files": ["*.parquet"]}]
    return loading.loads(json.dumps({**values, "folder": folder}))


def peak() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"


def main(rows: int) -> None:
    texts = captions()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "captions.parquet")
        schema = pa.schema([("URL", pa.string()), ("TEXT", pa.string())])
        with pq.ParquetWriter(path, schema) as writer:
            for start in range(0, rows, 50_000):
                numbers = range(start, min(start + 50_000, rows))
                columns = {
                    "URL": [f"https://example.com/{n}.jpg" for n in numbers],
                    "TEXT": [f"{texts[n % len(texts)]} {n}" for n in numbers],
                }
                writer.write_table(pa.table(columns, schema=schema))
        start_time = time.perf_counter()
        for batch in pq.ParquetFile(path).iter_batches():
            batch.validate(full=True)
        floor = time.perf_counter() - start_time
        recipe, fewer = recipe_over(folder), recipe_over(folder, without=("word_repetition",))
        assert all(isinstance(rule, TextRule) for rule in recipe.captions.rules)
        store = Store(str(Path(folder, "store")))
        measure = text_statistics.measurement(rules_context(recipe)).load()
        measure(pa.table({"caption_id": ["0"], "text": ["compile the kernels"]}), lambda done: None)
        print(f"floor: read and validate the file     {floor:7.1f} s   peak {peak()}")
        total = 0.0
        for name, stage in (
            ("raw_captions", RawCaptions(store, recipe, "million")),
            ("filtered_captions", FilteredCaptions(store, recipe, "million")),
            ("filtered_captions, a rule switched off", FilteredCaptions(store, fewer, "million")),
        ):
            start_time = time.perf_counter()
            manifest = stage.make()
            seconds = time.perf_counter() - start_time
            total += seconds
            print(f"{name:<38}{seconds:7.1f} s   peak {peak()}   {rows / seconds:,.0f} captions/s", flush=True)
        print(f"kept {manifest['kept']:,} of {rows:,}; {total / floor:.0f} times the floor")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
