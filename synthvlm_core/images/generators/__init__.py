"""Generators of images, one module each: a section, and the work of drawing.

Belongs here: the list of generators, and what they share (noise.py). Does not belong here: which images are wanted
(images/wanted.py), their health and bytes.
"""

from synthvlm_core.images.generators.diffusers import Diffusers

PARTS = (Diffusers,)
