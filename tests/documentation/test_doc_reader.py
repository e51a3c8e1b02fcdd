"""The reader of the pages, and that each kind of stale line is found."""

from __future__ import annotations

import pytest
from doc_lines import Block, Line, blocks, command_lines, commands, pages, spans
from doc_programs import check_command
from doc_python import run_blocks
from doc_runs import run_line
from doc_spans import anchors, check_link, check_span, says_something
from doc_stale import Stale
from doc_world import World, read_by

PAGE = """# A page

`make demo` and `flam-train
experiment=demo`; a table | `a \\| b` |

```
flam-train experiment=demo \\
    seed=1   # a comment
until flam-train experiment=...; do [ $? -eq 75 ] || break; done
NAME=x python eval/table.py results --out table >log.txt 2>&1 && ls table.md | head
cat > mine.yaml <<'EOF'
kind: sed
EOF
```

- a list

  ```python
  x = 1
  ```

```text
not a command
```
"""


def test_pages_are_found_and_the_log_is_not(tmp_path):
    for name in ("README.md", "docs/a.md", "docs/LOG.md", "eval/README.md", "eval/other.md", ".hidden/README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert sorted(pages(tmp_path)) == ["README.md", "docs/a.md", "eval/README.md"]


def test_what_a_page_holds():
    first, python, text = blocks("p.md", PAGE)
    assert (first.language, python, text.language) == ("", Block("p.md", 19, "python", "x = 1\n"), "text")
    assert [(s.number, s.text) for s in spans("p.md", PAGE)] == [
        (3, "make demo"), (3, "flam-train experiment=demo"), (4, "a | b"),
    ]  # fmt: skip
    found = command_lines("p.md", PAGE)
    assert [str(line) for line in found] == [
        "p.md:7 flam-train experiment=demo seed=1",
        "p.md:9 until flam-train experiment=...; do [ $? -eq 75 ] || break; done",
        "p.md:10 NAME=x python eval/table.py results --out table >log.txt 2>&1 && ls...",
        "p.md:11 cat > mine.yaml <<'EOF'",
    ]
    assert found[-1].here == "kind: sed\nEOF"
    assert str(Line("p.md", 1, "make ½  all # now")) == "p.md:1 make ? all"
    with pytest.raises(ValueError, match="never closed"):
        blocks("p.md", "```\nmake")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("until flam-train experiment=...; do [ $? -eq 75 ] || break; done", ["flam-train experiment=..."]),
        ("NAME=x python a.py >log 2>&1 && ls b | head # c", ["python a.py", "ls b", "head"]),
        ("flam-train 'data/frame=[a, b]' seed=1 ...", ["flam-train data/frame=[a, b] seed=1"]),
        ("job=$(sbatch --parsable a.sbatch b)", ["", "sbatch --parsable a.sbatch b"]),
        ("for n in 1 2; do flam-train seed=$n; done", ["", "flam-train seed=$n"]),
        ("make a; make b &", ["make a", "make b"]),
        ("cat > mine.yaml <<'EOF'", ["cat"]),
    ],
)
def test_simple_commands_of_a_line(text, words):
    assert [str(command) for command in commands(text)] == words


def test_variables_and_what_goes_on():
    (command,) = commands("A=1 B='x y' make table ...")
    assert (command.words, command.variables, command.more) == (("make", "table"), {"A": "1", "B": "x y"}, True)


def check_all(text: str) -> None:
    for command in commands(text):
        check_command(command)


GOOD = [
    "flam-train experiment=finetune init=x data.frame.custom.path=x --print",
    "flam-train experiment=finetune ...",
    "flam-train --conf mine experiment=mine seed=1",
    "python -m flam_train.cli.train experiment=demo KEY=VALUE",
    "torchrun --nproc-per-node 8 -m flam_train.cli.train experiment=demo",
    "torchrun --nproc-per-node 8 eval/protocols.py EXPORT",
    "flam-eval zero-shot EXPORT SHARDS --vocabulary esc50",
    "flam-convert to-openflam runs/x/export x.pth",
    "python data_prep/NAME.py FOLDER OUT --part I/N",
    "python eval/protocols.py EXPORT --only desed mine.yaml",
    "make table EXPORT=x SHARDS=y",
    "sbatch --array=1-16 slurm/prep_array.sbatch data_prep/clotho.py FOLDER OUT",
    'sbatch --dependency=afterok:$job --wrap "source .venv/bin/activate && python data_prep/merge.py OUT"',
    "slurm/local_cluster.sh stop",
    "pip install -c constraints.txt -e '.[demo,dev]'",
    "pip install 'flam-train[s3]'",
    "cp conf/eval/desed.yaml mine.yaml",
    "python -m pytest -m 'not slow' tests/unit",
]


@pytest.mark.parametrize("text", GOOD)
def test_true_lines(text):
    check_all(text)


STALE = [
    ("flam-train experiment=dmeo", "did you mean demo"),
    ("flam-train optim.lrr=1", "did you mean optim.lr"),
    ("flam-train optim.lr=fast", "not a number"),
    ("flam-train loss.exchange=rings", "did you mean ring"),
    ("flam-train data.frame.synthetic.pth=x", "pth"),
    ("flam-train model.audio=medium", "not known"),
    ("flam-train experiment=demo --dryrun", "--dryrun"),
    ("flam-train experiment=finetune", "has no value yet"),
    ("flam-trian experiment=demo", "no program"),
    ("python -m flam_train.training.train", "no command"),
    ("python data_prep/clothos.py FOLDER OUT", "no such file"),
    ("python data_prep/clotho.py FOLDER OUT --split evaluation2", "evaluation2"),
    ("python data_prep/simulate.py OUT --bank x --recipe demos --count 8", "no mixing named 'demos'"),
    ("python eval/sed.py EXPORT SHARDS --phrasing-kind trained", "unrecognized"),
    ("python eval/zero_shot.py EXPORT SHARDS --vocabulary esc51", "no vocabulary named"),
    ("python eval/protocols.py EXPORT --only desd", "no eval named"),
    ("flam-eval sedd EXPORT", "did you mean sed"),
    ("flam-convert from-openflam a b", "invalid choice"),
    ("torchrun --nproc-pro-node 8 -m flam_train.cli.train", "torchrun"),
    ("torchrun --nproc-per-node 8 -m flam_train.cli.train seeed=1", "did you mean seed"),
    ("make tables EXPORT=x", "tables"),
    ("make table EXPROT=x", "EXPROT"),
    ("sbatch slurm/trian.sbatch", "no such file"),
    ("sbatch --node 4 slurm/train.sbatch", "--node"),
    ("sbatch slurm/train.sbatch experiment=dmeo", "did you mean demo"),
    ("sbatch slurm/prep_array.sbatch data_prep/clotho.py FOLDER OUT --splitt x", "--splitt"),
    ("sbatch --wrap 'python data_prep/merg.py OUT'", "no such file"),
    ("slurm/local_cluster.sh restart", "there are start, stop, status"),
    ("pip install 'flam-train[s4]'", "no extra"),
    ("pip install flam-trian", "neither"),
    ("cp conf/eval/dsed.yaml mine.yaml", "no such file"),
    ("srun --nodes=2 flam-train seeed=1", "did you mean seed"),
]


@pytest.mark.parametrize(("text", "why"), STALE)
def test_stale_lines_are_found(text, why):
    with pytest.raises(Stale, match=why):
        check_all(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("verify.py TRAIN --agianst TEST", "unrecognized"),
        ("eval/sed.py --chek", "unrecognized"),
        ("optim.lrr=1", "did you mean optim.lr"),
        ("accumulate=many", "not a whole number"),
        ("trainer.hang_second", "no key"),
        ("loss.exchang=...", "no key"),
        ("--max-mising", "no program has this option"),
        ("test_gone.py", "no file"),
        ("flam_train/models/gone.py", "no such file"),
    ],
)
def test_stale_words_are_found(text, why):
    (span,) = spans("p.md", f"A text with `{text}` in it.")
    assert says_something(text)
    with pytest.raises(Stale, match=why):
        check_span(span)


def test_what_running_text_may_say():
    for text in ("verify.py TRAIN --against TEST", "optim.lr", "data.frame.custom.path=x", "--part I/N", "s3://a/b"):
        check_span(spans("p.md", f"`{text}`")[0])
    for text in ("gather", "loss", "last.ckpt", "scancel"):
        assert not says_something(text)


def test_links_are_followed_to_their_headings():
    for page, target in (
        ("README.md", "docs/scaling.md"),
        ("docs/faq.md", "training.md#memory"),
        ("README.md", "#install"),
    ):
        check_link(page, target)
    for target, why in (
        ("docs/gone.md", "no such file"),
        ("docs/training.md#memories", "heading"),
        ("#gone", "heading"),
    ):
        with pytest.raises(Stale, match=why):
            check_link("README.md", target)
    text = "# One `two`, [three](x.md)!\n```\n# no heading\n```\n## ESC-10 & _x_\n### Same\n### Same\n"
    assert anchors(text) == ["one-two-three", "esc-10--_x_", "same", "same-1"]


def test_blocks_of_python(tmp_path):
    world = World(tmp_path)
    good = 'from flam_train.inference import load_model\nmodel = load_model("EXPORT")\n'
    more = "print(model.config.embedding)\n"
    assert run_blocks([Block("p.md", 3, "python", good), Block("p.md", 8, "python", more)], world) == "16\n"
    for code, why in (
        ("\nfrom flam_train.inference import load_modell\n", "p.md:6: ImportError"),
        ("x = 1\nraise KeyError(x)\n", "p.md:6: KeyError"),
        ("print(model\n", "p.md:5: SyntaxError"),
        ('from flam_train.inference import load_model; load_model("runs/demo/export")\n', "p.md:5: .*is not an export"),
    ):
        with pytest.raises(Stale, match=why):
            run_blocks([Block("p.md", 5, "python", code)], world)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("flam-train experiment=demo", "shards/synthetic"),
        ("python eval/sed.py runs/nowhere/export shards/never/test", "shards/never/test"),
        ("python eval/sed.py runs/nowhere/export SHARDS", "runs/nowhere/export"),
    ],
)
def test_what_nothing_has_made_is_missing(text, why, tmp_path):
    with pytest.raises(Stale, match=rf"exit code [12]:(.|\n)*{why}"):
        run_line(Line("p.md", 1, text), World(tmp_path))


def test_what_is_written_is_not_given():
    assert read_by('write_shard("shards/a/b.tar", x)\nload("runs/a/export")') == ["runs/a/export"]
