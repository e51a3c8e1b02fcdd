"""Recordings and label files of one's own, prepared by data_prep/custom.py in this process."""

from __future__ import annotations

from pathlib import Path

import custom
from recording_files import tone

from flam_train.data.shards.corpus import Corpus


class Run:
    """Recordings of 8 s in a folder, prepared."""

    def __init__(self, tmp_path: Path, capsys) -> None:
        self.folder, self.at, self.capsys, self.runs = tmp_path / "in", tmp_path, capsys, 0

    def recordings(self, *names: str, seconds: float = 8.0) -> None:
        for name in names:
            tone(self.folder / name, seconds, 8000)

    def write(self, name: str, text: str) -> Path:
        path = self.at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(self, *options: object, code: int = 0, out: Path | None = None) -> str:
        """The report, or the error."""
        self.runs += 1
        self.out = out or self.at / f"out{self.runs}"
        args = [self.folder, self.out, "--quiet", "--processes", 1, "--test-share", 0, *options]
        try:
            custom.main([str(a) for a in args])
            rc = 0
        except SystemExit as stopped:
            rc = int(stopped.code or 0)
        io = self.capsys.readouterr()
        assert rc == code, io.out + io.err
        assert "Traceback" not in io.err
        return io.out if code == 0 else io.err

    @property
    def events(self) -> dict[str, list[tuple]]:
        corpus = Corpus(self.out / "train")
        records = [corpus.record(i) for i in range(len(corpus))]
        return {r.key: [(round(e.onset, 6), round(e.offset, 6), e.label) for e in r.events] for r in records}
