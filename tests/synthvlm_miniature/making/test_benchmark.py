import json
import zipfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from synthvlm_miniature.making import benchmark
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.held_out import held_out_captions, held_out_questions


def test_a_line_holds_one_question_and_names_its_picture(tmp_path: Path) -> None:
    questions, pictures, _ = benchmark.write(tmp_path, {"test": 40, "held_out": 20})
    rows = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    asked = held_out_questions(40, "test") + held_out_questions(20, "held_out")
    assert [row["id"] for row in rows[:2] + rows[40:41]] == ["test-00000", "test-00001", "held_out-00000"]
    with zipfile.ZipFile(pictures) as archive:
        assert archive.namelist() == list(dict.fromkeys(row["picture"] for row in rows))
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        for row, (scene, question) in zip(rows, asked, strict=True):
            assert (row["kind"], row["question"]) == (question.kind, question.question)
            assert row["truth"] == [question.answer]
            assert row["choices"] == list(question.choices)
            assert row["picture"].startswith(row["split"])
            picture = Image.open(BytesIO(archive.read(row["picture"]))).convert("RGB")
            assert picture.tobytes() == draw(scene, 64).tobytes()


def test_a_line_holds_one_caption(tmp_path: Path) -> None:
    told = benchmark.write(tmp_path, {"test": 1}, captions=50)[2]
    assert told.read_text(encoding="utf-8").splitlines() == [caption.text for caption in held_out_captions(50)]
