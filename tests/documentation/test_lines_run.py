"""Every command line of README and docs really runs, few steps on tiny data, or stands in a table with its reason."""

from __future__ import annotations

import re

import pytest
from doc_lines import Line, blocks, command_lines, commands, pages
from doc_programs import filled
from doc_runs import overridden, read_by_line, read_by_training, recipe, replaced, run_line
from doc_settings import SETTING, configuration
from doc_stale import Stale
from doc_tables import NEEDS, NOT_RUN, OVERRIDES
from doc_world import BROUGHT, MADE, World, had_by, named_in, read_by

LINES = {page: found for page, text in pages().items() if (found := command_lines(page, text))}


FIRST_READ = ("README.md", "docs/own_labels.md")
"""What every reader types: .ci/run runs these, too."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=NEEDS.get(p, ()) or (pytest.mark.ci if p in FIRST_READ else ())) for p in LINES]
)
def test_lines_run_in_their_order(page, tmp_path):
    world = World(tmp_path, had_by(page))
    for line in LINES[page]:
        run_line(line, world)
    for maker, name, *_ in MADE:
        if maker == page:
            made = (tmp_path / name).exists() and tmp_path / name not in world.given
            assert made, f"{page} does not make {name}"


def test_what_the_demo_leaves_is_in_its_recipe():
    words = " ".join(recipe(("make", "demo"))).split()
    for name in [name for _, name, *_ in MADE if name.startswith("work/")]:
        assert name in words


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
        ("python eval/sed.py EXPORT gone.yaml --out results", "gone.yaml: is not there"),
    ):
        with pytest.raises(Stale, match=why):
            run_line(Line("p.md", 5, text), world)


def test_what_a_line_makes_is_not_given_to_it(tmp_path):
    world = World(tmp_path)
    world.give(["shards/audiocaps/test", "shards/desed", "gone/x", "shards/mine/train", "runs/mine/export", "", "."])
    names = sorted(str(path.relative_to(tmp_path)) for path in world.given)
    assert names == ["shards/audiocaps/test", "shards/desed/real", "shards/desed/synthetic", "shards/desed/validation"]
    world.take_back("shards/desed")
    assert [path.name for path in world.given] == ["test"]
    assert not (tmp_path / "shards/desed/real").exists()


@pytest.mark.slow
def test_what_a_reader_has_is_read_somewhere():
    asked = {page: {name for line in lines for name in read_by_line(line)} for page, lines in LINES.items()}
    for page, text in pages().items():
        for block in (b for b in blocks(page, text) if b.language == "python"):
            strings = read_by(block.text)
            asked.setdefault(page, set()).update(strings)
            if given := [text for text in strings if SETTING.fullmatch(text)]:
                asked[page].update(read_by_training(configuration(given)))
    for name in BROUGHT:
        assert any(named_in(names, [name]) for names in asked.values()), f"BROUGHT: no page needs {name}"
    for _, name, _, readers in MADE:
        for page in readers:
            assert named_in(asked.get(page, ()), [name]), f"MADE: {page} does not need {name}"
