"""Use a trained model: load an export, embed, localise phrases in recordings of any length.

Shape suffixes: S samples, C phrases, T frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flam_train.batch import SAMPLE_RATE
from flam_train.checkpoints.export import load_export
from flam_train.data.sound.channels import Channel
from flam_train.data.sound.opening import measure
from flam_train.data.sound.reading import read
from flam_train.data.sound.waveforms import Chunks, Waveform
from flam_train.detection.calibration import Calibration
from flam_train.detection.detections import UNNAMED, Detections
from flam_train.detection.events import Detection, Rules, events_of
from flam_train.detection.live import events_as_they_end
from flam_train.detection.scoring import Listening, Scores, score
from flam_train.detection.tables.recorded import Recorded
from flam_train.models.flam import FLAM
from flam_train.models.methods import METHODS
from flam_train.settings import one_of

__all__ = [
    "Detection",
    "Detections",
    "Rules",
    "detect",
    "detect_stream",
    "load_model",
    "read_recording",
    "score_recording",
]

load_model = load_export

Threshold = float | Mapping[str, float]
"""For all phrases, or of single ones."""

Sound = str | Path | np.ndarray | Tensor
"""A file, or samples: `data.sound.waveforms.Waveform`."""


def detect(
    model: FLAM,
    source: Sound,
    phrases: str | Sequence[str],
    threshold: Threshold | None = None,
    method: str | None = None,
    *,
    rate: int | None = None,
    rules: Rules | None = None,
    channel: Channel = "mean",
    batch_size: int = 8,
    precision: str = "32",
    calibration: Calibration | None = None,
) -> Detections:
    """Where phrases are heard: events ordered by onset, times in seconds of the recording. The list knows its recording
    and becomes a table: `to_dataframe()`, `to_audacity()`, `to_raven()`, `to_desed_tsv()`, `to_jams()`, `to_json()`.

    source      a file of any format; or samples, numpy or torch, [S], [S, channels] or [channels, S], float in [-1, 1]
                (beyond it they are clipped, with a warning) or integers, which are scaled. A shape in which either axis
                may be that of channels is refused
    phrases     one or several
    threshold   a phrase's score must exceed it in some frame of an event: for all phrases, or a dict of some of them;
                None: that of `rules`
    method      as in `FLAM.localize`
    rate        of samples, in Hz; a file tells its own, and another one is refused. Only a torch tensor of int16 [S]
                needs none: it is 48 kHz mono, as `read_recording` and shards give it
    rules       what makes an event of scores: `detection.events.Rules`
    channel     of several: "mean", "first", "loudest", or a number from 1
    batch_size  windows that are embedded at once
    precision   of the encoder: "32", "bf16" or "16"
    calibration what `flam-detect calibrate` found for this model (`detection.calibration.read`): scores mean something,
                and what is not said of method, thresholds and rules is its own. None: scores as they are
    Nothing is found where nothing sounds. Raises ValueError, in one line, that says what does not fit.
    """
    method, threshold, rules = _calibrated(calibration, model, phrases, method, threshold, rules)
    wanted, rules, thresholds = _wanted(phrases, threshold, rules)
    sound = _sound(source, rate)
    recorded = _recorded(sound)
    if rate not in (None, recorded.rate):
        raise ValueError(f"{sound}: is at {recorded.rate:,} Hz, and rate={rate} was given: leave it out")
    scores = _scores(model, sound, wanted, method, channel, batch_size, precision)
    scores = scores if calibration is None else calibration.apply(scores)
    return Detections(events_of(scores, rules, thresholds), recorded)


def detect_stream(
    model: FLAM,
    chunks: Iterable[np.ndarray | Tensor],
    phrases: str | Sequence[str],
    threshold: Threshold | None = None,
    method: str | None = None,
    *,
    rate: int,
    rules: Rules | None = None,
    channel: Channel = "mean",
    precision: str = "32",
    calibration: Calibration | None = None,
) -> Iterator[Detection]:
    """The events that `detect` finds in the whole, each as soon as nothing that may come can change it.

    chunks: samples as in `detect`, of any length each, all at `rate` and with as many channels; they may go on for
    ever. Other arguments as in `detect`; channel: not "loudest", which only the whole recording tells.

    A frame is certain once the last window that hears it is full: half a window to a window after it (5 to 10 s), an
    event that much after its end, and what `rules` smooth over and the gap that they would close. So events come
    ordered by when they are certain; of those that are at once, by onset. A chunk is asked for when it is needed, and
    no thread is started.
    Raises ValueError as `detect`: of arguments at once, of chunks when they come.
    """
    method, threshold, rules = _calibrated(calibration, model, phrases, method, threshold, rules)
    wanted, rules, thresholds = _wanted(phrases, threshold, rules)
    one_of("localisation method", method or model.default_method, METHODS)
    if channel == "loudest":
        raise ValueError(
            'channel: which is the loudest only the whole recording tells: give "mean", "first" or a number'
        )
    arrays = (_array(chunk) for chunk in chunks)

    def found() -> Iterator[Detection]:
        stream = Chunks(arrays, rate)
        listening = Listening(model, stream, channel=channel, batch_size=1, precision=precision, early=0)
        for events in events_as_they_end(listening, wanted, rules, thresholds, method, calibration):
            yield from events

    return found()


def score_recording(
    model: FLAM,
    source: Sound,
    phrases: str | Sequence[str],
    method: str | None = None,
    batch_size: int = 8,
    *,
    rate: int = SAMPLE_RATE,
    channel: Channel = "mean",
    precision: str = "32",
) -> Tensor:
    """score_CT float32 in [0, 1] of a recording of any length, T frames of `model.grid`, one row a phrase.

    source and others as in `detect`; samples are at 48 kHz if `rate` does not say otherwise. The recording is heard in
    windows of the grid's length, of which each begins in the middle of the last (`detection.embedding`), and their
    embeddings are cross-faded. 0 where nothing sounds. Raises ValueError as `detect`.
    """
    sound = _sound(source, rate)
    scores = _scores(model, sound, _listed_phrases(phrases), method, channel, batch_size, precision)
    return torch.from_numpy(scores.score_CT)


def read_recording(path: str | Path, channel: Channel = "mean") -> Tensor:
    """A sound file of any format, rate and channels as int16 [S], 48 kHz mono.

    channel  "mean" of all channels, "first", "loudest", or a number from 1
    Raises ValueError that names the file and the fix.
    """
    return torch.from_numpy(read(path, channel=channel))


def _scores(
    model: FLAM,
    sound: Path | Waveform,
    phrases: list[str],
    method: str | None,
    channel: Channel,
    batch_size: int,
    precision: str,
) -> Scores:
    return score(Listening(model, sound, 0.0, None, channel, batch_size, precision), phrases, method=method)


def _sound(source: Sound, rate: int | None) -> Path | Waveform:
    return Path(source) if isinstance(source, (str, Path)) else _waveform(source, rate)


def _recorded(sound: Path | Waveform) -> Recorded:
    if isinstance(sound, Waveform):
        return replace(UNNAMED, seconds=len(sound.samples_SC) / sound.rate, rate=sound.rate)
    length = measure(sound)
    return Recorded(sound.as_posix(), length.seconds, length.rate, path=sound.absolute())


def _waveform(samples: np.ndarray | Tensor, rate: int | None) -> Waveform:
    if rate is None and isinstance(samples, Tensor) and samples.dtype == torch.int16 and samples.ndim == 1:
        rate = SAMPLE_RATE
    return Waveform(_array(samples), rate)


def _array(samples: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(samples, Tensor):
        samples = samples.detach().cpu()
        return (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
    if not isinstance(samples, np.ndarray):
        raise ValueError(f"a recording is a path, or samples as a numpy array or a torch tensor, got {type(samples)}")
    return samples


def _calibrated(
    calibration: Calibration | None,
    model: FLAM,
    phrases: str | Sequence[str],
    method: str | None,
    threshold: Threshold | None,
    rules: Rules | None,
) -> tuple[str | None, Threshold | None, Rules | None]:
    """What a calibration says of method, threshold and rules, where nobody else does."""
    if calibration is None:
        return method, threshold, rules
    calibration.check(model.provenance.get("sha256"), method)
    threshold = calibration.thresholds_for(_listed_phrases(phrases)) if threshold is None else threshold
    return calibration.method, threshold, rules or calibration.rules_of(Rules())


def _wanted(
    phrases: str | Sequence[str], threshold: Threshold | None, rules: Rules | None
) -> tuple[list[str], Rules, Mapping[str, float]]:
    """Each phrase once, the rules, and the thresholds of single phrases."""
    wanted, rules = list(dict.fromkeys(_listed_phrases(phrases))), rules or Rules()
    if threshold is None:
        return wanted, rules, {}
    if not isinstance(threshold, Mapping):
        return wanted, replace(rules, threshold=threshold), {}
    for phrase, value in threshold.items():
        if phrase not in wanted:
            raise ValueError(f"threshold: {phrase!r} is none of the phrases, which are {', '.join(map(repr, wanted))}")
        replace(rules, threshold=value)  # checks it
    return wanted, rules, threshold


def _listed_phrases(phrases: str | Sequence[str]) -> list[str]:
    found = [phrases] if isinstance(phrases, str) else list(phrases)
    if not found or not all(isinstance(one, str) and one.strip() for one in found):
        raise ValueError(f"phrases: give one or several, none of them empty, got {phrases!r}")
    return found
