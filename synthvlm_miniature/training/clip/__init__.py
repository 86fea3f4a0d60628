"""CLIP of the miniature world: its training, and the conversion of its vision tower to transformers' class.

Belongs here: its tokenizer, batches, losses, settings, and writing the folders `clip` and `clip-vision`.
Does not belong here: measuring the result (synthvlm_miniature.quality.clip), scoring pictures in the pipeline.

Captions of every style are matched with their pictures in both directions (the symmetric contrastive loss).
Two additions make single attributes count:

- Hard negatives: most of a batch are pairs of a scene and the same scene with one attribute changed, both drawn and
  both worded alike, so that each is the other's nearest negative in both directions. A changed scene outside the
  training split is never used, not even as a negative: that would teach that held-out combinations are wrong.
- Auxiliary heads, thrown away afterwards. One reads shape, size and place for each colour, and the background, off the
  normalised embeddings of pictures and of captions that say everything; it is shared, which pulls the two towers
  together. The other reads colour, shape and size off every patch after the last but one layer, which is what a LLaVA
  sees. Held-out combinations take no part in the softmax, so that nothing is learnt against them.

Run: `python -m synthvlm_miniature.training.clip FOLDER` writes FOLDER/clip and FOLDER/clip-vision; the defaults
are the shipped settings. Deterministic for a seed, a thread count and a kind of device.
"""
