"""How much faster our text statistics are than Data-Juicer 1.6.1's own operators, and that they are equal.

Measures captions per second on one core, in one run, on the same captions in the wrapped form: ours from
Arrow to Arrow with all five statistics, theirs as `compute_stats_batched` of the paper's four rules that need
no word list (alphanumeric, character_repetition, special_characters, word_repetition), in their default
batches of 1,000. In their favour: reading, wrapping and making Python lists is not counted for them, nor is
their fifth operator. flagged_words runs untimed, on our list, so that all five statistics are compared.

    .venv/bin/python benchmarks/text_statistics.py [--environment FOLDER] [--captions N]

Captions are the real ones under $SYNTHVLM_REAL_DATA when it is set, else generated. Data-Juicer pins packages
against ours and installs others while it is imported, so it runs in an environment of its own, made on the
first run (0.9 GB; the network is needed) and kept in --environment. Both sides are pinned to the same core,
and run one after the other.

benchmarks/README.md has the last result.
"""

# Data-Juicer is importable in its own environment only.
# mypy: disable-error-code="import-not-found"

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
import venv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# torch is not among them: these operators never import it, and PyPI's would bring CUDA along.
REQUIREMENTS = ("py-data-juicer==1.6.1", "aiohttp")
REPEATS = 5
BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / ".venv-datajuicer"
    parser.add_argument("--environment", type=Path, default=default, help=f"Data-Juicer's venv ({default})")
    parser.add_argument("--captions", type=int, default=20_000, help="use at most this many captions")
    parser.add_argument("--datajuicer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.datajuicer:
        run_datajuicer(arguments.datajuicer)
        return
    python = prepare(arguments.environment)
    # One core for this process and, by inheritance, for Data-Juicer's.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    texts = captions(arguments.captions)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, our_seconds = run_ours(texts, folder)
        subprocess.run([python, "-I", __file__, "--datajuicer", folder], check=True, cwd=folder)
        theirs = pq.read_table(folder / "statistics.parquet")
        their_seconds = json.loads((folder / "seconds.json").read_text())
    for column in ours.column_names:
        pairs = zip(ours[column].to_pylist(), theirs[column].to_pylist(), strict=True)
        print(f"{column}: largest difference {max(abs(a - b) for a, b in pairs)}")
    our_rate, their_rate = (len(texts) / min(seconds) for seconds in (our_seconds, their_seconds))
    print(f"{len(texts)} captions, one core, best of {REPEATS}")
    print(f"ours        {our_rate:>10,.0f} captions/s (five statistics)")
    print(f"Data-Juicer {their_rate:>10,.0f} captions/s (four statistics)")
    print(f"ratio       {our_rate / their_rate:>10.1f}")


def prepare(environment: Path) -> Path:
    """The Python of Data-Juicer's environment, made on the first run."""
    python, ready = environment / "bin" / "python", environment / ".ready"
    if not ready.exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        # Imported once here, so that what it installs by itself is not there only from the second run on.
        subprocess.run([python, "-I", "-c", "import data_juicer.ops"], check=True)
        ready.touch()
    return python


def captions(limit: int) -> pa.Array:
    real = os.environ.get("SYNTHVLM_REAL_DATA")
    if real:
        path = Path(real) / "datajuicer_text_statistics.parquet"
        return pq.read_table(path, columns=["text"], filters=[("mode", "=", "bare")])["text"][:limit].combine_chunks()
    chance = random.Random(20756)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(1, 9))) for _ in range(3000)]
    words += [
        "caf\u00e9",
        "\u0130stanbul",
        "\u039f\u0394\u039f\u03a3",
        "\u732b",
        "\U0001f600",
        "\u0661\u0662",
        "damn",
        "(b)",
    ]
    texts = []
    for _ in range(limit):
        text = " ".join(chance.choices(words, k=chance.randint(2, 30)))
        # One caption in ten repeats itself, as spam does.
        texts.append((text.capitalize() + chance.choice([".", "!", ""])) * chance.choice([1] * 9 + [3]))
    return pa.array(texts, pa.large_string())


def run_ours(texts: pa.Array, folder: Path) -> tuple[pa.Table, list[float]]:
    """Our statistics and the seconds of every repeat; leaves the input for Data-Juicer in ``folder``."""
    from synthvlm_core.captions.rules import word_lists
    from synthvlm_core.captions.rules.statistics import WRAPPED_PREFIX, WRAPPED_SUFFIX, text_statistics

    words = word_lists.load("better-profanity").words
    wrapped = [WRAPPED_PREFIX + text + WRAPPED_SUFFIX for text in texts.to_pylist()]
    pq.write_table(pa.table({"text": pa.array(wrapped, pa.large_string())}), folder / "texts.parquet")
    (folder / "flagged_words.json").write_text(json.dumps({"en": sorted(words)}))
    table = text_statistics(texts, form="wrapped", flagged_words=words)  # compiles the kernels
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        text_statistics(texts, form="wrapped", flagged_words=words)
        seconds.append(time.perf_counter() - started)
    return table, seconds


def run_datajuicer(folder: Path) -> None:
    """Data-Juicer's side; runs under its own Python."""
    from data_juicer.ops.filter.alphanumeric_filter import AlphanumericFilter
    from data_juicer.ops.filter.character_repetition_filter import CharacterRepetitionFilter
    from data_juicer.ops.filter.flagged_words_filter import FlaggedWordFilter
    from data_juicer.ops.filter.special_characters_filter import SpecialCharactersFilter
    from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
    from data_juicer.utils.constant import Fields

    texts = pq.read_table(folder / "texts.parquet")["text"].to_pylist()
    timed = [
        AlphanumericFilter(min_ratio=0.60),
        CharacterRepetitionFilter(rep_len=10, max_ratio=0.09373663),
        SpecialCharactersFilter(min_ratio=0.16534802, max_ratio=0.42023757),
        WordRepetitionFilter(lang="en", tokenization=False, rep_len=10, max_ratio=0.03085751),
    ]
    flagged = FlaggedWordFilter(lang="en", tokenization=False, max_ratio=0.0, flagged_words_dir=str(folder))
    seconds = []
    for _ in range(REPEATS):
        batches = [
            {"text": part, Fields.stats: [{} for _ in part]}
            for part in (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))
        ]
        started = time.perf_counter()
        for batch in batches:
            for operator in timed:
                operator.compute_stats_batched(batch)
        seconds.append(time.perf_counter() - started)
    for batch in batches:
        flagged.compute_stats_batched(batch)
    rows = [row for batch in batches for row in batch[Fields.stats]]
    pq.write_table(pa.Table.from_pylist(rows), folder / "statistics.parquet")
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
