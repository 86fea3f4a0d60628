"""The language model of the miniature world: a small Llama, its byte-level tokenizer, its texts and its training.

Belongs here: the texts it learns from, the judge's prompt, settings, writing the folder `language`.
Does not belong here: scoring captions (synthvlm_core.models.language), pictures: it has seen none.

It learns three kinds of text, so that one model serves as measure of perplexity, as judge and as backbone of a VLM:

- captions in all five styles, and vague ones: what is fluent gets a low perplexity, whether it can be drawn or not;
- questions about a caption in the form that a VLM uses, the caption standing where a picture will stand, with the loss
  on the answers alone; some ask for a description, which the same scene's caption in other words answers;
- the judge's prompt with the loss on Yes or No alone, so that dirt is seen but never learnt as something to say. Yes:
  captions of scenes. No: vague captions, shuffled words, text that was never a caption (symbols, markup, adverts
  repeated, nothing at all, dozens of captions in one). Flagged words and wrong encodings are left out: such a caption
  still pictures a scene, and other rules look for them.

Run: `python -m synthvlm_miniature.training.language FOLDER` writes FOLDER/language; the defaults are the shipped
settings. Deterministic for a seed, a thread count and a kind of device.
"""
