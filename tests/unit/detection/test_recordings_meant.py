"""Every recording that is meant is found once, and has a place that no other has; nothing is skipped without a word."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flam_train.data.sound.suffixes import SUFFIXES
from flam_train.detection import recordings
from flam_train.detection.recordings import MOST_BYTES, Recording, part_of, recordings_of


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w"):
            pass


def found(*arguments: str, out: str | None = None, stdin: bytes | None = None) -> list[str]:
    given = None if stdin is None else io.BytesIO(stdin)
    return [str(r.path) for r in recordings_of(arguments, out, given)]


def places(*arguments: str, out: str = "out") -> list[str]:
    return [r.place for r in recordings_of(arguments, out)]


def test_folders_are_searched_at_any_depth(here):
    touch("recs/b/c/x.wav", "recs/a.FLAC", "recs/notes.txt", "recs/._a.wav", "recs/.hidden/y.wav", "recs/b.mp3")
    assert found("recs") == ["recs/a.FLAC", "recs/b.mp3", "recs/b/c/x.wav"]


def test_whatever_preparation_reads(here):
    touch(*(f"recs/a{suffix}" for suffix in SUFFIXES))
    assert sorted(found("recs")) == sorted(f"recs/a{suffix}" for suffix in SUFFIXES)


def test_a_file_may_be_called_anything(here):
    touch("recording", "a[1].wav")
    assert found("recording", "a[1].wav") == ["recording", "a[1].wav"]


def test_twice_the_same_is_once(here):
    touch("recs/a.wav", "recs/b.wav")
    os.symlink("recs", "link")
    os.symlink("a.wav", "recs/c.wav")
    assert found("recs/b.wav", "recs", "./recs/a.wav", "link", str(here / "recs" / "a.wav")) == [
        "recs/b.wav", "recs/a.wav",
    ]  # fmt: skip


def test_link_loops_end(here):
    touch("recs/a/x.wav")
    os.symlink("..", "recs/a/up")
    os.symlink("../a", "recs/a/again")
    for argument in ("recs", "recs/**/*.wav", "recs/*"):
        assert found(argument) == ["recs/a/x.wav"]


@pytest.mark.parametrize(
    ("pattern", "want"),
    [
        ("recs/*.wav", ["recs/a.wav", "recs/b.wav"]),
        ("recs/[ab].*", ["recs/a.wav", "recs/b.wav"]),
        ("recs/**/*.wav", ["recs/a.wav", "recs/b.wav", "recs/s/t/c.wav"]),
        ("recs/**/t", ["recs/s/t/c.wav", "recs/s/t/d.mp3"]),
        ("**/?.mp3", ["recs/s/t/d.mp3"]),
        ("recs/*/*/c.wav", ["recs/s/t/c.wav"]),
        ("rec?", ["recs/a.wav", "recs/b.wav", "recs/s/t/c.wav", "recs/s/t/d.mp3"]),
        ("recs/**", ["recs/a.wav", "recs/b.wav", "recs/s/t/c.wav", "recs/s/t/d.mp3"]),
        ("recs/*/**/*.w*", ["recs/s/t/c.wav"]),
    ],
)
def test_globs_that_the_shell_left(pattern, want, here):
    touch("recs/a.wav", "recs/b.wav", "recs/b.txt", "recs/s/t/c.wav", "recs/s/t/d.mp3", "recs/.h/e.wav", "recs/._f.wav")
    assert found(pattern) == want
    assert found(str(here / pattern)) == [str(here / path) for path in want]


def test_lists_are_relative_to_themselves(here):
    touch("recs/a.wav", "recs/b[1].wav", "recs/c/d.wav", "recs/#e.wav", "f.wav")
    absolute = os.fsencode(here / "f.wav")
    Path("recs/list.txt").write_bytes(
        b"\xef\xbb\xbfa.wav\r\n\r\n# a comment\nb[1].wav\n./#e.wav\n  \nc\n" + absolute + b"\na.wav"
    )
    assert found("@recs/list.txt") == [
        "recs/a.wav", "recs/b[1].wav", "recs/#e.wav", "recs/c/d.wav", str(here / "f.wav"),
    ]  # fmt: skip


def test_standard_input(here):
    touch("a.wav", "recs/b.wav", "two\nlines.wav")
    assert found("-", stdin=b"recs/b.wav\n\n# none\na.wav\n") == ["recs/b.wav", "a.wav"]
    assert found("-", stdin=b"a.wav\0two\nlines.wav\0") == ["a.wav", "two\nlines.wav"]
    with pytest.raises(ValueError, match="standard input: holds no path: write one a line"):
        found("-", stdin=b"\n")
    with pytest.raises(ValueError, match=r"standard input, line 3: none\.wav is not there: mend the line"):
        found("-", stdin=b"a.wav\n\nnone.wav\n")


def test_standard_input_that_is_closed():
    code = "from flam_train.detection.recordings import recordings_of; recordings_of(['-'])"
    command = f'exec "{sys.executable}" -c "{code}" <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "-: standard input is closed: pipe paths into it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no recording: give files, folders, globs, @LIST or -"),
        (["recs/none.wav"], "recs/none.wav: is not there, or no file: mend the path"),
        (["recs/a.wav", "recs/x*.wav"], r"recs/x\*.wav: matches nothing: mend the pattern"),
        (["none/**/*.wav"], r"none/\*\*/\*.wav: matches nothing"),
        (["recs/*.txt"], r"recs/\*.txt: matches nothing that is called like a recording"),
        (["empty"], r"empty: holds no recording \(.flac, .wav.*\): give a folder that does"),
        (["recs/a.wav", "empty"], "empty: holds no recording"),
        ([""], "a recording's name is empty"),
        (["@none.txt"], r"@none.txt: no such list: give the path of a text file, or ./@none.txt"),
        (["@blank.txt"], "blank.txt: holds no path"),
        (["@bad.txt"], "bad.txt, line 2: recs/none.wav is not there"),
        (["x" * 300 + ".wav"], "x.wav: is not there"),
    ],
)
def test_what_is_not_there_is_told(arguments, message, here):
    touch("recs/a.wav", "recs/notes.txt", "empty/notes.txt", "blank.txt")
    Path("bad.txt").write_text("recs/a.wav\nrecs/none.wav\n")
    with pytest.raises(ValueError, match=message):
        found(*arguments)


def test_results_are_not_looked_at_again(here):
    touch("recs/a.wav", "recs/out/x.wav", "recs/out/clips/y.wav", "recs/b/z.wav")
    os.symlink("../out", "recs/b/results")
    want = ["recs/a.wav", "recs/b/z.wav"]
    assert found("recs", out="recs/out") == want
    assert found("recs/**/*.wav", out="recs/out") == want
    assert found("recs/a.wav", "recs/b", "recs/out", out="recs/out") == want  # as a shell makes it of recs/*
    assert found("recs/a.wav", "recs/out/clips/y.wav", out="recs/out") == ["recs/a.wav"]
    again = ["recs/b/results/clips/y.wav", "recs/b/results/x.wav"]
    assert found("recs", out="elsewhere") == ["recs/a.wav", *again, "recs/b/z.wav"]


def test_recordings_within_the_result_folder(here):
    touch("recs/a.wav", "clips/y.wav")
    assert found("recs", out=".") == found("recs/*.wav", out=".") == found("recs/a.wav", out=".") == ["recs/a.wav"]
    with pytest.raises(ValueError, match=r"recs: is the folder of results, too: give another --out, like recs/det"):
        found("recs", out="recs")
    for argument in ("clips", "clips/*"):
        with pytest.raises(ValueError, match=r"clips.*but those in --out \."):
            found(argument, out=".")
    with pytest.raises(ValueError, match=r"nothing but what --out \. holds"):
        found("clips/y.wav", out=".")


def test_places_mirror_the_folders(here):
    touch("recs/a.wav", "recs/a.flac", "recs/s/a.wav", "recs/t/a.wav")
    assert places("recs") == ["recs/a.flac", "recs/a.wav", "recs/s/a.wav", "recs/t/a.wav"]
    assert places("recs/s/a.wav", "recs") == ["recs/s/a.wav", "recs/a.flac", "recs/a.wav", "recs/t/a.wav"]
    assert places("recs", out="recs/out") == ["a.flac", "a.wav", "s/a.wav", "t/a.wav"]


def test_what_lies_elsewhere_has_its_whole_path(here):
    touch("far/recs/a.wav", "work/elsewhere/far/a.wav", "work/clips/a.wav", "work/recs/a.wav")
    whole = str(here).lstrip("/")
    assert places("far", "work/recs", out="work/out") == [f"elsewhere/{whole}/far/recs/a.wav", "recs/a.wav"]
    own = places("work", out="work/out")
    assert [place.partition("~")[0] for place in own] == ["clips", "elsewhere", "recs/a.wav"]


def test_names_and_places_below_another_folder(here, monkeypatch):
    touch("far/recs/a.wav", "far/recs/A.wav", "far/recs/events", "work/b.wav")

    def named(*arguments, relative_to):
        found = recordings_of(arguments, "work/out", relative_to=relative_to)
        return {r.name: r.place.partition("~")[0] for r in found}

    whole, every = str(here), ("far/recs", "far/recs/events", "work/b.wav")
    far = {f"{whole}/far/recs/{name}": f"elsewhere{whole}/far/recs/{name}" for name in ("a.wav", "A.wav", "events")}
    assert named(*every, relative_to=None) == {**far, "b.wav": "b.wav"}
    below = {name: name for name in ("recs/a.wav", "recs/A.wav", "recs/events")}
    b = f"{whole}/work/b.wav"
    assert named(*every, relative_to="far") == {**below, b: f"elsewhere{b}"}
    assert named("far/recs/a.wav", relative_to="far") == {"recs/a.wav": "recs/a.wav"}  # whatever else is given
    assert named("far/recs/events", relative_to="far/recs/") == {"events": "events"}
    monkeypatch.chdir(here / "far")
    assert [r.name for r in recordings_of(["recs/a.wav"], "../work/out", relative_to=".")] == ["recs/a.wav"]
    with pytest.raises(ValueError, match="--relative-to none: no such folder: give one that holds recordings"):
        recordings_of(["recs"], "out", relative_to="none")


def test_a_place_knows_no_working_folder(here, monkeypatch):
    touch("recs/a.wav")
    before = places("recs", out="out")
    monkeypatch.chdir(here / "recs")
    assert places("a.wav", out="../out") == places("../recs", out=str(here / "out")) == before


NAMES = [b"a.wav", b"A.WAV", b"A.wav", b"B.WAV", b"_.wav", b"\xff.wav", b"\xfe.wav", b"two\nlines.wav"]
NAMES += [name.encode() for name in ("é.wav", "e\u0301.wav", "É.WAV", "straße.wav", "STRASSE.wav", "犬.wav")]
NAMES += [b"x" * 250 + b".wav", b"x" * 251 + b".wav", "ü".encode() * 120 + b".wav", b"a.wav~0123abcd.wav"]


@pytest.mark.parametrize("folders", [False, True])
def test_no_two_share_a_place_on_any_disk(folders, here):
    for name in NAMES:
        touch(os.path.join("recs", os.fsdecode(name), "a.wav") if folders else os.path.join("recs", os.fsdecode(name)))
    all_of = recordings_of(["recs"], "out")
    assert {os.fsencode(r.path) for r in all_of} == {
        b"recs/" + name + (b"/a.wav" if folders else b"") for name in NAMES
    }
    assert len({recordings._folded(r.place) for r in all_of}) == len(NAMES)
    for recording in all_of:
        name = recording.place.split("/")[1]
        assert len(name.encode()) <= MOST_BYTES  # which holds of valid text alone
        assert name.isprintable()
        assert recordings_of([str(recording.path)], "out")[0].place == recording.place
    plain = {r.place.split("/")[1] for r in all_of if "~" not in r.place}
    assert plain == {"a.wav", "B.WAV", "é.wav", "_.wav", "犬.wav"}


def test_a_name_that_looks_like_a_tagged_one(here):
    touch("recs/a.wav", "recs/A.wav")
    tagged = next(place for place in places("recs") if "~" in place)
    touch(tagged)
    assert len({*places("recs"), *places(tagged)}) == 3


def test_places_that_cannot_be_told_apart_are_told(here, monkeypatch):
    """Of a folder that may not be listed."""
    touch("recs/a.wav", "recs/A.wav")
    monkeypatch.setattr(recordings.Places, "_is_double", lambda *_: False)
    with pytest.raises(ValueError, match=r"recs/a.wav and recs/A.wav would share their results"):
        places("recs/A.wav", "recs/a.wav")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_parts_share_the_recordings(count):
    some = [Recording(Path(str(n)), f"{n:02}", str(n)) for n in range(20)]
    parts = [part_of(some, (number, count)) for number in range(1, count + 1)]
    assert sorted((r for part in parts for r in part), key=lambda r: r.place) == some
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [part_of(some[::-1], (number, count)) for number in range(1, count + 1)]


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_no_such_part(part):
    with pytest.raises(ValueError, match="give I/N with I from 1 to N"):
        part_of([], part)
