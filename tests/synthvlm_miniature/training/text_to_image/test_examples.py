from synthvlm_miniature.training.text_to_image import autoencoder_stage, examples
from synthvlm_miniature.world.scenes import split_of


def test_scenes_for_training_are_of_the_training_split() -> None:
    for scene in [*examples.scenes(3, 200), *autoencoder_stage.scenes(3, 200)]:
        assert split_of(scene) == "train"


def test_a_scene_is_worded_in_every_kind_of_caption() -> None:
    drawn = examples.scenes(0, 5)
    texts = examples.caption_texts(drawn, seed=0)
    assert [len(row) for row in texts] == [len(examples.CAPTION_KINDS)] * 5
    right = examples.answer_tensor(drawn, texts)
    assert right[:, 0, 1].tolist() == [scene.count for scene in drawn]
