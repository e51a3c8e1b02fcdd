"""Any recording becomes 48 kHz mono, told by its content, and a part of it is the same stretch of the whole."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from needs import FFMPEG
from recording_files import tone
from shard_samples import audio_bytes
from sound_files import decoded, loud_and_quiet, mp3, through_ffmpeg, unknown_length, without_xing

from flam_train.data.sound import ffmpeg, opening, reading
from flam_train.data.sound.faults import Unusable
from flam_train.data.sound.look import AS_IT_IS
from flam_train.data.sound.opening import measure, opened
from flam_train.data.sound.reading import read

SOUND = loud_and_quiet(6.0, 44_100, 2)


def native(kind: str) -> bytes:
    made = {
        "mp3 without its header": lambda: without_xing(mp3(6.0, 44_100, 2)),
        "flac of a stream": lambda: unknown_length(audio_bytes(SOUND, 44_100, format="FLAC")),
        "gsm": lambda: audio_bytes(SOUND[::4, :1], 11_025, "WAV", "GSM610"),
        "g721": lambda: audio_bytes(SOUND[::4, :1], 11_025, "AU", "G721_32"),
        "nms": lambda: audio_bytes(SOUND[::4, :1], 11_025, "WAV", "NMS_ADPCM_32"),
        "ogg": lambda: audio_bytes(SOUND, 44_100, format="OGG", subtype="VORBIS"),
        "opus": lambda: audio_bytes(SOUND[: 6 * 24_000], 24_000, "OGG", "OPUS"),
        "mp3": lambda: mp3(6.0, 44_100, 2),
    }
    return made[kind]() if kind in made else audio_bytes(SOUND, 44_100, format=kind.upper())


KINDS = ["wav", "flac", "aiff", "au", "caf", "mp3", "ogg", "opus", "gsm", "g721", "nms", "flac of a stream"]


@pytest.mark.parametrize("kind", [*KINDS, "mp3 without its header"])
@pytest.mark.parametrize("suffix", [".wav", ".m4a", ""])
def test_a_part_is_the_same_stretch_of_the_whole(kind, suffix, tmp_path):
    path = tmp_path / f"a{suffix}"  # what a file is called says nothing of what it is
    path.write_bytes(native(kind))
    whole = read(path).astype(int)
    assert len(whole) == pytest.approx(measure(path).seconds * 48_000, abs=1)
    for start, seconds in ((0.0, 1.0), (0.05, 0.5), (2.0, 1.25), (3.4567, 2.0), (5.0, None)):
        got = read(path, start, seconds)
        want = whole[round(start * 48_000) :][: None if seconds is None else round(seconds * 48_000)]
        assert got.dtype == np.int16
        assert len(got) == len(want)
        assert np.abs(got - want).max() <= 1
    with pytest.raises(Unusable, match="has no samples from 99 s on: replace it, or leave it out"):
        read(path, 99.0)


@pytest.mark.parametrize("kind", ["wav", "gsm", "mp3", "mp3 without its header"])
def test_a_long_recording_is_decoded_in_blocks(kind, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(native(kind))
    whole = read(path).astype(int)
    monkeypatch.setattr(opening, "BLOCK", 50_000)
    assert np.abs(read(path) - whole).max() <= 1
    assert np.abs(read(path, 4.0, 1.0) - whole[192_000:240_000]).max() <= 1


@pytest.mark.parametrize("name", [b"x.raw", b"x.RAW", b"x.au", b"x.snd", b"x.gsm", b"x.vox", b"caf\xe9.wav"])
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3 without its header"])
def test_no_name_changes_what_is_read(kind, name, tmp_path):
    (tmp_path / "a").write_bytes(native(kind))
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(native(kind))
    assert measure(path) == measure(tmp_path / "a")
    np.testing.assert_array_equal(read(path, 1.0, 2.0), read(tmp_path / "a", 1.0, 2.0))


@pytest.mark.parametrize("name", ["x.raw", "x.RAW", "x.au", "x.snd", "x.vox"])
def test_no_name_makes_sound_of_what_is_none(name, tmp_path):
    (tmp_path / name).write_bytes(b"<html>not found</html>\n" * 999)
    for look in (measure, read):
        with pytest.raises(ValueError, match=rf"{name}: (unreadable audio|.* files are read through ffmpeg)"):
            look(tmp_path / name)


@FFMPEG
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.m4a", []), ("a.mp4", ["-c:a", "aac"]), ("a.webm", []), ("a.mka", ["-c:a", "pcm_s16le"]), ("a.aac", []),
        ("a.wma", []), ("alac.m4a", ["-c:a", "alac"]), ("12:30.m4a", []), ("-a.m4a", []), ("a.ts", ["-c:a", "aac"]),
        ("a.voc", []), ("a.mov", ["-c:a", "pcm_s16le"]), ("a.wv", []), ("a.flv", []),
        ("a.wav", ["-c:a", "adpcm_g726", "-ar", "8000", "-ac", "1"]), ("a.flac", ["-f", "mp4", "-c:a", "aac"]),
    ],
)  # fmt: skip
def test_ffmpeg_reads_the_rest(name, how, tmp_path, monkeypatch):
    """Beside all that ffmpeg decodes in one go, from a folder in which names are relative, too."""
    through_ffmpeg(tmp_path / name, SOUND, 44_100, *how)
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    want = decoded(tmp_path / name).astype(float)
    with opened(path) as sound:
        got = np.concatenate(list(sound.blocks()))
        assert sound.channels == want.shape[1]
    assert measure(path).how in ("counted", "header")
    assert measure(path).seconds == pytest.approx(len(want) / measure(path).rate, abs=0.06)
    np.testing.assert_allclose(got, want, atol=1e-6)
    whole = read(path).astype(int)
    assert np.abs(read(path, 2.5, 1.0) - whole[120_000:168_000]).max() <= 1
    with pytest.raises(Unusable, match="has no samples from 99 s on"):
        read(path, 99.0)


@FFMPEG
@pytest.mark.parametrize("codec", [["-c:a", "aac", "-f", "mp4"], ["-c:a", "libopus", "-f", "webm"]])
@pytest.mark.parametrize("late", [0.0, 0.4, 1.5])
def test_a_sound_track_that_starts_late_keeps_its_offset(codec, late, tmp_path):
    """A tone behind a second of silence, beside pictures that begin with the file."""
    wave = np.concatenate([np.zeros(48_000), 0.3 * np.sin(np.arange(3 * 48_000) / 8)])
    (tmp_path / "a.wav").write_bytes(audio_bytes(wave, 48_000))
    pictures = ["-f", "lavfi", "-i", "color=s=16x16:r=10:d=8", "-c:v", "mpeg4" if "aac" in codec else "libvpx"]
    command = ["ffmpeg", "-v", "error", *pictures[:4], "-itsoffset", str(late), "-i", tmp_path / "a.wav"]
    subprocess.run([*command, *pictures[4:], *codec, tmp_path / "a.video"], check=True)
    length = measure(tmp_path / "a.video")
    assert length.lead == pytest.approx(late, abs=0.03)
    assert length.seconds == pytest.approx(4 + late, abs=0.06)
    for copies in (None, tmp_path / "copies"):
        for lead in (None, length.lead):
            sounds = np.abs(read(tmp_path / "a.video", 0.0, None, "mean", lead, copies)) > 1000
            assert np.argmax(sounds) / 48_000 == pytest.approx(1 + late, abs=0.03)
            part = np.abs(read(tmp_path / "a.video", 0.5 + late, 1.0, "mean", lead, copies)) > 1000
            assert np.argmax(part) / 48_000 == pytest.approx(0.5, abs=0.03)


@FFMPEG
@pytest.mark.parametrize("how", [["-c:a", "libopus", "-f", "webm"], ["-c:a", "aac", "-f", "mp4"]])
def test_a_gap_in_the_packets_is_silence(how, tmp_path):
    wave = 0.3 * np.sin(np.arange(10 * 48_000) / 8)
    path = through_ffmpeg(tmp_path / "a.gap", wave, 48_000, "-af", "aselect='not(between(t,3,6))'", *how)
    assert measure(path).seconds == pytest.approx(10.0, abs=0.05)
    loud = [np.abs(read(path, second + 0.1, 0.8).astype(int)).max() > 1000 for second in range(10)]
    assert loud == [True] * 3 + [False] * 3 + [True] * 4


@FFMPEG
@pytest.mark.parametrize(("name", "kept"), [("a.ts", False), ("a.mpg", False), ("a.mka", True), ("a.nut", True)])
def test_a_clock_that_jumps_is_a_fault_or_silence_as_ffmpeg_decodes_it(name, kept, tmp_path):
    wave = 0.3 * np.sin(np.arange(70 * 48_000) / 8)
    gap = ["-af", "aselect='not(between(t,3,63))'", "-c:a", "mp2"]
    path = through_ffmpeg(tmp_path / name, wave, 48_000, *gap)
    assert measure(path).how == "decoded"
    assert measure(path).seconds == pytest.approx(70.0 if kept else 10.0, abs=0.1)
    assert len(read(path)) == pytest.approx(measure(path).seconds * 48_000, abs=1)


@FFMPEG
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_files_one_behind_the_other(subtype, tmp_path):
    path = tmp_path / "a.ogg"
    pieces = []
    for seconds in (2.0, 3.0):
        codec = ["-c:a", f"lib{subtype.lower()}", "-f", "ogg"]
        pieces.append(through_ffmpeg(path, loud_and_quiet(seconds, 48_000), 48_000, *codec).read_bytes())
    path.write_bytes(pieces[0])
    assert measure(path).how == "header"
    path.write_bytes(b"".join(pieces))
    assert measure(path).seconds == pytest.approx(5.0, abs=0.05)
    assert len(read(path)) == pytest.approx(5 * 48_000, abs=2400)
    path.write_bytes(pieces[0] * 2)  # both are called by one number
    assert measure(path).how != "header"
    assert len(read(path)) > 3 * 48_000


@FFMPEG
@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_pieces_of_an_ogg_file_that_were_cut_without_decoding(codec, tmp_path):
    whole = through_ffmpeg(tmp_path / "a.ogg", loud_and_quiet(12.0, 48_000), 48_000, "-c:a", codec)
    cut = ["-c", "copy", "-f", "segment", "-segment_time", "5", str(tmp_path / "s%d.ogg")]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(whole), *cut], check=True)
    for n, seconds in ((0, 5.0), (1, 5.0), (2, 2.0)):
        path = tmp_path / f"s{n}.ogg"
        assert len(read(path)) / 48_000 == pytest.approx(seconds, abs=0.6)
        assert measure(path).seconds == pytest.approx(len(read(path)) / 48_000, abs=0.01)


@FFMPEG
def test_a_length_that_libsndfile_makes_up(tmp_path, monkeypatch):
    """As it does for some of such files: ffmpeg decodes what is thought to last 190,000 years."""
    path = tmp_path / "a.wav"
    path.write_bytes(unknown_length(audio_bytes(SOUND, 44_100, format="FLAC")))
    monkeypatch.setattr(opening, "look", lambda *args: AS_IT_IS)
    assert measure(path).seconds == pytest.approx(6.0, abs=0.1)
    assert len(read(path)) == pytest.approx(6 * 48_000, abs=10)


def test_without_ffmpeg_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "a.m4a").write_bytes(b"x")
    (tmp_path / "a.wav").write_bytes(b"x")
    for look in (measure, read):
        with pytest.raises(
            ValueError, match=r"a.m4a: .m4a files are read through ffmpeg, and ffprobe is not installed: install ffmpeg"
        ) as e:
            look(tmp_path / "a.m4a")
        assert not isinstance(e.value, Unusable), "this ends the run: it is not the file's fault"
        with pytest.raises(Unusable, match=r"a.wav: unreadable audio \(Format not recognised; ffmpeg, .*\): replace"):
            look(tmp_path / "a.wav")


@FFMPEG
@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.flac"])
def test_what_is_no_sound_is_unusable(name, tmp_path):
    for data in (b"", b"no audio", b"\x00" * 5000, b"<html>not found</html>" * 99, b"ID3\x04\0\0\0\0\0\x0aabcdefghij"):
        (tmp_path / name).write_bytes(data)
        for look in (measure, read):
            with pytest.raises(Unusable, match=rf"{name}: unreadable audio \(.+\): replace it, or leave it out"):
                look(tmp_path / name)
    with pytest.raises(Unusable, match=r"none\.wav: unreadable audio \(No such file"):
        read(tmp_path / "none.wav")


def test_nan_and_clipping(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(audio_bytes(np.array([0.0, 2.0, -2.0, 0.5]), 48_000, subtype="FLOAT"))
    assert read(path).tolist() == [0, 32767, -32768, 16384]
    path.write_bytes(audio_bytes(np.array([0.0, np.nan, -2.0, 0.5]), 48_000, subtype="FLOAT"))
    with pytest.raises(Unusable, match=r"a.wav: the audio has NaN or infinite samples: replace it, or leave it out"):
        read(path)


def test_a_file_is_looked_at_once(tmp_path, monkeypatch):
    looks = []
    look = opening.look
    monkeypatch.setattr(opening, "look", lambda *args: looks.append(args) or look(*args))
    path = tone(tmp_path / "a.wav", 1.0)
    for _ in range(3):
        assert measure(path).seconds == measure(str(path)).seconds == 1.0
    assert len(looks) == 1
    tone(path, 2.0)
    assert measure(path).seconds == 2.0


@FFMPEG
def test_what_cannot_be_sought_in_is_decoded_once(tmp_path, monkeypatch):
    copies, started, start = tmp_path / "copies", [], ffmpeg._started
    monkeypatch.setattr(ffmpeg, "_started", lambda command: started.append(command[0]) or start(command))
    path = through_ffmpeg(tmp_path / "a.m4a", SOUND)
    whole = read(path).astype(int)
    started.clear()
    for second in range(5):
        got = read(path, float(second), 1.0, copies=copies)
        assert np.abs(got - whole[48_000 * second : 48_000 * (second + 1)]).max() <= 1
    assert len(started) == 1
    os.utime(path, (1, 1))  # another file of that name
    read(path, 0.0, 1.0, copies=copies)
    assert len(list(copies.glob("*.copy"))) == 2
    for kind, count in (("gsm", 3), ("mp3 without its header", 4), ("wav", 4), ("mp3", 4), ("flac of a stream", 4)):
        path = tmp_path / kind
        path.write_bytes(native(kind))
        assert np.abs(read(path, 1.0, 1.0, copies=copies) - read(path)[48_000:96_000].astype(int)).max() <= 1
        assert len(list(copies.glob("*.copy"))) == count
    path = through_ffmpeg(tmp_path / "a.mka", np.repeat(SOUND[::4, :1], 9, axis=1) * np.arange(9) / 8, 11_025)
    for channel in (1, 5, 9):  # more than a FLAC can hold
        assert (
            np.abs(read(path, 1.0, 1.0, channel, copies=copies) - read(path, 1.0, 1.0, channel).astype(int)).max() <= 1
        )
    path.write_bytes(b"no audio")
    with pytest.raises(Unusable, match=r"a.mka: unreadable audio"):
        read(path, copies=copies)
    assert not [p for p in copies.iterdir() if p.name.startswith(".")]


@FFMPEG
@pytest.mark.parametrize("locks", [True, False])
def test_of_several_that_ask_for_a_copy_one_decodes(locks, tmp_path, monkeypatch):
    """Where there are locks; where there are none, each writes its own, and all are right."""
    path, copies = through_ffmpeg(tmp_path / "a.m4a", SOUND), tmp_path / "copies"
    whole, writes, write = read(path).astype(int), [], reading._write
    measure(path)
    together = threading.Barrier(4)

    def slow(copy, sound):
        writes.append(copy)
        if not locks:
            together.wait(60)
        write(copy, sound)

    def ask(second):
        got[second] = read(path, float(second), 1.0, copies=copies)

    monkeypatch.setattr(reading, "_write", slow)
    if not locks:
        monkeypatch.setattr("fcntl.flock", no_locks)
    got, threads = {}, [threading.Thread(target=ask, args=(second,)) for second in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(writes) == (1 if locks else 4)
    for second in range(4):
        assert np.abs(got[second] - whole[48_000 * second : 48_000 * (second + 1)]).max() <= 1


def no_locks(file, how):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("kind", ["gsm", "mp3 without its header"])
def test_a_copy_that_finds_no_room_is_not_the_recordings_fault(kind, tmp_path):
    (tmp_path / "a").write_bytes(native(kind))
    copies = tmp_path / "copies"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as e:
            read(tmp_path / "a", copies=copies)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path(e.value.filename).parent == copies
    assert [p.suffix for p in copies.iterdir()] == [".lock"]
    shutil.rmtree(copies)
    copies.write_bytes(b"")
    with pytest.raises(OSError, match="exists") as e:
        read(tmp_path / "a", copies=copies)
    assert Path(e.value.filename).parent == copies


@FFMPEG
@pytest.mark.parametrize("channel", ["mean", 1])
def test_a_copy_holds_what_goes_beyond_full_scale(channel, tmp_path):
    turn = np.sin(np.arange(2 * 48_000) / 50)
    wave = np.stack([1.6 * turn, -0.8 * turn], axis=1)
    path = through_ffmpeg(tmp_path / "a.mka", wave / 2, 48_000, "-af", "volume=2", "-c:a", "pcm_f32le")
    (tmp_path / "a.wav").write_bytes(audio_bytes(wave, 48_000, subtype="FLOAT"))
    got = read(path, 0.0, None, channel, copies=tmp_path / "copies")
    np.testing.assert_array_equal(got, read(path, 0.0, None, channel))
    assert np.abs(got - read(tmp_path / "a.wav", 0.0, None, channel).astype(int)).max() <= 2
    (tmp_path / "b").write_bytes(without_xing(mp3(6.0, 44_100, 2)))
    got = read(tmp_path / "b", 0.0, None, channel, copies=tmp_path / "copies")
    np.testing.assert_array_equal(got, read(tmp_path / "b", 0.0, None, channel))
