"""Ways to the original images of captions, one module each.

Belongs here: the list of ways. Does not belong here: which images are asked for and where they are stored
(captions/original_images.py).
"""

from synthvlm_core.captions.originals.img2dataset import Img2dataset
from synthvlm_core.captions.originals.web import Web

PARTS = (Img2dataset, Web)
