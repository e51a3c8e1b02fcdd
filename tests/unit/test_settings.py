"""Settings: values read into types and ranges, and the whole configuration tried with wrong ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tiny_runs import TINY

from flam_train.cli.train import as_text, compose_conf
from flam_train.data.augment.config import AugmentConfig
from flam_train.models.flam import FLAMConfig
from flam_train.models.frontend import FrontendConfig
from flam_train.models.htsat import HTSATConfig
from flam_train.models.text import TextConfig
from flam_train.paths import conf_dir
from flam_train.settings import SETTING, from_plain, setting, typed
from flam_train.training.configuration import Config
from flam_train.training.corpora import CorpusConfig, DataConfig
from flam_train.training.objective import LossConfig
from flam_train.training.optim import OptimConfig
from flam_train.training.trainer import TrainerConfig

ALL = (
    Config, DataConfig, CorpusConfig, AugmentConfig, LossConfig, OptimConfig, TrainerConfig, FLAMConfig, FrontendConfig,
    HTSATConfig, TextConfig,
)  # fmt: skip
SECTIONS = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "optim": OptimConfig,
    "trainer": TrainerConfig,
}
OTHERS = ("model", "text", "logger")
MANY = ["x", "", "nan", True, -1, -0.5, 0, 1.5, 10**9, 1e-4, [], [0, 1], ["x"], {}, {"a": 1}, None]


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
        ("on", 1, "some.on: 1 is not true or false"),
        ("on", "yes", "some.on: 'yes' is not true or false"),
        ("text", 1e-4, "some.text: 0.0001 is not text: put it in quotes"),
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
        holds = ("Config", "dict[str, CorpusConfig]")
        if f.type in ("dict[str, Any]", "dict[str, dict[str, Any] | None]") or str(f.type).endswith(holds):
            continue  # a section: its own fields say it
        assert f.metadata[SETTING].says.strip(), f"{cls.__name__}.{f.name}"


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


def configuration() -> dict[str, Any]:
    return compose_conf([*TINY, "data.frame.synthetic.path=x", "data.global.synthetic.path=x"])


def leaves(node: Any, *above: str) -> list[tuple[str, ...]]:
    if not isinstance(node, dict) or not node:
        return [above]
    return [leaf for key, value in node.items() for leaf in leaves(value, *above, str(key))]


def refusals(read: Callable[[dict[str, Any]], object], plain: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(key, the one above, message) of each leaf and value of another type that is refused."""
    for leaf in leaves(plain):
        for value in MANY:
            conf = configuration_copy(plain)
            place = conf
            for key in leaf[:-1]:
                place = place[key]
            place[leaf[-1]] = value
            try:
                read(conf)
            except ValueError as error:
                yield leaf[-1], leaf[-2:][0], str(error)


def test_every_key_takes_every_value_or_names_itself():
    """No traceback, whatever is typed: each leaf of the configuration with values of other types."""
    whole = configuration()
    Config.read(whole)
    found = list(refusals(lambda conf: Config.read(whole | conf), {k: whole[k] for k in whole if k not in OTHERS}))
    assert len(found) > 400
    for key, above, message in found:
        assert key in message or above in message
        assert "\n" not in message


def test_every_key_of_the_model_too():
    found = list(refusals(FLAMConfig.from_dict, FLAMConfig().to_dict()))
    assert len(found) > 200
    assert not [message for _, _, message in found if "\n" in message]


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
    ],
)
def test_names_stay_as_they_were_typed(override, want):
    found = compose_conf([*TINY, "data/frame=[custom]", "data.frame.custom.path=x", override])
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
    ],
)
def test_named_in_the_configuration(overrides, message):
    with pytest.raises(ValueError, match=message):
        Config.read(compose_conf([*TINY, *overrides]))


def test_one_item_is_a_list_of_one():
    found = Config.read(compose_conf([*TINY, "optim.freeze=text", "data.exclude=overlap.txt"]))
    assert found.optim.freeze == ("text",)
    assert found.data.exclude == ("overlap.txt",)


def test_a_key_of_what_init_brings_is_added():
    with pytest.raises(
        ValueError, match=r"no key 'model.frontend.mask_stripes' .* \+model.frontend.mask_stripes=\.\.\. "
    ):
        compose_conf(["model.frontend.mask_stripes=0"])
    assert compose_conf(["+model.frontend.mask_stripes=0"])["model"]["frontend"] == {"mask_stripes": 0}
