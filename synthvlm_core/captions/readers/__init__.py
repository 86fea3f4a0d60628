"""Formats of caption files, one module each: a section, and rows from files.

Belongs here: the list of formats, and what they share (opening.py, rows.py, columns.py, parquet.py). Does not belong
here: judging rows (captions/judging.py).
"""

from synthvlm_core.captions.readers.conceptual_captions import ConceptualCaptions
from synthvlm_core.captions.readers.datacomp import DataComp
from synthvlm_core.captions.readers.delimited import Delimited
from synthvlm_core.captions.readers.img2dataset import Img2dataset
from synthvlm_core.captions.readers.json_lines import JsonLines
from synthvlm_core.captions.readers.laion import Laion
from synthvlm_core.captions.readers.sbu import Sbu

PARTS = (Laion, ConceptualCaptions, Sbu, DataComp, Img2dataset, Delimited, JsonLines)
