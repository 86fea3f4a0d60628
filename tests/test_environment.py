"""The environment that `make setup` makes, as somebody uses it who has never heard of this package."""

import subprocess
import sys

import pytest


@pytest.mark.model
@pytest.mark.parametrize("line", ["import open_clip", "from transformers import AutoProcessor", "import torchvision"])
def test_the_fields_libraries_can_be_imported_by_themselves(
    line: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As a model card tells people to do."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", line],
        cwd=tmp_path_factory.getbasetemp(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
