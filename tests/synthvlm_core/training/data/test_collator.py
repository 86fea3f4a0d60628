from pathlib import Path

from synthvlm_core.models.vlm import Vlm
from synthvlm_core.training.data.collator import Collator
from synthvlm_core.training.data.instructions import Instructions
from synthvlm_core.training.data.rows import IGNORED
from synthvlm_core.training.data.words import Words


def test_a_batch_has_pixels_for_its_pictures_only(mix: Path, tmp_path: Path, tiny_vlm: Vlm) -> None:
    rows = Instructions(mix, Words(tiny_vlm, 128), work=tmp_path)
    collate = Collator(tiny_vlm.processor)
    batch = collate([rows[14], rows[15]])
    assert batch["pixel_values"].shape == (1, 3, 32, 32)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
    assert "pixel_values" not in collate([rows[15], rows[31]])
    assert tiny_vlm.model(**batch).loss.item() > 0
