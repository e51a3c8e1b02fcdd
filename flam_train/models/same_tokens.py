"""Phrases that a text model cannot tell apart, because its tokenizer makes the same of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from flam_train.models.text import Tokenizer

FEW = 5
"""Findings of a kind that are told in full."""

AT_ONCE = 1024
"""Phrases that are tokenized together: they are padded to the longest."""


def same_tokens(said: Mapping[str, Iterable[str]], tokenizer: Tokenizer) -> list[tuple[str, ...]]:
    """Groups of phrases of different concepts that become the same tokens, each sorted. said: concept -> phrasings.

    So do emoji and scripts that the tokenizer does not know, texts that differ behind its `max_tokens`, and, to one
    that ignores case, "Dog" and "dog". What is one to the text model gets one embedding: a label of one concept is
    then a wrong negative of the other.
    """
    alike: dict[tuple[int, ...], set[tuple[str, str]]] = defaultdict(set)
    for text, concept, tokens in _tokens(said, tokenizer):
        alike[tokens].add((text, concept))
    groups = [found for found in alike.values() if len({concept for _, concept in found}) > 1]
    return sorted(tuple(sorted({text for text, _ in found})) for found in groups)


def unknown(said: Mapping[str, Iterable[str]], tokenizer: Tokenizer) -> list[str]:
    """Phrases of which the tokenizer knows nothing, sorted: it gives one token for all that it does not know."""
    stands = getattr(tokenizer.backend, "unk_token_id", None)
    if stands is None:
        return []
    marks = set(tokenizer.backend.all_special_ids) - {stands}
    return sorted({text for text, _, tokens in _tokens(said, tokenizer) if not set(tokens) - marks - {stands}})


def told(said: Mapping[str, Iterable[str]], tokenizer: Tokenizer) -> list[str]:
    """A line for each kind of what `same_tokens` and `unknown` find, none where all is well."""
    alike, strange = same_tokens(said, tokenizer), unknown(said, tokenizer)
    lines = []
    if alike:
        groups = _few([" and ".join(map(_short, texts[:FEW])) for texts in alike], "; ")
        lines.append(
            f"labels that become the same tokens, so that no score tells them apart: {groups}: write other words, or "
            "give them one concept in a vocabulary"
        )
    if strange:
        known = "write words of a language that the text model was trained on"
        names = _few([_short(text) for text in strange], ", ")
        lines.append(f"labels that the tokenizer knows nothing of: {names}: {known}")
    return lines


def _tokens(said: Mapping[str, Iterable[str]], tokenizer: Tokenizer) -> Iterable[tuple[str, str, tuple[int, ...]]]:
    """(phrase, its concept, its tokens without padding)."""
    pairs = [(text, concept) for concept, texts in said.items() for text in texts]
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        tokens_CL, attention_CL = tokenizer([text for text, _ in some])
        for (text, concept), row, mask in zip(some, tokens_CL.tolist(), attention_CL.sum(1).tolist(), strict=True):
            yield text, concept, tuple(row[:mask])


def _few(found: list[str], between: str) -> str:
    return between.join(found[:FEW]) + (f" (and {len(found) - FEW} more)" if len(found) > FEW else "")


def _short(text: str) -> str:
    """As it is read in a message: of a long one the beginning and the end, where long ones differ."""
    return repr(text) if len(text) <= 60 else repr(f"{text[:30]} ... {text[-25:]}")
