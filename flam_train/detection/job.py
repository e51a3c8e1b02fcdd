"""Many recordings, one after the other, on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from flam_train.batch import TextEmbeddings
from flam_train.checkpoints.export import load_export
from flam_train.data.sound.opening import measure
from flam_train.detection.analysis import analyse
from flam_train.detection.phrases import cut_phrases
from flam_train.detection.progress import Progress
from flam_train.detection.recordings import Recording
from flam_train.detection.threads import ahead
from flam_train.detection.wanted import Analysis
from flam_train.models.flam import FLAM

WINDOWS = {"cpu": 4}
OTHERWISE = 32
"""Windows that are embedded at once, where nobody said how many: on a CPU more gain little and cost memory."""

PHRASES_AT_ONCE = 256
"""That the text tower embeds."""


@dataclass(frozen=True)
class Job:
    """What every process is told.

    export: a folder, or hf://OWNER/NAME; weights: their sha256; folder: of results
    """

    export: str
    weights: str
    folder: Path
    wanted: Analysis
    quiet: bool = False


def work(job: Job, recordings: Sequence[Recording], device: str, name: str = "") -> None:
    """Analyses recordings, one after the other. name: of this process, where it is one of several.

    Raises ValueError as `load_export`, OSError where results cannot be written. What is wrong with a recording is told
    on standard error, and kept as its outcome.
    """
    model = load_export(job.export, device)
    if model.provenance["sha256"] != job.weights:
        raise ValueError(f"{job.export}: was replaced meanwhile: run the same command again")
    progress = Progress(len(recordings), job.quiet, name)
    if model.tokenizer is not None and not job.quiet:
        for line in cut_phrases(job.wanted.phrases, model.tokenizer):
            progress.note(line)
    size = job.wanted.batch_size or WINDOWS.get(device, OTHERWISE)
    wanted = replace(job.wanted, batch_size=size)
    results = wanted.results(job.folder, job.weights)
    text = embed_phrases(model, job.wanted.phrases)
    # How long compressed ones are takes a second an hour: of thousands of hours the first need not wait for the last.
    lengths = (progress.expect(_seconds(recording, wanted)) for recording in recordings)
    try:
        with ahead(lengths, len(recordings)) as known:
            for recording, seconds in zip(recordings, known, strict=True):
                with progress.recording(seconds):
                    outcome = analyse(model, text, recording, results, wanted, progress)
                if outcome.status == "failed":
                    progress.note(f"failed: {outcome.reason}")
                else:
                    for note in outcome.notes if not job.quiet else ():
                        progress.note(f"{recording.path}: {note}")
    finally:
        progress.end()


def embed_phrases(model: FLAM, phrases: Sequence[str]) -> TextEmbeddings:
    """As `FLAM.embed_text`, of any number of phrases."""
    with torch.inference_mode():
        parts = [
            model.embed_text(list(phrases[first : first + PHRASES_AT_ONCE]))
            for first in range(0, len(phrases), PHRASES_AT_ONCE)
        ]
    return TextEmbeddings(
        torch.cat([part.text_CD for part in parts]),
        torch.cat([part.scale_C for part in parts]),
        torch.cat([part.bias_C for part in parts]),
    )


def _seconds(recording: Recording, wanted: Analysis) -> float:
    """That are to be heard; 0 where it is going to fail."""
    try:
        return wanted.seconds_of(measure(recording.path))
    except ValueError:
        return 0.0
