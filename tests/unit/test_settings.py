"""Settings: values read into types and ranges, and the whole configuration tried with wrong ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tiny_runs import TINY

from flam_train.cli.train import as_text, compose_conf
from flam_train.data.augment.config import AugmentConfig
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.models.flam import FLAMConfig
from flam_train.models.frontend import FrontendConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig
from flam_train.paths import conf_dir
from flam_train.settings import SETTING, from_plain, setting, typed
from flam_train.training.configuration import Config, changes
from flam_train.training.corpora import CorpusConfig, DataConfig
from flam_train.training.loggers import LoggerConfig, WandbConfig
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig
from flam_train.training.trainer import TrainerConfig

ALL = (
    Config, DataConfig, CorpusConfig, AugmentConfig, LossConfig, OptimConfig, TrainerConfig, FLAMConfig, FrontendConfig,
    HTSATConfig, TextConfig, MixRecipe, LoggerConfig, WandbConfig,
)  # fmt: skip
SECTIONS = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
    "logger": LoggerConfig,
}
OTHERS = ("model", "text")
INF, HUGE = float("inf"), 10**30
LEFT_OUT = object()
MANY = [
    "x", "", "nan", True, -1, -0.5, 0, 1.5, 10**9, 1e-4, [], [0, 1], ["x"], {}, {"a": 1}, None, INF, -INF, "inf", 1e300,
    HUGE, [HUGE, HUGE], [INF, INF],
]  # fmt: skip


@dataclass(frozen=True)
class Below:
    one: int = setting(1, "a number")


@dataclass(frozen=True)
class Some:
    whole: int = setting(1, "a number", least=0, below=10)
    share: float = setting(0.5, "a share", above=0, most=1)
    on: bool = setting(False, "a switch")
    text: str = setting("a", "a choice", choices=("a", "b"))
    several: tuple[str, ...] = setting((), "choices", choices=("a", "b"))
    pair: tuple[float, float] = setting((0.0, 0.0), "two", least=0)
    parts: dict[str, float] = setting({}, "by name", least=0, choices=("a", "b"))
    count: int | str = setting("auto", "a count", least=1, choices=("auto",))
    perhaps: float | None = setting(None, "perhaps", least=0)
    free: str = setting("", "text")
    below: Below | None = setting(None, "a section")


@pytest.mark.parametrize(
    ("key", "value", "want"),
    [
        ("whole", 3.0, 3),
        ("whole", "3", 3),
        ("whole", 1e0, 1),
        ("share", "1e-4", 1e-4),
        ("share", 1, 1.0),
        ("several", "a", ("a",)),
        ("several", ["a", "b"], ("a", "b")),
        ("pair", [1, "2e-1"], (1.0, 0.2)),
        ("parts", {"a": 1}, {"a": 1.0}),
        ("count", 2, 2),
        ("count", "auto", "auto"),
        ("perhaps", None, None),
        ("perhaps", "2", 2.0),
        ("below", {"one": 2}, Below(2)),
        ("below", None, None),
    ],
)
def test_what_is_read(key, value, want):
    found = getattr(from_plain(Some, "some", {key: value}), key)
    assert (found, type(found)) == (want, type(want))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("whole", 1.5, "some.whole: 1.5 is not a whole number"),
        ("whole", True, "some.whole: True is not a whole number"),
        ("whole", "inf", "some.whole: 'inf' is not a whole number"),
        ("whole", 10, "whole: 10 must be at least 0 and below 10"),
        ("share", "nan", "some.share: 'nan' is not a number"),
        ("share", 0, "share: 0 must be above 0 and at most 1"),
        ("perhaps", INF, "some.perhaps: inf is not a number"),
        ("pair", [0, "-inf"], "some.pair: '-inf' is not a number"),
        ("parts", {"a": INF}, "some.parts.a: inf is not a number"),
        ("on", 1, "some.on: 1 is not true or false"),
        ("on", "yes", "some.on: 'yes' is not true or false"),
        ("text", 1e-4, "some.text: 0.0001 is not known: there are a, b"),
        ("free", 1e-4, "some.free: 0.0001 is not text: put it in quotes"),
        ("below", 3, "some.below: 3 needs `key: value`"),
        ("below", {"a": 1}, "some.below: unknown key 'a': there are one"),
        ("below", {"one": "x"}, "some.below.one: 'x' is not a whole number"),
        ("text", "c", "text: 'c' is not known: there are a, b"),
        ("several", ["a", "c"], "several: 'c' is not known"),
        ("several", ["a", 1], "some.several: 1 is not text"),
        ("several", None, "some.several: None is not text"),
        ("pair", 0.9, r"some.pair: 0.9 must be a list of 2"),
        ("pair", [0.9, -1], "pair: -1 must be at least 0"),
        ("parts", 3, "some.parts: 3 needs `key: value`"),
        ("parts", {"c": 1}, "parts: 'c' is not known"),
        ("parts", {"a": "x"}, "some.parts.a: 'x' is not a number"),
        ("parts", {"a": -1}, "parts.a: -1 must be at least 0"),
        ("count", [0, 1], r"some.count: \[0, 1\] is not a whole number or text"),
        ("count", 0, "count: 0 must be at least 1"),
        ("count", "all", "count: 'all' is not known: there are auto"),
        ("perhaps", -1, "perhaps: -1 must be at least 0"),
        ("share_", 1, "some: unknown key 'share_': did you mean share"),
    ],
)
def test_what_is_refused(key, value, message):
    def read() -> None:
        found = from_plain(Some, "some", {key: value})
        for f in dataclasses.fields(found):
            f.metadata[SETTING].check(f.name, getattr(found, f.name))

    with pytest.raises(ValueError, match=message):
        read()


def test_dataclasses_and_anything_are_left_as_they_are():
    some = Some()
    assert typed("x", some, Some) is some
    assert typed("x", {"a": [1]}, dict[str, Any]) == {"a": [1]}
    with pytest.raises(ValueError, match=r"x: 3 needs `key: value`"):
        typed("x", 3, dict[str, Any])


@pytest.mark.parametrize("cls", ALL)
def test_every_setting_says_what_it_is(cls):
    for f in dataclasses.fields(cls):
        if is_section(f):
            continue  # its own fields say it
        assert f.metadata[SETTING].says.strip(), f"{cls.__name__}.{f.name}"


def is_section(f: dataclasses.Field) -> bool:
    name = str(f.type)
    return SETTING not in f.metadata and (name == "dict[str, Any]" or name.endswith(("Config", "CorpusConfig]")))


@pytest.mark.parametrize("cls", sorted({*ALL} - {OptimConfig}, key=str))
def test_every_number_has_an_end(cls):
    """Beyond it nothing works. Rates and decays of the optimiser are only multiplied with."""
    for f in dataclasses.fields(cls):
        if re.search(r"\b(int|float|Number)\b", str(f.type)):
            about = f.metadata[SETTING]
            assert (about.most, about.below) != (None, None), f"{cls.__name__}.{f.name}"
            assert (about.least, about.above) != (None, None), f"{cls.__name__}.{f.name}"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_files_have_every_setting_of_a_section(section):
    files = sorted((conf_dir() / section).glob("*.yaml"))
    own = {f.name for f in dataclasses.fields(SECTIONS[section])}
    own -= {"captions", "frames", "tags", "global_batch", "frame_batch", "weak_batch", "accumulate"}
    assert files
    for path in files:
        raw = yaml.safe_load(path.read_text())
        if "defaults" in raw:
            raw = {k: v for k, v in raw.items() if k != "defaults"}
            assert set(raw) <= own
        else:
            assert set(raw) == own, path


def test_the_file_of_wandb_has_what_wandb_takes():
    raw = yaml.safe_load((conf_dir() / "logger" / "wandb.yaml").read_text())["wandb"]
    assert LoggerConfig(WandbConfig()) == from_plain(LoggerConfig, "logger", {"wandb": raw})
    assert set(raw) == {f.name for f in dataclasses.fields(WandbConfig)}


def configuration() -> dict[str, Any]:
    return compose_conf([*TINY, "data.frame.synthetic.path=x", "data.global.synthetic.path=x", "logger=wandb"])


def keys(node: Any, *above: str) -> list[tuple[str, ...]]:
    """Of every setting, and of every section that holds some."""
    if not isinstance(node, dict):
        return []
    return [found for key, value in node.items() for found in ((*above, str(key)), *keys(value, *above, str(key)))]


def refusals(read: Callable[[dict[str, Any]], object], plain: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, the one above, message) of each setting and section that is given a value of another type or left out, and
    refused."""
    for place in keys(plain):
        for value in (*MANY, LEFT_OUT):
            conf = configuration_copy(plain)
            section = conf
            for key in place[:-1]:
                section = section[key]
            section[place[-1]] = value
            if value is LEFT_OUT:
                del section[place[-1]]
            try:
                read(conf)
            except ValueError as error:
                yield place[-1], place[-2:][0], str(error)


def test_every_key_takes_every_value_or_names_itself():
    """No traceback, whatever is typed: each setting and section of the configuration with values of other types."""
    whole = {key: value for key, value in configuration().items() if key not in OTHERS}
    others = {key: {} for key in OTHERS}
    Config.read(whole | others)
    found = list(refusals(lambda conf: Config.read(conf | others), whole))
    assert len(found) > 1000
    for key, above, message in found:
        assert key in message or above in message
        assert "\n" not in message
        assert not message.startswith(":")


@pytest.mark.parametrize("section", ["data", "loss", "optim", "trainer", "model", "text", "logger", "steps", "name"])
def test_what_is_left_out_is_named(section):
    whole = configuration()
    del whole[section]
    with pytest.raises(ValueError, match=f"^'?{section}'?.* (is missing|needs `key: value`)"):
        Config.read(whole)


def test_every_key_of_the_model_too():
    found = list(refusals(FLAMConfig.from_dict, FLAMConfig().to_dict()))
    assert len(found) > 400
    for key, above, message in found:
        assert key in message or above in message or "model" in message
        assert "\n" not in message


def test_every_key_of_a_recipe_too():
    found = list(refusals(MixRecipe.from_dict, MixRecipe.load("demo").to_dict()))
    assert len(found) > 300
    for key, _, message in found:
        assert key in message
        assert "\n" not in message


def configuration_copy(node: Any) -> Any:
    return {key: configuration_copy(value) for key, value in node.items()} if isinstance(node, dict) else node


@pytest.mark.parametrize(
    ("override", "want"),
    [
        ("name=1e-4", "1e-4"),
        ("name=007", "007"),
        ("name=true", "true"),
        ("name=run-3", "run-3"),
        ("run_dir=123", "123"),
        ("data.frame.custom.path=2026", "2026"),
        ("init=1_000", "1_000"),
        ("init=null", None),
        ("init=runs/lr/seed=0,optim.lr=1e-4/export", "runs/lr/seed=0,optim.lr=1e-4/export"),
        ("run_dir=runs/seed=1", "runs/seed=1"),
        ("logger.wandb.id=20260102", "20260102"),
    ],
)
def test_names_stay_as_they_were_typed(override, want):
    found = compose_conf([*TINY, "logger=wandb", "data/frame=[custom]", "data.frame.custom.path=x", override])
    for key in override.partition("=")[0].split("."):
        found = found[key]
    assert found == want


def test_other_overrides_are_left_alone():
    for override in ("optim.lr=1e-4", "steps=100", "name='1e-4'", "name=${seed}", "data/frame=[custom]", "~init"):
        assert as_text(override) == override


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.clip=-1"], "optim.clip: -1 must be at least 0"),
        (["optim.weight_decay=-0.1"], "optim.weight_decay: -0.1 must be at least 0"),
        (["optim.lr_scale.text=-1"], "optim.lr_scale.text: -1 must be at least 0"),
        (["data.phrases_per_clip=0"], "data.phrases_per_clip: 0 must be at least 1"),
        (["global_batch=1"], "global_batch=1: the global loss compares the clips of a batch"),
        (["optim.betas=0.9"], "optim.betas: 0.9 must be a list of 2"),
        (["trainer.devices=[0,1]"], r"trainer.devices: \[0, 1\] is not a whole number or text"),
        (["loss.weights.sed=abc"], "loss.weights.sed: 'abc' is not a number"),
        (["data.prefetch=0"], "data.prefetch: 0 must be at least 1"),
        (["data.frame.synthetic.weight=x"], "data.frame.synthetic.weight: 'x' is not a number"),
        (["data.frame.synthetic.weight=-1"], "data.frame.synthetic.weight: -1 must be at least 0"),
        (["seed=-1"], "seed: -1 must be at least 0"),
        (["augment.mix_share=2"], "augment.mix_share: 2 must be at least 0 and at most 1"),
        (["augment.gain_db=[3,-3]"], r"augment.gain_db: \[3, -3\] must be \[lowest, highest\]"),
        (["optim.eps=0"], "optim.eps: 0 must be above 0"),
        (["run_dir="], "run_dir: is empty: name one, as run_dir=runs/flam"),
        (["name=''"], "name: is empty: name one"),
        (["run_dir=runs/x", "init=runs/x/export", "overwrite=true"], "init=runs/x/export: lies in the run folder"),
        (["trainer.hang_seconds=inf"], "trainer.hang_seconds: inf is not a number"),
        (["data.cache_gib=.inf"], "data.cache_gib: '.inf' is not a number"),
        (["steps=1e30"], r"steps: 1e\+30 must be at least 1 and at most"),
        (["frame_batch=1e12"], r"frame_batch: 1e\+12 must be at least 0 and at most"),
        (["augment.gain_db=[7000,7000]"], "augment.gain_db: 7000 must be at least -200 and at most 200"),
        (["trainer.precision=32"], "trainer.precision: 32 is not known: there are auto, 32-true"),
        (["data.frame=5"], "data.frame: 5 needs `key: value`"),
        (["data.frame.synthetic=5"], "data.frame.synthetic: 5 needs `key: value`"),
        (["data.global=[]"], "data.global: needs `key: value`"),
        (["data/frame=5"], "data/frame=5: no such choice: there are audioset_strong"),
        (["data/frame=[synthetic,5]"], r"data/frame=\[synthetic,5\]: no such choice"),
        (["trainer=null"], "trainer=null: no such choice: there are auto"),
        (["optim=[]"], r"optim=\[\]: no such choice: there are adamw, paper"),
        (["optim.lr_scale=[1,2,3]"], "optim.lr_scale: needs `key: value`, as"),
        (["optim.freeze={text: 3}"], "optim.freeze: needs a list, as"),
        (["~loss"], "~loss: a setting is not left out: give it another value"),
        (["~steps"], "~steps: a setting is not left out"),
        (["~data/frame"], r"~data/frame: a setting is not left out: data/frame=\[\] chooses none"),
        (["logger=wandb", "logger.wandb.mode=foo"], "logger.wandb.mode: 'foo' is not known: there are offline, online"),
        (["logger=wandb", "logger.wandb={foo: 1}"], "no key 'logger.wandb.foo'"),
        (["logger.wandb={mode: offline, tgas: 1}"], "logger.wandb: unknown key 'tgas': did you mean tags"),
        (["logger.wandb={project: 5}"], "logger.wandb.project: 5 is not text: put it in quotes"),
        (["logger.wandb=5"], "logger.wandb: 5 needs `key: value`"),
        (["loss.weights={global: 0, sed: 0, prior: 0, weak: 0}"], "loss.weights: all are 0"),
        (
            ["loss.weights={global: 0, sed: 1, prior: 1}", "global_batch=4", "frame_batch=0"],
            "loss.weights: global, which the batches have, weigh 0",
        ),
        (["optim.schedule=constant", "optim.final=0.5"], "optim.final=0.5: schedule=constant keeps"),
        (["+data.frame.synthetic.recipe=foo"], "data.frame.synthetic.recipe: only mixtures have one"),
    ],
)
def test_named_in_the_configuration(overrides, message):
    with pytest.raises(ValueError, match=message):
        Config.read(compose_conf([*TINY, *overrides]))


def test_what_a_run_of_before_had_is_read():
    """Settings that did nothing there do no harm when it goes on."""
    conf = configuration()
    conf["optim"] |= {"schedule": "constant", "final": 0.5}
    assert Config.read(conf, asked=False).optim.final == 0.5
    assert changes(conf, conf) == {}


def test_one_item_is_a_list_of_one():
    one = ["optim.freeze=text", "data.exclude=overlap.txt", "logger=wandb", "logger.wandb.tags=mine"]
    found = Config.read(compose_conf([*TINY, *one]))
    assert found.logger.wandb is not None
    assert found.logger.wandb.tags == ("mine",)
    assert found.optim.freeze == ("text",)
    assert found.data.exclude == ("overlap.txt",)


def test_a_key_of_what_init_brings_is_added():
    with pytest.raises(
        ValueError, match=r"no key 'model.frontend.mask_stripes' .* \+model.frontend.mask_stripes=\.\.\. "
    ):
        compose_conf(["model.frontend.mask_stripes=0"])
    assert compose_conf(["+model.frontend.mask_stripes=0"])["model"]["frontend"] == {"mask_stripes": 0}
