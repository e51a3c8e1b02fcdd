"""The parts of a corpus, made by a job array, as one corpus: nothing is moved, only a manifest is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from flam_train.data.preparation.credits import joined
from flam_train.data.preparation.listing import part_folder, read_missing, write_missing
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.writing import write_manifest

COUNTS = ("recordings", "events", "tags", "seconds_left_out")
"""Details that add up; `labels` does not: the same label may stand in several parts."""


def merge(out: Path) -> Path:
    """Writes the manifest, and missing.tsv, of the parts below a folder; may be repeated.

    Raises ValueError that names the part that is missing, not complete, or of other labels.
    """
    found = sorted(p for p in out.glob("part-*-of-*") if p.is_dir())
    if not found:
        raise ValueError(f"{out}: has no parts: prepare them with --part 1/N to N/N first")
    numbers = {int(p.name.rpartition("-")[2]) for p in found}
    if len(numbers) > 1:
        raise ValueError(f"{out}: holds parts of {' and of '.join(map(str, sorted(numbers)))}: remove those of one")
    n = numbers.pop()
    parts = [part_folder(out, (i, n)) for i in range(1, n + 1)] if n > 1 else found
    corpora = [Corpus(part) for part in parts]  # names the part that has no manifest yet
    first = corpora[0].manifest
    for corpus in corpora:
        m = corpus.manifest
        if m["details"].get("listing") != first["details"].get("listing"):
            raise ValueError(f"{corpus.folder}: made of other labels than {corpora[0].folder}: prepare it again")
    entries = [
        replace(entry, name=f"{part.name}/{entry.name}")
        for part, corpus in zip(parts, corpora, strict=True)
        for entry in corpus.entries
    ]
    missing = [row for part in parts for row in read_missing(part)]
    gone = ("part", "plan", "labels", "tagged_labels")
    details: dict[str, Any] = {key: value for key, value in first["details"].items() if key not in gone}
    for name in COUNTS:
        values = [corpus.manifest["details"][name] for corpus in corpora if name in corpus.manifest["details"]]
        details |= {name: round(sum(values), 3)} if values else {}
    details |= joined([corpus.manifest["details"] for corpus in corpora])
    details |= {"parts": n, "missing": len({key for key, _, _ in missing})}
    for name in first["details"].get("files", []):
        shutil.copyfile(parts[0] / name, out / name)
    write_missing(out, missing)
    write_manifest(
        out, first["corpus"], entries, vocabulary=first["vocabulary"], annotates=first["annotates"], details=details
    )
    return out
