"""What lies on a model hub, as `hf://OWNER/NAME`: fetched into the hub's own cache, then read from there.

Which hub, where its cache is, with which token and whether without a network is for the hub's client to know:
HF_ENDPOINT, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HUB = "hf://"

ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(\S+))?")
"""hf://OWNER/NAME or hf://OWNER/NAME@REVISION, a branch, tag or commit."""


def is_hub(path: str | Path) -> bool:
    return str(path).startswith(HUB)


def pinned(path: str, commit: str) -> str:
    """The same repository at this commit, whatever revision `path` names."""
    return f"{path.partition('@')[0]}@{commit}"


def local(path: str | Path, files: Sequence[str]) -> Path:
    """The folder of `path`: itself; of a repository on the hub that of its `files` in the cache.

    files: names that must be there, and patterns ("tokenizer/*") that need not match. What the cache has of the
    revision's commit is not fetched again; where the hub cannot be asked, the commit that it had last is taken. The
    folder's name is the commit. Raises ValueError that names the repository and the fix.
    """
    if not is_hub(path):
        return Path(path)
    found = ADDRESS.fullmatch(str(path))
    if found is None:
        raise ValueError(f"{path}: write {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION")
    repository, revision = found.groups()
    needed = [name for name in files if "*" not in name]
    # The small ones tell what a repository is, before gigabytes of another kind of model are fetched.
    small = [name for name in needed if name.endswith(".json")]
    folder = _fetched(repository, revision, small, silent=True)
    missing = _missing(folder, small)
    if not missing:
        folder = _fetched(repository, folder.name, files, silent=not _missing(folder, needed))
        missing = _missing(folder, needed)
    if missing:
        raise ValueError(
            f"{path} lacks {' and '.join(missing)}: give one that has RUN_FOLDER/export's files at its top"
        )
    return folder


def _missing(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not (folder / name).is_file()]


def _fetched(repository: str, revision: str | None, files: Sequence[str], silent: bool) -> Path:
    """silent: no progress bar, for what takes no time."""
    # Not for those who read folders: the client takes half a second.
    from huggingface_hub import constants, errors, snapshot_download
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options | {"disable": True})

    named = f"{HUB}{repository}" + (f"@{revision}" if revision else "")
    bar: dict[str, Any] = {"tqdm_class": Silent} if silent else {}
    connection: type[Exception] = errors.HfHubHTTPError.__bases__[0]  # what the client's transport raises
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files), **bar))
    except errors.GatedRepoError as error:
        fix = f"accept its conditions on {constants.ENDPOINT}/{repository}, and log in with `hf auth login`"
        raise ValueError(f"{named}: its owner asks for conditions to be accepted: {fix}") from error
    except errors.RepositoryNotFoundError as error:
        fix = "mend the name; if it is a private one, log in with `hf auth login`"
        raise ValueError(f"{named}: no such repository on {constants.ENDPOINT}: {fix}") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{named}: no such revision: name a branch, a tag or a commit of {repository}") from error
    except errors.HFValidationError as error:
        raise ValueError(f"{named}: no name of a repository: {error}") from error
    except errors.LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            fix = "fetch it once without HF_HUB_OFFLINE, or take the cache along (HF_HOME)"
            raise ValueError(f"{named}: not in the cache {constants.HF_HUB_CACHE}, and offline: {fix}") from error
        raise ValueError(_unreached(named, error)) from error
    except connection as error:
        raise ValueError(_unreached(named, error)) from error


def _unreached(named: str, error: Exception) -> str:
    from huggingface_hub import constants

    why = str(error.__cause__ or error).strip().splitlines()[0]
    return (
        f"{named}: {constants.ENDPOINT} cannot be reached, and the cache {constants.HF_HUB_CACHE} has no whole copy "
        f"({why}): try again with a network, or copy the export here and give its folder"
    )
