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
    archive_path, records = originals.write(tmp_path, seed=1, n=12)
    table = pq.read_table(records).to_pylist()
    with tarfile.open(archive_path) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    for row, record in zip(originals.original_rows(1, 12), table, strict=True):
        assert content[f"{row.key}.txt"].decode() == row.caption == record["caption"]
        assert json.loads(content[f"{row.key}.json"]) == record
        reading = read(Image.open(io.BytesIO(content[f"{row.key}.jpg"])))
        assert agreement(row.scene, reading)["shape"]
