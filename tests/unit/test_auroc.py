"""AUROC against scikit-learn on random problems with ties; the streaming metrics over two ranks."""

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from sklearn.metrics import roc_auc_score

from flam_train.metrics.detection import auroc
from flam_train.metrics.retrieval import retrieval_metrics
from flam_train.metrics.streaming import FrameAUROC, Retrieval


@pytest.mark.parametrize("decimals", [1, 8])
def test_equals_sklearn(decimals):
    for seed in range(20):
        r = np.random.default_rng(seed)
        frames, classes = int(r.integers(5, 300)), int(r.integers(1, 8))
        label = r.random((frames, classes)) < 0.3
        label[:, 0] = seed % 3 == 0  # a class of one kind only
        score = np.round(r.random((frames, classes)) + 0.2 * label, decimals).astype(np.float32)
        mask = r.random((frames, classes)) < 0.8
        for m in (None, mask):
            got = auroc(torch.tensor(score), torch.tensor(label), None if m is None else torch.tensor(m))
            keep = [slice(None) if m is None else m[:, k] for k in range(classes)]
            both = [k for k in range(classes) if 0 < label[keep[k], k].mean() < 1]
            want = [roc_auc_score(label[keep[k], k], score[keep[k], k]) for k in both]
            assert got.per_class[both].tolist() == pytest.approx(want, abs=1e-12)
            assert got.left_out == tuple(k for k in range(classes) if k not in both)
            assert len(both) == 0 or got.macro == pytest.approx(np.mean(want), abs=1e-12)
            everything = (label.ravel(), score.ravel()) if m is None else (label[m], score[m])
            if 0 < everything[0].mean() < 1:
                assert got.micro == pytest.approx(roc_auc_score(*everything), abs=1e-12)


def test_nothing_defined_is_nan():
    result = auroc(torch.rand(4, 2), torch.zeros(4, 2, dtype=torch.bool))
    assert math.isnan(result.macro)
    assert math.isnan(result.micro)
    assert result.left_out == (0, 1)


def test_user_mistakes():
    with pytest.raises(ValueError, match="frames, classes"):
        auroc(torch.rand(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="frame 1, class 0"):
        auroc(torch.tensor([[0.0], [torch.nan]]), torch.zeros(2, 1))


def data():
    g = torch.Generator().manual_seed(3)
    label = torch.rand(5, 3, 4, generator=g) < 0.5
    valid = torch.ones(5, 4, dtype=torch.bool)
    valid[4, 2:] = False
    audio, text = torch.randn(5, 6, generator=g), torch.randn(9, 6, generator=g)
    return torch.rand(5, 3, 4, generator=g), label, valid, audio, text, torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4])


def feed(detection, retrieval, rows):
    score, label, valid, audio, text, owner = data()
    keep = torch.isin(owner, rows)
    row = torch.searchsorted(rows, owner[keep])
    detection.update(score[rows], label[rows], valid[rows], rows * 7 - 20)
    retrieval.update(audio[rows], rows * 7 - 20, text[keep], row)


def expected():
    score, label, valid, audio, text, owner = data()
    return (
        auroc(score.transpose(1, 2)[valid], label.transpose(1, 2)[valid]).macro,
        retrieval_metrics(audio, text, owner),
    )


SHARES = {"empty": [[[0, 2], [1, 3, 4]], []], "twice": [[[0, 1, 3]], [[2, 4], [1, 3]]]}


def worker(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for name, shares in SHARES.items():
        detection, retrieval = FrameAUROC(3, 4), Retrieval(6)
        for rows in shares[rank]:
            feed(detection, retrieval, torch.tensor(rows))
        found[name] = (detection.compute(), retrieval.compute())
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_streaming_over_two_ranks(tmp_path):
    """A rank with no clips at all, and clips that come twice: the value of one process over each clip once."""
    mp.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    macro, retrieval = expected()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name in SHARES:
            detected, retrieved = found[name]
            assert detected["macro"] == pytest.approx(macro, abs=1e-12), name
            assert detected["clips"] == 5
            assert {k: retrieved[k] for k in retrieval} == pytest.approx(retrieval, abs=1e-9), name


def test_streaming_in_one_process_and_reset():
    detection, retrieval = FrameAUROC(3, 4), Retrieval(6)
    for _ in range(2):
        feed(detection, retrieval, torch.tensor([0, 1]))
        feed(detection, retrieval, torch.tensor([1, 2, 3, 4]))
        assert detection.compute()["clips"] == 5
        assert detection.compute()["macro"] == pytest.approx(expected()[0], abs=1e-12)
        assert retrieval.compute()["text_to_audio/R@1"] == expected()[1]["text_to_audio/R@1"]
        detection.reset(), retrieval.reset()
    assert math.isnan(FrameAUROC(3, 4).compute()["macro"])
    assert Retrieval(6).compute() == {}
