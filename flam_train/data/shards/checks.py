"""What is right and wrong with the samples of one shard.

Shape suffixes: S samples of audio, N samples of a shard, M ids of recordings.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flam_train.batch import SAMPLE_RATE
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.schema import END_TOLERANCE, Record
from flam_train.data.shards.tars import ShardEntry, index_path, index_tar, sha256_of

ERRORS = {
    "shards": "all there, with the sizes and counts of the manifest",
    "sha256": "each tar is the one of the manifest",
    "index": "each index is that of its tar",
    "keys": "each key comes once",
    "descriptions": "readable, events inside their clips",
    "labels": "in the vocabulary",
    "audio": "decodes, and lasts as its description says",
    "seconds": "the manifest's are those of the audio",
}
WARNINGS = {
    "clipped": "0.1 % of the clip at full scale, or 1 ms without a break",
    "silent": "digital silence throughout",
    "nearly silent": "no sample above -60 dBFS",
    "silent events": "events that lie in digital silence",
    "same audio": "clips that repeat another clip of the corpus, bit for bit",
}
WHOLE_ONLY = ("sha256", "index", "audio", "seconds", *WARNINGS)
"""What a quick check leaves out: it reads neither audio nor whole tars."""

FIELDS = [
    ("key", "S"), ("audio", "i"), ("audio_size", "i"), ("meta", "i"), ("meta_size", "i"), ("audio_crc", "u"),
    ("meta_crc", "u"), ("audio_format", "S"), ("meta_format", "S"),
]  # fmt: skip
"""Of an index, with their kinds."""

CLIPPED_SHARE, CLIPPED_RUN, QUIET_PEAK = 1e-3, SAMPLE_RATE // 1000, 33
"""Share of samples at full scale; samples of one run of them; what -60 dBFS is in int16."""

FEW = 3
"""Findings of each check that are told in full."""


@dataclass(frozen=True)
class Finding:
    """One sample or shard that a check does not like. key: "" where it is the whole shard."""

    key: str
    shard: str
    message: str


@dataclass
class Findings:
    """How many of each check, and the first few."""

    count: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, check: str, key: str, shard: str, message: str) -> None:
        self.count[check] += 1
        if len(few := self.first.setdefault(check, [])) < FEW:
            few.append(Finding(key, shard, message))

    def join(self, other: Findings) -> None:
        self.count += other.count
        for check, few in other.first.items():
            self.first[check] = (self.first.get(check, []) + few)[:FEW]

    @property
    def errors(self) -> int:
        return sum(self.count[check] for check in ERRORS)

    @property
    def warnings(self) -> int:
        return sum(self.count[check] for check in WARNINGS)


@dataclass
class ShardFacts:
    """What is known of a shard's samples after reading them.

    seconds_N   float32, 0 where the description is unreadable
    sound_N     uint64, hash of the int16 samples; 0 where there is none (not decoded, or silent)
    ids_M       uint64, hash of each id ("youtube:...") of each sample; id_rows_M int64, the sample's row
    labels      how often each label comes, as an event, a tag or the clip's class
    captions    how many there are
    """

    findings: Findings
    seconds_N: np.ndarray
    sound_N: np.ndarray
    ids_M: np.ndarray
    id_rows_M: np.ndarray
    labels: Counter[str]
    captions: int


def hash_of(data: bytes) -> int:
    """In [1, 2^64): 0 stands for nothing."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def ids_of(record: Record) -> list[str]:
    """What a sample is called across corpora: "youtube:..." or "freesound:...", as its preparation wrote it down."""
    found = record.details.get("ids", ()) if isinstance(record.details, dict) else ()
    return [str(name) for name in found] if isinstance(found, (list, tuple)) else []


def labels_of(record: Record) -> list[str]:
    """Of its events and tags, or the one class that a clip of a classification set has."""
    found = [event.label for event in record.events] + [tag.label for tag in record.tags]
    clip_class = record.details.get("class") if isinstance(record.details, dict) else None
    return found or ([clip_class] if isinstance(clip_class, str) else [])


def longest_run(mask_S: np.ndarray) -> int:
    """The most True values that stand side by side."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask_S, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def check_shard(corpus: Corpus, k: int, quick: bool) -> ShardFacts:
    """All samples of shard number k."""
    entry = corpus.entries[k]
    first = int(corpus.shard_sizes[:k].sum())
    size = entry.samples
    facts = ShardFacts(
        Findings(),
        np.zeros(size, np.float32),
        np.zeros(size, np.uint64),
        np.zeros(0, np.uint64),
        np.zeros(0, np.int64),
        Counter(),
        0,
    )
    try:
        rows = corpus.place.rows(entry)
    except (ValueError, OSError) as error:  # one that cannot be fetched is not asked for with every sample again
        facts.findings.add("shards", "", entry.name, str(error))
        return facts
    if not plausible(rows, entry.bytes):
        message = f"{corpus.folder}/{index_path(Path(entry.name))}: points outside its tar: write or copy it again"
        facts.findings.add("index", "", entry.name, message)
        return facts
    if not quick and not corpus.remote:  # a shard from elsewhere is compared as it arrives
        _compare_tar(corpus, entry, facts.findings)
    ids: list[tuple[int, int]] = []
    decoded = 0.0
    for row in range(size):
        index = first + row
        try:
            key = corpus.key(index)
            record = corpus.record(index)
        except (ValueError, OSError) as error:
            facts.findings.add("descriptions", f"sample {row}", entry.name, str(error))
            continue
        facts.seconds_N[row] = record.duration
        facts.captions += len(record.captions)
        ids += [(hash_of(name.encode()), row) for name in ids_of(record)]
        for label in labels_of(record):
            facts.labels[label] += 1
        for label in sorted(set(labels_of(record))):
            try:
                corpus.vocabulary.concept(label)
            except ValueError as error:
                facts.findings.add("labels", key, entry.name, f"{corpus.where(index)}: {error}")
        if quick:
            continue
        try:
            waveform_S = corpus.waveform(index, record=record)
        except (ValueError, OSError) as error:
            facts.findings.add("audio", key, entry.name, str(error))
            decoded += record.duration
            continue
        decoded += len(waveform_S) / SAMPLE_RATE
        facts.sound_N[row] = _listen(waveform_S, record, corpus.where(index), entry.name, facts.findings)
    # An indexed tar may have no seconds; of a clip that cannot be read they are not known.
    known = not (corpus.foreign and entry.seconds == 0) and not facts.findings.count["descriptions"]
    if not quick and known and abs(decoded - entry.seconds) > END_TOLERANCE * size:
        message = f"{corpus.folder}/{entry.name}: {decoded:.3f} s of audio, the manifest says {entry.seconds:.3f} s"
        facts.findings.add("seconds", "", entry.name, f"{message}: write the manifest again")
    facts.ids_M = np.array([name for name, _ in ids], dtype=np.uint64)
    facts.id_rows_M = np.array([row for _, row in ids], dtype=np.int64)
    return facts


def plausible(rows: np.ndarray, size: int) -> bool:
    """Whether these can be the rows of the index of a tar of so many bytes."""
    if [(name, rows.dtype[name].kind) for name in rows.dtype.names or ()] != FIELDS:
        return False
    inside = [
        (rows[part] >= 0) & (rows[f"{part}_size"] >= 0) & (rows[part] <= size - rows[f"{part}_size"])
        for part in ("audio", "meta")
    ]
    return bool(np.all(inside))


def _compare_tar(corpus: Corpus, entry: ShardEntry, findings: Findings) -> None:
    path = Path(str(corpus.place)) / entry.name
    try:
        if sha256_of(path) != entry.sha256:
            findings.add("sha256", "", entry.name, f"{path}: its sha256 is not the manifest's: write or copy it again")
        # The keys of an indexed folder may bear a prefix that its tars have not.
        if not corpus.foreign and not np.array_equal(index_tar(path), corpus.place.rows(entry)):
            findings.add("index", "", entry.name, f"{path}: its index is of another tar: write or copy it again")
    except (ValueError, OSError) as error:
        findings.add("index", "", entry.name, str(error))


def _listen(waveform_S: np.ndarray, record: Record, where: str, shard: str, findings: Findings) -> int:
    """Warnings about a clip's sound, and its hash; 0 for silence."""
    peak = max(int(waveform_S.max()), -int(waveform_S.min()))
    if peak == 0:
        findings.add("silent", record.key, shard, f"{where}: digital silence throughout")
        return 0
    if peak < QUIET_PEAK:
        findings.add("nearly silent", record.key, shard, f"{where}: its peak is {20 * np.log10(peak / 32768):.0f} dBFS")
    if peak >= 32767:
        full_S = (waveform_S == 32767) | (waveform_S == -32768)
        share, run = float(full_S.mean()), longest_run(full_S)
        if share >= CLIPPED_SHARE or run >= CLIPPED_RUN:
            message = f"{where}: {share:.2%} of it at full scale, up to {run} samples without a break"
            findings.add("clipped", record.key, shard, message)
    for event in record.events:
        start, stop = (round(t * SAMPLE_RATE) for t in (event.onset, event.offset))
        if not waveform_S[start : max(stop, start + 1)].any():
            message = f"{where}: {event.label!r} from {event.onset} to {event.offset} s lies in digital silence"
            findings.add("silent events", record.key, shard, message)
            break
    return hash_of(waveform_S.tobytes())
