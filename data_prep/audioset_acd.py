"""AudioSet-ACD: captions that a language model wrote for clips of AudioSet, taken from Auto-ACD.

    python data_prep/audioset_acd.py FOLDER OUT                       # FOLDER/train.csv, FOLDER/test.csv
    python data_prep/audioset_acd.py FOLDER OUT --of audioset vggsound --recordings DIR

Layout: huggingface.co/datasets/Loie/Auto-ACD, header youtube_id,caption. Rows of AudioSet are `Y` and 11 characters,
with no start time; those of VGGSound 11 characters, `_` and the start in six digits: the length tells them apart (12
or 18), not the first letter. That the paper's "AudioSet-ACD" is the AudioSet part of Auto-ACD is inferred. Several rows
of one clip become one recording with several captions; the sentence that the model put around some captions is
removed. Audio is not published with it: clips named Y<id>, <id> or <id>_<start>, in any folder and format.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import YOUTUBE_ID, YouTubeFiles
from flam_train.data.preparation.caption_files import LEFT_OUT, find_file, left_out_line, left_out_table, read_table
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.recordings import Recording

SPLITS = ("train", "test")
PARTS = {12: "audioset", 18: "vggsound"}
LICENCE = "captions CC0 (the code's; the table states none); audio: the video's own"

# The audio caption for the given information could be: "..."; that it varies a little is inferred.
WRAPPER = re.compile(
    r"(?:(?:the|an?|one)\s+(?:[\w-]+\s+){0,3}caption\b[^:\"“”.]{0,80}?\b(?:be|is)|(?:audio\s+)?caption)\s*:\s*",
    re.IGNORECASE,
)
QUOTED = re.compile(r"[\"“](.*)[\"”][\s.]*", re.DOTALL)


def plain_caption(text: str) -> str:
    """The caption without the sentence that the model put before it, and without the quotes around it; perhaps ""."""
    text = text.strip()
    wrapper = WRAPPER.match(text)
    text = text[wrapper.end() :] if wrapper else text
    quoted = QUOTED.fullmatch(text)
    # Quotes inside belong to the sentence: "Hello" and "goodbye" are two.
    inner = quoted[1] if quoted and not re.search(r"[\"“”]", quoted[1]) else text
    return " ".join(inner.split())


def parse_id(name: str, where: str) -> tuple[str, str, int | None]:
    """(part, YouTube id, start in seconds or None) of an entry of the column youtube_id."""
    part = PARTS.get(len(name))
    if part == "audioset" and name[0] == "Y" and YOUTUBE_ID.fullmatch(name[1:]):
        return part, name[1:], None
    if part == "vggsound" and YOUTUBE_ID.fullmatch(name[:11]) and re.fullmatch(r"_[0-9]{6}", name[11:]):
        return part, name[:11], int(name[12:])
    raise ValueError(
        f"{where}: youtube_id {name!r} is neither Y and 11 characters nor 11 characters, _ and six digits: mend or "
        "remove the row"
    )


def read_audioset_acd(
    folder: Path, split: str, parts: tuple[str, ...] = ("audioset",), recordings: Path | None = None
) -> tuple[list[Recording], list[tuple[str, str]]]:
    """The clips of a split in the file's order, and (name, reason) of those left out for they have no caption.

    parts       of "audioset" and "vggsound"
    recordings  where the audio is looked for (None: the folder)
    Raises ValueError that names the file, the row (1 is the header) and the fix.
    """
    path = find_file(folder, (f"{split}.csv", f"data/{split}.csv"), f"Auto-ACD's {split}.csv")
    clips: dict[str, tuple[str, str, int | None, dict[str, None]]] = {}
    for where, row in read_table(path, ("youtube_id", "caption")):
        name = row["youtube_id"]
        part, youtube_id, start = parse_id(name, where)
        if part in parts:
            _, _, _, captions = clips.setdefault(name, (where, youtube_id, start, {}))
            if caption := plain_caption(row["caption"]):
                captions[caption] = None
    files = YouTubeFiles(recordings or folder)
    out, left_out = [], []
    for name, (where, youtube_id, start, captions) in clips.items():
        if not captions:
            left_out.append((name, "no caption"))
            continue
        out.append(
            Recording(
                key=name,
                path=files.find(youtube_id, start, alone=start is None),
                where=where,
                captions=tuple(captions),
                source=f"youtube.com/watch?v={youtube_id}" + ("" if start is None else f", from {start} s"),
                licence=LICENCE,
                split=split,
                ids=(f"youtube:{youtube_id}",),
            )
        )
    return out, left_out


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    parts = tuple(sorted(set(args.of)))
    out = {}
    for split in args.split:
        recordings, left_out = read_audioset_acd(args.folder, split, parts, args.recordings)
        corpus = f"audioset-acd-{split}" if parts == ("audioset",) else f"auto-acd-{split}"
        print(left_out_line(corpus, left_out, len(recordings) + len(left_out)))
        details = {"maker": "data_prep/audioset_acd.py", "split": split, "of": list(parts), "left_out": len(left_out)}
        files = {LEFT_OUT: left_out_table(left_out)}
        out[split] = Listing(corpus, recordings, "captions", details=details, files=files)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__)
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="[all]")
    parser.add_argument("--of", nargs="+", choices=PARTS.values(), default=("audioset",), help="[audioset]")
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="where the audio is [FOLDER]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
