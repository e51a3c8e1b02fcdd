"""The rows of label files given to the recordings they name."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations

from flam_train.data.labels.attached import Attached
from flam_train.data.labels.matching import Names, parts_of, without_suffix
from flam_train.data.labels.rows import ABOUT, Caption, Labels, Named, Row, fault


def speaks_of_itself(read: Labels) -> bool:
    """Whether anything in it is about the recording that the file is called like; so it is of an empty file."""
    every: list[Row | Named | Caption] = [
        *read.rows,
        *read.without,
        *read.captions,
        *read.unknown,
        *read.tags,
        *read.unheard,
    ]
    return not every or any(r.recording is None for r in every)


class Giving:
    """Each row to its recording."""

    def __init__(self, out: Attached, names: Names, beside: bool = False) -> None:
        """`beside`: label files lie beside the recordings that they are called like."""
        self.out, self.names, self.beside = out, names, beside
        self._called: dict[int, str] = {}
        self._speaking: dict[int, list[str]] = defaultdict(list)
        self._said: dict[tuple[int, str], set[str]] = defaultdict(set)

    def give(self, read: Labels, file: str, own: int | None, inside: str | None, called: str = "") -> None:
        """`own`: the recording that rows without a name are of; `inside`: the folder of the file among those of the
        recordings; `called`: the path of the recording that it is called like, below the folder of label files."""
        recordings = self.out.recordings
        found: dict[str, int | None] = {}
        unknown: Counter[str] = Counter()
        first: tuple[str, int] | None = None
        every: list[Row | Named | Caption] = [*read.rows, *read.without, *read.captions, *read.unknown, *read.tags]
        first_tag = len(every) - len(read.tags)
        empty = not every and not read.unheard  # then the file says that there is no event
        spoken = {own} if empty and own is not None else set()
        unheard = {r.recording for r in read.unheard}
        for number, r in enumerate(every):
            n = own
            if r.recording is not None:
                if r.recording not in found:
                    found[r.recording] = self._find(r.recording, read, file, r.row, own, inside, called)
                n = found[r.recording]
            if n is None:
                assert r.recording is not None
                unknown[r.recording] += 1
                first = first or (r.recording, r.row)
                continue
            if isinstance(r, Row):
                to = recordings[n]
                at = to.rows if number < len(read.rows) else to.unknown if number < first_tag else to.tags
                at.append((file, r, read.unit))
            if isinstance(r, Caption):
                recordings[n].captions.append(r.text)
            elif r.recording not in unheard:
                spoken.add(n)
        if first is not None:
            more = f" (and {unknown.total() - 1} more rows, {len(unknown)} names)" if unknown.total() > 1 else ""
            raise fault(
                file,
                f"{first[0]!r} is not in the folder{more}, {self.names.nearest(first[0])}: add it, mend the name, or "
                "remove its rows",
                first[1],
                read.unit,
            )
        for r in read.unheard:
            n = own if r.recording is None else self._find(r.recording, read, file, r.row, own, inside, called)
            if n is not None:
                recordings[n].unheard = True
        for said in read.about:
            n = own if said.recording is None else found.get(said.recording)
            if n is not None:
                self._said[n, said.field].add(said.text)
        for n in spoken:
            recordings[n].spoken = True
            self._speaking[n].append(file)

    def _find(
        self, name: str, read: Labels, file: str, row: int, own: int | None, inside: str | None, called: str
    ) -> int | None:
        aliases = read.aliases.get(name, ())
        for known in (self._in_full(name, called), *aliases):
            n = self.names.find(known, file, row or None, read.unit, inside)
            n = self.names.uploaded(known) if n is None and read.uploaded and known in aliases else n
            if n is not None:
                self._one_recording(n, name, file, row, read.unit)
                return n
        # A path of the machine where it was labelled: the name says whose it is if the file lies beside one of it.
        if not self.beside:
            return None
        last = (parts_of(name) or ("",))[-1]
        same = own is not None and without_suffix(last) == without_suffix(parts_of(self.out.recordings[own].name)[-1])
        return own if same else None

    @staticmethod
    def _in_full(name: str, called: str) -> str:
        """A bare name with the folder of the label file, if that is called like it: its path is the recording's."""
        folder, slash, own = called.rpartition("/")
        bare = parts_of(without_suffix(name.strip())) == parts_of(own)
        return f"{folder}{slash}{name.strip()}" if bare else name

    def _one_recording(self, n: int, name: str, file: str, row: int, unit: str) -> None:
        """ValueError if one recording is called by two paths of which neither ends with the other: two recordings
        are meant, and only one of them is there."""
        before, now = (parts_of(without_suffix(text)) for text in (self._called.setdefault(n, name), name))
        shorter = min(len(before), len(now))
        if before[-shorter:] != now[-shorter:]:
            raise fault(
                file,
                f"{name!r} and {self._called[n]!r} would both be {self.out.recordings[n].name}: give the "
                "folder above both, or remove the rows of the other",
                row,
                unit,
            )

    def conclude(self) -> None:
        """What files say together: which of them speak of the same recordings, and what is said of each."""
        for files in self._speaking.values():
            self.out.shared.update(combinations(dict.fromkeys(files), 2))
        for (n, what), texts in self._said.items():
            r = self.out.recordings[n]
            if len(texts) == 1:
                r.about[what] = next(iter(texts))
            elif what in ABOUT:
                self.out.differing[what].append(r.name)
            else:
                listed = ", ".join(sorted(texts)[:4])
                raise ValueError(f"{r.name}: its rows say several things in column {what!r} ({listed}): mend them")
