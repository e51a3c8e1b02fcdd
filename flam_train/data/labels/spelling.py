"""One phrase for labels that differ only in how they are written: "Dog barking", "dog_barking", "dog barking"."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from flam_train.data.labels.attached import Labelled

SHORT = 3
"""Labels of so few letters are codes of calls: "Kek" and "kek" may be two."""


def key_of(label: str) -> str:
    """What labels have in common that are one phrase. Codes, which are short or have digits, are like no other."""
    is_code = sum(c.isalpha() for c in label) <= SHORT or any(c.isdigit() for c in label)
    return label if is_code else " ".join(label.replace("_", " ").casefold().split())


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """{label: the spelling it gets} of labels that are written in several ways: the most frequent one, of equals the
    one with spaces, then with small letters."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        alike[key_of(label)].append(label)
    out: dict[str, str] = {}
    for labels in alike.values():
        best = min(labels, key=lambda x: (-counts[x], "_" in x, x != x.lower(), x))
        out |= {label: best for label in labels if label != best}
    return out


def join(recordings: Sequence[Labelled]) -> dict[str, str]:
    """Gives labels that are one phrase one spelling, in place; returns which, {label: spelling}."""
    joined = spellings(Counter(row.label for r in recordings for _, row, _ in (*r.rows, *r.tags)))
    if joined:
        for r in recordings:
            for rows in (r.rows, r.unknown, r.tags):
                rows[:] = [(f, row._replace(label=joined.get(row.label, row.label)), unit) for f, row, unit in rows]
    return joined


def near(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Labels that would be equal without spaces, hyphens and case, "chain saw" and "chainsaw": perhaps one phrase."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        alike["".join(c for c in label.casefold() if c.isalnum())].append(label)
    return [tuple(sorted(found)) for letters, found in alike.items() if len(found) > 1 and letters]


def drop_repeated(recordings: Sequence[Labelled]) -> int:
    """Events that are equal in recording, phrase and times to the millisecond count once, in place, whichever channels
    they were seen in; returns how many were dropped."""
    dropped = 0
    for r in recordings:
        seen = set()
        kept = []
        for file, row, unit in r.rows:
            event = row.label, round(1000 * row.onset), round(1000 * row.offset)
            if event not in seen:
                seen.add(event)
                kept.append((file, row, unit))
        dropped += len(r.rows) - len(kept)
        r.rows[:] = kept
    return dropped
