"""Label parsers against malformed files: a valid result, or a ValueError that names the file and the row."""

from __future__ import annotations

import json
import math
import random
import re

import pytest
import tool_labels
from label_mutations import malformed, warped
from label_samples import TEXTGRID_LONG

from flam_train.data.labels import captions
from flam_train.data.labels.recognise import FORMATS, parse
from flam_train.data.labels.rows import Wanted, lines_of

TEXTGRID = (
    TEXTGRID_LONG.replace("sounds 7", "sounds").replace("size = 1\nitem", "size = 2\nitem")
    + """\
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 2.3
        points: size = 1
        points [1]:
            number = 0.5
            mark = "click"
"""
)
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="780"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1340"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="sounds">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>dog barking</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="ref" PARENT_REF="sounds" TIER_ID="fine">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1">
                <ANNOTATION_VALUE>a big dog barks</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
</ANNOTATION_DOCUMENT>
"""
SCAPER = {
    "annotations": [
        {
            "annotation_metadata": {"annotator": {}, "data_source": ""},
            "namespace": "scaper",
            "data": [
                {"time": 0.0, "duration": 10.0, "value": {"label": "noise", "role": "background"}, "confidence": 1.0},
                {"time": 1.5, "duration": 0.5, "value": {"label": "siren", "role": "foreground"}, "confidence": 1.0},
            ],
        },
        {"namespace": "beat", "data": [{"time": 0.1, "duration": 0.0, "value": 1, "confidence": None}]},
    ],
    "file_metadata": {"jams_version": "0.2.2", "duration": 10.0},
    "sandbox": {},
}
CLIP = {
    "captions": ["A dog barks."],
    "events": [{"onset": 0.5, "offset": 1.25, "label": "dog barking"}],
    "tags": ["rain", {"onset": 0, "offset": 5, "label": "wind"}],
}
SEVERAL = {
    "recordings": [{"filename": "a.wav", "duration": 10.0}, {"filename": "b.wav"}, {"filename": "c.wav"}],
    "events": [
        {"filename": "a.wav", "onset": 0.5, "offset": 1.25, "event_label": "dog barking", "score": 0.5, "peak": None},
        {"filename": "b.wav", "onset": 0, "offset": 5, "event_label": "caf\u00e9", "channel": 2},
    ],
}
RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\r\n"
    "1\tSpectrogram 1\t1\t0.5\t1.25\t2000.0\t8000.0\trobin\r\n"
    "2\tSpectrogram 1\t1\t2.5\t3.0\t2000.0\t8000.0\twren\r\n"
)
SEEDS = {
    "table": "filename\tonset\toffset\tevent_label\na.wav\t0.000\t9.971\tVacuum_cleaner\nb.wav\t\t\t\n",
    "csv": 'file,start (s),duration,phrase\r\n" a, b.wav",0.5,1.25,"dog ""Rex"" barking"\r\nc.wav,1,2,caf\u00e9\r\n',
    "semicolons": "Datei;filename;onset;offset;label\n1;a.wav;0,5;1,25;dog\n",
    "headerless": "a.wav\t0.5\t1.0\tdog\nb.wav\t1.5\t2.0\tcat\n",
    "soft": "0.0\t1.0\tcutlery and dishes\t0.226\n1.0\t2.0\tcutlery and dishes\t0.9\n",
    "tags": "filename\tevent_labels\na.wav\tSpeech,Dog\nb.wav\t\n",
    "tags in seconds": 'file,start,end,tags\r\n"a, b.wav",0,5,"rain, heavy;caf\u00e9"\r\nc.wav,5,10,nocall\r\n',
    "judged": "filename,onset,offset,event_label,heard\na.wav,0.5,1,dog,Yes\nb.wav,1.5,2,cat,no\nc.wav,0,1,dog,\n",
    "judged tags": "filename;tags;heard\na.wav;Speech;1\nb.wav;Dog;0\nc.wav;Dog;skip\n",
    "audacity": "1.265813\t1.675981\tgun_shot\n\\\t200.0\t4000.0\n2.5\t2.5\tclick\n",
    "raven": RAVEN,
    "jams": json.dumps(SCAPER, indent=1),
    "textgrid": TEXTGRID,
    "elan": ELAN,
    "clip_json": json.dumps(CLIP, indent=1),
    "captions": "file_name,caption_1,caption_2\r\na.wav,A dog barks.,\"One, two.\"\r\n",
}  # fmt: skip
TOOLS = {
    "birdnet": tool_labels.BIRDNET,
    "birdnet package": tool_labels.BIRDNET_PACKAGE,
    "kaleidoscope": tool_labels.KALEIDOSCOPE_CLUSTER,
    "few_shot": tool_labels.FEW_SHOT,
    "sonic_visualiser": tool_labels.SONIC_VISUALISER,
    "svl": tool_labels.SONIC_LAYER,
    "subrip": tool_labels.SUBRIP,
    "vtt": tool_labels.WEBVTT,
    "htk": tool_labels.HTK,
    "mlf": tool_labels.HTK_MLF,
    "label_studio": tool_labels.LABEL_STUDIO,
    "label_studio min": tool_labels.LABEL_STUDIO_MIN,
    "via": tool_labels.VIA.replace(', "2": "1,2"', ""),  # one attribute, for else it must be chosen
    "via csv": tool_labels.VIA_CSV,
    "json of several": json.dumps(SEVERAL, indent=1),
    "json_lines": "".join(json.dumps(one) + "\n" for one in SEVERAL["events"]),
}
"""Formats of annotation tools and detectors."""

SEEDS |= TOOLS
FORCED = {
    "json of several": "clip_json",
    "csv": "table",
    "semicolons": "table",
    "judged": "table",
    "judged tags": "tags",
    "tags in seconds": "tags",
    "birdnet package": "birdnet",
    "svl": "sonic_visualiser",
    "vtt": "subrip",
    "mlf": "htk",
    "label_studio min": "label_studio",
    "via csv": "via",
}

WHOLE_FILE = re.compile(
    "is empty: |not JSON that can be read|nested too deeply|JSON (without|that is a list)|XML that is not|not XML |"
    "declares a DOCTYPE|no (JAMS|TextGrid|ELAN file|annotation layer): |a binary TextGrid: |its TIME_UNITS are |"
    "its recordings have several TIME_ORIGINs |(has several|no labels in a) (tier|namespace)|no namespace that holds|"
    "no object (with|of) |no list of tasks: |`(events|tags)` is no list: |"
    "its (filename is not|captions are neither) text|"
    "its `(metadata|view|file)` is no object: |no comment `# CSV_HEADER|--columns must name onset|"
    "each row begins where the one before ends|"
    "no row is judged in column |--columns heard=... is not read of "
)
"""How faults begin that a file has as a whole: there is no row to name."""

UNITS = "row|observation|annotation|event|caption|tag|task|entry|point|model"


def check(data: bytes, name: str, run) -> str:
    """ "valid", or the fault's text."""
    file = f"some folder/{name}"
    labels, text = None, ""
    try:
        labels = run(data, file)
    except ValueError as error:
        kind, text = type(error), str(error)
    if labels is None:
        assert kind is ValueError, text
        assert text.startswith(f"{file}: "), text
        row = re.match(rf"({UNITS}) (\d+): ", text.removeprefix(f"{file}: "))
        assert row or WHOLE_FILE.match(text.removeprefix(f"{file}: ")), text
        if row and row[1] == "row":
            most = max(len(lines_of(data.decode(e, "replace"))) for e in ("utf-8", "utf-16", "latin-1"))
            assert 1 <= int(row[2]) <= most, text
        assert len(text) < 1500
        return text
    for row in (*labels.rows, *labels.unknown):
        assert math.isfinite(row.onset)
        assert math.isfinite(row.offset) or row in labels.unknown  # a tag that nobody has judged
        assert row.onset <= row.offset
        assert row.label
        assert row.label == " ".join(row.label.split())
        assert row.recording is None or row.recording.strip()
        row.label.encode()
        json.dumps(row._replace(offset=0.0), allow_nan=False)
        assert row.channel is None or row.channel >= 1
        assert row.row >= 1
    known = {r.recording for r in (*labels.rows, *labels.without, *labels.tags)}
    assert not known & {named.recording for named in labels.unheard}
    assert all(about.text.strip() and about.row >= 0 for about in labels.about)
    assert all(isinstance(name, str) for name in labels.header)
    for caption in labels.captions:
        assert caption.text.strip()
        caption.text.encode()
    return "valid"


def runner(name: str, rng: random.Random):
    """Parses as the format that is recognised, or that is forced; now and then with a user's options."""
    options = [Wanted(), Wanted(), Wanted(tier="all"), Wanted(unlabelled="sound"), Wanted(tier="sounds")]
    options += [Wanted(unit="ms", keep="Label"), Wanted(keep="audio"), Wanted({"heard": "heard"})]
    wanted = rng.choice(
        [
            *options,
            Wanted({"heard": "heard"}),
            Wanted({"label": "onset"}),
            Wanted({"onset": "1", "offset": "2", "label": "3"}),
        ]
    )
    if name == "captions":
        return lambda data, file: captions.parse(data, file, wanted)
    format = rng.choice((None, FORCED.get(name, name), FORCED.get(name, name), rng.choice(list(FORMATS))))
    return lambda data, file: parse(data, file, wanted, format)[0]


JSON = ("jams", "clip_json", "json of several", "label_studio", "label_studio min", "via")
SUFFIX = {"csv": ".csv", "captions": ".csv", "jams": ".jams", "elan": ".eaf", "clip_json": ".json", "via": ".json"}
SUFFIX |= {"json of several": ".json", "json_lines": ".jsonl"}
EACH = {name: 20_000 // len(TOOLS if name in TOOLS else SEEDS.keys() - TOOLS.keys()) + 1 for name in SEEDS}


def fuzz(name: str, examples: int) -> dict[str, int]:
    told = {"valid": 0, "faults": 0}

    def one(data: bytes, rng: random.Random) -> None:
        result = check(data, f"a{SUFFIX.get(name, '.txt')}", runner(name, rng))
        told["valid" if result == "valid" else "faults"] += 1

    malformed(SEEDS[name], examples, one)
    return told


def fuzz_json(name: str, examples: int) -> dict[str, int]:
    told = {"valid": 0, "faults": 0}
    for k in range(examples):
        rng = random.Random(k)
        result = check(json.dumps(warped(json.loads(SEEDS[name]), rng)).encode(), "a.json", runner(name, rng))
        told["valid" if result == "valid" else "faults"] += 1
    return told


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_valid(name):
    run = (
        (lambda d, f: captions.parse(d, f)) if name == "captions" else (lambda d, f: parse(d, f, Wanted(tier="all"))[0])
    )
    assert check(SEEDS[name].encode(), f"a{SUFFIX.get(name, '.txt')}", run) == "valid"


@pytest.mark.parametrize("name", SEEDS)
def test_some_malformed_inputs(name):
    examples = 200 if name in TOOLS else 80
    told = fuzz(name, examples)
    assert sum(told.values()) >= examples
    assert told["faults"] > 0


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", SEEDS)
def test_twenty_thousand_malformed_inputs(name):
    told = fuzz(name, EACH[name])
    assert sum(told.values()) >= EACH[name]
    assert told["valid"] > 0.005 * EACH[name]
    assert told["faults"] > 0.2 * EACH[name]


@pytest.mark.parametrize("name", JSON)
def test_json_with_values_of_other_kinds(name):
    assert min(fuzz_json(name, 200).values()) > 0


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", JSON)
def test_twenty_thousand_times_json_with_values_of_other_kinds(name):
    told = fuzz_json(name, 20_000 // len(JSON) + 1)
    assert min(told.values()) > 0.02 * sum(told.values())
