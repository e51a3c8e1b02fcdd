"""What killed processes leave half written goes; what others write, or have written, stays."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from flam_train import disk
from flam_train.detection.drafts import writing
from flam_train.detection.recordings import Recording

DRAFTS = (
    ".settings.json.12", ".summary.csv.4194304", ".hours.csv.1", ".silent.csv.1", ".events.tsv.1",
    ".events.channel-2.txt.1", ".events.Table.1.selections.txt.1", ".flam-a8_bcdef", ".a.wav.tsv.77",
    "s/.a.FLAC.channel-1.frames.npy.77", "s/t/.A.wav~0123abcd.png.77", ".done/.a.wav.json.77",
    ".done/s/.night.json.77", ".night.scores.npz.77", ".clips-abcd_123/001.wav",
)  # fmt: skip
OTHERS = (
    "a.wav.tsv", ".a.wav.tsv", ".a.wav.77", ".notes.txt.77", ".nights.tsv.77", "a.wav.tsv.77", ".hidden/.a.wav.tsv.77",
    ".lock", ".data.csv.2024", "s/.summary.csv.77", "s/.flam-abcdefgh", ".clips-mine/001.wav",
    "s/.clips-abcdefgh/a.wav",
)  # fmt: skip
NIGHT = Recording(Path("night"), "s/night", "s/night")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def there(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {".lock-writing"}


@contextmanager
def another(folder: Path):
    """A process that writes, until it is killed."""
    code = (
        "import sys; from pathlib import Path; from flam_train.detection.drafts import writing\n"
        "with writing(Path(sys.argv[1])): print('writes', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"writes\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_drafts_go_and_nothing_else(tmp_path):
    touch(tmp_path, *DRAFTS, *OTHERS)
    with writing(tmp_path, [NIGHT]):
        assert there(tmp_path) == set(OTHERS)
        touch(tmp_path, *DRAFTS)
        with writing(tmp_path, [NIGHT]):
            assert there(tmp_path) == {*DRAFTS, *OTHERS}


def test_drafts_of_a_process_that_lives_stay_and_those_of_a_dead_one_go(tmp_path):
    with another(tmp_path):
        touch(tmp_path, *DRAFTS)
        with writing(tmp_path, [NIGHT]):
            assert there(tmp_path) == set(DRAFTS)
    with writing(tmp_path, [NIGHT]):
        assert there(tmp_path) == set()


def test_without_locks_drafts_stay(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(37, "No locks available")

    touch(tmp_path, *DRAFTS)
    monkeypatch.setattr(disk.fcntl, "flock", refused)
    with writing(tmp_path, [NIGHT]):
        assert there(tmp_path) == set(DRAFTS)


def test_what_fails_within_is_no_lack_of_locks(tmp_path):
    with pytest.raises(OSError, match="of the work"), writing(tmp_path):
        raise OSError(37, "of the work")


@pytest.mark.parametrize("new", [False, True])
def test_clips_that_were_being_replaced_are_kept(tmp_path, new):
    touch(tmp_path, ".clips-old-abcdefgh/clips/mine.txt", *(["clips/clips.csv"] if new else []))
    with writing(tmp_path):
        kept = {".clips-old-abcdefgh/clips/mine.txt", "clips/clips.csv"} if new else {"clips/mine.txt"}
        assert there(tmp_path) == kept
        assert (tmp_path / ".clips-old-abcdefgh").exists() == new
