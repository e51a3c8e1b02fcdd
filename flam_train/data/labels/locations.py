"""What a recording is called in the web or in the storage of an annotation tool."""

from __future__ import annotations

import re
from urllib.parse import unquote

_OF_LABEL_STUDIO = ("/data/local-files", "/data/upload/")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(.*)", re.DOTALL)


def path_of(location: str) -> str:
    """The path of a URL, decoded, without its host or bucket and without what follows `?` or `#`; of Label Studio's
    local files the path behind `?d=`, of what was uploaded to it the name. What is no URL is a path as it stands."""
    location = location.strip()
    if match := _URL.fullmatch(location):
        location = match[1]
    elif not location.startswith(_OF_LABEL_STUDIO):
        return location.replace("\\", "/")
    path, _, query = location.partition("?")
    if path.startswith("/data/local-files"):
        path = next((p[2:] for p in query.split("&") if p.startswith("d=")), "")
    elif path.startswith("/data/upload/"):
        path = path.rpartition("/")[2]
    return unquote(path.partition("#")[0]).replace("\\", "/").lstrip("/")
