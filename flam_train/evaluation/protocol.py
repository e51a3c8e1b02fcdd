"""Protocols: a set, its words, how it is cut, scored and measured, as files in conf/eval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from flam_train.data.shards.cache import file_system, is_url
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.tars import MANIFEST
from flam_train.evaluation import resampled, retrieval, sed, zero_shot
from flam_train.evaluation.choices import CAPTIONS, KINDS, PHRASINGS, SCORES, WINDOWS
from flam_train.evaluation.drawn import Bootstrap
from flam_train.evaluation.embeddings import Embeddings, embed_corpus
from flam_train.evaluation.frame_embeddings import FrameEmbeddings, embed_frames
from flam_train.evaluation.report.classes import CLASS_TABLES, save_tables
from flam_train.evaluation.report.figures import retrieval_figures, save_figures, sed_figures
from flam_train.evaluation.result import Result
from flam_train.evaluation.scores import Scores
from flam_train.evaluation.sed import SedMetrics
from flam_train.evaluation.windows import Progress
from flam_train.evaluation.words import asked_of
from flam_train.paths import conf_file
from flam_train.settings import from_plain, one_of
from flam_train.vocabulary import Vocabulary

Note = Callable[[str], None]


@dataclass(frozen=True)
class Protocol:
    """name          of the file; a result's dataset
    kind          of KINDS
    shards        the corpus below the folder of shards
    title         of the set and split, for people
    clips         how many the published set has: fewer are evaluated and counted, more are refused; None: not known
    corpus        the name that its manifest must bear, as data_prep writes it; None: any
    vocabulary    another than the corpus' own: a name in conf/vocabulary or a .yaml file
    open          the corpus must be of open phrases: one of classes is another task
    sed:          phrasings, classes (None: those that the corpus annotates) and soft_threshold of
                  `frame_embeddings.embed_frames`, and what is computed (`sed.SedMetrics`)
    retrieval:    captions (`choices.CAPTIONS`); of shared ones `relevant`, a CSV of what else is right
                  (`retrieval.read_relevant`), its path from the protocol's file
    zero_shot:    templates, phrases (`zero_shot.prompts`)
    windows       of clips longer than the model's (`choices.WINDOWS`); detection reads consecutive ones
    """

    name: str
    kind: str
    shards: str
    title: str
    clips: int | None = None
    corpus: str | None = None
    vocabulary: str | None = None
    open: bool = False
    phrasings: tuple[str, ...] = ("trained",)
    classes: tuple[str, ...] | None = None
    soft_threshold: float | None = None
    scoring: Any = None
    captions: str = "all"
    relevant: str | None = None
    templates: tuple[str, ...] = ("{}",)
    phrases: str = "first"
    windows: str = "first"

    def __post_init__(self) -> None:
        where = f"protocol {self.name}"
        one_of(f"{where}: kind", self.kind, KINDS)
        one_of(f"{where}: captions", self.captions, CAPTIONS)
        one_of(f"{where}: windows", self.windows, WINDOWS)
        for name in self.phrasings:
            one_of(f"{where}: phrasings", name, PHRASINGS)
        if self.relevant is not None and self.captions != "shared":
            raise ValueError(f"{where}: relevant: what else is right is told of `captions: shared`")
        if self.clips is not None and self.clips < 1:
            raise ValueError(f"{where}: clips {self.clips}: how many the published set has, at least 1")
        if not isinstance(self.scoring, SedMetrics):
            object.__setattr__(self, "scoring", from_plain(SedMetrics, f"{where}: scoring", self.scoring or {}))

    @classmethod
    def load(cls, name: str) -> Protocol:
        """By the name of a file in conf/eval, or a .yaml file's path. Raises ValueError that names file and key."""
        path = conf_file("eval", name)
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML ({error}): mend it") from error
        if not isinstance(raw, dict):
            raise ValueError(f"{path}: needs one `key: value` a line")
        if isinstance(raw.get("relevant"), str):
            raw["relevant"] = str(path.parent / raw["relevant"])
        return from_plain(cls, str(path), {"name": path.stem} | raw)

    def kept(self, out: Path) -> Path:
        """Where what its numbers come from is kept."""
        return out / SCORES / f"{self.name}.safetensors"

    @property
    def asked_captions(self) -> tuple[str, retrieval.Relevant | None]:
        """Of a retrieval: captions, and what else is right (`retrieval.result_of`)."""
        return self.captions, retrieval.read_relevant(Path(self.relevant)) if self.relevant else None

    @property
    def asked(self) -> tuple[Vocabulary | None, tuple[str, ...] | None, float | None]:
        """Of a detection: another vocabulary than the corpus' own, classes, soft_threshold (`words.asked_of`)."""
        return Vocabulary.load(self.vocabulary) if self.vocabulary else None, self.classes, self.soft_threshold


def place_of(protocol: Protocol, shards: Path | str) -> Path | str:
    """Its folder, or the URL of it."""
    return f"{shards}/{protocol.shards}" if is_url(shards) else Path(shards) / protocol.shards


def is_there(protocol: Protocol, shards: Path | str) -> bool:
    place = place_of(protocol, shards)
    if isinstance(place, Path):
        return (place / MANIFEST).is_file()
    system, path = file_system(f"{place}/{MANIFEST}")
    return bool(system.exists(path))


def run(
    protocol: Protocol,
    model: Any,
    shards: Path | str,
    out: Path,
    *,
    batch_size: int = 16,
    workers: int = 0,
    progress: Callable[[str], Progress] | None = None,
    note: Note | None = None,
    how: Bootstrap | None = None,
) -> list[Result]:
    """Embeds the set, keeps the embeddings below `out`, and gives the results, with intervals where it is said how; on
    ranks other than the first none.

    What is there already, of this model and these shards, is not made again. Raises ValueError for shards that are not
    there, are another corpus', or hold more clips than the published set.
    """
    if not is_there(protocol, shards):
        raise ValueError(
            f"{place_of(protocol, shards)}: no shards there: prepare {protocol.title} (see data_prep/README.md)"
        )
    corpus = Corpus(place_of(protocol, shards))
    if protocol.corpus not in (None, corpus.name):
        raise ValueError(
            f"{corpus.folder}: holds corpus {corpus.name!r}, but protocol {protocol.name} is of {protocol.corpus!r}: "
            "mend the shards, or `corpus` in the protocol"
        )
    if protocol.open and corpus.vocabulary.classes:
        raise ValueError(
            f"{corpus.folder}: labelled with the classes of {corpus.vocabulary.corpus!r}, but protocol {protocol.name} "
            "is of open phrases: mix a bank of captioned sounds (data_prep/caption_bank.py), or copy the protocol "
            "without `open`"
        )
    if protocol.clips is not None and len(corpus) > protocol.clips:
        raise ValueError(
            f"{corpus.folder}: {len(corpus)} clips, but {protocol.title} has {protocol.clips}: another split? Mend the "
            "shards, or `clips` in the protocol"
        )
    what: dict[str, Any] = {
        "batch_size": batch_size,
        "workers": workers,
        "path": protocol.kept(out),
        "progress": progress(protocol.name) if progress else None,
    }
    made: FrameEmbeddings | Embeddings | None
    if protocol.kind == "sed":
        other, classes, soft = protocol.asked
        what |= {"vocabulary": other, "classes": classes, "soft_threshold": soft}
        made = embed_frames(model, corpus, phrasings=protocol.phrasings, **what)
    else:
        made = embed_corpus(model, corpus, texts=_texts(protocol), windows=protocol.windows, **what)
    return [] if made is None else results_of(protocol, made, note, how)


def recompute(protocol: Protocol, out: Path, note: Note | None = None, how: Bootstrap | None = None) -> list[Result]:
    """The results again from what `run` kept, without model or audio.

    Raises ValueError where there is nothing, or what was made with other words, classes or windows.
    """
    path = protocol.kept(out)
    kept: FrameEmbeddings | Embeddings
    if protocol.kind == "sed":
        kept = FrameEmbeddings.load(path)
        same = kept.asked == asked_of(*protocol.asked)
    else:
        kept = Embeddings.load(path)
        same = kept.windows == protocol.windows and _texts(protocol) in (None, kept.texts)
    if not same:
        raise ValueError(f"{path}: made with other words, classes or windows than protocol {protocol.name} has now")
    return results_of(protocol, kept, note, how)


def figures(protocol: Protocol, out: Path, folder: Path) -> list[Path]:
    """Pictures of what `run` kept; zero-shot classification has none."""
    if protocol.kind == "retrieval":
        return save_figures(
            retrieval_figures(Embeddings.load(protocol.kept(out)), *protocol.asked_captions), folder, protocol.name
        )
    made: list[Path] = []
    if protocol.kind == "sed":
        kept = FrameEmbeddings.load(protocol.kept(out))
        for phrasings in protocol.phrasings:
            name = f"{protocol.name}-{phrasings}"
            made += save_figures(sed_figures(Scores(kept, phrasings), protocol.scoring, name), folder, name)
    return made


def tables(protocol: Protocol, out: Path) -> list[Path]:
    """Of detections what `run` kept tells class by class, below `out`, where it is among the metrics."""
    if protocol.kind != "sed" or not CLASS_TABLES & set(protocol.scoring.metrics):
        return []
    kept = FrameEmbeddings.load(protocol.kept(out))
    return [
        path
        for phrasings in protocol.phrasings
        for path in save_tables(Scores(kept, phrasings), protocol.scoring, out, f"{protocol.name}-{phrasings}")
    ]


def results_of(
    protocol: Protocol, made: FrameEmbeddings | Embeddings, note: Note | None = None, how: Bootstrap | None = None
) -> list[Result]:
    """Of what is kept: one for each kind of phrasings of a detection, else one."""
    found: list[tuple[Result, dict[str, Any]]] = []  # results, and between what their numbers lie
    if isinstance(made, FrameEmbeddings):
        for scores in (Scores(made, one) for one in protocol.phrasings):
            between = resampled.intervals(scores, protocol.scoring, how, note) if how else {}
            found.append((sed.result_of(scores, protocol.scoring, note), between))
    elif protocol.kind == "retrieval":
        between = retrieval.intervals(made, how, *protocol.asked_captions) if how else {}
        found.append((retrieval.result_of(made, *protocol.asked_captions), between))
    else:
        asked = (*_prompts(protocol), str(protocol.vocabulary))
        between = zero_shot.intervals(made, how, *asked) if how else {}
        found.append((zero_shot.result_of(made, *asked), between))
    return [replace(_placed(protocol, result), intervals=between) for result, between in found]


def _placed(protocol: Protocol, result: Result) -> Result:
    facts = {
        "protocol": protocol.name,
        "set": protocol.title,
        "clips of the published set": protocol.clips,
        "clips in the shards": result.clips_expected,
    }
    expected = result.clips_expected if protocol.clips is None else protocol.clips
    return replace(result, dataset=protocol.name, clips_expected=expected, parameters=facts | result.parameters)


def _texts(protocol: Protocol) -> list[str] | None:
    """None: the clips' captions."""
    return None if protocol.kind == "retrieval" else [text for said in _prompts(protocol)[1] for text in said]


def _prompts(protocol: Protocol) -> tuple[list[str], list[list[str]]]:
    if protocol.vocabulary is None:
        raise ValueError(f"protocol {protocol.name}: zero-shot classification needs a vocabulary: name it")
    return zero_shot.prompts(Vocabulary.load(protocol.vocabulary), protocol.templates, protocol.phrases)
