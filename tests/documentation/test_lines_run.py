"""Every command line of README and docs really runs, few steps on tiny data, or stands in a table with its reason."""

from __future__ import annotations

import re

import pytest
from doc_lines import Line, command_lines, commands, pages
from doc_programs import filled
from doc_runs import overridden, recipe, replaced, run_line
from doc_stale import Stale
from doc_tables import NOT_RUN, OVERRIDES
from doc_world import World

LINES = {page: found for page, text in pages().items() if (found := command_lines(page, text))}


FIRST_READ = ("README.md", "docs/own_labels.md")
"""What every reader types: .ci/run runs these, too."""


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.ci if p in FIRST_READ else ()) for p in LINES])
def test_lines_run_in_their_order(page, tmp_path):
    world = World(tmp_path)
    for line in LINES[page]:
        run_line(line, world)


def test_no_row_of_the_tables_is_stale():
    found = [command for lines in LINES.values() for line in lines for command in line.commands]
    found += [command for text in recipe(("make", "demo")) for command in commands(text)]
    texts = {" ".join(filled(command.words)) for command in found if command.words}
    for name, table in (("NOT_RUN", NOT_RUN), ("OVERRIDES", OVERRIDES)):
        for pattern, *_ in table:
            assert any(re.match(pattern, text) for text in texts), f"{name}: no line needs {pattern!r}"


@pytest.mark.parametrize(
    ("command", "given", "becomes"),
    [
        ("flam-train seed=1 steps=9", "steps=2 a=b", "flam-train seed=1 steps=2 a=b"),
        (
            "flam-train experiment=demo",
            "steps<=2 frame_batch<=100",
            "flam-train experiment=demo steps=2 frame_batch=12",
        ),
        ("x OUT --count 800 --seed 1", "--count 8 --quiet", "x OUT --seed 1 --count 8 --quiet"),
        ("x --need a b 1 --out c --need d e 2", "--need f 0", "x --out c --need f 0"),
        ("x --part=1/8", "--part 1/2", "x --part 1/2"),
        ("x A B", "A->C", "x C B"),
        ("torchrun --nproc-per-node 8 -m a b", "--nproc-per-node 2", "torchrun --nproc-per-node 2 -m a b"),
    ],
)
def test_what_the_table_makes_of_a_line(command, given, becomes):
    assert " ".join(replaced(tuple(command.split()), given.split())) == becomes


def test_a_row_with_several_columns_runs_a_line_several_times():
    found = overridden(("python", "data_prep/clotho.py", "CLOTHO", "OUT", "--part", "1/8"))
    assert [words[words.index("--part") + 1] for words in found] == ["1/2", "2/2"]


def test_lines_that_fail_are_told_with_their_output(tmp_path):
    world = World(tmp_path)
    run_line(Line("p.md", 1, "cat > words.txt <<'EOF'", here="a\nEOF"), world)
    run_line(Line("p.md", 4, "mkdir made && cp words.txt made/"), world)
    assert (tmp_path / "made/words.txt").read_text() == "a\n"
    for text, why in (
        ("ls gone", "p.md:5 ls gone\nran as: bash"),
        ("python data_prep/merge.py made", "exit code 2"),
        ("python eval/sed.py EXPORT gone.yaml --out results", "manifest.json"),
    ):
        with pytest.raises(Stale, match=why):
            run_line(Line("p.md", 5, text), world)


def test_what_a_line_makes_is_not_given_to_it(tmp_path):
    world = World(tmp_path)
    world.give(["shards/a-bank/train", "shards/b", "gone/x"])
    assert sorted(path.name for path in world.given) == ["b", "train"]
    world.take_back("shards/a-bank")
    assert [path.name for path in world.given] == ["b"]
    assert not (tmp_path / "shards/a-bank/train").exists()
