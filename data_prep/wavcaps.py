"""WavCaps: four sources with one machine-written caption a recording.

    python data_prep/wavcaps.py FOLDER OUT
    python data_prep/wavcaps.py FOLDER OUT --source AudioSet_SL FreeSound --blacklist blacklist_exclude_test_ac.json

Layout: huggingface.co/datasets/cvssp/WavCaps. FOLDER holds json_files/<source>/<name>.json (or data/json_files/ as in
github.com/XinhaoMei/WavCaps) and, at any depth, the folders <source>_flac/ (or <source>/) of the unpacked archives:
FreeSound and SoundBible both number their files, so only the folder tells them apart. AudioSet_SL has no start times.

--blacklist leaves out what evaluation sets hold, by lists in JSON ({"AudioSet": [...], "FreeSound": [...]}) or in CSV
(header index,id, as aac-datasets has them). Those in JSON were built from AudioCaps' 957 test clips, so a few of the
full 975 can slip through them; the CSV lists know all. None is used by default. Recordings with an empty caption are
left out too; what is left out is counted on the screen and listed in left_out.tsv.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import SUFFIXES, YOUTUBE_ID, by_stem, files_below
from flam_train.data.preparation.caption_files import (
    LEFT_OUT,
    file_name,
    find_file,
    left_out_line,
    left_out_table,
    object_of,
    read_json,
    read_table,
    text_of,
    unique_keys,
)
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive, github, hub
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.tars import sha256_of

SOURCES = {
    "AudioSet_SL": "as_final",
    "BBC_Sound_Effects": "bbc_final",
    "FreeSound": "fsd_final",
    "SoundBible": "sb_final",
}
LISTED_AS = {"AudioSet_SL": "AudioSet", "FreeSound": "FreeSound"}
"""What a blacklist calls those sources that it knows."""

COMMIT = "a5a9649ce305d7fe82cfcf5d6a4a12f03df9ef1e"
BLOBS = {  # of github.com/XinhaoMei/WavCaps at that commit
    "data/json_files/blacklist/blacklist_exclude_all_ac.json": "9b3fa44199480137ed745816c12ed353827537ef",
    "data/json_files/blacklist/blacklist_exclude_test_ac.json": "77fabb900d7248852564b3df6d5d1385407fb6ee",
    "data/json_files/blacklist/blacklist_exclude_ub8k_esc50_vggsound.json": "a1da706eeada805bce34d845b63b0b1c2e10e2fc",
}

LICENCE = "WavCaps, academic use only"


def read_wavcaps(
    folder: Path, source: str, blacklist: Mapping[str, frozenset[str]] | None = None
) -> tuple[list[Recording], list[tuple[str, str]]]:
    """The recordings of a source in the file's order, and (id, reason) of those left out.

    blacklist  of `read_blacklist`
    Raises ValueError that names the file, the entry of `data` (counted from 1) and the fix.
    """
    name = f"{source}/{SOURCES[source]}.json"
    path = find_file(folder, (f"json_files/{name}", f"data/json_files/{name}", name, f"{SOURCES[source]}.json"), name)
    raw = read_json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("data"), list):
        raise ValueError(f"{path}: row 1: is not an object with a list `data`: fetch the file again")
    avoided = (blacklist or {}).get(LISTED_AS.get(source, ""), frozenset())
    rows: dict[str, tuple[str, dict, list[str]]] = {}
    left_out: dict[str, str] = {}
    for n, value in enumerate(raw["data"], 1):
        where = f"{path}: entry {n}"
        entry = object_of(value, where)
        number = entry.get("id")
        if isinstance(number, int) and not isinstance(number, bool):
            entry = entry | {"id": str(number)}
        stem = plain_id(file_name(text_of(entry, "id", where), where))
        caption = text_of(entry, "caption", where)
        if youtube_free(stem) in avoided:
            left_out[stem] = "blacklist"
        elif not caption:
            left_out.setdefault(stem, "no caption")
        else:
            _, _, captions = rows.setdefault(stem, (where, entry, []))
            if caption not in captions:
                captions.append(caption)
    inside = {f"{source}_flac", source}
    files = by_stem(p for p in files_below(folder) if inside & set(p.relative_to(folder).parts[:-1]))
    keys = unique_keys(rows)
    out = []
    for stem, (where, entry, captions) in rows.items():
        origin = text_of(entry, "download_link", where, "") or text_of(entry, "href", where, "") or stem
        out.append(
            Recording(
                key=keys[stem],
                path=files.get(stem, folder / f"{source}_flac" / f"{stem}.flac"),
                where=where,
                captions=tuple(captions),
                source=f"youtube.com/watch?v={youtube_free(stem)}" if source == "AudioSet_SL" else origin,
                licence=LICENCE,
                split="train",
                ids=ids_of(stem, source),
                details={"author": author} if (author := text_of(entry, "author", where, "")) else {},
            )
        )
    return out, [(stem, why) for stem, why in left_out.items() if stem not in rows]


def plain_id(name: str) -> str:
    """An id without the ending that AudioSet_SL's have: `Yb0RFKhbpFJA.wav` lies on disk as `Yb0RFKhbpFJA.flac`."""
    at = name.rfind(".")
    return name[:at] if at > 0 and name[at:].lower() in SUFFIXES else name


def youtube_free(stem: str) -> str:
    """`Y` and a YouTube id as the id; anything else as it is."""
    return stem[1:] if len(stem) == 12 and stem[0] == "Y" and YOUTUBE_ID.fullmatch(stem[1:]) else stem


def ids_of(stem: str, source: str) -> tuple[str, ...]:
    """What the recording is called in other corpora."""
    if source == "AudioSet_SL" and YOUTUBE_ID.fullmatch(youtube_free(stem)):
        return (f"youtube:{youtube_free(stem)}",)
    if source == "FreeSound" and stem.isascii() and stem.isdigit():
        return (f"freesound:{stem.lstrip('0') or '0'}",)
    return ()


def read_blacklist(paths: Sequence[Path]) -> dict[str, frozenset[str]]:
    """{"AudioSet": YouTube ids, "FreeSound": numbers} of all lists together.

    Raises ValueError that names the file, the row or entry and the fix.
    """
    found: dict[str, set[str]] = {name: set() for name in LISTED_AS.values()}
    for path in paths:
        if path.suffix.lower() == ".csv":
            for where, row in read_table(path, ("id",)):
                stem = plain_id(file_name(row["id"], where))
                found["FreeSound" if stem.isascii() and stem.isdigit() and len(stem) < 11 else "AudioSet"].add(stem)
            continue
        raw = read_json(path)
        unknown = set(raw) - set(found) if isinstance(raw, dict) else {"no object"}
        if unknown:
            raise ValueError(f"{path}: row 1: {sorted(unknown)[0]!r}: the keys must be {' and '.join(found)}")
        for name, ids in raw.items():
            if not isinstance(ids, list):
                raise ValueError(f"{path}: row 1: {name!r} is not a list of ids: fetch the file again")
            for n, one in enumerate(ids, 1):
                where = f"{path}: {name}: entry {n}"
                if not isinstance(one, str | int) or isinstance(one, bool):
                    raise ValueError(f"{where}: {ascii(one)[:60]} is not an id: mend or remove it")
                found[name].add(plain_id(file_name(str(one), where)))
    return {name: frozenset(map(youtube_free, ids)) for name, ids in found.items()}


def archives(args: argparse.Namespace) -> list[Archive]:
    """The lists of what to leave out, and of each source its JSON and its audio, in zips of up to hundreds of parts."""
    wanted = [f"{folder}/{source}/" for source in args.source for folder in ("json_files", "Zip_files")]
    return [*github("XinhaoMei/WavCaps", COMMIT, BLOBS), *hub("cvssp/WavCaps", wanted, unpack="7-zip")]


def check(args: argparse.Namespace) -> None:
    fetched = {args.folder / path for path in BLOBS} if args.download else set()
    read_blacklist([path for path in args.blacklist if path not in fetched])


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    blacklist = read_blacklist(args.blacklist)
    if not args.blacklist and set(args.source) & set(LISTED_AS):
        print("no --blacklist: clips of AudioCaps, Clotho and other evaluation sets are among these recordings")
    lists = {path.name: sha256_of(path) for path in args.blacklist}
    out = {}
    for source in args.source:
        recordings, left_out = read_wavcaps(args.folder, source, blacklist)
        corpus = f"wavcaps-{source.lower().replace('_', '-')}"
        print(left_out_line(corpus, left_out, len(recordings) + len(left_out)))
        details = {"maker": "data_prep/wavcaps.py", "source": source, "blacklist": lists, "left_out": len(left_out)}
        files = {LEFT_OUT: left_out_table(left_out)}
        out[source] = Listing(corpus, recordings, "captions", details=details, files=files)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=archives, download="captions, blacklists and audio (hundreds of GB)")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=tuple(SOURCES), help="[all]")
    parser.add_argument("--blacklist", nargs="+", type=Path, default=[], metavar="FILE", help="ids to leave out [none]")
    prepare.run(parser, listings, argv, check)


if __name__ == "__main__":
    main()
