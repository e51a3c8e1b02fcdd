"""Tables from results, beside published numbers, and requirements."""

import csv
import io
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flam_train.evaluation.formats import latex, markdown, to_csv
from flam_train.evaluation.requirements import check
from flam_train.evaluation.result import Result
from flam_train.evaluation.table import paper_tables, result_tables

ROOT = Path(__file__).resolve().parents[2]
PSDS1 = "PSDS1[dtc=0.7,gtc=0.7,cttc=none,alpha_ct=0,alpha_st=1,max_efpr=100]"


def result(protocol="sed/trained", dataset="urbansed", metrics=None, spread=None, **changes):
    fields = {
        "protocol": protocol,
        "dataset": dataset,
        "split": "test",
        "vocabulary": "urbansed",
        "parameters": {"method": "unbiased"},
        "metrics": metrics or {"auroc/macro": 0.9372, PSDS1: 0.2952, "event_f1/macro": math.nan},
        "spread": spread or {},
        "clips_expected": 10,
        "clips_evaluated": 10,
        "missing": {},
        "model": {"sha256": "abcdef0123456789", "folder": "runs/first"},
        "data": {"sha256": "0" * 64},
        "date": "2026-01-01T00:00:00+00:00",
    }
    return Result(**{**fields, **changes})


RETRIEVAL = {
    "text_to_audio/R@1": 0.25,
    "text_to_audio/R@5": 0.5,
    "text_to_audio/chance R@1": 0.05,
    "text_to_audio/R@1 over chance": 5.0,
}


def test_rows_and_spread():
    held_out = result("sed/held_out", metrics={"auroc/macro": 0.9}, spread={"auroc/macro": 0.0123}, clips_evaluated=9)
    sed, retrieval = result_tables([result(), held_out, result("retrieval", metrics=RETRIEVAL)])
    assert sed.columns == ["model", "set", "protocol", "clips", "AUROC macro", "PSDS1"]
    assert sed.rows[0] == ["first abcdef01", "urbansed test", "trained, unbiased", "10", "0.937", "0.295"]
    assert sed.rows[1] == ["first abcdef01", "urbansed test", "held-out, unbiased", "9 of 10", "0.900 ± 0.012", ""]
    assert "PSDS1: dtc=0.7, gtc=0.7, cttc=none, alpha_ct=0, alpha_st=1, max_efpr=100" in sed.notes
    assert retrieval.rows[0][4:] == ["25.0", "50.0", "5.0"]


def test_formats():
    tables = result_tables([result(model={"sha256": "1", "name": "50%_a|b & c"})])
    lines = markdown(tables).splitlines()
    assert lines[2].count("|") == lines[3].count("|") == 7
    assert "50%_a\\|b & c 1" in lines[4]
    assert r"50\%\_a|b \& c 1 & urbansed test" in latex(tables)
    rows = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert [r["value"] for r in rows if r["column"] == "PSDS1"] == ["0.295"]


def test_published_cells_are_complete():
    """Each table of the file has all its cells, and the doubtful one its note."""
    tables = paper_tables(ROOT / "eval" / "paper_table.yaml", [])
    main = tables[0]
    assert len(main.columns) == 13
    assert [row[0] for row in main.rows] == ["FLAM-Global", "FLAM", "MGA-CLAP", "OpenFLAM"]
    assert all(cell for row in main.rows for cell in row)
    assert main.rows[1][2:] == [
        "4.4 / 15.2", "3.9 / 13.9", "13.8 / 33.2", "16.7 / 42.2", "32.1 / 64.8", "43.3 / 75.0", "91.0 (a)", "11.16",
        "94.76", "29.52", "93.62",
    ]  # fmt: skip
    assert any(note.startswith("a: ") and "81.23" in note for note in main.notes)


def test_ours_beside_the_paper():
    older = result(metrics={"auroc/macro": 0.1}, date="2025-01-01T00:00:00+00:00")
    results = [result(dataset="Urban-SED"), older, result("retrieval", "clotho", RETRIEVAL), result("sed/held_out")]
    main = paper_tables(ROOT / "eval" / "paper_table.yaml", results)[0]
    ours = dict(zip(main.columns, main.rows[-1], strict=True))
    assert ours["model"] == "first abcdef01"
    assert ours["UrbanSED PSDS"] == "29.52"
    assert ours["UrbanSED ROC"] == "93.72"
    assert ours["Clotho T2A"] == "25.00 / 50.00"
    assert ours["Clotho A2T"] == ours["AudioSet-S PSDS"] == ""


def test_broken_published_file(tmp_path):
    raw = yaml.safe_load((ROOT / "eval" / "paper_table.yaml").read_text())
    raw["tables"][0]["rows"][1]["cells"].pop()
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(ValueError, match=r"paper.yaml: .* row 'FLAM': needs 11 cells"):
        paper_tables(tmp_path / "paper.yaml", [])


def test_requirements():
    results = [result(), result("retrieval", metrics=RETRIEVAL)]
    (reached,) = check(results, "sed/trained", "PSDS1", "0.29")
    assert reached.reached
    assert str(reached).startswith("reached  sed/trained PSDS1: 0.2952, required 0.29")
    assert check(results, "retrieval", "text_to_audio/R@1", "5xchance")[0].reached
    assert not check(results, "retrieval", "text_to_audio/R@1", "5.1 x CHANCE")[0].reached
    for protocol, metric in (
        ("sed/held_out", "auroc/macro"),
        ("sed/trained", "auroc/micro"),
        ("sed/trained", "event_f1/macro"),
    ):
        (missed,) = check(results, protocol, metric, "0")
        assert not missed.reached
        assert "not measured" in str(missed)
    with pytest.raises(ValueError, match="5xchance"):
        check(results, "retrieval", "text_to_audio/R@1", "much")


def test_script(tmp_path):
    result().write(tmp_path / "results")

    def run(*arguments):
        command = [sys.executable, str(ROOT / "eval" / "table.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run(
        tmp_path / "results",
        "--out",
        tmp_path / "new" / "table",
        "--paper",
        "--require",
        "sed/trained",
        "auroc/macro",
        "0.9",
    )
    assert good.returncode == 0, good.stderr
    assert "reached  sed/trained auroc/macro: 0.9372" in good.stdout
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["table.csv", "table.md", "table.tex"]
    assert "29.52" in (tmp_path / "new" / "table.md").read_text()
    missed = run(tmp_path / "results", "--require", "sed/trained", "auroc/macro", "0.99")
    assert missed.returncode == 1
    assert "MISSED" in missed.stdout
    wrong = run(tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr
