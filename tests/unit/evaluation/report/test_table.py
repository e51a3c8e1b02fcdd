"""Tables from results, beside published numbers, and requirements."""

import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest
import yaml
from checkout import ROOT
from in_process import script
from PIL import Image

from flam_train.evaluation.report.formats import latex, markdown, to_csv
from flam_train.evaluation.report.html import to_html
from flam_train.evaluation.report.published import paper_tables
from flam_train.evaluation.report.requirements import check
from flam_train.evaluation.report.table import Table, result_tables
from flam_train.evaluation.result import Result

PAPER = ROOT / "eval" / "paper_table.yaml"
PSDS1 = "PSDS1[dtc=0.7,gtc=0.7,cttc=none,alpha_ct=0,alpha_st=1,max_efpr=100]"


def result(protocol="sed/trained", dataset="urbansed", metrics=None, spread=None, **changes):
    fields = {
        "protocol": protocol,
        "dataset": dataset,
        "split": "test",
        "vocabulary": "urbansed",
        "parameters": {"method": "unbiased", "protocol": dataset},
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
    assert [(r["value"], r["note"]) for r in rows if r["column"] == "PSDS1"] == [("0.295", "")]


def test_footnotes_in_every_format():
    table = Table(
        "T", ["model", "x"], [["<b>", "1.0"], ["ours", "0.5"], ["apart", "-0.50"]], ("general",),
        ("published", "ours", "difference"), {"a": "50% <doubt>", "1": "clips"}, {(0, 1): "a", (1, 1): "1"},
    )  # fmt: skip
    assert markdown([table]).splitlines()[4:] == [
        "| \\<b> | 1.0 (a) |", "| ours | 0.5 (1) |", "| apart | -0.50 |", "", "- (a) 50% \\<doubt>", "- (1) clips",
        "- general",
    ]  # fmt: skip
    lines = latex([table]).splitlines()
    assert r"\textless{}b\textgreater{} & 1.0\textsuperscript{a} \\" in lines
    assert lines[lines.index(r"ours & 0.5\textsuperscript{1} \\") - 1] == r"\midrule"
    assert r"apart & $-$0.50 \\" in lines
    assert r"\par \textsuperscript{a} 50\% \textless{}doubt\textgreater{}" in lines
    rows = list(csv.DictReader(io.StringIO(to_csv([table]))))
    assert [(r["value"], r["note"]) for r in rows] == [("1.0", "50% <doubt>"), ("0.5", "clips"), ("-0.50", "")]


def test_published_cells_are_complete():
    """Each table of the file has all its cells and their sources, and the doubtful one its note."""
    tables = paper_tables(PAPER, [])
    main = tables[0]
    assert len(main.columns) == 13
    assert [row[0] for row in main.rows] == ["FLAM-Global", "FLAM", "MGA-CLAP", "OpenFLAM"]
    assert all(cell for row in main.rows for cell in row)
    assert main.rows[1][2:] == [
        "4.4 / 15.2", "3.9 / 13.9", "13.8 / 33.2", "16.7 / 42.2", "32.1 / 64.8", "43.3 / 75.0", "91.0", "11.16",
        "94.76", "29.52", "93.62",
    ]  # fmt: skip
    assert main.printed()[1][8] == "91.0 (a)"
    assert "81.23" in main.footnotes["a"]
    assert {row[1] for row in main.rows} == {"O"}
    assert main.notes[-1] == "O: OpenFLAM's release: README and result files"
    assert tables[1].printed()[1][3] == "81.23 (a)"
    for table in tables:
        assert set(table.kinds) == {"published"}
        assert {note.split(":")[0] for note in table.notes} >= {row[1] for row in table.rows}


def row_of(table, name, n=0):
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.printed() if row[0] == name]
    return rows[n] if rows else None


def test_ours_beside_the_paper():
    older = result(metrics={"auroc/macro": 0.1}, date="2025-01-01T00:00:00+00:00")
    results = [
        result(dataset="Urban-SED", clips_evaluated=9), older, result("sed/held_out"),
        result("retrieval", "clotho", RETRIEVAL, parameters={"protocol": "clotho"}, split="evaluation"),
    ]  # fmt: skip
    main = paper_tables(PAPER, results)[0]
    ours = row_of(main, "first abcdef01")
    assert ours["source"] == "ours"
    assert ours["UrbanSED PSDS"] == "29.52 (2)"
    assert ours["UrbanSED ROC"] == "93.72 (2)"
    assert ours["Clotho T2A"] == "25.00 / 50.00 (1)"
    assert ours["Clotho A2T"] == ours["AudioSet-S PSDS"] == ""
    assert main.footnotes["1"] == "protocol retrieval on clotho evaluation, 10 of 10 clips"
    assert main.footnotes["2"] == "protocol sed/trained (unbiased) on Urban-SED test, 9 of 10 clips"
    assert set(main.footnotes) == {"a", "1", "2"}
    # A result of the set, but not by the protocol that the column names: another split, filter or words.
    assert row_of(paper_tables(PAPER, [result(parameters={"method": "biased"})])[0], "first abcdef01") is None


def test_differences_to_the_paper():
    psds2 = "PSDS2[dtc=0.1,gtc=0.1,cttc=0.3,alpha_ct=0.5,alpha_st=1,max_efpr=100]"
    results = [
        result(metrics={"auroc/macro": 0.9272, PSDS1: 0.28, psds2: 0.6}),
        result("retrieval", "clotho", RETRIEVAL, {"text_to_audio/R@1": 0.01}),
        result(dataset="desed", metrics={"auroc/macro": 0.9}),
        result(metrics={"auroc/macro": 0.5}, model={"sha256": "1", "name": "other"}),
    ]
    main, further, zero_shot, later = paper_tables(PAPER, results)
    assert main.kinds[4:] == ("ours", "difference", "ours", "difference")
    apart = row_of(main, "difference to OpenFLAM")
    assert apart["source"] == "ours - O"
    # Ours is 25.00 ± 1.00 / 50.00, OpenFLAM has 13.9 / 33.6 there.
    assert apart["Clotho T2A"] == "+11.10 / +16.40"
    assert apart["UrbanSED PSDS"] == "-0.76"
    assert apart["UrbanSED ROC"] == "0.00"
    assert sum(map(bool, apart.values())) == 5
    assert row_of(main, "difference to OpenFLAM", 1)["UrbanSED ROC"] == "-42.72"
    assert row_of(main, "difference to FLAM") is None
    # OpenFLAM has no number for DESED: FLAM has 91.66.
    assert row_of(further, "difference to OpenFLAM")["UrbanSED PSDS2"] == "+9.91"
    assert row_of(further, "difference to OpenFLAM")["DESED AUROC"] == ""
    assert row_of(further, "difference to FLAM")["DESED AUROC"] == "-1.66"
    assert row_of(later, "difference to FLAM")["UrbanSED PSDS1"] == "-1.50"
    assert set(zero_shot.kinds) == {"published"}
    assert any("in points" in note for note in main.notes)
    assert not any("in points" in note for note in zero_shot.notes)


def test_difference_to_a_doubtful_number_is_doubtful(tmp_path):
    raw = yaml.safe_load(PAPER.read_text())
    raw["tables"] = raw["tables"][:1]
    raw["tables"][0]["rows"] = raw["tables"][0]["rows"][:3]  # without OpenFLAM
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(raw))
    (main,) = paper_tables(tmp_path / "paper.yaml", [result(dataset="asfx-sed")])
    assert row_of(main, "difference to FLAM")["ASFX-SED ROC"] == "+2.72 (a)"
    assert row_of(main, "first abcdef01")["ASFX-SED ROC"] == "93.72 (1)"


class Page(HTMLParser):
    """Checks that tags close in order; gathers what is asked of a page."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.rows = [], [], {}, []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag] = self.texts.get(tag, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_page(tmp_path):
    evil = '<script src="http://x">alert(1)</script> & "q" \'p\' <img src=x onerror=y>'
    results = [
        result(clips_evaluated=9), result(model={"sha256": "1", "name": evil}, dataset="urban_sed"),
        result("retrieval", "clotho", RETRIEVAL), result("sed/held_out", dataset=evil),
    ]  # fmt: skip
    tables = [*result_tables(results), *paper_tables(PAPER, results)]
    picture = tmp_path / "a.png"
    Image.new("RGB", (300, 150), "red").save(picture)
    text = to_html(tables, f"Title {evil}", [(evil, picture)])
    page = Page(text)
    kinds = [tag for tag, _ in page.tags]
    assert "script" not in kinds
    assert kinds.count("img") == 1
    (image,) = [attrs for tag, attrs in page.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,")
    assert (image["alt"], image["width"], image["height"]) == (evil, "200", "100")
    for tag, attrs in page.tags:
        assert tag not in ("link", "script", "iframe", "object", "embed", "base")
        assert not [name for name in attrs if name.startswith("on")], attrs
        for name in ("src", "href", "srcset", "data", "action", "style"):
            assert attrs.get(name, "#").startswith(("#", "data:image/png")), attrs
    assert "url(" not in page.texts["style"]
    assert "@import" not in page.texts["style"]
    assert "prefers-color-scheme: dark" in page.texts["style"]
    assert page.texts["title"] == page.texts["h1"] == f"Title {evil}"
    # Every cell is there, with its mark.
    expected = [row for table in tables for row in (table.columns, *table.printed())]
    assert len(page.rows) == len(expected)
    for shown, row in zip(page.rows, expected, strict=True):
        marked = [re.sub(r" \((\w)\)$", r"\1", cell) for cell in row]
        assert [cell.replace("\N{MINUS SIGN}", "-") for cell in shown] == marked
    # Every note is below its table, and what a cell shows when pointed at is one of them.
    for note in (line for table in tables for line in (*table.footnotes.values(), *table.notes)):
        assert note in page.texts["li"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links
    assert {link[1:] for link in links} <= set(ids)
    hovers = {attrs["title"] for tag, attrs in page.tags if tag == "td" and "title" in attrs}
    assert hovers == {table.footnotes[mark] for table in tables for mark in table.marks.values()}
    assert "protocol sed/trained (unbiased) on urbansed test, 9 of 10 clips" in hovers
    assert sum(attrs.get("class") == "ours" for tag, attrs in page.tags if tag == "tr") == 4


def test_page_mistakes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a.png: not a PNG"):
        to_html([], "Title", [("a", tmp_path / "a.png")])


def test_broken_published_file(tmp_path):
    raw = yaml.safe_load(PAPER.read_text())
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
        return script("eval/table.py", *arguments)

    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    out = ("--out", tmp_path / "new" / "table", "--figures", tmp_path / "pictures")
    empty = run(tmp_path / "results", *out)
    assert empty.returncode == 0  # zero-shot classification draws nothing
    Image.new("RGB", (3, 3)).save(tmp_path / "pictures" / "deep" / "one.png")
    good = run(tmp_path / "results", *out, "--paper", "--require", "sed/trained", "auroc/macro", "0.9")
    assert good.returncode == 0, good.stderr
    assert "reached  sed/trained auroc/macro: 0.9372" in good.stdout
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "table.csv", "table.html", "table.md", "table.tex",
    ]  # fmt: skip
    assert "29.52" in (tmp_path / "new" / "table.md").read_text()
    assert "<figcaption>deep/one</figcaption>" in (tmp_path / "new" / "table.html").read_text()
    missed = run(tmp_path / "results", "--require", "sed/trained", "auroc/macro", "0.99")
    assert missed.returncode == 1
    assert "MISSED" in missed.stdout
    wrong = run(tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr
