"""Tiny shards of tones, and a model that hears them: its scores are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flam_train.batch import SAMPLE_RATE, AudioEmbeddings, TextEmbeddings, to_float
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import Event, Record
from flam_train.data.shards.writing import write_manifest, write_shard
from flam_train.frames import FrameGrid

VOCABULARY = """corpus: tones
classes:
  low: {phrasings: [a low tone, humming], held_out: [a deep sound]}
  high: {phrasings: [a high tone], held_out: [a shrill sound, whistling]}
  silent: {phrasings: [nothing at all]}
"""
PITCH = {"low": 500, "high": 4000}
WORDS = {"low": ("low", "humming", "deep"), "high": ("high", "shrill", "whistling")}


class Ear(torch.nn.Module):
    """Hears two tones: an embedding is the loudness of either, a text's which of them its words name."""

    default_method = "unbiased"

    def __init__(self):
        super().__init__()
        self.grid = FrameGrid(8, 2.0)
        self.provenance = {"sha256": "0" * 64, "seed": 7}
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.heard = 0

    def embed_audio(self, waveform_BS):
        assert waveform_BS.dtype == torch.int16
        assert waveform_BS.shape[1] == 2 * SAMPLE_RATE
        self.heard += len(waveform_BS)
        part = to_float(waveform_BS).reshape(len(waveform_BS), 8, -1)
        spectrum = torch.fft.rfft(part).abs() / part.shape[-1]
        spectrum[spectrum < 1e-3] = 0  # silence is silent: what rounding leaves there differs between processors
        bins = [round(p * part.shape[-1] / SAMPLE_RATE) for p in PITCH.values()]
        frame = torch.nn.functional.normalize(
            torch.cat([spectrum[..., bins], torch.full((*part.shape[:2], 1), 0.02)], -1), dim=-1
        )
        return AudioEmbeddings(torch.nn.functional.normalize(frame.mean(1), dim=-1), frame)

    def embed_text(self, phrases):
        rows = [[float(any(w in p for w in words)) for words in WORDS.values()] for p in phrases]
        text = torch.tensor([[*row, 0.0 if any(row) else 1.0] for row in rows])
        return TextEmbeddings(
            torch.nn.functional.normalize(text, dim=-1), torch.full((len(rows),), 20.0), torch.full((len(rows),), -8.0)
        )


def tone(seconds, events):
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros_like(time)
    for e in events:
        wave += 0.4 * np.sin(2 * np.pi * PITCH[e.label] * time) * ((time >= e.onset) & (time < e.offset))
    return (wave * 32767).astype(np.int16)


CLIPS = [
    (2.0, (Event(0.0, 1.0, "low"), Event(1.5, 2.0, "high"))),
    (2.0, (Event(0.5, 1.5, "high"),)),
    (4.5, (Event(0.25, 1.0, "low"), Event(1.5, 3.0, "low"), Event(4.0, 4.5, "high"))),  # three windows
    (1.1, ()),  # shorter than a window: the padding is not scored
]
CAPTIONS = [("a low then a high tone",), ("a high tone", "something shrill"), ("humming",), ("nothing",)]
CLASSES = ["low", "high", "low", "silent"]
"""Of the clips, for zero-shot classification."""


def vocabulary_file(folder: Path) -> str:
    path = folder / "vocabulary.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(VOCABULARY)
    return str(path)


def write_tones(
    folder: Path,
    captions: list[tuple[str, ...]] = CAPTIONS,
    events: bool = True,
    name: str = "",
    phrases: bool = False,
    **more,
) -> Corpus:
    """name: of the corpus [the folder's]. phrases: labels are open phrases. more: fields of the n-th record, lists."""
    samples = []
    for n, (seconds, found) in enumerate(CLIPS):
        fields = {"split": "test"} | {field: values[n] for field, values in more.items()}
        record = Record(f"clip{n}", seconds, captions[n], found if events else (), **fields)
        samples.append((record, tone(seconds, found)))
    vocabulary = None if phrases else vocabulary_file(folder)
    entry = write_shard(folder / "shard-000000.tar", samples)
    annotates = [] if phrases else ["low", "high", "silent"]
    write_manifest(folder, name or folder.name, [entry], vocabulary=vocabulary, annotates=annotates)
    return Corpus(folder)
