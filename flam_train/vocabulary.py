"""Vocabularies: what a corpus' class names mean, and how people say them.

A *class* is a corpus' own label ("dog_bark"). A *concept* is what it means, shared by all corpora that
annotate it ("dog bark"). A *phrasing* is one way to say it ("a dog is barking"): `phrasings` are
trained on, `held_out` are kept for testing whether a model understands words it has not met.

    corpus: esc10
    classes:
      dog_bark:
        concept: dog bark            # default: the class with spaces for underscores
        phrasings: [dog barking, a dog barks]
        held_out: [a dog is barking loudly]
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from flam_train.paths import conf_file

# As safe, and ten times as fast where PyYAML was built with libyaml: AudioSet Strong has 456 classes.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def phrase_id(concept: str) -> int:
    """The concept's identity in every process and on every machine: 8 bytes of blake2b as a signed int64."""
    return int.from_bytes(hashlib.blake2b(concept.encode(), digest_size=8).digest(), "little", signed=True)


@dataclass(frozen=True)
class Concept:
    """What a class means. `phrasings` is never empty; no phrasing stands in `held_out` too."""

    id: str
    phrasings: tuple[str, ...]
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """A corpus' classes. `classes` maps the corpus' own label to its concept, in the file's order."""

    corpus: str
    classes: dict[str, Concept]

    @classmethod
    def load(cls, name: str | Path) -> Vocabulary:
        """Reads `conf/vocabulary/NAME.yaml`, or a .yaml file by its path.

        Raises ValueError that names the file, the class and the fix.
        """
        path = conf_file("vocabulary", str(name))
        try:
            raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML: {error}") from error
        if not isinstance(raw, dict) or not isinstance(raw.get("classes"), dict) or not raw["classes"]:
            raise ValueError(f"{path}: needs `corpus: NAME` and `classes:` with at least one class")
        return cls(
            str(raw.get("corpus", path.stem)), {str(k): _concept(path, str(k), v) for k, v in raw["classes"].items()}
        )

    @classmethod
    def open(cls, corpus: str, labels: list[str]) -> Vocabulary:
        """An open corpus' vocabulary: every label is a phrase and its own concept."""
        return cls(corpus, {label: Concept(label, (label,)) for label in labels})

    def concept(self, label: str) -> Concept:
        """The concept of a class; in an open corpus (no class declared) the phrase itself."""
        if not self.classes:
            return Concept(label, (label,))
        try:
            return self.classes[label]
        except KeyError:
            raise ValueError(
                f"class {label!r} is not in the vocabulary of {self.corpus!r}: add it to its YAML file, "
                f"or mend the label; known: {', '.join(list(self.classes)[:8])} ..."
            ) from None


def _concept(path: Path, name: str, raw: object) -> Concept:
    entry = raw if isinstance(raw, dict) else {"phrasings": raw}
    unknown = set(entry) - {"concept", "phrasings", "held_out"}
    if unknown:
        raise ValueError(
            f"{path}: class {name!r}: unknown key {sorted(unknown)[0]!r}; known: concept, phrasings, held_out"
        )

    def phrases(key: str) -> tuple[str, ...]:
        value = entry.get(key) or []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or any(not isinstance(p, str) or not p.strip() for p in value):
            raise ValueError(f"{path}: class {name!r}: {key} must be a list of phrases, none of them empty")
        return tuple(value)

    trained, held_out = phrases("phrasings"), phrases("held_out")
    if not trained:
        raise ValueError(f"{path}: class {name!r} has no phrasing: write at least one under `phrasings`")
    both = {p.casefold() for p in trained} & {p.casefold() for p in held_out}
    if both:
        raise ValueError(f"{path}: class {name!r}: {sorted(both)[0]!r} is both trained and held out: remove one")
    return Concept(str(entry.get("concept") or name.replace("_", " ")), trained, held_out)
