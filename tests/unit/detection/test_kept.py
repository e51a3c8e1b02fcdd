"""Kept frames give what the frames gave from which they were kept, and are never taken for others."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import soundfile
import torch

from flam_train.detection.kept import BLOCK, Keeping, kept_frames, read_kept
from flam_train.detection.scoring import Listening, Time, score
from flam_train.models.flam import FLAM

BOUND = {"export": "0" * 64, "audio": {"channel": "mean", "part": (0.0, None)}, "file": {"size": 9, "mtime_ns": 7}}
DEAD = ((1.0, 2.5), (700.1, 800.2))


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    return FLAM(small_config).eval()


class Made:
    """Frames as `Listening` gives them: blocks of any size, and padding behind the last frame."""

    def __init__(
        self, model, frames: int, blocks: tuple[int, ...] = (7, 4000, 3000), fail: BaseException | None = None
    ):
        self.model, self.fail = model, fail
        self.time = None
        self._time = Time(5, frames, 0.3125, 5 * 0.3125, (5 + frames) * 0.3125, DEAD)
        rows = torch.randn(sum(blocks), 16, generator=torch.Generator().manual_seed(1))
        self.blocks = torch.nn.functional.normalize(rows, dim=-1).split(blocks)

    def __iter__(self):
        yield from self.blocks
        if self.fail is not None:
            raise self.fail
        self.time = self._time


def test_scores_are_those_that_were_found_while_it_was_kept(model, tmp_path):
    path, made = tmp_path / "a" / "b.frames.npy", Made(model, 7000)
    first = score(Keeping(made, path, BOUND), ["a siren", "rain"])
    again = score(read_kept(path, model, BOUND), ["a siren", "rain"])
    assert (again.time, again.phrases) == (first.time, first.phrases) == (made.time, ("a siren", "rain"))
    assert again.score_CT.shape == (2, 7000)
    assert np.abs(again.score_CT - first.score_CT).max() < 1e-6
    exact = score(Made(model, 7000), ["a siren", "rain"])
    assert np.abs(again.score_CT - exact.score_CT).max() < 5e-3
    assert os.listdir(path.parent) == ["b.frames.npy"]


def test_frames_of_a_recording(model, tmp_path):
    wave_S = np.random.default_rng(5).normal(size=23 * 8000) * 0.1
    soundfile.write(recording := tmp_path / "a.wav", wave_S, 8000)
    for start, stop in ((0.0, None), (6.2, 17.0)):
        first = score(Keeping(Listening(model, recording, start, stop), tmp_path / "kept", BOUND), ["rain"])
        again = score(read_kept(tmp_path / "kept", model, BOUND), ["rain"])
        assert again.time == first.time == score(Listening(model, recording, start, stop), ["rain"]).time
        assert np.abs(again.score_CT - first.score_CT).max() < 1e-6


def test_numpy_opens_it(model, tmp_path):
    made = Made(model, 7000)
    passed = torch.cat(list(Keeping(made, tmp_path / "a.frames.npy", BOUND)))
    frame_TD = np.load(tmp_path / "a.frames.npy")
    assert (frame_TD.dtype, frame_TD.shape) == (np.float16, (7000, 16))
    assert np.array_equal(frame_TD, torch.cat(made.blocks)[:7000].half().numpy())
    assert np.array_equal(frame_TD, passed[:7000].numpy())
    about, mapped_TD = kept_frames(tmp_path / "a.frames.npy")
    assert isinstance(mapped_TD, np.memmap)
    assert about["time"]["dead"] == [[1.0, 2.5], [700.1, 800.2]]
    blocks = list(read_kept(tmp_path / "a.frames.npy", model, BOUND))
    assert [len(block) for block in blocks] == [BLOCK, 7000 - BLOCK]
    assert blocks[0].dtype == torch.float32


@pytest.mark.parametrize(
    "other", [{"export": "1" * 64}, {"audio": {"channel": "first", "part": (0.0, None)}}, {"file": {}}]
)
def test_other_settings_find_nothing(other, model, tmp_path):
    for _ in Keeping(Made(model, 9), tmp_path / "a", BOUND):
        pass
    assert read_kept(tmp_path / "a", model, BOUND) is not None
    assert read_kept(tmp_path / "a", model, BOUND | other) is None
    assert read_kept(tmp_path / "b", model, BOUND) is None


def test_what_is_not_whole_is_made_again(model, tmp_path):
    path = tmp_path / "a"
    for _ in Keeping(Made(model, 9), path, BOUND):
        pass
    whole = path.read_bytes()
    for cut in (0, 5, 128, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert read_kept(path, model, BOUND) is None
    for at in (20, whole.index(b'{"format"'), whole.index(b"format"), whole.index(b"seconds")):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        assert read_kept(path, model, BOUND) is None


@pytest.mark.parametrize("fail", [KeyboardInterrupt(), ValueError("a.wav: truncated audio")])
def test_what_is_stopped_leaves_what_was_there(fail, model, tmp_path):
    path = tmp_path / "a"
    for _ in Keeping(Made(model, 9), path, BOUND):
        pass
    before = path.read_bytes()
    with pytest.raises(type(fail)):
        for _ in Keeping(Made(model, 20, fail=fail), path, BOUND):
            pass
    frames = iter(Keeping(Made(model, 20), path, BOUND))
    next(frames)
    frames.close()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_told_with_the_file_s_name(model, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/a'"):
        for _ in Keeping(Made(model, 9), tmp_path / "a", BOUND):
            pass
    assert os.listdir(tmp_path) == []
