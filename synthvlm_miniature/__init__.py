"""The miniature: a world of drawn scenes, its files and models, small enough to ship and to know everything about.

Belongs here: everything that made what the recipe `miniature` names. Does not belong here: any stage of the pipeline;
synthvlm_core knows this package as paths to files alone and never imports it.

    world/      scenes with their truth: drawing, captions, questions, reading pictures back, what is held out
    making/     writes the files:   python -m synthvlm_miniature.making
    sources/    files: captions in four published formats, drawn originals, the instruction mix
    benchmark/  files: held-out questions with their pictures, held-out captions
    training/   trains the models:  python -m synthvlm_miniature.training.{text_to_image,clip,language} FOLDER
    models/     weights, each with a card
    quality/    measures them:      python -m synthvlm_miniature.quality

`world` imports nothing of the others, `making` the world, `training` both, and `quality` all of them. Of synthvlm_core
`quality` uses the recipe and the definitions of perplexity and of the judge; the others need only that importing it
makes `import torchvision` work beside a CPU build of torch.
"""

import synthvlm_core  # noqa: F401
