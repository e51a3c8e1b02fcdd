"""From a corpus as its labels describe it to shards: what the scripts of data_prep/ share.

The samples are decided before the first is written: a part of a job array takes its share of the recordings, headers
are read for lengths, long recordings with events are cut into windows, and all is spread by a seeded permutation. That
plan lies in the folder until the manifest is written, so a run that was killed goes on with it, and the bytes
are those of a run that never was.

Shape suffixes: S samples.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flam_train.data.preparation.corpus_writer import (
    PLAN,
    CorpusPlan,
    cores,
    forget_dropped,
    forget_shards,
    write_corpus,
    write_files,
)
from flam_train.data.preparation.credits import credits
from flam_train.data.preparation.planned import PlannedSamples, spread
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.tars import MANIFEST, replace_with
from flam_train.data.shards.writing import write_manifest

MISSING = "missing.tsv"
"""Beside the manifest: key, file and reason of every recording that could not be read."""

KINDS = ("captions", "events", "bank")


@dataclass(frozen=True)
class Listing:
    """A corpus as a script read it from its label files.

    corpus      its name
    recordings  in any order; keys are unique
    kind        "captions": stored whole, up to MOST_CAPTIONED; "events": cut into windows; "bank": each recording is
                one sound for mixing, cut to where it sounds
    vocabulary  name of a vocabulary of conf/, a .yaml that `files` holds, or None for an open corpus
    annotates   ids of the concepts whose absence means absence
    details     plain data for the manifest
    files       small text files that belong beside the shards: {name: text}
    """

    corpus: str
    recordings: Sequence[Recording]
    kind: str
    vocabulary: str | None = None
    annotates: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """ValueError that names the label file and the row of what is wrong with it as a whole."""
        assert self.kind in KINDS
        if not self.recordings:
            raise ValueError(f"{self.corpus}: the labels list no recording: check the folder and the chosen split")
        seen: dict[str, str] = {}
        for r in self.recordings:
            if r.key in seen:
                raise ValueError(
                    f"{r.where}: key {r.key!r} is that of {seen[r.key]} too: call one otherwise, or leave it out"
                )
            seen[r.key] = r.where

    @functools.cached_property
    def digest(self) -> str:
        """Of everything but where the audio lies: another one makes other shards."""
        hasher = hashlib.blake2b(digest_size=16)
        whole = (self.corpus, self.kind, self.vocabulary, list(self.annotates), self.details, self.files)
        hasher.update(json.dumps(whole, sort_keys=True).encode())
        for r in sorted(self.recordings, key=lambda r: r.key):
            events = [(e.onset, e.offset, e.label) for e in r.events]
            plain = (r.key, r.path.name, r.captions, events, r.start, r.seconds, r.source, r.licence, r.split, r.ids)
            rest = [r.details, r.timed] + ([r.channel] if r.channel != "mean" else [])
            hasher.update(json.dumps([plain, *rest], sort_keys=True).encode())
            if r.unknown:  # else what was made before stays what it is
                hasher.update(json.dumps(["unknown", r.unknown]).encode())
            if r.tags:
                hasher.update(json.dumps(["tags", [(t.label, t.onset, t.offset) for t in r.tags]]).encode())
        return hasher.hexdigest()


@dataclass(frozen=True)
class Options:
    """How shards are made. part: (i, n), the i-th of n jobs, from 1. most_missing: share of the recordings that may be
    missing or unreadable."""

    part: tuple[int, int] = (1, 1)
    processes: int = field(default_factory=cores)
    audio: str = "flac"
    per_shard: int = 500
    seed: int = 0
    most_missing: float = 0.05
    show: bool = True

    def __post_init__(self) -> None:
        i, n = self.part
        if not 1 <= i <= n:
            raise ValueError(f"part {i}/{n}: parts are 1/{n} to {n}/{n}")
        if self.per_shard < 1 or self.processes < 1:
            raise ValueError("samples a shard and processes must be at least 1")


def part_folder(out: Path, part: tuple[int, int]) -> Path:
    """Where a part's shards go: the folder itself for the only one."""
    i, n = part
    return out if n == 1 else out / f"part-{i:04d}-of-{n:04d}"


def prepare(listing: Listing, out: Path, options: Options) -> Path:
    """Writes one part of a corpus, by default all of it; returns its folder. What is complete is left as it is.

    Raises ValueError that names the file and the fix; finished shards stay, and the next run goes on.
    """
    listing.check()
    folder = part_folder(out, options.part)
    share = spread(listing.recordings, options.seed)[options.part[0] - 1 :: options.part[1]]
    plan_id = _plan_id(listing, options)
    if _complete(folder, plan_id):
        # A run that was killed behind its manifest may have left these.
        PlannedSamples(folder).remove()
        forget_dropped(folder)
        return folder
    refuse_others(out, {"": listing}, options)
    folder.mkdir(parents=True, exist_ok=True)
    items = PlannedSamples(folder)
    # What was missing may be there by now; once there are shards, the plan they were made by stays.
    stale = items.is_of(plan_id) and too_many(items.missing(), len(share), options) and not any(folder.glob("*.tar"))
    if stale or not items.is_of(plan_id):
        items.decide(plan_id, listing.kind, share, options.seed, options.processes, options.show)
    _check_missing(folder, items.missing(), len(share), options)
    details = {
        **listing.details,
        "kind": listing.kind,
        "listing": listing.digest,
        "plan": plan_id,
        "part": list(options.part),
    }
    details |= {"files": sorted(listing.files)} if listing.files else {}
    plan = CorpusPlan(
        corpus=listing.corpus,
        samples=len(items),
        per_shard=options.per_shard,
        audio=options.audio,
        vocabulary=listing.vocabulary,
        annotates=list(listing.annotates),
        details=details,
        files=listing.files,
    )

    def conclude(dropped: list[tuple[int, str]]) -> dict[str, Any]:
        """What could not be decoded joins what was missing; counts for the manifest."""
        missing = items.missing() + [items.missing_row(n, why) for n, why in dropped]
        if too_many(missing, len(share), options):
            forget_shards(folder, plan, {n // plan.per_shard for n, _ in dropped})  # the next run tries them again
        _check_missing(folder, missing, len(share), options)
        gone = {key for key, _, _ in missing}
        whose = credits(r for r in share if r.key not in gone)
        return {"recordings": len(share), "missing": len(gone)} | items.counts({n for n, _ in dropped}) | whose

    if len(items):
        write_corpus(folder, plan, items, options.processes, options.show, conclude)
    elif options.part[1] > 1:  # a small split has fewer recordings than a large one has parts
        write_files(folder, listing.files)
        write_manifest(
            folder,
            listing.corpus,
            [],
            vocabulary=listing.vocabulary,
            annotates=list(listing.annotates),
            details=details | conclude([]),
        )
    else:
        unclear = len(share) - len({key for key, _, _ in items.missing()})
        if unclear:
            raise ValueError(
                f"{folder}: nothing to write: in every window of {unclear} recordings there is a stretch of which "
                "nobody knows what is heard (UNK): label those stretches, or leave the recordings out"
            )
        raise ValueError(f"{folder}: not one recording could be read: see {folder / MISSING}")
    items.remove()
    return folder


def refuse_others(out: Path, listings: Mapping[str, Listing], options: Options, splits: Sequence[str] = ()) -> None:
    """ValueError, before anything is written, if a folder below `out` holds shards of other labels or other options.

    listings  what is to be made, by folder ("": `out` itself)
    splits    folders among which the same recordings are shared out: one that lies there and is not to be made would
              keep recordings that now stand in another
    """
    found = [_others(out / name, listing, options) for name, listing in listings.items()]
    others = [folder for some, _ in found for folder in some]
    labels = any(other_labels for _, other_labels in found)
    how = "of other labels, or read with other options" if labels else "with another --audio, --per-shard or --seed"
    there = [name for name in splits if any(_marks(out / name))]
    if splits and (others or set(there) - set(listings)):
        raise ValueError(
            f"{out} holds splits made in another way, {how} ({', '.join(there)}): delete all of them first, or name "
            "another OUT"
        )
    if others:
        raise ValueError(
            f"{', '.join(map(str, others))} holds shards made in another way, {how}: write to another folder, or "
            "delete this one first"
        )


def _others(out: Path, listing: Listing, options: Options) -> tuple[list[Path], bool]:
    """The folder of a corpus, and those of its parts, whose shards are of another listing, or, where this part goes,
    were made with other options; and whether one is of another listing."""
    own = part_folder(out, options.part)
    found, plan, labels = [], _plan_id(listing, options), False
    for folder, details in _marks(out):
        other = details.get("listing") != listing.digest
        labels |= other
        if other or (folder == own and details.get("plan", plan) != plan):
            found.append(folder)
    return found, labels


def _marks(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A corpus' folder and those of its parts that hold shards or are to, each with the details of what they are."""
    for at in (folder, *sorted(folder.glob("part-*-of-*"))):
        said = next((at / name for name in (PLAN, MANIFEST) if (at / name).is_file()), None)
        if said is not None:
            yield at, json.loads(said.read_text(encoding="utf-8")).get("details", {})
        elif any(at.glob("*.tar")):
            yield at, {}


def _plan_id(listing: Listing, options: Options) -> str:
    whole = [listing.digest, options.part, options.audio, options.per_shard, options.seed]
    return hashlib.blake2b(json.dumps(whole).encode(), digest_size=16).hexdigest()


def _complete(folder: Path, plan_id: str) -> bool:
    path = folder / MANIFEST
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["details"].get("plan") == plan_id


def too_many(missing: list[tuple[str, str, str]], recordings: int, options: Options) -> bool:
    return len({key for key, _, _ in missing}) > options.most_missing * recordings


def _check_missing(folder: Path, missing: list[tuple[str, str, str]], recordings: int, options: Options) -> None:
    """Lists what is missing; ValueError if it is too much."""
    write_missing(folder, missing)
    if too_many(missing, recordings, options):
        count = len({key for key, _, _ in missing})
        key, file, why = missing[0]
        raise ValueError(
            f"{folder / MISSING}: {count} of {recordings} recordings are missing or unreadable, more than "
            f"{options.most_missing:.0%} (the first: {key}, {file}: {why}): see to them, or raise --max-missing"
        )


def write_missing(folder: Path, missing: list[tuple[str, str, str]]) -> None:
    rows = ["\t".join(" ".join(x.split()) for x in row) for row in sorted(set(missing))]
    text = "\n".join(["key\tfile\treason", *rows]) + "\n"
    replace_with(folder / MISSING, lambda file: file.write(text.encode()))


def read_missing(folder: Path) -> list[tuple[str, str, str]]:
    rows = (folder / MISSING).read_text(encoding="utf-8").splitlines()[1:]
    return [(key, file, why) for key, file, why in (row.split("\t") for row in rows)]
