"""AudioCaps 1.0 or 2.0: one caption a clip for training (2.0 may have more), five for val and test.

    python data_prep/audiocaps.py FOLDER OUT                  # FOLDER/dataset/{train,val,test}.csv, audio below FOLDER
    python data_prep/audiocaps.py FOLDER OUT --version 2.0    # FOLDER/dataset2.0/{train,val,test}.csv
    python data_prep/audiocaps.py FOLDER OUT --recordings DIR --split test

Layout: github.com/cdjkim/audiocaps, header audiocap_id,youtube_id,start_time,caption, one row a caption. The audio is
not published with it; each file must hold the clip of 10 s, not the whole video (else --whole-videos), and is called
Y<id>, <id> or <id>_<start> with .flac, .wav, .mp3, .m4a, .mp4, .webm or the like, in any folder; or else, as some
downloaders do, <split>/<audiocap_id>, of any of the clip's captions. How many captions a clip of 2.0's train.csv has is
not known: rows of one clip are put together, however many.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import YOUTUBE_ID, YouTubeFiles, by_stem, files_below
from flam_train.data.preparation.caption_files import find_file, read_table
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive, github
from flam_train.data.preparation.recordings import Recording

VERSIONS = {"1.0": "dataset", "2.0": "dataset2.0"}
SPLITS = ("train", "val", "test")
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
REFERENCES = 5
"""Captions of each clip of val and test."""

COMMIT = "d004db3ea1b01cf4fd0347dd8d27db90cadc8809"
BLOBS = {  # of github.com/cdjkim/audiocaps at that commit
    "dataset/train.csv": "93db5bd4d37bbf958eae519ede406a5dbc6a7972",
    "dataset/val.csv": "f0bcd1ede16fea308c9249ed77e819cdb6b0f462",
    "dataset/test.csv": "aa65f39a8205413bba7a5295a2aa92f97420fe8a",
    "dataset2.0/train.csv": "be6e5492dda2de6a784bf227febf3b09a7a8a367",
    "dataset2.0/val.csv": "deca888ca318387b3ff016f07cf1605815955e4c",
    "dataset2.0/test.csv": "8589c127c26c2cc9609b6ba148f557ca1196502b",
}

CLIP_SECONDS = 10.0
LICENCE = "captions MIT, for academic purposes; audio: the video's own"


def read_audiocaps(
    folder: Path, split: str, version: str = "1.0", recordings: Path | None = None, whole_videos: bool = False
) -> list[Recording]:
    """The clips of a split, in the file's order.

    recordings    where the audio is looked for (None: the folder)
    whole_videos  the files hold whole videos: the clip is 10 s from its start time on
    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    path = find_file(folder, (f"{VERSIONS[version]}/{split}.csv", f"{split}.csv"), f"AudioCaps {version}'s {split}.csv")
    clips: dict[tuple[str, int], list[tuple[str, str, str]]] = defaultdict(list)
    for where, row in read_table(path, COLUMNS):
        youtube_id, begins, caption = row["youtube_id"], row["start_time"], row["caption"].strip()
        if not YOUTUBE_ID.fullmatch(youtube_id):
            raise ValueError(f"{where}: youtube_id {youtube_id!r} is not a YouTube id of 11 characters: mend the row")
        if not re.fullmatch("[0-9]{1,6}", begins):
            raise ValueError(f"{where}: start_time {begins!r} is not a whole number of seconds: mend the row")
        if not caption:
            raise ValueError(f"{where}: the caption is empty: write it or remove the row")
        clips[youtube_id, int(begins)].append((where, row["audiocap_id"], caption))
    per_video = Counter(youtube_id for youtube_id, _ in clips)
    recordings = recordings or folder
    files = YouTubeFiles(recordings)
    numbered = by_stem(path for path in files_below(recordings) if path.stem.isdigit() and path.parent.name == split)
    out = []
    for (youtube_id, start), rows in clips.items():
        where = rows[0][0]
        if split != "train" and len(rows) != REFERENCES:
            raise ValueError(
                f"{where}: clip {youtube_id} has {len(rows)} captions, not {REFERENCES}: retrieval is measured with "
                f"{REFERENCES}; fetch the file again, or remove the clip's rows"
            )
        if whole_videos:
            audio, first, seconds = files.find(youtube_id), float(start), CLIP_SECONDS
        else:
            audio, first, seconds = files.find(youtube_id, start, alone=per_video[youtube_id] == 1), 0.0, None
            if not audio.is_file():
                audio = next((numbered[number] for _, number, _ in rows if number in numbered), audio)
        out.append(
            Recording(
                key=f"Y{youtube_id}_{start}",
                path=audio,
                where=where,
                captions=tuple(caption for _, _, caption in rows),
                start=first,
                seconds=seconds,
                source=f"youtube.com/watch?v={youtube_id}, {start} to {start + CLIP_SECONDS:.0f} s",
                licence=LICENCE,
                split=split,
                ids=(f"youtube:{youtube_id}",),
                details={"audiocap_ids": [audiocap_id for _, audiocap_id, _ in rows]},
            )
        )
    return out


def archives(args: argparse.Namespace) -> list[Archive]:
    files = [f"{VERSIONS[args.version]}/{split}.csv" for split in args.split]
    return github("cdjkim/audiocaps", COMMIT, {name: BLOBS[name] for name in files})


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    corpus = "audiocaps" if args.version == "1.0" else "audiocaps2"
    return {
        split: Listing(
            f"{corpus}-{split}",
            read_audiocaps(args.folder, split, args.version, args.recordings, args.whole_videos),
            "captions",
            details={"maker": "data_prep/audiocaps.py", "version": args.version, "split": split},
        )
        for split in args.split
    }


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=archives, download="the captions")
    parser.add_argument("--version", choices=VERSIONS, default="1.0", help="[%(default)s]; their captions differ")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="[all]")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="where the audio is [FOLDER]")
    parser.add_argument("--whole-videos", action="store_true", help="the files hold whole videos, not the clips")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
