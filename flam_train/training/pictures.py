"""Pictures of a validation: where labels are heard in a few clips, and which clips a few captions find.

The same clips and captions each time, so that the pictures of two steps, or of two runs, can be laid side by side.

Shape suffixes: B chosen clips, K classes and labels, T frames, S samples, N clips of the corpus, D embedding width,
C chosen captions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from torch import Tensor

from flam_train.data.shards.corpus import Corpus
from flam_train.data.stream.dataset import ClipsBatch, ClipsDataset
from flam_train.frames import FrameGrid
from flam_train.models.flam import FLAM
from flam_train.plotting import Ranking, localization_figure, retrieval_examples, save_figure
from flam_train.training.validation import CorpusValidation
from flam_train.vocabulary import phrase_id

READ = 1000
"""Records of a corpus, spread over it, among which clips and captions are chosen."""

MOST_LABELS, OTHERS = 10, 3
"""Of a clip's labels in its picture; and below them of the classes it does not have, those with the highest scores."""

FOUND = 5
"""Clips that are shown for a caption."""

MEANING = (
    "score: how sure the model is that the phrase sounds (0 to 1). First the clip's labels, then the other classes "
    "that it scores highest"
)

FOLDER = "validation"
"""Of the run folder."""


class Chosen:
    """What is shown of a corpus: a function of its records. count: of clips, and of captions."""

    def __init__(self, corpus: Corpus, grid: FrameGrid, count: int) -> None:
        """Raises ValueError for a record that cannot be read, as validation does."""
        self.corpus, self.grid = corpus, grid
        rows = range(0, len(corpus), -(-len(corpus) // READ) or 1)
        records = {row: corpus.record(row) for row in rows}
        labels = {row: {e.label for e in r.events if e.onset < grid.seconds} for row, r in records.items()}
        self.rows = spread({row: found for row, found in labels.items() if found}, count)
        # Each text once, of its first clip.
        first: dict[str, int] = {}
        for row, record in records.items():
            for caption in record.captions[:1]:
                first.setdefault(caption, row)
        captions = list(first.items())
        some = sorted({n * len(captions) // count for n in range(count)}) if captions else []
        self.captions = [captions[n] for n in some]

    @cached_property
    def clips(self) -> list[ClipsBatch]:
        """One batch a clip, as they are validated."""
        one_by_one = ClipsDataset(self.corpus, self.grid.seconds, 1)
        return [one_by_one[row] for row in self.rows]

    @cached_property
    def row_of(self) -> dict[int, int]:
        """{a clip's id: its row}."""
        return {phrase_id(self.corpus.key(row)): row for row in range(len(self.corpus))}


def spread(labels: dict[int, set[str]], count: int) -> list[int]:
    """So many rows: the first ones that have a label which none before them has; then the first others."""
    seen: set[str] = set()
    new = []
    for row, found in labels.items():
        if not found <= seen:
            new.append(row)
            seen |= found
    return sorted((new + [row for row in labels if row not in set(new)])[:count])


@dataclass(frozen=True)
class Located:
    """A clip, and how each phrase of its picture scores: score_KT in [0, 1], label_KT bool; those that the clip is
    labelled with come first."""

    key: str
    waveform_S: np.ndarray
    phrases: list[str]
    score_KT: np.ndarray
    label_KT: np.ndarray


@torch.no_grad()
def locate(chosen: Chosen, model: FLAM, validation: CorpusValidation) -> list[Located]:
    """Of the chosen clips, by the first phrasing of each validated class; labels that are no class are their own."""
    if not chosen.rows:
        return []
    waveform_BS = torch.cat([clip.waveform_BS for clip in chosen.clips]).to(model.device)
    frame_BTD = model.embed_audio(waveform_BS).frame_BTD
    words = validation.asked.words
    said = dict(zip(words.classes, words.phrases[0], strict=True)) if words else {}
    more = sorted({e.label for clip in chosen.clips for e in clip.records[0].events} - said.keys())
    scores, labels = [], [*said, *more]
    if said:
        scores.append(model.localize(frame_BTD, model.embed_text(list(said.values()))))
    if more:
        scores.append(model.localize(frame_BTD, model.embed_text(more)))
    score_BKT = torch.cat(scores, 1).float().cpu().numpy()
    out = []
    for clip, score_KT in zip(chosen.clips, score_BKT, strict=True):
        record = clip.records[0]
        mine = list(dict.fromkeys(e.label for e in sorted(record.events, key=lambda e: e.onset)))[:MOST_LABELS]
        mine_K = [labels.index(label) for label in mine]
        highest = np.argsort(-score_KT[: len(said)].max(1), kind="stable").tolist() if said else []
        heard = {event.label for event in record.events}
        others_K = [k for k in highest if labels[k] not in heard][:OTHERS]
        label_KT = np.zeros((len(mine) + len(others_K), score_KT.shape[1]), dtype=bool)
        for k, label in enumerate(mine):
            times = [(e.onset, e.offset) for e in record.events if e.label == label]
            label_KT[k] = chosen.grid.labels(*zip(*times, strict=True)).any(0)
        rows = mine_K + others_K
        samples = round(clip.durations[0] * clip.waveform_BS.shape[1] / chosen.grid.seconds)
        waveform_S = clip.waveform_BS[0, :samples].numpy()
        phrases = [said.get(labels[k], labels[k]) for k in rows]
        out.append(Located(record.key, waveform_S, phrases, score_KT[rows], label_KT))
    return out


@torch.no_grad()
def find(chosen: Chosen, model: FLAM, joined: tuple[Tensor, Tensor] | None) -> list[Ranking]:
    """What the chosen captions find. joined: as in `Retrieval.joined`."""
    if not chosen.captions or joined is None:
        return []
    audio_ND, id_N = joined
    text_CD = model.embed_text([caption for caption, _ in chosen.captions]).text_CD
    score_CN = (text_CD.float() @ audio_ND.T.to(text_CD.device)).cpu()
    row_N = [chosen.row_of[clip] for clip in id_N.tolist()]
    out = []
    for (caption, own), score_N in zip(chosen.captions, score_CN, strict=True):
        order = score_N.argsort(descending=True, stable=True).tolist()
        best = [(row_N[n], float(score_N[n])) for n in order[:FOUND]]
        found = [(described(chosen.corpus, row), score, row == own) for row, score in best]
        out.append(Ranking(caption, found, 1 + [row_N[n] for n in order].index(own)))
    return out


def described(corpus: Corpus, row: int) -> str:
    """A clip's key, and what is known of it."""
    record = corpus.record(row)
    known = record.captions[0] if record.captions else ", ".join(dict.fromkeys(e.label for e in record.events))
    return f"{record.key}: {known}" if known else record.key


class Pictures(Callback):
    """Draws on the first rank, while the others wait: as files in `validation/step-*` of the run folder, and for wandb
    and TensorBoard. To stand before `Averaging`, which takes back the weights that were validated.

    What cannot be drawn or written is told in a line, and the run goes on: it is not for its pictures.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._chosen: dict[str, Chosen] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for name, corpus in data.validation.items():
            if name not in self._chosen:
                self._chosen[name] = Chosen(corpus, data.grid, self.count)
            chosen, validation = self._chosen[name], pl_module.validation_metrics[name]  # type: ignore[index]
            with trainer.precision_plugin.forward_context():
                located = locate(chosen, pl_module.model, validation)  # type: ignore[arg-type]
                rankings = find(chosen, pl_module.model, validation.retrieval.joined)  # type: ignore[arg-type, union-attr]
            step, into = trainer.global_step, self.folder / FOLDER / f"step-{trainer.global_step:08d}"
            try:
                drawn = list(draw(into, name, step, data.grid, located, rankings))
            except Exception as error:
                told = f"pictures of {name} at step {step:,} were not drawn: the run goes on"
                print(f"\n{told} ({type(error).__name__}: {error})", file=sys.stderr)
                continue
            for path in drawn:
                show(trainer, f"{name}/{path.stem.removeprefix(f'{name}-')}", path)


def draw(
    into: Path, name: str, step: int, grid: FrameGrid, located: list[Located], rankings: list[Ranking]
) -> Iterator[Path]:
    """`NAME-clip-1.png` and so on, `NAME-retrieval.png`, and `NAME.json` with what they show; the pictures' paths."""
    at = f"step {step:,}: {name}"
    for n, clip in enumerate(located, 1):
        figure = localization_figure(
            clip.waveform_S, clip.score_KT, clip.label_KT, clip.phrases, grid, title=at, name=clip.key, meaning=MEANING
        )
        yield save_figure(figure, into / f"{name}-clip-{n}.png")
    if rankings:
        yield save_figure(retrieval_examples(rankings, [], title=at), into / f"{name}-retrieval.png")
    if located or rankings:
        told = {"step": step, "clips": [_told(clip, grid) for clip in located], "captions": [*map(_answers, rankings)]}
        (into / f"{name}.json").write_text(json.dumps(told, ensure_ascii=False))


def _told(clip: Located, grid: FrameGrid) -> dict[str, Any]:
    rows = zip(clip.phrases, clip.label_KT, clip.score_KT, strict=True)
    phrases = [
        {"phrase": phrase, "annotated": grid.segments(label_T), "scores": [round(float(s), 4) for s in score_T]}
        for phrase, label_T, score_T in rows
    ]
    return {"key": clip.key, "frame_seconds": grid.frame_seconds, "phrases": phrases}


def _answers(ranking: Ranking) -> dict[str, Any]:
    found = [{"clip": clip, "score": round(score, 4), "right": right} for clip, score, right in ranking.found]
    return {"caption": ranking.query, "right_rank": ranking.right_rank, "found": found}


def show(trainer: Trainer, name: str, path: Path) -> None:
    """Gives a picture to the loggers that take some, at the step that the validation's numbers stand at."""
    step = trainer.global_step - 1
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"pictures/{name}", [str(path)], step)
        if isinstance(logger, TensorBoardLogger):
            pixels = (255 * imread(path)[..., :3]).round().astype(np.uint8)
            logger.experiment.add_image(f"pictures/{name}", pixels, step, dataformats="HWC")
