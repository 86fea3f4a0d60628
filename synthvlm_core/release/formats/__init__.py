"""Forms of a released set: one module each, with its section, its files and how they are read back.

Belongs here: the list. A format writes into a folder of its own, from the rows of the set's table; a new one is a
module and a line below.
"""

from synthvlm_core.release.formats.huggingface import HuggingFace
from synthvlm_core.release.formats.llava import Llava
from synthvlm_core.release.formats.webdataset import WebDataset

PARTS = (HuggingFace, Llava, WebDataset)
