"""What a recording is called on another machine, in the web or in the storage of an annotation tool."""

from __future__ import annotations

import re
from urllib.parse import unquote

_LOCAL, _UPLOAD = "/data/local-files", "/data/upload/"
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]+)://[^/?#]*|(file):(?=/))(.*)", re.DOTALL | re.IGNORECASE)


def path_of(location: str) -> str:
    """The path of a URL, decoded, without its host or bucket and without what follows `?` or `#`, which a `file:` URL
    does not have. What is no URL is a path as it stands. Folders are parted by `/`."""
    match = _URL.fullmatch(location.strip())
    if match is None:
        return location.replace("\\", "/")
    path = match[3]
    if (match[1] or match[2]).lower() != "file":
        path = re.split("[?#]", path, maxsplit=1)[0]
    return unquote(path).replace("\\", "/").lstrip("/")


def in_label_studio(location: str) -> str:
    """As `path_of`; of Label Studio's local files the path behind `?d=`, of what was uploaded to it the name."""
    match = _URL.fullmatch(location.strip())
    path, _, query = (match[3] if match else location.strip()).partition("?")
    if path.startswith(_LOCAL):
        local = next((p[2:] for p in query.split("&") if p.startswith("d=")), "")
        return unquote(local.partition("#")[0]).replace("\\", "/").lstrip("/")
    if path.startswith(_UPLOAD):
        return unquote(path.partition("#")[0].rpartition("/")[2])
    return path_of(location)


def joined(folder: str, name: str) -> str:
    """The path of a file in a folder, each as any system writes it; "" and "." are no folder."""
    folder, name = (text.strip().replace("\\", "/") for text in (folder, name))
    return f"{folder.rstrip('/')}/{name}" if folder not in ("", ".") else name


def as_uploaded(name: str) -> str:
    """A file's name as web servers keep it: spaces become `_`, and other signs than letters, digits and `-_.` go."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
