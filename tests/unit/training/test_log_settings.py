"""What wandb and TensorBoard are told of the settings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from needs import WANDB
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from flam_train.training.log_settings import LogSettings, without_secrets
from flam_train.training.loggers import SteppedWandbLogger

CONF = {
    "optim": {"lr": 1e-4, "freeze": ["text"], "ema": None},
    "steps": 100,
    "trainer": {"compile": False},
    "text": {"name": ""},
    "data": {"frame": {"mine": {"path": "https://me:pass@host/shards?sig=abc", "weight": 2}}},
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("https://me:pass@host/shards?sig=abc", "https://host/shards"),
        ("https://host", "https://host"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("hf://owner/name", "hf://owner/name"),
        ("a@b?c", "a@b?c"),
        ({"api_key": "x", "key": None, "max_tokens": 77}, {"api_key": "***", "key": None, "max_tokens": 77}),
        ([{"a": ["http://u@h/"]}], [{"a": ["http://h/"]}]),
        (("text", 1), ["text", 1]),
    ],
)
def test_without_secrets(value, told):
    assert without_secrets(value) == told


def tell(conf: dict, logger, step: int = 0, first: bool = True) -> None:
    trainer = SimpleNamespace(is_global_zero=first, loggers=[logger], global_step=step)
    LogSettings(conf, ["loss/total", "val/x/auroc_macro"]).on_train_start(trainer, None)


def test_tensorboard_has_a_table_of_each_part_and_numbers_to_compare_runs_by(tmp_path):
    for step, lr in ((0, 1e-4), (50, 0.5)):
        logger = TensorBoardLogger(str(tmp_path), name="", version="", purge_step=step, default_hp_metric=False)
        tell(CONF | {"optim": {"lr": lr}}, logger, step)
        tell({"other": 1}, logger, step + 1, first=False)
        logger.finalize("success")
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    texts = [(e.step, e.tensor_proto.string_val[0].decode()) for e in found.Tensors("settings/text_summary")]
    assert [step for step, _ in texts] == [0, 50]
    assert "| `optim.lr` | `0.0001` |" in texts[0][1]
    assert "| `optim.lr` | `0.5` |" in texts[1][1]
    assert '| `text.name` | `""` |' in texts[0][1]
    assert "| `data.frame.mine.path` | `https://host/shards` |" in texts[0][1]
    assert "pass" not in texts[0][1]

    def plugin_data(tag: str) -> HParamsPluginData:
        return HParamsPluginData.FromString(found.SummaryMetadata(tag).plugin_data.content)

    began_with = plugin_data("_hparams_/session_start_info").session_start_info.hparams
    assert began_with["optim.lr"].number_value == 1e-4
    assert began_with["steps"].number_value == 100
    assert began_with["trainer.compile"].bool_value is False
    assert began_with["data.frame.mine.path"].string_value == "https://host/shards"
    metrics = plugin_data("_hparams_/experiment").experiment.metric_infos
    assert {info.name.tag for info in metrics} == {"loss/total", "val/x/auroc_macro"}


class Config(dict):
    """As much of wandb's as is asked for: what was there may change only where that is allowed."""

    def update(self, values: dict, allow_val_change: bool = False) -> None:
        assert allow_val_change or not set(values) & set(self)
        super().update(values)


@WANDB
def test_wandb_has_them_nested_and_the_last_ones_win(tmp_path):
    wandb = SteppedWandbLogger(tmp_path, 0, name="run", id="abc", mode="offline")
    wandb._experiment = SimpleNamespace(config=Config(theirs=1))
    tell(CONF, wandb)
    tell(CONF | {"steps": 200}, wandb, 50)
    found = wandb.experiment.config
    assert found["theirs"] == 1
    assert found["steps"] == 200
    assert found["optim"] == {"lr": 1e-4, "freeze": ["text"], "ema": None}
    assert found["data"]["frame"]["mine"] == {"path": "https://host/shards", "weight": 2}
