"""Embeddings of the clips of a corpus and of texts, kept in one file, for retrieval and zero-shot classification.

Shape suffixes: N clips, M texts, D embedding width, B and W windows of several clips and of one, S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from flam_train.batch import TextEmbeddings
from flam_train.data.shards.corpus import Corpus
from flam_train.distributed import rank
from flam_train.evaluation.choices import WINDOWS
from flam_train.evaluation.groups import ORIGIN, origin_in, origin_of, origin_there
from flam_train.evaluation.parts import Kept, forget_parts, identity, in_parts, is_kept, of_clips
from flam_train.evaluation.result import describe
from flam_train.evaluation.windows import Progress, Reading

TEXTS = 256
"""Embedded at a time."""


@dataclass(frozen=True)
class Embeddings:
    """audio_ND, text_MD    float32, unit length
    texts                M strings; those of clips: all captions, clip after clip
    keys, captions, classes, splits  of N clips; a clip's class is its details["class"], "" without one
    windows              of WINDOWS
    about                what of the `Result` is known: clips expected, missing, model, data
    digest               `parts.identity` of how they were made
    sources, details     of N clips, as `groups.Kept` has them
    """

    audio_ND: np.ndarray
    text_MD: np.ndarray
    texts: list[str]
    keys: list[str]
    captions: list[list[str]]
    classes: list[str]
    splits: list[str]
    windows: str
    about: dict[str, Any]
    digest: str = ""
    sources: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ORIGIN:
            if len(getattr(self, name)) not in (0, len(self.keys)):
                raise ValueError(
                    f"{len(self.keys)} clips but {name} of {len(getattr(self, name))}: remove what is kept"
                )
        for names, rows in ((self.keys, self.audio_ND), (self.texts, self.text_MD)):
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                name = names[int(np.flatnonzero(~finite)[0])]
                raise ValueError(f"the embedding of {name!r} is not a number: look at it, or at the model")

    def save(self, path: str | Path) -> Path:
        arrays = {"audio_ND": self.audio_ND, "text_MD": self.text_MD}
        kind = {"kind": "embeddings", "model": self.about["model"].get("sha256"), "complete": not self.about["missing"]}
        return Kept(arrays, kind | {name: getattr(self, name) for name in (*_PLAIN, *ORIGIN)}).write(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Embeddings:
        """What `save` wrote; ValueError names the file."""
        kept = Kept.read(Path(path))
        if kept.facts.get("kind") != "embeddings":
            raise ValueError(f"{path}: not the embeddings of a set: embed it again")
        values: dict[str, Any] = kept.arrays | kept.named(path, *_PLAIN)
        values |= {name: kept.facts.get(name, []) for name in ORIGIN}
        return cls(**values)


_PLAIN = ("texts", "keys", "captions", "classes", "splits", "windows", "about", "digest")


def embed_corpus(
    model: Any,
    corpus: Corpus,
    *,
    texts: Sequence[str] | None = None,
    windows: str = "first",
    batch_size: int = 16,
    workers: int = 0,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> Embeddings | None:
    """Embeds the clips, and `texts` (None: the clips' captions). The rest is as in `frame_embeddings.embed_frames`."""
    if windows not in WINDOWS:
        raise ValueError(f"windows {windows!r}: choose of {', '.join(WINDOWS)}")
    about = describe(model, corpus)
    digest = identity(model, about, kind="embeddings", windows=windows, batch_size=batch_size)
    if path is not None and is_kept(Path(path), digest, about["model"]):
        return _asking(model, corpus, Path(path), texts) if rank() == 0 else None

    def part(numbers: range, done: Callable[[], None]) -> Kept:
        reading = Reading(corpus, model.grid, batch_size, "all" if windows == "mean" else windows, workers)
        heard: dict[int, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for owners, waveform_BS in reading.batches(numbers, done):
                clip_BD = model.embed_audio(waveform_BS.to(device_of(model))).clip_BD.float().cpu()
                for number, clip_D in zip(owners, clip_BD, strict=True):
                    heard.setdefault(number, []).append(clip_D)
        records = [reading.records[number] for number in heard]
        rows = [
            _mean(clips, record.duration, model.grid.seconds)
            for clips, record in zip(heard.values(), records, strict=True)
        ]
        audio_ND = torch.stack(rows).numpy() if rows else np.zeros((0, 0), dtype=np.float32)
        facts = {
            "keys": [record.key for record in records],
            "captions": [list(record.captions) for record in records],
            "classes": [str(record.details.get("class", "")) for record in records],
            "splits": [record.split for record in records],
            **origin_of(records),
            "missing": reading.missing,
        }
        return Kept({"audio_ND": audio_ND}, facts)

    folder = None if path is None else Path(path).with_name(f".{Path(path).name}.parts")
    parts = in_parts(len(corpus), part, folder, digest, progress)
    if not parts:
        return None
    origin = origin_there(parts)
    lists, missing = of_clips(parts, ("keys", "captions", "classes", "splits", *origin), corpus.folder)
    said = _said(lists["captions"], texts, corpus.folder)
    embeddings = Embeddings(
        audio_ND=np.concatenate([one.arrays["audio_ND"] for one in parts if len(one.facts["keys"])]),
        text_MD=embed_texts(model, said).text_CD.numpy(),
        texts=said,
        windows=windows,
        about=about | {"clips_evaluated": len(lists["keys"]), "missing": missing},
        digest=digest,
        **lists,
    )
    if path is not None and folder is not None:
        embeddings.save(path)
        if not missing:  # as in `embed_frames`
            forget_parts(folder, digest)
    return embeddings


def _said(captions: list[list[str]], texts: Sequence[str] | None, where: object) -> list[str]:
    said = [caption for some in captions for caption in some] if texts is None else list(texts)
    if not said:
        raise ValueError(f"{where}: not one caption in this corpus: nothing to retrieve by")
    return said


def _asking(model: Any, corpus: Corpus, path: Path, texts: Sequence[str] | None) -> Embeddings:
    """What is kept, with these texts; kept again if they are others, or if it did not say yet where clips come from."""
    kept = Embeddings.load(path)
    if not kept.sources:
        kept = replace(kept, **origin_in(corpus, kept.keys))
        kept.save(path)
    said = _said(kept.captions, texts, path)
    if said == kept.texts:
        return kept
    changed = replace(kept, texts=said, text_MD=embed_texts(model, said).text_CD.numpy())
    changed.save(path)
    return changed


def _mean(window_WD: list[torch.Tensor], duration: float, seconds: float) -> torch.Tensor:
    """clip_D, unit length, of a clip of `duration` seconds from its windows of `seconds`, the last one filled up."""
    if len(window_WD) == 1:
        return window_WD[0]
    inside_W = torch.tensor([min(seconds, duration - n * seconds) for n in range(len(window_WD))])
    return normalize((torch.stack(window_WD) * inside_W[:, None]).sum(0), dim=0)


def embed_texts(model: Any, texts: Sequence[str]) -> TextEmbeddings:
    """float32, on the CPU; each different text goes through the tower once."""
    unique = list(dict.fromkeys(texts))
    with torch.inference_mode():
        parts = [model.embed_text(unique[a : a + TEXTS]) for a in range(0, len(unique), TEXTS)]
    place = {text: m for m, text in enumerate(unique)}
    rows = [place[text] for text in texts]
    columns = ([getattr(p, f.name).float().cpu() for p in parts] for f in fields(TextEmbeddings))
    return TextEmbeddings(*(torch.cat(column)[rows] for column in columns))


def window_rule(windows: str, seconds: float) -> str:
    """In words, for a result."""
    return {
        "first": f"the first {seconds:g} s of each clip",
        "centre": f"the middle {seconds:g} s of each clip",
        "mean": f"the mean of consecutive windows of {seconds:g} s of each clip, each by its seconds inside the clip",
    }[windows]


def device_of(model: Any) -> torch.device:
    """Where its parameters are."""
    return next(model.parameters()).device
