"""Splits of one's own recordings: drawn by group; what a split lacks is told."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flam_train.data.preparation.splits import ENOUGH, draw, grouped, lacking


def alone(keys) -> dict[str, str]:
    return {k: k for k in keys}


def plain_test_split(keys: list[str], test_share: float, seed: int) -> set[str]:
    """As it was drawn before anything validated: corpora that were prepared then keep their test recordings."""
    place = {k: int.from_bytes(hashlib.blake2b(f"{seed}/{k}".encode(), digest_size=8).digest()) / 2**64 for k in keys}
    out = {k: "test" if place[k] < test_share else "train" for k in keys}
    if 0 < test_share < 1 and len(keys) > 1:
        if "test" not in out.values():
            out[min(place, key=lambda k: place[k])] = "test"
        if "train" not in out.values():
            out[max(place, key=lambda k: place[k])] = "train"
    return {k for k in keys if out[k] == "test"}


def of(splits: dict[str, str], split: str) -> set[str]:
    return {k for k, s in splits.items() if s == split}


KEYS = st.lists(st.text(min_size=1), min_size=1, max_size=80, unique=True)
SHARES = st.floats(0, 1)


@given(KEYS, SHARES, st.sampled_from([None, 0.0]), st.integers(0, 5))
def test_the_test_split_is_what_it_was_before_anything_validated(keys, share, validation, seed):
    assert of(draw(alone(keys), share, validation, seed), "test") == plain_test_split(keys, share, seed)


@given(KEYS, SHARES, st.floats(0.001, 0.999), st.integers(0, 5))
def test_validation_comes_out_of_train_alone(keys, share, validation, seed):
    test = plain_test_split(keys, share, seed)
    if len(keys) - len(test) == 1:
        with pytest.raises(ValueError, match="cannot both train and validate: say --validation-share 0"):
            draw(alone(keys), share, validation, seed)
        return
    splits = draw(alone(keys), share, validation, seed)
    assert of(splits, "test") == test
    assert len(test) == len(keys) or (of(splits, "train") and of(splits, "validation"))


@given(st.dictionaries(st.text(min_size=1), st.sampled_from("abcdefgh"), min_size=1), st.integers(0, 5))
def test_a_group_is_in_one_split(groups, seed):
    units = set(groups.values())
    if len(units) < 2 and len(groups) > 1:
        with pytest.raises(ValueError, match=r"are one group, .*: group them more finely with --group, or say --test-"):
            draw(groups, 0.3, None, seed)
        return
    splits = draw(groups, 0.3, None, seed)
    assert len({(group, splits[name]) for name, group in groups.items()}) == len(units)
    assert len(units) < 2 or set(splits.values()) == {"train", "test"}


def test_shares_and_stability():
    keys = [f"r{n}" for n in range(2000)]
    some, more = draw(alone(keys[:1200]), 0.1, None, 3), draw(alone(keys), 0.1, None, 3)
    assert all(more[k] == some[k] for k in some)
    assert 0.08 < len(of(more, "test")) / 2000 < 0.12
    assert 0.07 < len(of(more, "validation")) / 2000 < 0.11
    assert more != draw(alone(keys), 0.1, None, 4)
    # Drawn independently: what would test next is not what validates.
    tenth, third = of(draw(alone(keys), 0.3, 0, 3), "test") - of(more, "test"), of(more, "validation")
    assert 0.05 < len(tenth & third) / len(tenth) < 0.15


def test_a_few_recordings_do_not_validate_by_themselves():
    assert set(draw(alone(range(ENOUGH - 1)), 0, None, 0).values()) == {"train"}
    assert set(draw(alone(range(ENOUGH)), 0, None, 0).values()) == {"train", "validation"}
    one_left = {n: "a" if n else "b" for n in range(2 * ENOUGH)}
    assert "validation" not in draw(one_left, 0.5, None, 0).values()


def test_groups_by_folder_column_and_expression():
    names = ["north/night1/a.wav", "north/b.wav", "c_2020.wav"]
    column = dict.fromkeys(names, "x") | {names[0]: "y"}
    assert list(grouped(names, "folder", column, ["folder"]).values()) == ["north/night1", "north", "."]
    assert list(grouped(names, "site", column, ["site"]).values()) == ["y", "x", "x"]
    assert list(grouped(names, r"(\w)(_\d+)?\.wav$", {}, ["site"]).values()) == ["a", "b", "c"]
    assert list(grouped(names, r"^.", {}, []).values()) == ["n", "n", "c"]


@pytest.mark.parametrize(
    ("by", "column", "match"),
    [
        ("site", {"a.wav": "x", "b.wav": " "}, r"b\.wav \(and 1 more\): has no site: fill in this column"),
        ("site", {}, r"a\.wav \(and 2 more\): has no site: fill in this column"),
        ("sight", {}, r"--group sight: no such column of the label tables \(they have Site, night\): name one,"),
        ("(b", {}, r"--group \(b: no regular expression \(.*\): mend it"),
        (r"([ab])\.", {}, r"c\.wav: has no group, --group '\(\[ab\]\)\\\\\.' finds nothing in it, and is no column"),
        (r"a\.|b\.|(c)\.", {}, r"a\.wav \(and 1 more\): has no group"),
    ],
)
def test_recordings_without_a_group(by, column, match):
    with pytest.raises(ValueError, match=match):
        grouped(["a.wav", "b.wav", "c.wav"], by, column, {"night", "Site"})


def test_groups_by_a_column_where_there_is_none():
    with pytest.raises(ValueError, match=r"--group site: no such column of a label table: name one, say folder"):
        grouped(["a.wav"], "site", {}, ())


def test_what_a_split_lacks():
    events = {"train": {"dog": 3, "cat": 1}, "validation": {"dog": 1, "cat": 1}, "test": {"dog": 1, "owl": 2, "emu": 1}}
    assert lacking(events) == [
        "warning: test has phrases that are never trained on: 2 ('emu', 'owl')",
        "warning: test has no event of phrases that are trained on: 1 ('cat')",
    ]
    assert lacking({"train": {}, "test": {"dog": 1}}) == [
        "warning: test has phrases that are never trained on: 1 ('dog')"
    ]
    assert lacking({"test": {"dog": 1}}) == []
    assert lacking({"train": {str(n): 1 for n in range(30)}, "test": {}})[0].endswith(", '26' ...)")
