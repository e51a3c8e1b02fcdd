"""Published files: where they lie, and the checksums that are stated of them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRIES, PAUSE = 8, 2.0
"""Attempts without any progress before giving up, and seconds between them."""

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

BLOCK = 1 << 20

HUB = "https://huggingface.co"
GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Archive:
    """A published file: where it lies, its name, its checksum, and how it is unpacked.

    name      below the folder it is fetched into; may have folders of its own ("/")
    checksum  "md5:", "sha256:" or "git:" (the id of a blob) and the hexadecimal value as published. None: the server is
              asked, as `stated` does
    unpack    "python": a zip or a tar; "7-zip": a 7z, or the last part of a zip in several (.z01, ..., .zip), through
              the program; None: not at all. Beside the archive
    """

    url: str
    name: str
    checksum: str | None = None
    unpack: str | None = "python"


def github(repository: str, commit: str, files: Mapping[str, str]) -> list[Archive]:
    """Files of a commit: {path: id of its blob}, which is git's own checksum of it."""
    at = f"{GITHUB}/{repository}/{commit}"
    return [Archive(f"{at}/{path}", path, f"git:{blob}", None) for path, blob in files.items()]


def hub(dataset: str, wanted: Sequence[str], unpack: str | None = None) -> list[Archive]:
    """Files of a dataset on the Hugging Face hub, with the checksums that it lists.

    wanted  how their paths begin
    unpack  how those that end in .zip are
    Raises ValueError that names the address and the fix, when the hub cannot be asked or has no such files.
    """
    listing = f"{HUB}/api/datasets/{dataset}/tree/main?recursive=true"
    page: str | None = listing
    files: dict[str, str] = {}
    while page:
        answer, headers = _ask(page)
        try:
            for entry in json.loads(answer):
                if entry["type"] == "file":
                    lfs = entry.get("lfs")
                    files[entry["path"]] = f"sha256:{lfs['oid']}" if lfs else f"git:{entry['oid']}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{page}: not the list of files that was expected: {BY_HAND}") from error
        following = re.search(r'<([^>]+)>; *rel="next"', headers.get("Link") or "")
        page = following[1] if following else None
    out = []
    for beginning in wanted:
        paths = [path for path in files if path.startswith(beginning)]
        if not paths:
            raise ValueError(f"{listing}: no file there begins with {beginning!r}: {BY_HAND}")
        for path in sorted(paths, key=_last_part_last):
            url = f"{HUB}/datasets/{dataset}/resolve/main/{urllib.parse.quote(path)}"
            out.append(Archive(url, path, files[path], unpack if path.endswith(".zip") else None))
    return out


BY_HAND = "download by hand, and run without --download"


def _last_part_last(path: str) -> tuple[str, bool, str]:
    """Sorts the last part of a zip, which is the one that is unpacked, behind its others."""
    stem, _, suffix = path.rpartition(".")
    return stem, suffix == "zip", suffix


def stated(url: str) -> str:
    """The checksum that a server states: Zenodo in the record's list of files, Google's storage in a header.

    Raises ValueError that names the address and the fix.
    """
    record = re.fullmatch(r"(https?://[^/]+)/records/([0-9]+)/files/([^/?]+)(?:\?.*)?", url)
    if record is None:
        _, headers = _ask(url, "HEAD")
        # "crc32c=...,md5=..." in one line or in two, each in base64
        found = re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", ",".join(headers.get_all("x-goog-hash") or ()))
        if found is None:
            raise ValueError(f"{url}: the server states no md5: {BY_HAND}")
        return f"md5:{base64.b64decode(found[1]).hex()}"
    host, number, name = record[1], record[2], urllib.parse.unquote(record[3])
    about = f"{host}/api/records/{number}"
    answer, _ = _ask(about)
    try:
        checksum: Any = {file["key"]: file["checksum"] for file in json.loads(answer)["files"]}.get(name)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about}: not the list of files that was expected: {BY_HAND}") from error
    if not isinstance(checksum, str) or not re.fullmatch("md5:[0-9a-f]{32}", checksum):
        raise ValueError(f"{about}: states no md5 of {name}: {BY_HAND}")
    return checksum


def _ask(url: str, method: str = "GET") -> tuple[bytes, http.client.HTTPMessage]:
    """(body, headers), after as many attempts as it takes. Raises ValueError that names the address and the fix."""
    for attempt in range(1, TRIES + 1):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=TIMEOUT) as answer:
                return answer.read(), answer.headers
        except (OSError, http.client.HTTPException) as error:
            if is_final(error) or attempt == TRIES:
                raise ValueError(f"{url}: cannot be asked ({error}): run it again later, or {BY_HAND}") from error
        time.sleep(PAUSE)
    raise AssertionError


def is_final(error: Exception) -> bool:
    """Whether asking again cannot help."""
    return isinstance(error, urllib.error.HTTPError) and error.code not in (408, 429) and error.code < 500


def checksum_of(path: Path, like: str) -> str:
    """Of a file, in the form of another one."""
    kind = like.partition(":")[0]
    with path.open("rb") as file:
        if kind != "git":
            return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
        while block := file.read(BLOCK):
            digest.update(block)
        return f"git:{digest.hexdigest()}"
