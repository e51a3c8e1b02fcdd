"""Recordings of any length and kind: windows join without gap or shift, detections lie in the recording."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from needs import FFMPEG
from sound_files import loud_and_quiet, through_ffmpeg

from flam_train.checkpoints.export import save_export
from flam_train.data.sound.waveforms import Waveform
from flam_train.detection.calibration import Calibration
from flam_train.detection.events import events_of
from flam_train.detection.scoring import Listening, score
from flam_train.inference import Detections, Rules, detect, detect_stream, load_model, read_recording, score_recording
from flam_train.models.flam import FLAM

PHRASES = ["a siren", "rain"]


@pytest.fixture(scope="module")
def model(small_config):
    torch.manual_seed(3)
    return FLAM(small_config).eval()


def noise(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return (torch.randn(round(seconds * 48_000), generator=generator) * 2000).to(torch.int16)


def test_ten_seconds_are_one_window(model):
    waveform_S = noise(10.0)
    with torch.inference_mode():
        want = model.localize(model.embed_audio(waveform_S[None]).frame_BTD, model.embed_text(PHRASES))[0]
    assert torch.allclose(score_recording(model, waveform_S, PHRASES), want, atol=1e-6)


@pytest.mark.parametrize("seconds", [3.0, 25.0, 26.0])
def test_each_frame_is_cross_faded_of_the_windows_that_hear_it(model, seconds):
    waveform_S = noise(seconds)
    got = score_recording(model, waveform_S, PHRASES, batch_size=2)
    assert got.shape == (2, round(seconds / 0.3125))
    padded = torch.nn.functional.pad(waveform_S, (0, 480_000))
    text, sums = model.embed_text(PHRASES), {}
    # Windows begin every 33 half frames, up to the first that reaches the end.
    for number in range(max(0, -(-(len(waveform_S) - 480_000) // 247_500)) + 1):
        with torch.inference_mode():
            window = padded[number * 247_500 : number * 247_500 + 480_000]
            frame_TD = model.embed_audio(window[None]).frame_BTD[0]
        for half in range(64):
            t = (33 * number + half) // 2
            sums[t] = sums.get(t, 0) + min(half + 0.5, 63.5 - half) * frame_TD[half // 2]
    frame_TD = torch.nn.functional.normalize(torch.stack([sums[t] for t in range(got.shape[1])]), dim=-1)
    assert torch.allclose(got, model.localize(frame_TD[None], text)[0], atol=1e-5)


class Scored(FLAM):
    """Scores are what a test says, wherever its frames are."""

    def localize(self, frame_BTD, text, method=None):
        first, self.at = self.at, self.at + frame_BTD.shape[1]
        return self.score_CT[None, :, first : self.at]


def scored(model, **spans) -> Scored:
    """spans: of siren and rain, (first frame, behind the last, score)."""
    out = Scored(model.config)
    out.at, out.score_CT = 0, torch.full((2, 1000), 0.05)
    for row, name in enumerate(("siren", "rain")):
        for first, behind, value in spans.get(name, ()):
            out.score_CT[row, first:behind] = value
    return out.eval()


def test_detections(model):
    def found(**options):
        return detect(scored(model, siren=[(2, 5, 0.97)], rain=[(8, 99, 0.92)]), noise(3.0), PHRASES, **options)

    first, second = found()
    assert (first.phrase, first.onset, first.offset) == ("a siren", 0.625, 1.562)
    assert first.score == first.peak == pytest.approx(0.97)
    assert (second.onset, second.offset) == (2.5, 3.0)  # cut to the recording
    assert pickle.loads(pickle.dumps(first)) == first
    assert found(threshold=0.98) == []
    assert found(threshold={"rain": 0.95}) == [first]
    assert found(rules=Rules(shortest=1.0)) == [second]  # at the edge
    with pytest.raises(ValueError, match=r"threshold: 'a dog' is none of the phrases, which are 'a siren', 'rain'"):
        found(threshold={"a dog": 0.8})
    with pytest.raises(ValueError, match="threshold"):
        found(threshold={"rain": 1.8})


def test_a_string_is_one_phrase_and_the_same_twice_one(model):
    got = score_recording(model, noise(3.0), "siren")
    assert torch.equal(got, score_recording(model, noise(3.0), ["siren"]))
    assert {d.phrase for d in detect(model, noise(3.0), "siren", threshold=0.0)} == {"siren"}
    once = detect(model, noise(3.0), PHRASES, threshold=0.1)
    assert detect(model, noise(3.0), [*PHRASES, *PHRASES], threshold=0.1) == once
    for phrases in ([], "", ["rain", " "], [3]):
        with pytest.raises(ValueError, match="phrases: give one or several"):
            detect(model, noise(3.0), phrases)


def test_a_path_and_its_samples_are_the_same(model, tmp_path):
    wave = np.random.default_rng(1).normal(size=(17 * 16_000, 2)) * 0.1
    soundfile.write(path := tmp_path / "a.wav", wave, 16_000, subtype="PCM_16")
    int16_SC = soundfile.read(path, dtype="int16")[0]
    want = detect(model, path, PHRASES, 0.3)
    assert want
    assert detect(model, str(path), PHRASES, 0.3) == want
    same = {
        "int16": int16_SC,
        "int32": int16_SC.astype(np.int32) << 16,
        "float64": int16_SC / 32768,
        "float32": (int16_SC / 32768).astype(np.float32),
        "[C, S]": int16_SC.T,
        "torch": torch.from_numpy(int16_SC),
        "torch, float, [C, S]": torch.from_numpy(int16_SC.T / np.float32(32768)),
    }
    for name, samples in same.items():
        assert detect(model, samples, PHRASES, 0.3, rate=16_000) == want, name
        assert detect(model, samples, PHRASES, 0.3, rate=16_000, channel="loudest") != want, name
    assert torch.equal(score_recording(model, path, PHRASES), score_recording(model, int16_SC, PHRASES, rate=16_000))
    mono = read_recording(path)
    assert torch.allclose(score_recording(model, mono, PHRASES), score_recording(model, path, PHRASES), atol=1e-4)


def test_an_array_needs_a_rate_but_what_read_recording_gives(model):
    mono = noise(3.0)
    want = detect(model, mono, PHRASES, 0.3)
    assert detect(model, mono, PHRASES, 0.3, rate=48_000) == want
    assert detect(model, mono.numpy(), PHRASES, 0.3, rate=48_000.0) == want
    for samples in (mono.numpy(), mono / 32768, mono[None]):
        with pytest.raises(ValueError, match="at which rate"):
            detect(model, samples, PHRASES)
    assert torch.equal(score_recording(model, mono / 32768, PHRASES), score_recording(model, mono, PHRASES))
    for rate in (0, -1, 44.1, 48, 44_100.5, float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match="is no sample rate"):
            detect(model, mono, PHRASES, rate=rate)


def test_a_wrong_rate_of_a_file_is_said(model, tmp_path):
    soundfile.write(path := tmp_path / "a.wav", noise(3.0).numpy(), 16_000)
    assert detect(model, path, PHRASES, 0.3, rate=16_000) == detect(model, path, PHRASES, 0.3)
    with pytest.raises(ValueError, match=r"a\.wav: is at 16,000 Hz, and rate=48000 was given: leave it out"):
        detect(model, path, PHRASES, rate=48_000)


def test_no_event_where_nothing_sounds(model):
    mono = noise(12.0)
    mono[4 * 48_000 : 8 * 48_000] = 0
    assert not detect(model, torch.zeros(480_000, dtype=torch.int16), PHRASES, 0.0)
    score_CT = score_recording(model, mono, PHRASES)
    assert torch.equal(score_CT == 0, (torch.arange(38) * 0.3125 + 0.16).ge(4).logical_and(
        torch.arange(38) * 0.3125 + 0.15 < 8).expand(2, -1))  # fmt: skip


def test_faults_leave_no_thread(model):
    before = threading.active_count()
    none = ({"channel": 0}, {"channel": -1}, {"channel": "each"}, {"channel": True}, {"batch_size": 0})
    for wrong in ({"method": "loud"}, {"precision": "64"}, {"channel": 2}, *none):
        with pytest.raises(ValueError, match=r"loud|64|has 1 channel, channel 2 is wanted|is no channel: m|batch_size"):
            detect(model, noise(3.0), PHRASES, **wrong)
    broken = noise(60.0).numpy() / 32768
    broken[-1] = np.nan
    with pytest.raises(ValueError, match="the waveform: the audio has NaN or infinite samples"):
        detect(model, broken, PHRASES, rate=48_000)
    with pytest.raises(ValueError, match="a path, or samples"):
        detect(model, [0.1, 0.2], PHRASES, rate=48_000)
    assert threading.active_count() == before


@pytest.mark.parametrize("seconds", [0.2, 3.0, 10.0, 26.1])
def test_a_stream_gives_what_the_whole_gives(model, seconds):
    waveform_S = noise(seconds).numpy()[::3].copy()  # 16 kHz
    waveform_S[: len(waveform_S) // 4] = 0
    threshold = float(score_recording(model, waveform_S, PHRASES, rate=16_000).median())
    rules = Rules(threshold=min(threshold + 1e-3, 1), close=0.7)  # no score lies there
    want = detect(model, waveform_S, PHRASES, rate=16_000, rules=rules)
    for size in (801, 16_000, 10**6):
        chunks = [waveform_S[at : at + size] for at in range(0, len(waveform_S), size)]
        got = list(detect_stream(model, iter(chunks), PHRASES, rate=16_000, rules=rules))
        assert [(d.onset, d.offset, d.phrase) for d in sorted(got, key=lambda d: (d.onset, d.phrase))] == [
            (d.onset, d.offset, d.phrase) for d in want
        ]
        assert np.allclose(sorted(d.score for d in got), sorted(d.score for d in want), atol=1e-4)


def test_a_stream_is_read_no_further_than_needed(model):
    given = []

    def chunks():
        for second in range(10**6):
            given.append(second)
            yield noise(1.0)[None]

    before = threading.active_count()
    stream = detect_stream(scored(model, siren=[(4, 8, 0.95)], rain=[(20, 24, 0.95)]), chunks(), PHRASES, rate=48_000)
    assert given == []
    assert next(stream).phrase == "a siren"
    assert len(given) == 10  # the first window
    assert not torch.is_inference_mode_enabled()
    assert next(stream).phrase == "rain"
    assert len(given) == 16  # the second, which begins 5.16 s later
    stream.close()
    assert threading.active_count() == before


def test_faults_of_streams(model):
    mono = noise(1.0)
    for wrong in ({"channel": "loudest"}, {"method": "loud"}, {"threshold": 2.0}):
        with pytest.raises(ValueError, match=r"only the whole recording|loud|threshold"):
            detect_stream(model, [mono], PHRASES, rate=48_000, **wrong)
    with pytest.raises(ValueError, match="the stream: has 1 channels now, and had 2 before"):
        list(detect_stream(model, [torch.stack([mono, mono]), mono], PHRASES, rate=48_000))
    with pytest.raises(ValueError, match="the stream: holds no samples"):
        list(detect_stream(model, [mono[:0]], PHRASES, rate=48_000))

    def lost():
        yield mono
        raise OSError("the line is dead")

    with pytest.raises(OSError, match="the line is dead"):
        list(detect_stream(model, lost(), PHRASES, rate=48_000))


def test_reading_any_file(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=(22_050, 2)), 22_050)
    waveform_S = read_recording(tmp_path / "a.wav")
    assert waveform_S.dtype == torch.int16
    assert waveform_S.shape == (48_000,)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"b\.wav: unreadable.*: replace it, or leave it out"):
        read_recording(tmp_path / "b.wav")


def test_one_of_several_channels(tmp_path):
    sign = np.where(np.arange(4800) % 2, 1.0, -1.0)  # a constant is no sound
    left, right = 0.01 * sign, -0.25 * sign
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 48_000)
    for channel, want in (("mean", -0.12), ("first", 0.01), ("loudest", -0.25), (2, -0.25)):
        got = read_recording(tmp_path / "a.wav", channel) / 32768
        assert torch.allclose(got, torch.from_numpy(want * sign).float(), atol=1e-4)
    with pytest.raises(ValueError, match=r"a\.wav: has 2 channels, channel 3 is wanted: take another"):
        read_recording(tmp_path / "a.wav", 3)
    for channel in (0, -1, "each", 1.5):
        with pytest.raises(ValueError, match=r"a\.wav: .* is no channel: mean, first, loudest, or a number from 1"):
            read_recording(tmp_path / "a.wav", channel)


@FFMPEG
def test_what_preparation_reads_is_read_here(tmp_path):
    path = through_ffmpeg(tmp_path / "12:30.m4a", loud_and_quiet(2.0), 44_100)
    assert len(read_recording(path)) == pytest.approx(96_000, abs=2000)


def test_an_empty_recording_is_refused(model):
    with pytest.raises(ValueError, match="holds no samples"):
        score_recording(model, torch.zeros(0, dtype=torch.int16), PHRASES)


def test_events_become_tables(model, tmp_path):
    wave_S = noise(12.0).numpy()
    soundfile.write(tmp_path / "street.wav", wave_S, 48_000)
    rules = Rules(0.0, median=0.0)
    of_file = detect(model, tmp_path / "street.wav", "rain", rules=rules)
    assert (of_file.recording.seconds, of_file.recording.rate) == (12.0, 48_000)
    assert f"{tmp_path}/street.wav" in of_file.to_raven().splitlines()[1].split("\t")
    of_array = detect(model, wave_S, "rain", rate=48_000, rules=rules)
    assert list(of_array) == list(of_file) == pickle.loads(pickle.dumps(of_array))
    assert of_array.to_dataframe()["filename"].tolist() == ["recording"] * len(of_array)
    assert isinstance(of_array[:1], Detections)


def test_calibrated_events(model, tmp_path):
    exported = load_model(save_export(model, tmp_path / "export", {}))
    found = Calibration(
        exported.provenance["sha256"], "biased", 2.0, 0.5, unseen=0.02, thresholds={"rain": 0.05}, low=0.8,
        rules={"median": 0.0, "close": 0.5, "shortest": 0.0},
    )  # fmt: skip
    wave_S = noise(22.0)
    scores = found.apply(score(Listening(exported, Waveform(wave_S.numpy(), 48_000)), PHRASES, method="biased"))
    rules = Rules(0.02, 0.8, 0.0, 0.5, 0.0)
    want = events_of(scores, rules, {"rain": 0.05, "a siren": 0.02})
    assert want
    assert detect(exported, wave_S, PHRASES, calibration=found) == want
    streamed = detect_stream(exported, wave_S.split(9_600), PHRASES, rate=48_000, calibration=found)
    assert sorted((d.onset, d.offset, d.phrase) for d in streamed) == sorted(
        (d.onset, d.offset, d.phrase) for d in want
    )
    assert detect(exported, wave_S, PHRASES, 0.01, calibration=found) == events_of(
        scores, replace(rules, threshold=0.01)
    )
    with pytest.raises(ValueError, match="was found for other weights"):
        detect(model, wave_S, PHRASES, calibration=found)
    with pytest.raises(ValueError, match="was found for other weights"):
        detect_stream(model, [wave_S], PHRASES, rate=48_000, calibration=found)
    with pytest.raises(ValueError, match="method 'biased', not 'cosine'"):
        detect(exported, wave_S, PHRASES, method="cosine", calibration=found)
