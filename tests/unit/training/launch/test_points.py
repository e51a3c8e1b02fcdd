"""What a line of a sweep stands for: its points, their order, and the names of their folders."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from flam_train.training.launch.points import LONGEST, parse, points, quoted, safe

CHOICES = {"model": ["base", "small", "tiny"]}


def found(*line: str):
    return points(line, lambda group: CHOICES.get(group, []))


def names(*line: str) -> list[str]:
    return [point.name for point in found(*line)]


def test_the_cross_product_in_the_order_of_the_line():
    line = ["steps=4", "seed=0,1,2", "name=x", "optim.lr=1e-4,3e-4", "run_dir=runs/x", "model=tiny,small"]
    seeds, rates, models = ["0", "1", "2"], ["1e-4", "3e-4"], ["tiny", "small"]
    want = [
        (
            f"seed={seed},optim.lr={rate},model={model}",
            ("steps=4", f"seed={seed}", "name=x", f"optim.lr={rate}", f"model={model}"),
        )
        for seed, rate, model in itertools.product(seeds, rates, models)
    ]
    assert [(point.name, point.overrides) for point in found(*line)] == want


@pytest.mark.parametrize(
    ("swept", "values"),
    [
        ("optim.lr=1e-4,.3E-3", ["1e-4", ".3E-3"]),  # as they were typed
        ("optim.lr=1e-4, 3e-4", ["1e-4", "3e-4"]),
        ("name=1e-4,007,1_000", ["1e-4", "007", "1_000"]),
        ("seed=choice(0)", ["0"]),
        ("seed=choice(3, 1)", ["3", "1"]),
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("x=range(0,1,0.25)", ["0.0", "0.25", "0.5", "0.75"]),
        ("seed=sort(3,1,2)", ["1", "2", "3"]),
        ("x=int(1.0,2.0)", ["1", "2"]),
        ("model=glob(*)", ["base", "small", "tiny"]),
        ("model=glob(*,exclude=t*)", ["base", "small"]),
        ("data/frame=[a,b],[c]", ["[a,b]", "[c]"]),
        ("x={a:1,b:2},{a:3}", ["{a:1,b:2}", "{a:3}"]),
        ("name='a,b','c d'", ["'a,b'", "'c d'"]),
        ("init=a/export,b/export", ["a/export", "b/export"]),
        ("init=null,x", ["null", "x"]),
        ("name=a\\,b,c", ["a\\,b", "c"]),
        ("name=${shards},b", ["${shards}", "b"]),
    ],
)
def test_values(swept, values):
    key = swept.partition("=")[0]
    assert [point.overrides for point in found(swept)] == [(f"{key}={value}",) for value in values]


@pytest.mark.parametrize("prefix", ["+", "++"])
def test_keys_that_are_added(prefix):
    assert [point.overrides for point in found(f"{prefix}x=1,2")] == [(f"{prefix}x=1",), (f"{prefix}x=2",)]


def test_names_stay_when_values_are_added():
    few, more = names("seed=0,1", "optim.lr=1e-4,3e-4"), names("seed=5,0,1", "optim.lr=3e-4,1e-4,choice")
    assert set(few) < set(more)
    assert names("init=a/b,c/d") == names("init=a/b,x/y,c/d", "steps=3")[::2]


def test_names_are_folders_and_differ():
    draw = random.Random(0)
    texts = {"".join(draw.choices("ab,=-~/ é'[", k=draw.randint(1, 12))) for _ in range(4000)}
    texts |= {"x" * n for n in range(1, 400)} | {f"{'y' * 130}{n}" for n in range(50)}
    made = {text: safe(text) for text in texts}
    assert len(set(made.values())) == len(texts)
    for text, name in made.items():
        assert re.fullmatch(r"[A-Za-z0-9._+=,~-]+", name)
        assert len(name) <= LONGEST
        assert name == text or re.search("~[0-9a-f]{8}$", name)
    assert safe("seed=0,optim.lr=1e-4") == "seed=0,optim.lr=1e-4"
    assert safe("init=a/b") == "init=a-b~" + safe("init=a/b")[-8:]
    assert safe("init=a-b") == "init=a-b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["seed=0"], "-m: nothing has several values"),
        (["run_dir=a,b"], "run_dir is not swept: each point has a folder of its own"),
        (["x=interval(0,1)"], "an interval has no values"),
        (["x=shuffle(1,2)"], "leave shuffle out"),
        (["x=shuffle(range(0,4))"], "leave shuffle out"),
        (["x=1,2,1"], "1 stands there twice"),
        (["x=1e-4,0.0001"], "0.0001 stands there twice"),
        (["x=1,2", "x=3"], "x stands on the line twice"),
        (["x=1,2", "+x=3"], "x stands on the line twice"),
        (["x=range(3,3)"], "no value at all"),
        (["model=glob(z*)"], "no value at all"),
        (["hydra/launcher=joblib", "x=1,2"], "Hydra's launchers take no part"),
        (["x=1,2,"], "x=1,2,: not an override"),
        (["x=1,2", "y"], "y: not an override"),
    ],
)
def test_what_cannot_be_swept(line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        found(*line)


@pytest.mark.parametrize("text", ["runs/x/seed=0,optim.lr=1e-4", "a b", "it's", "1e-4", "a\\", "'", "é[1]"])
def test_a_folder_is_given_as_it_is(text):
    assert parse(quoted("run_dir", text)).value() == text
