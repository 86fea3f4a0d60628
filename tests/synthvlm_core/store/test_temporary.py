"""Folders that do not outlive their owner, and who may remove one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from synthvlm_core.store import temporary

OWNER = """
import sys, time
from synthvlm_core.store import temporary
with temporary.folder("scratch") as folder:
    (folder / "large").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_it_is_gone_afterwards_with_its_lock(place: Path) -> None:
    def fails() -> None:
        with temporary.folder("product") as folder:
            assert folder.parent == place
            assert os.stat(folder).st_mode & 0o777 == 0o700
            (folder / "file").write_bytes(b"x")
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fails()
    assert list(place.iterdir()) == []


def test_a_killed_owners_folder_is_removed_and_a_living_ones_stays(place: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    left = Path(owner.stdout.readline().strip())
    temporary.sweep()
    assert (left / "large").exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    temporary.sweep()
    assert list(place.iterdir()) == []


def test_a_lock_whose_owner_has_no_folder_yet_is_left_alone(place: Path) -> None:
    lock = place / "synthvlm-scratch-abc.lock"
    lock.touch()
    temporary.sweep()
    assert lock.exists()
    os.utime(lock, (0, time.time() - temporary.UNLOCKED_SECONDS - 1))
    temporary.sweep()
    assert not lock.exists()
