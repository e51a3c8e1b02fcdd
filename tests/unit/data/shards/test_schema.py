from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flam_train.data.shards.schema import Event, Record, Tag

GOOD = Record(
    key="a-1",
    duration=2.0,
    captions=("ein Hund bellt", "犬が吠える"),
    events=(Event(0.0, 0.5, "dog"), Event(1.5, 2.01, "dog bark")),
    source="freesound 7",
    licence="CC0",
    split="1",
    details={"level_db": [-3.0, -80.0]},
)


def test_json_and_back():
    assert Record.from_json(GOOD.to_json(), "here") == GOOD
    assert Record.from_json(GOOD.to_json().encode(), "here") == GOOD
    assert json.loads(GOOD.to_json())["schema"] == 1


def test_tags():
    tagged = replace(GOOD, tags=(Tag("rain"), Tag("wind", 0.5, 1.5), Tag("birds", -3.0, 7.0)))
    assert Record.from_json(tagged.to_json(), "here") == tagged
    assert "tags" not in json.loads(GOOD.to_json())  # what has none is written as before there were any
    plain = {"key": "a", "duration": 1, "tags": ["rain", {"label": "wind"}, {"label": "hail", "onset": 0.5}]}
    assert Record.from_json(json.dumps(plain), "x").tags == (Tag("rain"), Tag("wind"), Tag("hail", 0.5))


@pytest.mark.parametrize("name", ["text", "caption", "captions"])
def test_captions_of_other_datasets(name):
    for value in ("rain", ["rain"]):
        assert Record.from_json(json.dumps({"key": "a", "duration": 1, name: value}), "x").captions == ("rain",)


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": ""}, "is empty or has a dot"),
        ({"key": "a.b"}, "replace them by '_'"),
        ({"key": "a/b"}, "replace them by '_'"),
        ({"key": "a b"}, "replace them by '_'"),
        ({"duration": NAN}, "duration nan .* drop"),
        ({"duration": 0.0}, "duration 0.0 .* drop"),
        ({"captions": ("ok", " ")}, "caption 1 is empty"),
        ({"captions": (3,)}, "caption 0 is empty"),
        (
            {"events": (Event(0, 1, "a"), Event(1.0, 0.5, "dog"))},
            r"event 1 \('dog', 1.0 to 0.5 s\): the offset is not after",
        ),
        ({"events": (Event(0.5, 0.5, "dog"),)}, "offset is not after the onset: mend"),
        ({"events": (Event(0.5, 2.03, "dog"),)}, "outside the clip of 2.0 s: cut it"),
        ({"events": (Event(-0.1, 1.0, "dog"),)}, "outside the clip"),
        ({"events": (Event(0.0, 1.0, " "),)}, "the phrase is empty: write one"),
        ({"events": (Event(NAN, 1.0, "dog"),)}, "a time is not a number"),
        ({"events": (Event(0.0, float("inf"), "dog"),)}, "a time is not a number"),
        ({"tags": (Tag("a"), Tag(" "))}, r"tag 1 \(' ', 0.0 to None s\): the phrase is empty: write one"),
        ({"tags": (Tag("dog", NAN),)}, "a time is not a number: mend or remove the tag"),
        ({"tags": (Tag("dog", 0.0, float("inf")),)}, "a time is not a number"),
        ({"tags": (Tag("dog", 1.0, 1.0),)}, "the offset is not after the onset: mend or remove the tag"),
        ({"tags": (Tag("dog", 2.0, 3.0),)}, "has no second in the clip of 2.0 s"),
        ({"tags": (Tag("dog", -2.0, 0.0),)}, "has no second in the clip of 2.0 s"),
    ],
)
def test_bad_records_name_the_place_and_the_fix(change, message):
    with pytest.raises(ValueError, match=f"^shard.tar: sample 3: .*{message}"):
        replace(GOOD, **change).check("shard.tar: sample 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "not JSON"),
        ("{", "not JSON .*write the shard again"),
        ("[1]", "not an object"),
        ('{"schema": 2}', "schema 2 is unknown .*update flam_train"),
        ('{"duration": 1}', "lacks or misuses 'key'"),
        ('{"key": "a"}', "lacks or misuses 'duration'"),
        ('{"key": "a", "duration": "long"}', "lacks or misuses"),
        ('{"key": "a", "duration": null}', "lacks or misuses"),
        ('{"key": "a", "duration": NaN}', "duration nan"),
        ('{"key": "a", "duration": 1, "events": [{"onset": 0, "label": "x"}]}', "misuses 'offset'"),
        ('{"key": "a", "duration": 1, "events": [{"onset": "x", "offset": 1, "label": "x"}]}', "lacks or misuses"),
        ('{"key": "a", "duration": 1, "events": [{"onset": 0.9, "offset": 0.1, "label": "x"}]}', "offset is not after"),
        ('{"key": "a", "duration": 1, "events": 3}', "lacks or misuses"),
        ('{"key": "a", "duration": 1, "events": [{"onset": 0, "offset": 1, "label": 3}]}', "the phrase is empty"),
        ('{"key": "a", "duration": 1, "captions": 3}', "lacks or misuses"),
        ('{"key": "a", "duration": 1, "tags": "dog"}', "misuses 'tags'"),
        ('{"key": "a", "duration": 1, "tags": [3]}', "lacks or misuses"),
        ('{"key": "a", "duration": 1, "tags": [{"onset": 0}]}', "misuses 'label'"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ValueError, match=f"^t.tar: sample 0: .*{message}"):
        Record.from_json(text, "t.tar: sample 0")


def test_nan_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(GOOD, details={"level": NAN}).to_json()
