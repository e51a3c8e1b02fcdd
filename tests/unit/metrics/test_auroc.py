"""AUROC against scikit-learn on random problems with ties; streaming retrieval over two ranks."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from sklearn.metrics import roc_auc_score, roc_curve
from timed_problems import problem, with_events

from flam_train.metrics.calibration import Calibration, calibration
from flam_train.metrics.detection import (
    auroc,
    auroc_of_blocks,
    event_f1,
    merge_overlapping,
    partial_auroc,
    psds,
    segment_f1,
    segments,
)
from flam_train.metrics.retrieval import retrieval_metrics
from flam_train.metrics.streaming import Retrieval


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


def plain_partial(score, label, max_fpr: float) -> float:
    """Trapezoids under scikit-learn's curve, up to the end, over it."""
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    ends = np.unique(np.concatenate((fpr[fpr < max_fpr], [max_fpr])))
    # Of several heights at one place a piece begins at the last, and ends at the first.
    area = 0.0
    for a, b in pairwise(ends):
        left = tpr[np.flatnonzero(fpr <= a)[-1]]
        k = int(np.flatnonzero(fpr > a)[0])
        right = left + (tpr[k] - left) * (b - a) / (fpr[k] - a)
        area += (left + right) / 2 * (b - a)
    return area / max_fpr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_partial_areas_equal_trapezoids_under_sklearns_curve(dtype):
    compared = 0
    for seed in range(60):
        r = np.random.default_rng(seed)
        label = r.random((int(r.integers(5, 200)), 3)) < 0.3
        score = np.round(r.random(label.shape) + 0.2 * label, 1 + seed % 4)
        score = torch.from_numpy(score).to(dtype)
        max_fpr = (0.1, 0.37, 1.0)[seed % 3]
        got = partial_auroc(score, torch.from_numpy(label), max_fpr)
        for k in range(3):
            if 0 < label[:, k].mean() < 1:
                want = plain_partial(score[:, k].double().numpy(), label[:, k], max_fpr)
                assert float(got.per_class_K[k]) == pytest.approx(want, abs=1e-12), seed
                compared += 1
        if max_fpr == 1:
            whole = auroc(score, torch.from_numpy(label))
            assert got.per_class_K.tolist() == pytest.approx(whole.per_class_K.tolist(), abs=1e-12, nan_ok=True)
    assert compared > 100


def test_partial_areas_of_segments_equal_sed_scores_eval_where_none_are_tied(monkeypatch):
    """DCASE 2024 task 4's MPAUC: segments of 1 s, up to a false positive rate of .1; its curve is a staircase, which
    is ours between points of one negative each."""
    from sed_scores_eval import segment_based
    from sed_scores_eval.base_modules import curves
    from sed_scores_eval.base_modules.scores import create_score_dataframe

    # It sorts a sorted curve again, and NumPy leaves points of one false positive rate in an order that depends on the
    # processor: on older ones its area loses up to 2 %.
    monkeypatch.setattr(curves.np, "argsort", partial(np.argsort, kind="stable"))
    compared = 0
    for seed in range(40):
        p = with_events(problem(seed))
        if not p.classes:
            continue
        seconds = [s.shape[1] * p.frame_seconds for s in p.scores]
        # Events end with their recording, which the library wants.
        events = [
            merge_overlapping([(a, min(b, end), c) for a, b, c in found])
            for found, end in zip(p.events, seconds, strict=True)
        ]
        pooled, label = segments(p.scores, events, p.classes, None, p.frame_seconds)
        got = partial_auroc(pooled, label, 1.0)
        frames = {
            str(n): create_score_dataframe(
                s.T.double().contiguous().numpy(), np.arange(s.shape[1] + 1) * p.frame_seconds, p.classes
            )
            for n, s in enumerate(p.scores)
        }
        truth = {str(n): found for n, found in enumerate(events)}
        durations = {str(n): end for n, end in enumerate(seconds)}
        want, _ = segment_based.auroc(frames, truth, durations, segment_length=1.0, max_fpr=1.0)
        for k, name in enumerate(p.classes):
            tied = len(pooled[:, k].unique()) < len(pooled)
            if k not in got.left_out and not tied:
                assert float(got.per_class_K[k]) == pytest.approx(want[name], abs=1e-9), seed
                compared += 1
    assert compared > 20


def test_partial_area_by_hand():
    score = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.5]])
    label = torch.tensor([[True], [False], [True], [False], [False]])
    # Found: .5 from the start, 1 from a third of the negatives on.
    assert partial_auroc(score, label, 1.0).macro == pytest.approx(0.5 / 3 + 2 / 3)
    assert partial_auroc(score, label, 0.1).macro == pytest.approx(0.5)
    assert partial_auroc(score, label, 0.5).macro == pytest.approx((0.5 / 3 + 1 / 6) / 0.5)
    tied = torch.full((5, 1), 0.5)
    for max_fpr in (0.1, 0.5, 1.0):
        assert partial_auroc(tied, label, max_fpr).macro == pytest.approx(max_fpr / 2)
    with pytest.raises(ValueError, match="max_fpr 0"):
        partial_auroc(score, label, 0.0)


def test_calibration_equals_torchmetrics_and_scikit_learn():
    from sklearn.metrics import brier_score_loss
    from torchmetrics.functional.classification import binary_calibration_error

    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        score = torch.rand(200, 3, generator=g, dtype=torch.float64) ** 2
        label = torch.rand(200, 3, generator=g) < score
        mask = torch.rand(200, 1, generator=g) < 0.7
        got = calibration(score, label, mask, bins=10)
        counted = mask.expand_as(label)
        want = binary_calibration_error(score[counted], label[counted].int(), n_bins=10, norm="l1")
        assert got.ece == pytest.approx(float(want), abs=1e-6)
        assert got.brier == pytest.approx(brier_score_loss(label[counted], score[counted]), abs=1e-12)
        assert int(got.count_N.sum()) == int(counted.sum())


@pytest.mark.parametrize("seed", range(20))
def test_block_by_block_equals_all_at_once(seed):
    """Ties within and across blocks, classes without positives or without negatives."""
    r = np.random.default_rng(seed)
    label = torch.from_numpy(r.random((60, 7)) < r.random(7))
    label[:, 2], label[:, 5] = False, True
    score = torch.from_numpy(np.round(r.random((60, 7)) + 0.2 * label.numpy(), 1 + seed % 3).clip(0, 1))
    cuts = [(0, 2), (2, 3), (3, 7)]
    blocks = [(score[:, a:b], label[:, a:b]) for a, b in cuts]
    got, want = auroc_of_blocks(lambda: iter(blocks)), auroc(score, label)
    assert torch.equal(got.per_class_K.nan_to_num(-1), want.per_class_K.nan_to_num(-1))
    assert (got.macro, got.micro, got.left_out) == (want.macro, want.micro, want.left_out)
    joined, whole = Calibration.joined([calibration(*block) for block in blocks]), calibration(score, label)
    assert torch.equal(joined.count_N, whole.count_N)
    for name in ("mean_N", "positive_N"):
        assert torch.allclose(getattr(joined, name), getattr(whole, name), atol=1e-12, equal_nan=True)
    assert (joined.ece, joined.brier) == pytest.approx((whole.ece, whole.brier), abs=1e-12)


def test_blocks_without_a_positive_pair():
    score, label = torch.rand(5, 2), torch.zeros(5, 2, dtype=torch.bool)
    got = auroc_of_blocks(lambda: [(score, label)])
    assert math.isnan(got.macro)
    assert math.isnan(got.micro)
    with pytest.raises(ValueError, match="is not a number"):
        auroc_of_blocks(lambda: [(score * torch.nan, label)])


def test_calibration_by_hand():
    score = torch.tensor([[0.0, 0.05, 0.5, 1.0]]).T
    label = torch.tensor([[0, 1, 1, 1]]).T.bool()
    got = calibration(score, label, bins=2)
    assert got.count_N.tolist() == [2, 2]
    assert got.mean_N.tolist() == pytest.approx([0.025, 0.75])
    assert got.positive_N.tolist() == [0.5, 1.0]
    assert got.ece == pytest.approx((0.475 + 0.25) / 2)
    assert got.brier == pytest.approx((0 + 0.95**2 + 0.25 + 0) / 4)
    assert math.isnan(calibration(score, label, torch.zeros(4, 1, dtype=torch.bool)).ece)
    with pytest.raises(ValueError, match="are no probabilities"):
        calibration(score * 2, label)
    with pytest.raises(ValueError, match="bins 0"):
        calibration(score, label, bins=0)


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
    score, label = torch.tensor([[0.0], [torch.nan], [1.0]]), torch.tensor([[0], [1], [1]])
    mask = torch.tensor([[True], [False], [True]])
    assert auroc(score, label, mask).macro == partial_auroc(score, label, 1.0, mask).macro == 1.0
    with pytest.raises(ValueError, match="no class: nothing"):
        auroc(torch.zeros(4, 0), torch.zeros(4, 0))
    with pytest.raises(ValueError, match="no class: nothing"):
        auroc_of_blocks(lambda: [])


def test_arrays_lists_and_what_learns():
    score, label = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [[0, 1], [1, 0], [0, 1]]
    learning = torch.tensor(score, requires_grad=True)
    for kind in (lambda x: x, np.array, torch.tensor, lambda x: learning if x is score else torch.tensor(x)):
        assert auroc(kind(score), kind(label)).macro == 1.0
        assert calibration(kind(score), kind(label)).brier == pytest.approx((0.01 + 0.01 + 0.04 * 2 + 0.09 * 2) / 6)
    for recording in (learning.T, learning.T.tolist(), learning.T.detach().numpy()):
        for metric in (segment_f1, event_f1, psds):
            metric([recording], [[(0.0, 1.0, "a"), (1.0, 2.0, "b")]], ["a", "b"], None, 1.0)


def data():
    g = torch.Generator().manual_seed(3)
    audio, text = torch.randn(5, 6, generator=g), torch.randn(9, 6, generator=g)
    return audio, text, torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4])


def feed(retrieval, rows):
    audio, text, owner = data()
    keep = torch.isin(owner, rows)
    row = torch.searchsorted(rows, owner[keep])
    retrieval.update(audio[rows], rows * 7 - 20, text[keep], row)


SHARES = {"empty": [[[0, 2], [1, 3, 4]], []], "twice": [[[0, 1, 3]], [[2, 4], [1, 3]]]}


def worker(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for name, shares in SHARES.items():
        retrieval = Retrieval(6)
        for rows in shares[rank]:
            feed(retrieval, torch.tensor(rows))
        found[name] = retrieval.compute()
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_streaming_over_two_ranks(tmp_path):
    """A rank with no clips at all, and clips that come twice: the value of one process over each clip once."""
    mp.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="forkserver")
    want = retrieval_metrics(*data())
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name in SHARES:
            assert {k: found[name][k] for k in want} == pytest.approx(want, abs=1e-9), name


def test_streaming_in_one_process_and_reset():
    retrieval = Retrieval(6)
    for _ in range(2):
        feed(retrieval, torch.tensor([0, 1]))
        feed(retrieval, torch.tensor([1, 2, 3, 4]))
        assert retrieval.compute()["text_to_audio/R@1"] == retrieval_metrics(*data())["text_to_audio/R@1"]
        retrieval.reset()
    assert Retrieval(6).compute() == {}
