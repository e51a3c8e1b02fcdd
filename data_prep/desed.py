"""DESED: ten classes of domestic sounds, in synthetic soundscapes and in 10 s of YouTube videos.

    python data_prep/desed.py FOLDER OUT
    python data_prep/desed.py FOLDER OUT --split validation public

Layout: github.com/turpaultn/DESED and the archives of zenodo.org/records/6026841 (synthetic), 6444477 (strong labels of
real train clips), 4639776 (the other labels of real clips), 4560759 (public evaluation). Label files, the audio in the
folder of the same name below audio/:

    weak                  metadata/train/weak.tsv                                        audio/train/weak
    real                  metadata/train/audioset_strong.tsv                             audio/train/strong_label_real
    synthetic             metadata/train/synthetic21_train/soundscapes.tsv               the same below audio/
    synthetic-validation  metadata/validation/synthetic21_validation/soundscapes.tsv     the same below audio/
    validation            metadata/validation/validation.tsv                             audio/validation/validation
    public                metadata/eval/public.tsv                                       audio/eval/public [inferred]

in FOLDER, FOLDER/dcase_synth or FOLDER/DESED_public_eval; without --split all that is there. Each becomes a corpus.
A clip of weak.tsv gets its classes as tags, and captions made of their phrasings; unlabel_in_domain.tsv says nothing
and is not read. A row `name TAB TAB TAB` is a clip without any event (15 of validation). Offsets may pass the clip's
end (up to 11.0 s): events are cut to it. Names are Y<id>_350.000_360.000.wav, those of public <id>_120_130.wav.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from flam_train.cli import prepare
from flam_train.data.labels.rows import fault
from flam_train.data.labels.strong_files import concepts, known, read_event, read_rows, sounds
from flam_train.data.preparation.caption_files import file_name
from flam_train.data.preparation.listing import Listing
from flam_train.data.preparation.published import Archive
from flam_train.data.preparation.recordings import Recording, as_key
from flam_train.data.shards.schema import Event, Tag
from flam_train.vocabulary import Vocabulary

SPLITS = {  # label file below metadata/, folder below audio/
    "weak": ("train/weak.tsv", "train/weak"),
    "real": ("train/audioset_strong.tsv", "train/strong_label_real"),
    "synthetic": ("train/synthetic21_train/soundscapes.tsv", "train/synthetic21_train/soundscapes"),
    "synthetic-validation": (
        "validation/synthetic21_validation/soundscapes.tsv",
        "validation/synthetic21_validation/soundscapes",
    ),
    "validation": ("validation/validation.tsv", "validation/validation"),
    "public": ("eval/public.tsv", "eval/public"),
}
DOWNLOADS = {  # of Zenodo, whose records state the md5s
    "weak": Archive("https://zenodo.org/records/4639776/files/audioset_metadata.tar.gz", "audioset_metadata.tar.gz"),
    "real": Archive(
        "https://zenodo.org/records/6444477/files/audioset_strong.tsv", f"metadata/{SPLITS['real'][0]}", unpack=None
    ),
    "synthetic": Archive("https://zenodo.org/records/6026841/files/dcase_synth.zip", "dcase_synth.zip"),
    "public": Archive("https://zenodo.org/records/4560759/files/DESED_public_eval.tar.gz", "DESED_public_eval.tar.gz"),
}
DOWNLOADS |= {"validation": DOWNLOADS["weak"], "synthetic-validation": DOWNLOADS["synthetic"]}
ROOTS = (".", "dcase_synth", "DESED_public_eval")
LICENCE = "by file: the attribution in the archive"
_NAME = re.compile(r"Y?([A-Za-z0-9_-]{11})_[0-9.]+_[0-9.]+")


def find_split(folder: Path, split: str) -> tuple[Path, Path] | None:
    """(label file, folder of the audio), None if the label file is not there."""
    labels, audio = SPLITS[split]
    for root in ROOTS:
        path = folder / root / "metadata" / labels
        if path.is_file():
            # The archives may be unpacked side by side: the audio below another root.
            places = [folder / r / "audio" / audio for r in (root, *ROOTS)]
            return path, next((place for place in places if place.is_dir()), places[0])
    return None


def read_strong(path: Path, audio: Path, split: str, vocabulary: Vocabulary) -> list[Recording]:
    """The clips of a strong label file, in its order. Raises ValueError that names the file, the row (1 is the header)
    and the fix."""
    clips: dict[str, tuple[int, list[Event]]] = {}
    for row, (name, onset, offset, label) in read_rows(path, ("filename", "onset", "offset", "event_label")):
        file_name(name, f"{path}: row {row}")
        event = read_event(onset, offset, label, vocabulary, path, row) if onset or offset or label else ()
        clips.setdefault(name, (row, []))[1].extend(event)
    files = sounds(audio)
    return [
        _recording(name, path, row, audio, files, split, events=tuple(events)) for name, (row, events) in clips.items()
    ]


def read_weak(path: Path, audio: Path, split: str, vocabulary: Vocabulary) -> list[Recording]:
    """The clips of weak.tsv with their classes as tags, and with captions made of the phrasings of these: the k-th
    caption has the k-th phrasing of each class."""
    files, out, seen = sounds(audio), [], set()
    for row, (name, cell) in read_rows(path, ("filename", "event_labels")):
        file_name(name, f"{path}: row {row}")
        if name in seen:
            raise fault(str(path), f"{ascii(name)[:60]} has a row before: remove one", row)
        seen.add(name)
        labels = list(dict.fromkeys(known(label, vocabulary, path, row) for label in cell.split(",")))
        captions = tuple(join(said) for said in zip(*(vocabulary.concept(c).phrasings for c in labels), strict=False))
        about = {"details": {"classes": labels}, "tags": tuple(Tag(label) for label in labels)}
        out.append(_recording(name, path, row, audio, files, split, captions=captions, **about))
    return out


def join(said: tuple[str, ...]) -> str:
    """("a", "b", "c") -> "a, b and c"."""
    return " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))


def youtube_id(stem: str) -> str | None:
    """Of Y<id>_<start>_<end> or <id>_<start>_<end>. An id has 11 characters and may begin with Y itself; a soundscape
    (`0`) has none."""
    match = _NAME.fullmatch(stem)
    return match[1] if match else None


def _recording(name: str, path: Path, row: int, audio: Path, files: dict[str, Path], split: str, **labels) -> Recording:
    stem = name.removesuffix(".wav") or name
    video = youtube_id(stem)
    return Recording(
        key=as_key(stem),
        path=files.get(stem, audio / name),
        where=f"{path}: row {row}",
        source=name,
        licence=LICENCE,
        split=split,
        ids=(f"youtube:{video}",) if video else (),
        **labels,
    )


def archives(args: argparse.Namespace) -> list[Archive]:
    """Of all splits those that come with their audio; of one that is asked for, at least its labels."""
    return list(dict.fromkeys(DOWNLOADS[split] for split in args.split or ("synthetic", "public")))


def listings(args: argparse.Namespace) -> dict[str, Listing]:
    vocabulary = Vocabulary.load("desed")
    found = {split: find_split(args.folder, split) for split in args.split or SPLITS}
    lacking = [split for split, at in found.items() if at is None]
    if lacking and (args.split or len(lacking) == len(SPLITS)):
        where = " nor ".join(f"{args.folder / root}/metadata/{SPLITS[lacking[0]][0]}" for root in ROOTS)
        raise ValueError(f"labels of {lacking[0]} are neither {where}: fetch them, or mend the folder")
    out = {}
    for split, at in found.items():
        if at is None:
            continue
        weak = split == "weak"
        recordings = (read_weak if weak else read_strong)(*at, split, vocabulary)
        annotates = [] if weak else concepts(vocabulary, set(vocabulary.classes))
        details = {"maker": "data_prep/desed.py", "split": split}
        details["without_youtube_id"] = sum(not r.ids for r in recordings)
        kind = "captions" if weak else "events"
        out[split] = Listing(f"desed-{split}", recordings, kind, "desed", annotates, details)
    return out


def main(argv: list[str] | None = None) -> None:
    parser = prepare.parser(
        __doc__,
        archives=archives,
        download="the synthetic soundscapes and the public evaluation set (of other --split, the labels)",
    )
    parser.add_argument("--split", nargs="+", choices=tuple(SPLITS), help="[all that are there]")
    prepare.run(parser, listings, argv)


if __name__ == "__main__":
    main()
