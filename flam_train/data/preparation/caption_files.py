"""Reading the label files of captioned corpora: tables and JSON in which every fault is told by file and row."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flam_train.data.preparation.recordings import as_key

LONGEST_NAME = 255
"""Bytes of a file name that file systems take."""

LEFT_OUT = "left_out.tsv"
"""Beside the shards: what a script left out on purpose, with the reason."""


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of `names` (paths below the folder) that is there. Raises ValueError that says where it was sought."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder}: {what} is not there, neither as {' nor as '.join(names)}: fetch it, or mend the path")


def read_table(path: Path, columns: Sequence[str], encoding: str = "utf-8") -> Iterator[tuple[str, dict[str, str]]]:
    """(where, fields) of each row of a comma-separated file with a header; fields are left as they are.

    The header must hold `columns`, in any order; further ones are given too. Lines end in LF or CRLF, a byte order mark
    and empty lines are passed over. `where` names the file and the line on which the row begins (1 is the header).
    Raises ValueError with the same.
    """
    at = 0

    def lines() -> Iterator[str]:
        nonlocal at
        with open(path, "rb") as file:
            for n, raw in enumerate(file, 1):
                try:
                    line = raw.decode(encoding)
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{path}: row {n}: not {encoding} ({error.reason}): save it as {encoding}"
                    ) from error
                at = n
                yield line.removeprefix("\ufeff") if n == 1 else line

    rows, first = csv.reader(lines(), strict=True), 1
    header: list[str] | None = None
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise ValueError(f"{path}: row {first}: not CSV ({error}): mend the quotes of the row") from error
        where, first = f"{path}: row {first}", at + 1
        if row is None:
            break
        if not row:
            continue
        if header is None:
            header = row
            lacking = [name for name in columns if name not in header]
            if lacking:
                raise ValueError(f"{where}: no column {lacking[0]!r}: the header must have {','.join(columns)}")
            continue
        if len(row) != len(header):
            raise ValueError(f"{where}: {len(row)} fields, the header has {len(header)}: mend or remove the row")
        yield where, dict(zip(header, row, strict=True))
    if header is None:
        raise ValueError(f"{path}: row 1: empty: fetch the file again")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ValueError that names the file and the line."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}): fetch it, or mend the path") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: row {error.lineno}: not JSON ({error.msg}): fetch the file again") from error
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}: row {row}: not UTF-8 ({error.reason}): fetch the file again") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise ValueError(f"{path}: row 1: not JSON that can be read ({error}): fetch the file again") from error


def text_of(entry: Any, name: str, where: str, default: str | None = None) -> str:
    """A string of a JSON object, white space at its ends removed. A field that is not there or null is `default`.

    Raises ValueError if it is no string, or if it is not there and there is no default.
    """
    value = entry.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name!r} is {_shown(value)}, not a string: mend or remove the entry")
    return encodable(value, where).strip()


def object_of(entry: Any, where: str) -> dict[str, Any]:
    """The entry itself, if it is a JSON object."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: {_shown(entry)} is not an object: mend or remove the entry")
    return entry


def encodable(text: str, where: str) -> str:
    """The text itself, if UTF-8 can write it: JSON may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: {_shown(text)} has half a character (\\ud800 to \\udfff): mend it") from error
    return text


def file_name(name: str, where: str) -> str:
    """The name itself, if it can be that of a file. White space at its ends belongs to it."""
    if not name.strip() or name in (".", "..") or any(c in "/\\" or ord(c) < 32 for c in name):
        raise ValueError(f"{where}: {_shown(name)} is not the name of a file: mend or remove the row")
    if len(encodable(name, where).encode()) > LONGEST_NAME:
        raise ValueError(f"{where}: a file name of more than {LONGEST_NAME} bytes ({name[:40]!r}...): mend the row")
    return name


def unique_keys(names: Iterable[str]) -> dict[str, str]:
    """{name: key}: `as_key`, with a `short_hash` behind it where several names would have the same key."""
    keys = {name: as_key(name) for name in names}
    shared = Counter(keys.values())
    return {name: key if shared[key] == 1 else f"{key}-{short_hash(name)}" for name, key in keys.items()}


def short_hash(name: str) -> str:
    """Eight digits."""
    return hashlib.blake2b(name.encode(), digest_size=4).hexdigest()


def left_out_table(rows: Iterable[tuple[str, str]]) -> str:
    """The text of LEFT_OUT: (name, reason), sorted."""
    lines = sorted("\t".join(" ".join(field.split()) for field in row) for row in rows)
    return "\n".join(["name\treason", *lines]) + "\n"


def left_out_line(corpus: str, rows: Sequence[tuple[str, str]], of: int) -> str:
    """One line for the screen: how many recordings were left out, and why."""
    reasons = Counter(reason for _, reason in rows)
    why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items())) or "none"
    return f"{corpus}: left out {len(rows):,} of {of:,} recordings ({why})"


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
