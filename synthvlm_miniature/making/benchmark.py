"""The miniature's benchmark: held-out questions about drawn scenes and held-out captions, as files.

Belongs here: how many questions, their ids, the three files. Does not belong here: the questions themselves
(`synthvlm_miniature.world.held_out`), asking them (`synthvlm_core.evaluation`).

    questions.jsonl         one question a line: {"id", "picture", "kind", "split", "question", "choices", "truth"}
    pictures.zip            one exact PNG for each value of "picture", 64 x 64, uncompressed
    held_out_captions.txt   one text a line, drawable and vague ones in turn, for perplexity

"picture" names a member of the archive; the questions of one picture follow each other. "truth" lists the accepted
answers, here always one, and "choices" everything that could have been answered. "split" is `test` (unseen descriptions
of seen combinations) or `held_out` (combinations of colour and shape that nothing was trained on).

Bytes depend on the arguments and the Pillow version alone.
"""

import json
import zipfile
from pathlib import Path

from synthvlm_miniature.making.archives import add_to_zip, png
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.held_out import HeldOutSplit, held_out_captions, held_out_questions
from synthvlm_miniature.world.scenes import Scene

QUESTIONS: dict[HeldOutSplit, int] = {"test": 800, "held_out": 400}
CAPTIONS = 400
RESOLUTION = 64


def write(folder: Path, counts: dict[HeldOutSplit, int] = QUESTIONS, captions: int = CAPTIONS) -> list[Path]:
    """Write the three files into a folder and return their paths.

    Args:
        counts: questions of each split; the first n of a longer list are the shorter list.
        captions: texts in `held_out_captions.txt`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked, pictures, told = (folder / name for name in ("questions.jsonl", "pictures.zip", "held_out_captions.txt"))
    lines = []
    with zipfile.ZipFile(pictures, "w") as archive:
        for split, count in counts.items():
            drawn: dict[Scene, str] = {}
            for number, (scene, question) in enumerate(held_out_questions(count, split)):
                if scene not in drawn:
                    drawn[scene] = f"{split}-{len(drawn):05d}.png"
                    add_to_zip(archive, drawn[scene], png(draw(scene, RESOLUTION)))
                row = {
                    "id": f"{split}-{number:05d}",
                    "picture": drawn[scene],
                    "kind": question.kind,
                    "split": split,
                    "question": question.question,
                    "choices": question.choices,
                    "truth": [question.answer],
                }
                lines.append(json.dumps(row))
    asked.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    told.write_text("".join(f"{caption.text}\n" for caption in held_out_captions(captions)), encoding="utf-8")
    return [asked, pictures, told]
