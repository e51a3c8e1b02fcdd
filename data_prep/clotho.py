"""Clotho 2.1: recordings of 15 to 30 s with five captions each.

    python data_prep/clotho.py FOLDER OUT [--download]
    python data_prep/clotho.py FOLDER OUT --split evaluation

Layout: zenodo.org/records/4783391. FOLDER holds clotho_captions_<split>.csv and clotho_metadata_<split>.csv (there or
in clotho_csv_files/) and the unpacked archives: development/, validation/, evaluation/ (there, or in
clotho_audio_<split>/, clotho_audio_files/ or audio/). Names may begin with a space or hold commas: they are taken as
they are; only where no file has that name, one that differs from it in ':' for '_', outer spaces or the form of its
accents is taken, for 2.1 renamed some files. One name is in two splits. The metadata is ISO-8859-1. That the captions
end in CRLF is inferred.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.preparation.audio_folders import files_below
from flam_train.data.preparation.caption_files import file_name, find_file, read_table, unique_keys
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording

SPLITS = ("development", "validation", "evaluation")
CAPTIONS = tuple(f"caption_{n}" for n in range(1, 6))
CAPTION_LICENCE = "Tampere University, non-commercial with attribution"
ARCHIVES = [
    Archive(f"https://zenodo.org/records/4783391/files/{name}?download=1", name, f"md5:{md5}", how)
    for name, md5, how in (
        ("clotho_captions_development.csv", "d4090b39ce9f2491908eebf4d5b09bae", None),
        ("clotho_captions_validation.csv", "5879e023032b22a2c930aaa0528bead4", None),
        ("clotho_captions_evaluation.csv", "1b16b9e57cf7bdb7f13a13802aeb57e2", None),
        ("clotho_metadata_development.csv", "170d20935ecfdf161ce1bb154118cda5", None),
        ("clotho_metadata_validation.csv", "2e010427c56b1ce6008b0f03f41048ce", None),
        ("clotho_metadata_evaluation.csv", "13946f054d4e1bf48079813aac61bf77", None),
        ("clotho_audio_development.7z", "c8b05bc7acdb13895bb3c6a29608667e", "7-zip"),
        ("clotho_audio_validation.7z", "7dba730be08bada48bd15dc4e668df59", "7-zip"),
        ("clotho_audio_evaluation.7z", "4569624ccadf96223f19cb59fe4f849f", "7-zip"),
    )
]
"""The md5s are those that the loader of soundata states."""
FOLDERS = ("{0}", "clotho_audio_{0}/{0}", "clotho_audio_{0}", "clotho_audio_files/{0}", "audio/{0}")


def read_clotho(folder: Path, split: str) -> list[Recording]:
    """The recordings of a split, in the file's order. Raises ValueError that names the file, the row (1 is the header)
    and the fix."""
    path = _labels(folder, f"clotho_captions_{split}.csv")
    rows = {}
    for where, row in read_table(path, ("file_name", *CAPTIONS)):
        name, captions = file_name(row["file_name"], where), tuple(row[c].strip() for c in CAPTIONS)
        if not all(captions):
            raise ValueError(f"{where}: caption_{captions.index('') + 1} is empty: write it or remove the row")
        if name in rows:
            raise ValueError(f"{where}: {name!r} has a row before: remove one")
        rows[name] = where, captions
    metadata = Names(read_metadata(_labels(folder, f"clotho_metadata_{split}.csv")))
    audio_folder = next((p for f in FOLDERS if (p := folder / f.format(split)).is_dir()), folder / split)
    files = Names({p.name: p for p in files_below(audio_folder)})
    keys = unique_keys(name.removesuffix(".wav") for name in rows)
    out = []
    for name, (where, captions) in rows.items():
        about = metadata.get(name) or {}
        number = _freesound_id(about)
        out.append(
            Recording(
                key=keys[name.removesuffix(".wav")],
                path=files.get(name) or audio_folder / name,
                where=where,
                captions=captions,
                source=about.get("sound_link") or name,
                licence=f"{about.get('license') or 'audio: not stated'}; captions: {CAPTION_LICENCE}",
                split=split,
                ids=(f"freesound:{number}",) if number else (),
                details={"file_name": name, "author": about.get("manufacturer", "")},
            )
        )
    return out


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """{file name: the row} of a clotho_metadata_<split>.csv, white space at the ends of the other fields removed."""
    columns = ("file_name", "sound_id", "sound_link", "manufacturer", "license")
    out = {}
    for where, row in read_table(path, columns, "iso-8859-1"):
        out[file_name(row["file_name"], where)] = {k: v.strip() for k, v in row.items()}
    return out


class Names:
    """A dictionary by file name that also finds a name written a little differently, if only one is."""

    def __init__(self, found: dict) -> None:
        self.exact = found
        self.alike: dict[str, list] = {}
        for name, value in found.items():
            self.alike.setdefault(self._plain(name), []).append(value)

    @staticmethod
    def _plain(name: str) -> str:
        return unicodedata.normalize("NFC", name).replace(":", "_").strip()

    def get(self, name: str):
        if name in self.exact:
            return self.exact[name]
        alike = self.alike.get(self._plain(name), [])
        return alike[0] if len(alike) == 1 else None


def _labels(folder: Path, name: str) -> Path:
    return find_file(folder, (name, f"clotho_csv_files/{name}"), name)


def _freesound_id(about: dict[str, str]) -> str:
    """The sound's number, "" where the metadata does not know it ('Not found')."""
    number = about.get("sound_id", "")
    if number.isascii() and number.isdigit():
        return str(int(number)) if len(number) < 12 else ""
    link = re.search(r"/(?:s|sounds)/(\d{1,11})\b", about.get("sound_link", ""), re.ASCII)
    return link[1] if link else ""


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    out = {}
    for split in args.split:
        recordings = read_clotho(args.folder, split)
        details = {"maker": "data_prep/clotho.py", "version": "2.1", "split": split}
        details["without_freesound_id"] = sum(not r.ids for r in recordings)
        out[split] = Listing(f"clotho-{split}", recordings, "captions", details=details)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(__doc__, archives=lambda args: ARCHIVES, download="captions, metadata and audio")
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=SPLITS, help="[all]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
