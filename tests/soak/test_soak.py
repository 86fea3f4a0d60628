"""Half an hour of random kills and planted faults over a small whole graph: nothing let in, lost or stuck.

    SYNTHVLM_SOAK_MINUTES=5 SYNTHVLM_SOAK_SEED=7 pytest -m outside tests/soak

A failing trial says how to repeat it, and its folder is kept.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.outside
def test_whatever_is_killed_or_damaged_is_noticed_and_mended() -> None:
    minutes = os.environ.get("SYNTHVLM_SOAK_MINUTES", "30")
    seed = os.environ.get("SYNTHVLM_SOAK_SEED") or str(random.randrange(1_000_000))
    document = os.environ.get("SYNTHVLM_SOAK_DOCUMENT")
    folder = Path(tempfile.mkdtemp(prefix="synthvlm-soak-"))
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        # a process of its own: it forks, and must have no threads
        [sys.executable, "-m", "soak.soak", "--minutes", minutes, "--seed", seed, "--folder", str(folder)]
        + (["--document", document] if document else []),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-6000:]
    shutil.rmtree(folder)
