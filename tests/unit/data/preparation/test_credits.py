"""Whose recordings a corpus holds, and under which licences: in its manifest, of parts too."""

from __future__ import annotations

from dataclasses import replace

from recording_files import tone

from flam_train.data.preparation import credits as credits_of
from flam_train.data.preparation.listing import Listing, Options, prepare
from flam_train.data.preparation.merging import merge
from flam_train.data.preparation.recordings import Recording
from flam_train.data.shards.corpus import Corpus


def test_a_manifest_names_licences_and_authors(tmp_path):
    made = [
        Recording(f"r{n}", tone(tmp_path / "in" / f"{n}.wav", 0.2), f"row {n}", captions=("a tone",), licence=licence,
                  details={"author": author} if author else {})
        for n, (licence, author) in enumerate([("CC0", "Ann"), ("CC BY 4.0", "Bob"), ("CC0", "Bob"), ("", "")])
    ]  # fmt: skip
    gone = replace(made[0], key="gone", path=tmp_path / "gone.wav", licence="lost")
    listing = Listing("toy", [*made, gone], "captions")
    options = Options(processes=1, most_missing=0.3, show=False)
    details = Corpus(prepare(listing, tmp_path / "one", options)).manifest["details"]
    assert details["licences"] == {"CC0": 2, "CC BY 4.0": 1}
    assert details["authors"] == {"Bob": 2, "Ann": 1}
    for i in (1, 2):
        prepare(listing, tmp_path / "parts", replace(options, part=(i, 2), most_missing=1.0))
    joined = Corpus(merge(tmp_path / "parts")).manifest["details"]
    assert (joined["licences"], joined["authors"]) == (details["licences"], details["authors"])


def test_of_many_authors_those_of_the_most_recordings(monkeypatch):
    monkeypatch.setattr(credits_of, "MOST", 2)
    parts = [{"authors": {"Ann": 1, "Bob": 2}}, {"authors": {"Ann": 2, "Cy": 1}}, {}]
    assert credits_of.joined(parts) == {"authors": {"Ann": 3, "Bob": 2}, "more_authors": 1}
    assert credits_of.credits([]) == {}
