import io
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from synthvlm_miniature.making import originals
from synthvlm_miniature.world.agreement import agreement
from synthvlm_miniature.world.inverse import read


def test_originals_are_in_img2dataset_layout(tmp_path: Path) -> None:
    archive_path, records = originals.write(tmp_path, seed=1, rows=60)
    table = pq.read_table(records).to_pylist()
    with tarfile.open(archive_path) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert len(table) == 60
    alive = 0
    for original, record in zip(originals.originals(1, 60), table, strict=True):
        assert (record["status"] == "success") == (original.scene is not None)
        if original.scene is None:
            assert f"{original.key}.jpg" not in content
            continue
        alive += 1
        assert content[f"{original.key}.txt"].decode() == original.row.text == record["caption"]
        assert json.loads(content[f"{original.key}.json"]) == record
        reading = read(Image.open(io.BytesIO(content[f"{original.key}.jpg"])))
        assert agreement(original.scene, reading)["shape"]
    assert len(content) == 3 * alive > 0
