"""Tables from results, beside published numbers, and requirements."""

import csv
import io
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
import torch
import yaml
from checkout import ROOT
from in_process import script
from PIL import Image

from flam_train import __version__
from flam_train.evaluation.report.about import about
from flam_train.evaluation.report.formats import latex, markdown, to_csv
from flam_train.evaluation.report.html import to_html
from flam_train.evaluation.report.published import paper_tables
from flam_train.evaluation.report.requirements import check
from flam_train.evaluation.report.table import Table, better, result_tables
from flam_train.evaluation.result import Result
from flam_train.plotting.style import inches

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


def printed(table):
    """The rows, with the mark of its footnote behind a cell: "29.52 (1)"."""
    return [
        [f"{cell} ({mark})" if (mark := table.marks.get((n, c))) else cell for c, cell in enumerate(row)]
        for n, row in enumerate(table.rows)
    ]


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
    assert printed(main)[1][8] == "91.0 (a)"
    assert "81.23" in main.footnotes["a"]
    assert {row[1] for row in main.rows} == {"O"}
    assert main.notes[-1] == "O: OpenFLAM's release: README and result files"
    assert printed(tables[1])[1][3] == "81.23 (a)"
    for table in tables:
        assert set(table.kinds) == {"published"}
        assert {note.split(":")[0] for note in table.notes} >= {row[1] for row in table.rows}


def row_of(table, name, n=0):
    rows = [dict(zip(table.columns, row, strict=True)) for row in printed(table) if row[0] == name]
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

    VOID = frozenset({"wbr", "meta", "img", "br", "link", "input"})

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
    expected = [row for table in tables for row in (table.columns, *printed(table))]
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


def bold(page_text, table=0):
    """What is bold in the cells of a table, by (row, column) without the headings."""
    body = page_text.split("<tbody>")[1 + table].split("</tbody>")[0]
    rows = [re.findall(r"<t[hd].*?</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", body)]
    found = {(n, c): re.findall("<b>(.*?)</b>", cell) for n, row in enumerate(rows) for c, cell in enumerate(row)}
    return {place: numbers for place, numbers in found.items() if numbers}


BETTER = ("neither", "higher", "higher", "lower", "neither")
COMPARED = Table(
    "T", ["model", "R@1 / R@5", "AUROC", "ECE", "chance"],
    [
        ["A", "4.4 / 14.8", "0.90 ± 0.05", "0.020", "9"],
        ["B", "4.4 / 9.0", "", "0.100", "2"],
        ["ours", "3.9 / 15.2", "0.95", "0.02 ± 0.3", "1"],
        ["difference", "+99.0 / +99.0", "+99.00", "-99.0", "+9"],
    ],
    kinds=("published", "published", "ours", "difference"), better=BETTER,
)  # fmt: skip


def test_the_best_of_a_column_is_bold_in_every_format():
    """Published rows and ours, each number of a cell by itself, all that tie; differences are no results."""
    expected = {
        (0, 1): ["4.4"],
        (1, 1): ["4.4"],
        (2, 1): ["15.2"],
        (2, 2): ["0.95"],
        (0, 3): ["0.020"],
        (2, 3): ["0.02"],
    }
    assert bold(to_html([COMPARED], "Title")) == expected
    lines = markdown([COMPARED]).splitlines()[4:]
    assert lines[0] == "| A | **4.4** / 14.8 | 0.90 ± 0.05 | **0.020** | 9 |"
    assert lines[2] == "| ours | 3.9 / **15.2** | **0.95** | **0.02** ± 0.3 | 1 |"
    assert r"A & \textbf{4.4} / 14.8 & 0.90 $\pm$ 0.05 & \textbf{0.020} & 9 \\" in latex([COMPARED])
    assert "**" not in to_csv([COMPARED])
    assert COMPARED.with_note_on_best().notes == ("bold: the best of a column; lower is better for ECE",)
    lone = replace(COMPARED, rows=COMPARED.rows[:1], kinds=("ours",))
    assert lone.best == frozenset()
    assert lone.with_note_on_best() is lone


def test_only_what_was_measured_on_one_set_is_compared():
    a = {"auroc/macro": 0.9, "calibration/ECE": 0.1, "calibration biased/ECE": 0.3}
    b = {"auroc/macro": 0.8, "calibration/ECE": 0.2, "calibration biased/ECE": 0.3}
    second = {"sha256": "1234567890abcdef", "folder": "runs/second"}
    found = [result(metrics=a), result("sed/held_out", metrics=b), result(dataset="desed", metrics=b)]
    assert result_tables(found)[0].best == frozenset()  # of one model nothing is compared
    (table,) = result_tables([*found, result(metrics=b, model=second)])
    assert [row[1] for row in table.rows] == ["desed test", "urbansed test", "urbansed test", "urbansed test"]
    assert bold(to_html([table], "Title")) == {
        (1, 4): ["0.900"], (1, 5): ["0.100"], (1, 6): ["0.300"], (3, 6): ["0.300"]
    }  # fmt: skip
    assert table.notes[-1].startswith(
        "bold: the best of a column among the rows of one set and kind of phrasings; lower"
    )


def test_which_metrics_are_better_lower():
    assert better(PSDS1) == better("text_to_audio/R@1 over chance") == "higher"
    for metric in ("calibration biased/ECE", "calibration/Brier", "audio_to_text/median_rank"):
        assert better(metric) == "lower"
    assert better("accuracy/chance") == better("frame_f1 best/threshold") == better("") == "neither"


def test_published_numbers_and_ours_compete():
    tables = paper_tables(PAPER, [result(metrics={"auroc/macro": 0.99, PSDS1: 0.01})])
    main = bold(to_html(tables, "Title"))
    # The first number of ASFX T2A ties; ours is the best UrbanSED ROC, but not the best PSDS.
    assert {place: main[place] for place in ((0, 2), (1, 2), (1, 11), (4, 12))} == {
        (0, 2): ["4.4"], (1, 2): ["4.4", "15.2"], (1, 11): ["29.52"], (4, 12): ["99.00"]
    }  # fmt: skip
    assert not [place for place in main if place[0] == 5]  # differences
    assert sorted(numbers for (_, c), numbers in bold(to_html(tables, "T"), 3).items() if c == 3) == [
        ["34.4"],
        ["34.4"],
    ]


def narrowest(text):
    """Pixels that each table of a page needs at least, in the type of wide tables: unbroken pieces and paddings."""
    needed = []
    for table in re.findall("<table.*?</table>", text, flags=re.DOTALL):
        columns = {}
        for row in re.findall("<tr.*?</tr>", table, flags=re.DOTALL):
            for c, cell in enumerate(re.findall(r"<t[hd][ >].*?</t[hd]>", row, flags=re.DOTALL)):
                held = re.sub(r"<span>(.*?)</span>", lambda span: span[1].replace(" ", "\N{NO-BREAK SPACE}"), cell)
                pieces = re.split(r"[ \n]|(?<=-)|<wbr>", re.sub(r"<sup>.*?</sup>|</?(?!wbr)\w[^>]*>", "", held))
                size = 12.7 * 72 / 96
                widths = [96 * inches(p, size * (0.92 if p[:1] == "±" else 1), "<b>" in cell) for p in pieces]
                columns[c] = max(columns.get(c, 100 if c == 0 else 0), *widths)
        padding = 16 if "marked" in table.split(">")[0] else 10
        needed.append(sum(columns.values()) + padding * len(columns) + 20)
    return needed


def test_columns_of_what_was_asked_for():
    names = {
        "intersection_f1/macro": 0.5, "event_precision/macro": 0.4, "event_recall/macro": 0.3, "segment_er": 1.25,
        "event_f1 best of each class/macro": 0.6, "ap/macro": 0.7, "dprime/macro": 2.345, "miou": 0.1,
        "cross_triggers": 0.2, "tagging/mAP": 0.8,
    }  # fmt: skip
    worse = names | {"segment_er": 1.5, "cross_triggers": 0.3, "dprime/macro": math.inf}
    (table,) = result_tables([result(metrics=names), result(metrics=worse)])
    columns = [
        "intersection F1", "event precision", "event recall", "segment ER", "event F1 best of each", "frame mAP", "d'",
        "mean IoU", "cross triggers", "tagging mAP",
    ]  # fmt: skip
    assert table.columns[4:] == columns
    assert table.rows[0][4:] == [
        "0.500",
        "0.400",
        "0.300",
        "1.250",
        "0.600",
        "0.700",
        "2.35",
        "0.100",
        "0.200",
        "0.800",
    ]
    best = {(n, table.columns[c]) for n, c, _ in table.best}
    assert {(0, "segment ER"), (0, "cross triggers")} <= best
    assert not {(1, "segment ER"), (1, "cross triggers")} & best
    for name in ("segment_er/macro", "segment_er/insertions"):
        assert better(name) == "lower"
    assert any(note.startswith("best of each: F1 with a threshold for each class") for note in table.notes)


def test_wide_tables_fit_a_window_of_1280_pixels():
    names = [
        "auroc/macro", "auroc/micro", "frame_f1/macro", "frame_f1 biased/macro", "frame_f1 best/macro",
        "segment_f1/macro", "event_f1/macro", PSDS1, PSDS1.replace("1[", "1A["), PSDS1.replace("1[", "2["), "MPAUC",
        "calibration/ECE", "calibration biased/ECE",
    ]  # fmt: skip
    kinds = ("R@1", "R@5", "R@10", "mAP@10", "median_rank", "R@1 over chance")
    ranks = [f"{side}/{kind}" for side in ("text_to_audio", "audio_to_text") for kind in kinds]
    fields = {"clips_expected": 16_996, "model": {"sha256": "abcdef01", "name": "openflam_reproduction"}}
    found = [
        result(kind, dataset, dict.fromkeys(measured, 0.123), dict.fromkeys(measured, 0.012), **fields,
               parameters={"method": "approximate", "protocol": dataset})
        for dataset in ("audioset_strong", "urbansed", "clotho", "audiocaps")
        for kind, measured in (("sed/trained", names), ("sed/held_out", names), ("retrieval", ranks))
    ]  # fmt: skip
    tables = [*result_tables(found), *paper_tables(PAPER, found)]
    assert [len(table.columns) for table in tables[:3]] == [17, 16, 13]
    room = 1280 - 15 - 2 * 40 - 2  # a scroll bar, the page's margins, the box's border
    text = to_html(tables, "Title")
    assert max(narrowest(text)) < room
    assert max(narrowest(text.replace("</span> <span>", " "))) > room, "what may not break needs more"


def test_when_and_by_what(tmp_path):
    now = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    old = {"flam_train": "0.0.9", "torch": "2.0"}
    found = [
        result(versions=old), result(date="2026-01-09T00:00:00+00:00"), result(date="2026-01-02T00:00:00+00:00"),
    ]  # fmt: skip
    lines = about(found, now)
    assert lines[0] == f"page written 2026-02-03 04:05 UTC by flam_train {__version__}"
    assert lines[1].startswith(f"2 results of 2026-01-02 to 2026-01-09: flam_train {__version__}, python ")
    assert f"torch {torch.__version__.split('+')[0]}" in lines[1]
    assert lines[2:] == ["1 result of 2026-01-01: flam_train 0.0.9, torch 2.0"]
    page = Page(to_html([], "Title", about=["<i> 1", "2"]))
    assert page.texts["p"] == "<i> 12"
    assert "p" not in Page(to_html([], "Title")).texts


def test_page_mistakes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a.png: not a PNG"):
        to_html([], "Title", [("a", tmp_path / "a.png")])


def test_the_page_of_the_demo_has_its_pictures():
    recipe = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]
    (table,) = [line for line in recipe.splitlines() if "eval/table.py" in line]
    assert "--figures $(DEMO)/results/heatmaps $(DEMO)/run/curves.png" in table


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
    Image.new("RGB", (3, 3)).save(tmp_path / "curves.png")
    out = ("--out", tmp_path / "new" / "table", "--figures", tmp_path / "pictures", tmp_path / "curves.png")
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
    page = (tmp_path / "new" / "table.html").read_text()
    assert re.findall("<figcaption>(.*)</figcaption>", page) == ["deep/one", f"{tmp_path.name}/curves"]
    assert page.count("data:image/png;base64,") == 2
    assert f"1 result of 2026-01-01: flam_train {__version__}, python" in page
    missed = run(tmp_path / "results", "--require", "sed/trained", "auroc/macro", "0.99")
    assert missed.returncode == 1
    assert "MISSED" in missed.stdout
    lost = run(tmp_path / "results", "--out", tmp_path / "a", "--figures", tmp_path / "lost.png")
    assert lost.returncode == 2
    assert "lost.png: no such file or folder: name PNG files, or folders of them" in lost.stderr
    wrong = run(tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert "Traceback" not in wrong.stderr
