"""The text-to-image model of the miniature world: a StableDiffusionXLPipeline that draws it from captions.

Belongs here: the autoencoder, the tokenizer, the text encoders, the denoiser, their stages, the pipeline folder that is
written.
Does not belong here: measuring a finished pipeline (synthvlm_miniature.quality.text_to_image).

Stages: the autoencoder; both text encoders alone, asked by a linear read-out that is thrown away for what
stands at each place of the scene and what the caption mentions first, second and third; denoiser and text
encoders together, with the read-out kept as a small second loss. Asked for places alone, on captions of all
kinds, the text encoders knew 2 to 4 % of the test captions of two things wholly after 700 steps alone and 750
with the denoiser; asked for mentions as well, mostly on full captions of several things, 97 % of 128 test
captions after 450 and 300 steps more.

Run time on two shared virtual cores, a process on each: autoencoder 15 minutes (one process), text 5, denoiser
25 to 45. The shipped weights came from these stages, but in pieces: the model card lists them.

Run: `python -m synthvlm_miniature.training.text_to_image FOLDER` writes FOLDER/text-to-image; the defaults are the
shipped settings. Only scenes of the split `train` are used. Same seed, same thread count, same machine: same weights.
"""
