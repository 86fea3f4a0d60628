"""Near-duplicates of a source: captions per second and peak memory, beside datasketch and rensa in the same run.

    python benchmarks/near_duplicates.py [ROWS] [--other PYTHON]

PYTHON is one of an environment with `datasketch` and `rensa`; without it ours is measured alone. All three get the same
captions, shingles of two words and 128 permutations; datasketch and rensa propose pairs by their own bands.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

THRESHOLD, WORDS = 0.7, 2

OTHERS = r"""
import json, string, sys, time, resource
texts = json.load(sys.stdin)
def shingles(text):
    words = [w for w in (w.strip(string.punctuation) for w in text.lower().split()) if w]
    n = min(2, len(words))
    return {" ".join(words[i:i + n]) for i in range(len(words) - n + 1)} if words else set()
which = sys.argv[1]
start = time.perf_counter()
if which == "datasketch":
    from datasketch import MinHash, MinHashLSH
    index = MinHashLSH(threshold=0.7, num_perm=128)
    for number, text in enumerate(texts):
        made = MinHash(num_perm=128)
        made.update_batch([one.encode() for one in shingles(text)])
        index.query(made)
        index.insert(number, made)
else:
    from rensa import RMinHash, RMinHashLSH
    index = RMinHashLSH(threshold=0.7, num_perm=128, num_bands=32)
    for number, text in enumerate(texts):
        made = RMinHash(num_perm=128, seed=1)
        made.update(list(shingles(text)))
        index.query(made)
        index.insert(number, made)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def captions(rows: int, seed: int = 0) -> list[str]:
    """Captions of 4 to 16 words, one in ten of which is an earlier one with a word changed."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{number}" for number in range(20_000)])
    found: list[str] = []
    lengths, again = rng.integers(4, 17, rows), rng.random(rows) < 0.1
    # frequent words and rare ones, as in language
    drawn = np.minimum(rng.zipf(1.2, int(lengths.sum())) - 1, len(words) - 1)
    first = 0
    for length, repeated in zip(lengths.tolist(), again.tolist(), strict=True):
        own = words[drawn[first : first + length]]
        first += length
        if repeated and found:
            own = np.array(found[int(rng.integers(len(found)))].split(" "))
            own[int(rng.integers(len(own)))] = "other"
        found.append(" ".join(own))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--other", help="the Python of an environment with datasketch and rensa")
    parser.add_argument("--compared", type=int, default=50_000, help="captions that the others get")
    given = parser.parse_args()
    from synthvlm_core.captions.near_duplicates import near_duplicates

    def run(texts: list[str]) -> tuple[float, int]:
        table = pa.table({"text": texts})

        def tables() -> Iterator[pa.Table]:
            for first in range(0, len(texts), 50_000):
                yield table.slice(first, 50_000)

        order = np.random.default_rng(1).permutation(len(texts))
        start = time.perf_counter()
        found = near_duplicates(tables, len(texts), order, shingle_words=WORDS, threshold=THRESHOLD)
        return time.perf_counter() - start, int((found.instead >= 0).sum())

    run(captions(1_000))  # compiles
    some = captions(given.compared)
    ours, _ = run(some)
    print(f"{given.compared:,} captions: ours {ours:.2f} s, {given.compared / ours:,.0f} a second")
    for other in ("datasketch", "rensa") if given.other else ():
        command = [given.other, "-c", OTHERS, other]
        done = subprocess.run(command, input=json.dumps(some), capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{other}: {done.stderr.strip().splitlines()[-1]}")
            continue
        seconds, memory = json.loads(done.stdout)
        print(f"{other}: {seconds:.2f} s, {seconds / ours:.1f} times ours, peak {memory:,.0f} MiB")
    texts = captions(given.rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, gone = run(texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.rows:,} captions: {seconds:.1f} s, {given.rows / seconds:,.0f} a second, {gone:,} duplicates")
    print(f"peak {peak:,.0f} MiB, of which the captions themselves {before:,.0f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
