"""FreeSound with its uploaders' words as captions: LAION's WebDataset tars, or a folder of audio and JSON.

    python data_prep/freesound.py FOLDER OUT              # FOLDER/{train_1,train_2,test}/N.tar, as LAION-CLAP has them
    python data_prep/freesound.py FOLDER OUT              # FOLDER/NAME.flac (.wav, .mp3 ...) and FOLDER/NAME.json
    python data_prep/freesound.py FOLDER OUT --tags       # tags as the caption where there is neither title nor text

Layout of the tars: huggingface.co/datasets/Meranti/CLAP_freesound, pairs of .flac and .json {"text": [title, first
sentence of the description], "tag": [...], "original_data": {title, description, tags, id, username, download_url}};
licences come from freesound_meta.csv beside them (columns freesound_id, license), if it is there. Its tree and that
table are known from second hand. Tars are unpacked to OUT/.unpacked first, each whole or not at all, so a stopped run
goes on and the parts of a job array share the work; it takes the tars' size on the disk, and may be deleted when all
parts are made. A folder without tars needs beside each recording a JSON of that form, or with `title`, `description`,
`tags`, `id`, `license` and `username` as Freesound's own interface gives them (how users store these is inferred).

What lies below a folder `test` goes to OUT/test, all else to OUT/train.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import SUFFIXES, files_below, preferred
from flam_train.data.preparation.caption_files import (
    LEFT_OUT,
    encodable,
    left_out_line,
    left_out_table,
    object_of,
    read_json,
    read_table,
    text_of,
    unique_keys,
)
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive, hub
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.tars import index_tar

UNPACKED = ".unpacked"
SIZES = "sizes.json"
META = "freesound_meta.csv"
TREES = ("freesound_no_overlap", "freesound")
"""Without the recordings of ESC-50, FSD50K, UrbanSound8K and Clotho, and with them."""

SPLITS = ("train", "test")


def read_freesound(
    folder: Path, split: str, tags: bool = False, licences: dict[str, str] | None = None
) -> tuple[list[Recording], list[tuple[str, str]]]:
    """The recordings of a split below a folder of audio and JSON, sorted, and (name, reason) of those left out.

    tags      use the tags as the caption where there is no other
    licences  {Freesound number: licence}, for those whose JSON does not state it
    A JSON without audio is a recording that is missing; audio without a JSON is left out. Raises ValueError that names
    the file and the fix.
    """
    found: dict[str, list[Path]] = {}
    for path in files_below(folder):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    jsons = [path for path in files_below(folder, (".json",)) if path.name != SIZES]
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in jsons}
    keys = unique_keys(sorted(set(names) | set(found)))
    out, left_out = [], []
    for name, key in keys.items():
        if split_of(name) != split:
            continue
        if name not in names:
            left_out.append((name, "no JSON"))
            continue
        where = f"{names[name]}: row 1"
        entry = object_of(read_json(names[name]), where)
        about = object_of(entry.get("original_data") or entry, where)
        captions = captions_of(entry, about, where, tags)
        if not captions:
            left_out.append((name, "no caption"))
            continue
        number = number_of(about, where)
        licence = text_of(about, "license", where, "") or (licences or {}).get(number, "")
        source = text_of(about, "download_url", where, "") or text_of(about, "url", where, "")
        out.append(
            Recording(
                key=key,
                path=preferred(found[name]) if name in found else folder / f"{name}.flac",
                where=where,
                captions=captions,
                source=source or (f"freesound.org/s/{number}" if number else name),
                licence=licence or "not stated: see the sound's page on freesound.org",
                split=split,
                ids=(f"freesound:{number}",) if number else (),
                details={"author": author} if (author := text_of(about, "username", where, "")) else {},
            )
        )
    return out, left_out


def split_of(name: str) -> str:
    return "test" if "test" in name.split("/")[:-1] else "train"


def captions_of(entry: dict[str, Any], about: dict[str, Any], where: str, tags: bool) -> tuple[str, ...]:
    """Title and first sentence of the description, as plain text, each once; perhaps none."""
    text = entry.get("text")
    if text:
        texts = strings(text, "text", where)
    else:
        title = text_of(about, "title", where, "") or text_of(about, "name", where, "")
        stem, suffix = os.path.splitext(title)
        texts = [stem if suffix.lower() in SUFFIXES else title]
        texts.append(first_sentence(text_of(about, "description", where, "")))
    found = dict.fromkeys(t for t in map(plain, texts) if any(c.isalpha() for c in t))
    if not found and tags:
        words = strings(entry.get("tag") or about.get("tags") or [], "tag", where)
        found = dict.fromkeys([", ".join(w for w in map(plain, words) if w)]) if any(map(plain, words)) else {}
    return tuple(found)


def plain(text: str) -> str:
    """Without HTML (descriptions have links), and with single spaces."""
    text = re.sub(r"</?(?:br|p|div|li|ul|ol)\b[^<>]*>", " ", text, flags=re.IGNORECASE)
    return " ".join(html.unescape(re.sub(r"</?[A-Za-z][^<>]*>", "", text)).split())


def first_sentence(text: str) -> str:
    """Up to the first full stop, exclamation or question mark before white space, or the end of the line."""
    lines = [line for line in map(plain, re.split(r"[\r\n]+|<br\s*/?>", text)) if line]
    return re.split(r"(?<=[.!?])\s", lines[0], maxsplit=1)[0] if lines else ""


def strings(value: Any, name: str, where: str) -> list[str]:
    """A list of strings, or one string as such a list."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or any(not isinstance(v, str) for v in values):
        raise ValueError(f"{where}: {name!r} is not a list of strings: mend the file, or remove it and its audio")
    return [encodable(v, where) for v in values]


def number_of(about: dict[str, Any], where: str) -> str:
    """The sound's number on Freesound; "" where the JSON does not tell."""
    value = about.get("id")
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if value is not None and not (isinstance(text, str) and re.fullmatch("[0-9]{1,11}", text)):
        raise ValueError(f"{where}: id {ascii(value)[:60]} is not a number of Freesound: mend the file")
    return str(int(text)) if text else ""


def read_licences(path: Path) -> dict[str, str]:
    """{Freesound number: licence} of a freesound_meta.csv."""
    return {
        row["freesound_id"].strip(): row["license"].strip() for _, row in read_table(path, ("freesound_id", "license"))
    }


def unpack(folder: Path, out: Path, turn: int = 1, show: bool = True) -> None:
    """Unpacks every tar below a folder to `out`/<its path without .tar>/, unless that is there.

    A folder takes its name when it is whole, so this can be stopped at any moment and run by several at a time; `turn`
    says which tar to begin with, so that they do not all do the same one. A sample is named by its members' names, with
    their folders. Raises ValueError that names the tar and the fix.
    """
    tars = sorted(files_below(folder, (".tar",)))
    first = (turn - 1) % len(tars) if tars else 0
    for n, tar in enumerate(tars[first:] + tars[:first], 1):
        target = out / tar.relative_to(folder).with_suffix("")
        if target.is_dir():
            continue
        if show:
            print(f"unpacking {tar} ({n} of {len(tars)})", flush=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _unpack_tar(tar, temporary)
            temporary.chmod(0o755)
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():  # else another part was faster
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _unpack_tar(tar: Path, target: Path) -> None:
    rows = index_tar(tar)
    sizes = tar.parent / SIZES
    expected = object_of(read_json(sizes), str(sizes)).get(tar.name) if sizes.is_file() else None
    if expected is not None and expected != len(rows):
        raise ValueError(f"{tar}: holds {len(rows)} samples, {sizes} says {expected}: fetch the tar again")
    with open(tar, "rb") as file:
        for row in rows:
            stem = row["key"].decode()
            for kind, suffix in (("audio", row["audio_format"].decode()), ("meta", row["meta_format"].decode())):
                if suffix:
                    file.seek(row[kind])
                    (target / f"{stem}.{suffix}").write_bytes(file.read(row[f"{kind}_size"]))


def archives(args: argparse.Namespace) -> list[Archive]:
    """LAION's tars, and the table of licences."""
    return hub("Meranti/CLAP_freesound", [META, f"{args.tree or TREES[0]}/"])


def check(args: argparse.Namespace) -> None:
    if args.folder.resolve() in (args.out.resolve(), *args.out.resolve().parents):
        raise ValueError(f"{args.out}: lies inside {args.folder}, which is searched for tars and JSON: write elsewhere")


def tree_of(folder: Path, tree: str | None) -> Path:
    """Where the recordings are looked for: one tree of LAION's, or a folder that is none of them."""
    there = [name for name in TREES if (folder / name).is_dir()]
    if tree is None and len(there) > 1:
        raise ValueError(f"{folder}: {' and '.join(there)} hold the same recordings: say which by --tree")
    if tree is not None and tree not in there:
        raise ValueError(f"{folder / tree}: is not there: fetch it by --download, or leave --tree out")
    return folder / (tree or "".join(there))


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    meta = next((path for path in files_below(args.folder, (".csv",)) if path.name == META), None)
    licences = read_licences(meta) if meta else {}
    folder = tree_of(args.folder, args.tree or (TREES[0] if args.download else None))
    if any(files_below(folder, (".tar",))):
        tars, folder = folder, args.out / UNPACKED
        unpack(tars, folder, args.part[0], not args.quiet)
        print(f"unpacked to {folder}: may be deleted when all parts are made")
    out = {}
    for split in args.split:
        recordings, left_out = read_freesound(folder, split, args.tags, licences)
        if not recordings and not left_out and len(args.split) > 1:
            continue
        print(left_out_line(f"freesound-{split}", left_out, len(recordings) + len(left_out)))
        details = {"maker": "data_prep/freesound.py", "split": split, "tags": args.tags, "left_out": len(left_out)}
        files = {LEFT_OUT: left_out_table(left_out)}
        out[split] = Listing(f"freesound-{split}", recordings, "captions", details=details, files=files)
    if not out:
        raise ValueError(f"{args.folder}: neither tars nor audio with JSON beside it are there: check the folder")
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__, "LAION's tars, or audio with JSON beside it", archives, download="LAION's tars (hundreds of GB)"
    )
    parser.add_argument("--tree", choices=TREES, help=f"which of LAION's two [the one that is there, else {TREES[0]}]")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="[what is there]")
    parser.add_argument("--tags", action="store_true", help="tags as the caption of a sound that has no other")
    prepare.run(parser, listings, argv, check)


if __name__ == "__main__":
    main()
