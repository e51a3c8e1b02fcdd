"""A model card: what an export is, what it learned from, what was measured of it and what was not.

It says nothing that is not in the export's provenance, its configuration or the results; what is not there is "not
stated", "not known" or "not measured". The YAML at its head is the model hub's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from flam_train.evaluation.protocol import Protocol
from flam_train.evaluation.report.about import about
from flam_train.evaluation.report.formats import markdown
from flam_train.evaluation.report.table import cell_text, find_metric, result_tables
from flam_train.evaluation.result import Result
from flam_train.models.flam import FLAMConfig

TAGS = ("audio", "sound-event-detection", "text-to-audio-retrieval", "zero-shot-audio-classification", "flam")

HEADLINES = {
    "sed": [
        ("AUROC macro", "auroc/macro", 1, 3),
        ("PSDS1", "PSDS1", 1, 3),
        ("MPAUC", "MPAUC", 1, 3),
        ("frame F1 macro", "frame_f1/macro", 1, 3),
    ],
    "retrieval": [
        ("text to audio R@1 %", "text_to_audio/R@1", 100, 1),
        ("text to audio R@10 %", "text_to_audio/R@10", 100, 1),
        ("audio to text R@1 %", "audio_to_text/R@1", 100, 1),
        ("audio to text R@10 %", "audio_to_text/R@10", 100, 1),
    ],
    "zero_shot": [("accuracy %", "accuracy", 100, 1)],
}
"""Of each kind of protocol: (words, metric, factor, decimals), those that are told first."""

TASKS = {"sed": "detection", "retrieval": "retrieval", "zero_shot": "zero-shot classification"}

HEARD = {"global": "captions", "frame": "events"}
"""What was learned of a corpus, by the kind that it has in the provenance."""

MOST = 8
"""Licences of a corpus that are told one by one."""


def of_model(results: Sequence[Result], provenance: Mapping[str, Any]) -> list[Result]:
    """Those that were measured with these weights; of several of one protocol on one set, the newest."""
    newest: dict[tuple[str, str], Result] = {}
    for result in sorted(results, key=lambda r: r.date):
        if result.model.get("sha256") == provenance["sha256"]:
            newest[result.name, str(result.parameters.get("method"))] = result
    return [newest[key] for key in sorted(newest)]


def model_card(
    provenance: Mapping[str, Any],
    config: FLAMConfig,
    results: Sequence[Result],
    protocols: Sequence[Protocol],
    *,
    name: str,
    licence: str = "unknown",
    now: datetime | None = None,
) -> str:
    """The card as Markdown, with the hub's YAML at its head.

    provenance, config: the export's. results: of this model (`of_model`). protocols: those that are told as "not
    measured" where no result is of them. licence: of the weights, as the hub spells it. now: in UTC.
    """
    parts = [
        f"---\n{_front(results, name, licence)}---",
        f"# {name}",
        _what(config),
        "## Use",
        USE,
        "## Intended use",
        INTENDED,
        "## Limits",
        _bullets(_limits(config, results)),
        "## Training data",
        _data(provenance),
        "## Evaluation",
        _evaluation(results, protocols),
        *(["## All numbers", markdown(result_tables(results, intervals=True)).strip()] if results else []),
        "## Provenance",
        _bullets(_provenance(provenance, results, licence, now or datetime.now(UTC))),
    ]
    return "\n\n".join(parts) + "\n"


USE = """\
```python
from flam_train.inference import detect, load_model, read_recording

model = load_model(".")  # this folder, or hf://OWNER/NAME
for event in detect(model, read_recording("my.wav"), ["a siren", "a dog barks"]):
    print(event.onset, event.offset, event.phrase, event.score)
```"""

INTENDED = """\
Finding sounds that are described in words in recordings, searching recordings by words, labelling clips without
training, and as a start for fine-tuning on labels of one's own (`flam-train experiment=finetune init=...`). Thresholds
are to be chosen on recordings of the place and the sounds it is to be used for, and its errors measured there: nothing
below says how it does elsewhere. It is not made to tell who is heard, nor to be the only thing that an alarm depends
on."""


def _front(results: Sequence[Result], name: str, licence: str) -> str:
    front: dict[str, Any] = {"license": licence, "library_name": "flam_train", "tags": list(TAGS)}
    if found := [entry for result in results if (entry := _entry(result))["metrics"]]:
        front["model-index"] = [{"name": name, "results": found}]
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)


def _entry(result: Result) -> dict[str, Any]:
    """A result as the hub reads it: the first metrics, the numbers whole."""
    metrics = []
    for words, metric, _, _ in HEADLINES[_kind(result)]:
        full = find_metric(result, metric)
        if full is not None and math.isfinite(result.metrics[full]):
            metrics.append({"type": full, "name": words.removesuffix(" %"), "value": result.metrics[full]})
    kind = TASKS[_kind(result)].replace(" ", "-")
    dataset = {"name": _set(result), "type": result.dataset} | ({"split": result.split} if result.split else {})
    return {"task": {"type": kind, "name": _task(result)}, "dataset": dataset, "metrics": metrics}


def _what(config: FLAMConfig) -> str:
    grid, audio, text = config.grid, config.audio, config.text
    return f"""\
A FLAM (frame-wise language-audio model, [arXiv 2505.05335](https://arxiv.org/abs/2505.05335)): clips of
{grid.seconds:g} s, their {grid.frames} frames and any phrase become vectors of one space.

- audio: HTS-AT, width {audio.width}, depths {"-".join(map(str, audio.depths))}; hears {config.frontend.sample_rate} Hz
- text: {text.name or text.tower}, at most {text.max_tokens} tokens
- both: {config.embedding} dimensions"""


def _limits(config: FLAMConfig, results: Sequence[Result]) -> list[str]:
    if config.phrase_logits:
        score = "A score of .5 says that a phrase is as likely here as anywhere; scores are no shares of right answers."
    else:
        score = "It has cosines alone: no score says by itself that a phrase is heard."
    known = {TASKS[_kind(result)] for result in results}
    unknown = [task for task in TASKS.values() if task not in known]
    return [
        f"It hears {config.grid.seconds:g} s at a time and tells times to {config.grid.frame_seconds:.4g} s at best.",
        score,
        "Sounds, places, devices and languages that its training data lack are heard worse; by how much is not known.",
        *([f"Not measured at all: {', '.join(unknown)}."] if unknown else []),
    ]


def _data(provenance: Mapping[str, Any]) -> str:
    """A row a corpus; one that was learned from in two ways has one row."""
    heard: dict[tuple[str, str], list[str]] = {}
    facts: dict[tuple[str, str], Mapping[str, Any]] = {}
    for kind, corpora in provenance.get("data", {}).items():
        for part in (part for parts in corpora.values() for part in parts):
            key = (str(part["name"]), str(part["sha256"]))
            heard.setdefault(key, []).append(HEARD.get(kind, kind))
            facts[key] = part
    started = (provenance.get("config") or {}).get("init")
    lines = []
    if facts:
        rows = [
            [name, " and ".join(dict.fromkeys(heard[name, sha256])), *_amount(part), _licences(part), sha256[:12]]
            for (name, sha256), part in facts.items()
        ]
        heads = ["corpus", "learned from", "clips", "hours", "licences of the recordings", "shards' sha256"]
        lines.append(_table(heads, rows))
    else:
        source = provenance.get("source")
        lines.append("Not known here" + (f": the weights are {source}." if source else "."))
    if any("authors" in part for part in facts.values()):
        lines.append("Whose recordings they are, as far as the corpora say, stands in `provenance.json`.")
    if started:
        lines.append(f"Training began from `{started}`: what that one had learned from counts, too, and is told there.")
    return "\n\n".join(lines)


def _amount(part: Mapping[str, Any]) -> list[str]:
    clips, seconds = part.get("samples"), part.get("seconds")
    return [
        "not stated" if clips is None else f"{clips:,}",
        "not stated" if seconds is None else f"{seconds / 3600:.3g}",
    ]


def _licences(part: Mapping[str, Any]) -> str:
    found = list(part.get("licences", {}).items())
    if not found:
        return "not stated"
    said = [f"{licence} ({count:,})" for licence, count in found[:MOST]]
    more = len(found) - len(said) + part.get("more_licences", 0)
    return ", ".join(said) + (f", and {more:,} more" if more > 0 else "")


def _evaluation(results: Sequence[Result], protocols: Sequence[Protocol]) -> str:
    rows = []
    for protocol in protocols:
        own = [r for r in results if r.parameters.get("protocol") == protocol.name]
        rows += [_row(r) for r in own]
        if not own:
            clips = f"0 of {protocol.clips:,}" if protocol.clips else "0"
            rows.append([protocol.title, TASKS[protocol.kind], clips, "not measured"])
    named = {protocol.name for protocol in protocols}
    others = [_row(r) for r in results if r.parameters.get("protocol") not in named]
    return _table(["set", "task", "clips", "found"], others + rows)


def _row(result: Result) -> list[str]:
    found = [
        f"{words} {text}"
        for words, metric, factor, places in HEADLINES[_kind(result)]
        if (text := cell_text(result, metric, factor, places, intervals=True))
    ]
    clips = f"{result.clips_evaluated:,} of {result.clips_expected:,}"
    return [_set(result), _task(result), clips, ", ".join(found) or "nothing that is told here"]


def _provenance(provenance: Mapping[str, Any], results: Sequence[Result], licence: str, now: datetime) -> list[str]:
    known = [(key, provenance[key]) for key in ("run", "steps", "seed", "source", "source_sha256") if key in provenance]
    said = "not stated by those who publish them" if licence == "unknown" else licence
    return [
        f"sha256 of `model.safetensors`: `{provenance['sha256']}`",
        *(f"{key.replace('_', ' ')}: {value}" for key, value in known),
        f"written by flam_train {provenance.get('flam_train', 'of an unknown version')}; the whole configuration is in "
        "`provenance.json`",
        f"licence of the weights: {said}",
        *about(results, now),
    ]


def _kind(result: Result) -> str:
    return result.protocol.split("/")[0]


def _task(result: Result) -> str:
    if _kind(result) != "sed":
        return TASKS[_kind(result)]
    _, phrasings, *calibrated = result.protocol.replace("_", "-").split("/")
    return ", ".join([TASKS["sed"], f"{phrasings} phrasings", *calibrated, str(result.parameters.get("method"))])


def _set(result: Result) -> str:
    return str(result.parameters.get("set") or " ".join(x for x in (result.dataset, result.split) if x))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
