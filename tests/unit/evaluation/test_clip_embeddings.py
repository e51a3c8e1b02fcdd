"""Retrieval and zero-shot classification over tiny shards, with a model whose embeddings are known."""

import numpy as np
import pytest
import torch
from tone_corpus import CAPTIONS, CLASSES, Ear, write_tones

from flam_train.evaluation import retrieval, zero_shot
from flam_train.evaluation.embeddings import WINDOWS, Embeddings, embed_corpus


@pytest.fixture
def corpus(tmp_path):
    return write_tones(tmp_path / "tones")


def test_retrieval(corpus, tmp_path):
    path = tmp_path / "embeddings.safetensors"
    result = retrieval.result_of(embed_corpus(Ear(), corpus, path=path, batch_size=2))
    assert result.metrics["text_to_audio/R@1"] == 1.0
    assert result.metrics["text_to_audio/R@1 over chance"] == 4.0
    assert result.parameters["captions in all"] == 5
    assert result.parameters["windows"] == "the first 2 s of each clip"
    kept = Embeddings.load(path)
    assert kept.audio_ND.shape == (4, 3)
    assert kept.captions == [list(said) for said in CAPTIONS]
    assert retrieval.result_of(kept).metrics == result.metrics
    with pytest.raises(ValueError, match=r"'clip0' has\s1 and others have 2"):
        retrieval.result_of(kept, "sets")
    with pytest.raises(ValueError, match="choose of"):
        retrieval.result_of(kept, "some")


def test_windows_of_longer_clips(corpus):
    """The third clip lasts 4.5 s: low until 1 s, again from 1.5 to 3 s, high at the end."""
    found = {windows: embed_corpus(Ear(), corpus, windows=windows) for windows in WINDOWS}
    assert [np.array_equal(found["first"].audio_ND[n], found["mean"].audio_ND[n]) for n in range(4)] == [
        True, True, False, True,
    ]  # fmt: skip
    low, high = found["mean"].audio_ND[2][:2]
    assert 0 < high < low
    assert found["centre"].audio_ND[2][1] < 1e-3  # 1.25 to 3.25 s: no high tone
    assert np.allclose(np.linalg.norm(found["mean"].audio_ND, axis=1), 1)
    with pytest.raises(ValueError, match="windows 'last': choose of"):
        embed_corpus(Ear(), corpus, windows="last")


def test_windows_count_by_their_seconds(corpus):
    """The third clip lasts 4.5 s: its third window is 0.5 s of a high tone, a quarter of the others' weight."""
    model = Ear()
    waveform_S = np.pad(corpus.waveform(2), (0, 288_000 - len(corpus.waveform(2))))
    window_WD = model.embed_audio(torch.from_numpy(waveform_S.reshape(3, 96_000))).clip_BD
    want_D = (window_WD * torch.tensor([[2.0], [2.0], [0.5]])).sum(0)
    got_D = embed_corpus(Ear(), corpus, windows="mean").audio_ND[2]
    assert np.allclose(got_D, want_D / want_D.norm(), atol=1e-6)


def test_caption_sets_hold_the_first_captions_then_the_second(corpus):
    """Two captions a clip; only the first ones say what is heard."""
    audio_ND = np.eye(3, dtype=np.float32)
    found = Embeddings(
        audio_ND, np.concatenate([[audio_ND[n], audio_ND[(n + 1) % 3]] for n in range(3)]), list("abcdef"),
        list("xyz"), [["a", "b"], ["c", "d"], ["e", "f"]], [""] * 3, ["test"] * 3, "first",
        {"dataset": "d", "vocabulary": None, "clips_expected": 3, "clips_evaluated": 3, "missing": {}, "model": {},
         "data": {}, "seconds": 10.0},
    )  # fmt: skip
    result = retrieval.result_of(found, "sets")
    assert result.metrics["text_to_audio/R@1"] == 0.5  # all of the first set, none of the second
    assert result.spread["text_to_audio/R@1"] == 0.5


def test_zero_shot(tmp_path):
    details = [{"class": name} for name in CLASSES]
    corpus = write_tones(tmp_path / "tones", events=False, details=details, split=["fold1", "fold1", "fold2", "fold2"])
    classes, texts = zero_shot.prompts(corpus.vocabulary, ["{}", "the sound of {}"], "all")
    assert texts[0] == ["a low tone", "humming", "the sound of a low tone", "the sound of humming"]
    made = embed_corpus(Ear(), corpus, texts=[text for said in texts for text in said])
    result = zero_shot.result_of(made, classes, texts, "tones")
    # The second clip is high for half of it and silent for the other half, of which the ear hears a little more.
    assert result.metrics["accuracy"] == 3 / 4
    assert result.spread["accuracy/mean over folds"] == 1 / 4
    assert result.metrics["accuracy/mean over folds"] == pytest.approx(result.metrics["accuracy"])
    assert result.metrics["accuracy/top 5"] == 1.0
    assert result.metrics["accuracy/chance"] == pytest.approx(1 / 3)
    assert result.parameters["folds"] == {"fold1": 2, "fold2": 2}
    assert (result.protocol, result.vocabulary, result.split) == ("zero_shot", "tones", "fold1+fold2")
    with pytest.raises(ValueError, match=r"clip 'clip3' has class 'silent', which vocabulary 'tones' does not know"):
        zero_shot.result_of(made, classes[:2], texts[:2], "tones")
    with pytest.raises(ValueError, match="tones: kept without 'hear a low tone': give the templates"):
        zero_shot.result_of(made, *zero_shot.prompts(corpus.vocabulary, ["{}", "hear {}"]), "tones")
    for templates in ([], ["a sound"], ["{} and {}"]):
        with pytest.raises(ValueError, match="each needs one"):
            zero_shot.prompts(corpus.vocabulary, templates)


def test_zero_shot_by_hand():
    """Two classes, four clips in two folds; equal scores count against the clip."""
    made = Embeddings(
        np.array([[1, 0], [0, 1], [1, 0], [0.5, 0.5]], dtype=np.float32), np.eye(2, dtype=np.float32), ["a", "b"],
        [f"clip{n}" for n in range(4)], [[]] * 4, ["a", "b", "b", "a"], ["f1", "f1", "f2", "f2"], "first",
        {"dataset": "d", "vocabulary": None, "clips_expected": 4, "clips_evaluated": 4, "missing": {}, "model": {},
         "data": {}, "seconds": 10.0},
    )  # fmt: skip
    result = zero_shot.result_of(made, ["a", "b"], [["a"], ["b"]], "v")
    assert result.metrics == {
        "accuracy": 0.5, "accuracy/mean over folds": 0.5, "accuracy/mean over classes": 0.5, "accuracy/top 5": 1.0,
        "accuracy/chance": 0.5,
    }  # fmt: skip
    assert result.spread == {"accuracy/mean over folds": 0.5}


def test_captions_that_repeat_are_one_query_with_several_right_clips(tmp_path):
    """Three clips; the first two are called the same, and the third is relevant to them."""
    captions = [["low"], ["low", "soft"], ["high"]]
    angle = np.array([0.0, 0.3, 1.5])
    audio_ND = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    found = Embeddings(
        audio_ND, audio_ND[[0, 0, 1, 2]], ["low", "low", "soft", "high"], ["a", "b", "c"], captions, [""] * 3, [""] * 3,
        "first", {"dataset": "x", "vocabulary": None, "clips_expected": 3, "clips_evaluated": 3, "missing": {},
                  "model": {}, "data": {}, "seed": None, "seconds": 2.0},
    )  # fmt: skip
    result = retrieval.result_of(found, "shared")
    assert result.metrics["text_to_audio/mAP@16"] == result.metrics["text_to_audio/R@1"] == 1.0
    assert result.metrics["text_to_audio/chance R@1"] == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3)
    assert result.parameters["right clips of a caption"].startswith("all that have it")
    path = tmp_path / "relevant.csv"
    path.write_text("caption,key\nhigh,a\n")
    result = retrieval.result_of(found, "shared", retrieval.read_relevant(path))
    assert result.metrics["text_to_audio/mAP@16"] == pytest.approx((1 + 1 + (1 + 2 / 3) / 2) / 3)
    for text, match in (
        ("caption,key\nhigh,z\n", "'high' is relevant to 'z', which is no clip"),
        ("caption,key\nhihg,a\n", "'hihg' is relevant to 'a', and no caption: did you mean high"),
        ("caption,key\n,a\n", r"relevant\.csv: row 2: names no caption or no clip"),
        ("caption,clip\nhigh,a\n", r"relevant\.csv: no column 'key', it has caption, clip"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=match):
            retrieval.result_of(found, "shared", retrieval.read_relevant(path))
    with pytest.raises(ValueError, match="what is relevant is told of shared captions"):
        retrieval.result_of(found, "all", {})
