from pathlib import Path

from caption_files import parquet, picked, read


def test_datacomp_captions_find_their_urls_by_uid(tmp_path: Path) -> None:
    parquet(
        tmp_path / "captions.parquet", uid=["c", "a", "gone", None, "c"], blip2=["see", "ay", "lost", "no id", "sea"]
    )
    parquet(
        tmp_path / "m0.parquet",
        uid=["a", "b", "c"],
        url=["u:a", "u:b", "u:c"],
        clip_b32_similarity_score=[0.1, 0.2, 0.3],
    )
    parquet(tmp_path / "m1.parquet", uid=["c", "c"], url=["other", None], clip_l14_similarity_score=[0.9, 0.8])
    captions, _ = read(tmp_path, "datacomp_blip2", "captions.parquet", metadata_files=["m*.parquet"], batch_rows=2)
    assert picked(captions, "row", "text", "image_uid", "image_url", "published_similarity") == [
        (0, "see", "c", "u:c", 0.3),
        (1, "ay", "a", "u:a", 0.1),
        (2, "lost", "gone", None, None),
        (3, "no id", None, None, None),
        (4, "sea", "c", "u:c", 0.3),
    ]
