"""Where an unfinished checkpoint is worked on."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from synthvlm_core.errors import Mendable
from synthvlm_core.store.objects import Store
from synthvlm_core.training.checkpoints import _work_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_local_store_is_worked_on_beside_itself(store: Store, temporary: Path) -> None:
    assert _work_folder(store) == Path(store.path("work", "training"))
    assert not list(temporary.glob("synthvlm-training*"))


def test_each_remote_store_has_a_folder_of_this_users_own(temporary: Path) -> None:
    first, second = (_work_folder(Store(f"memory://{name}/data")) for name in ("one", "two"))
    assert first != second
    assert first == _work_folder(Store("memory://one/data/")), "the same store by another spelling"
    [mine] = temporary.iterdir()
    assert mine == first.parent == second.parent
    assert mine.name.endswith(f"-{os.getuid()}")
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700


@pytest.mark.parametrize("way", ["writable", "link", "file"])
def test_a_folder_that_others_could_have_filled_is_refused(temporary: Path, way: str) -> None:
    mine = temporary / f"synthvlm-training-{os.getuid()}"
    if way == "writable":
        mine.mkdir()
        mine.chmod(0o777)
    elif way == "link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        mine.symlink_to(temporary / "elsewhere")
    else:
        mine.touch(mode=0o700)
    with pytest.raises(Mendable, match=r"is not a folder of this user alone.*remove it, or set TMPDIR"):
        _work_folder(Store("memory://one/data"))
