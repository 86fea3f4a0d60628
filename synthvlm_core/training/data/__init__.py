"""What a VLM is trained on, as tokens and labels.

Belongs here: reading and validating pairs of a release and conversations of an instruction mix, their words, labels,
order and batches. Does not belong here: the model (models/vlm.py), the training loop (training/loop.py), writing a
release or a mix.

    rows.py           one row as a model takes it, and what a data set offers
    words.py          texts and pictures to tokens and labels
    pairs.py          rows of a released set
    instructions.py   rows of an instruction mix
    pictures.py       pictures beside a file that names them
    order.py          which row comes when
    collator.py       rows to a batch

Memory does not grow with pixels or texts: what grows is a few numbers per row.
"""
