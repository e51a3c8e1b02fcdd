"""The result folder: what came of each recording, kept until something that it depends on changes.

PLACE.*             the results of a recording; PLACE is `recordings.Recording.place`
.done/PLACE.json    finger print, outcome with all events, names and sizes of those files: written last
settings.json       what all of them were made with
Beside them lies what is made of all recordings (`summary.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from flam_train import __version__
from flam_train.data.labels.detected import DONE, SETTINGS
from flam_train.data.shards.tars import replace_with
from flam_train.data.sound.reading import NO_LOCKS
from flam_train.detection.drafts import writing
from flam_train.detection.events import Detection
from flam_train.detection.recordings import Recording
from flam_train.disk import locked

EACH = "each"
"""Of channels: all of them, one by one."""

FORMAT = 2
"""Of what lies in DONE: one more where a name changes its meaning."""

Write = Callable[[BinaryIO], Any]


class Dead(NamedTuple):
    """A span in which nothing sounds, in s of the recording; channel as of an event."""

    onset: float
    offset: float
    channel: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a recording.

    status    "done", or "failed" for a `reason`
    seconds   in the file; rate: of the file, in Hz; 0 if it is not known
    start     where what was analysed begins, in seconds of the recording; analysed: how many they are
    dead      spans in which nothing sounds, each channel's after those of the one before
    begin     the date and time at which the recording begins, in ISO 8601; "" if it is not known
    zone      the name of its zone, where an offset does not say all of it: Europe/Berlin
    notes     what there is to say of it, a sentence each
    channels  those that were looked at one by one; empty where they were not
    """

    status: str
    reason: str = ""
    seconds: float = math.nan
    rate: int = 0
    start: float = 0.0
    analysed: float = 0.0
    dead: tuple[Dead, ...] = ()
    begin: str = ""
    zone: str = ""
    notes: tuple[str, ...] = ()
    events: tuple[Detection, ...] = ()
    channels: tuple[int, ...] = ()


class Results:
    """A result folder under some settings.

    export   sha256 of the weights
    audio    plain data that frames depend on besides the export and the file: channel, part, precision
    options  plain data that the other results depend on: thresholds, rules, formats
    """

    def __init__(
        self,
        folder: Path | str,
        export: str,
        phrases: Sequence[str],
        audio: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self.folder = Path(folder)
        self.phrases = tuple(phrases)
        self._about = _plain(
            {
                "format": FORMAT, "version": __version__, "export": export, "phrases": list(phrases),
                "audio": dict(audio), "options": dict(options),
            }
        )  # fmt: skip

    @property
    def by_channel(self) -> bool:
        """Whether channels are looked at one by one."""
        return self._about["audio"].get("channel") == EACH

    @contextmanager
    def held(self, part: tuple[int, int] = (1, 1), recordings: Sequence[Recording] = ()) -> Iterator[None]:
        """This process alone writes here, or it and those of the other parts. Removes what dead ones have left half
        written (`drafts.writing`), and writes the settings.

        Raises ValueError that names the folder if another process does the same work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number, count = part
        locks = [(self.folder / ".lock", count > 1)]
        locks += [(self.folder / f".lock-{number}-of-{count}", False)] if count > 1 else []
        with ExitStack() as stack:
            for path, shared in locks:
                if not _lock(stack, path, shared):
                    which = f"part {number}/{count} of this" if path != locks[0][0] else "this"
                    raise ValueError(
                        f"{self.folder}: another process does {which}: wait for its end, or give another --out"
                    )
            stack.enter_context(writing(self.folder, recordings))
            text = json.dumps(self._about, indent=2, allow_nan=False) + "\n"
            replace_with(self.folder / SETTINGS, lambda file: file.write(text.encode()))
            yield

    def file(self, recording: Recording, ending: str) -> Path:
        """Where a result of a recording is."""
        return self.folder / (recording.place + ending)

    def finger_print(self, recording: Recording) -> dict[str, Any]:
        """What results of a recording depend on: to be taken before it is read. Plain data."""
        try:
            about = recording.path.stat()
            file = {"size": about.st_size, "mtime_ns": about.st_mtime_ns}
        except OSError:  # reading it tells why
            file = {}
        return self._about | {"file": file}

    def frames_bound(self, recording: Recording) -> dict[str, Any]:
        """What kept frames depend on (`kept.Keeping`)."""
        return {name: self.finger_print(recording)[name] for name in ("export", "audio", "file")}

    def put(
        self,
        recording: Recording,
        finger_print: Mapping[str, Any],
        outcome: Outcome,
        files: Mapping[str, Write] | None = None,
    ) -> None:
        """Writes what came of a recording: each file whole, the status last, so that whatever stops this, what is not
        finished is not taken for done. files: by their endings; those of an older outcome that are not among them go.
        """
        path = self._done(recording)
        for folder in {path.parent, self.file(recording, "").parent}:
            folder.mkdir(parents=True, exist_ok=True)
        files = files or {}
        older = _read(path)
        path.unlink(missing_ok=True)
        for ending in set(older.get("files", {})) - set(files):
            self.file(recording, ending).unlink(missing_ok=True)
        sizes = {}
        for ending, write in files.items():
            replace_with(self.file(recording, ending), write)
            sizes[ending] = self.file(recording, ending).stat().st_size
        status = {"finger_print": dict(finger_print), "files": sizes, "outcome": _plain(asdict(outcome))}
        text = json.dumps(status, allow_nan=False) + "\n"
        replace_with(path, lambda file: file.write(text.encode()))

    def outcome(self, recording: Recording) -> Outcome | None:
        """What came of a recording under these very settings; None if that is not known, or a file of it has gone."""
        status = _read(self._done(recording))
        if status.get("finger_print") != self.finger_print(recording):
            return None
        for ending, size in status["files"].items():
            path = self.file(recording, ending)
            if not path.is_file() or path.stat().st_size != size:
                return None
        return _outcome(status["outcome"])

    def to_do(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Those that are not done: failed ones are tried again."""
        outcomes = ((recording, self.outcome(recording)) for recording in recordings)
        return [recording for recording, outcome in outcomes if outcome is None or outcome.status != "done"]

    @contextmanager
    def joining(self) -> Iterator[None]:
        """One process at a time makes what is made of all recordings: what another part has put is read, or that part
        writes after this one."""
        with ExitStack() as stack:
            _lock(stack, self.folder / ".lock-all", wait=True)
            yield

    def _done(self, recording: Recording) -> Path:
        return self.folder / DONE / f"{recording.place}.json"


def _lock(stack: ExitStack, path: Path, shared: bool = False, wait: bool = False) -> bool:
    """Whether it is held until the stack ends; on file systems without locks it seems so."""
    try:
        return stack.enter_context(locked(path, wait, shared))
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return True


def _read(path: Path) -> dict[str, Any]:
    """{} where there is none, or it is damaged: then the recording is done again."""
    try:
        status = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def _outcome(data: dict[str, Any]) -> Outcome:
    seconds = math.nan if data["seconds"] is None else data["seconds"]
    events = (
        Detection(**event | {"peak": math.nan if event["peak"] is None else event["peak"]}) for event in data["events"]
    )
    dead = tuple(Dead(*span) for span in data["dead"])
    plain = {name: tuple(data[name]) for name in ("notes", "channels")}
    return Outcome(**data | plain | {"seconds": seconds, "dead": dead, "events": tuple(events)})


def _plain(data: Any) -> Any:
    """As JSON gives it back: lists, and None for what is no number."""
    if isinstance(data, Mapping):
        return {str(name): _plain(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data if isinstance(data, (str, int, float, bool, type(None))) else str(data)
