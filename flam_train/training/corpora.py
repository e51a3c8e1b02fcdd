"""What the settings say of the data of a run: each corpus, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flam_train.data.shards.places import place_of
from flam_train.settings import named, setting, settle

MOST_CLIPS = 10**6
"""Of a batch: it takes a terabyte as it is read."""

MOST_GIB = 10**9
"""An exbibyte: more than there is in one place."""


@dataclass(frozen=True)
class CorpusConfig:
    """An entry of `data.global`, `data.frame` or `data.weak`: shards at `path`, or mixtures made while training from
    `bank`."""

    path: str | None = setting(None, "a folder of shards or its URL, or the one above its train/ and validation/")
    bank: tuple[str, ...] | None = setting(None, "folders of shards that mixtures are made from")
    recipe: str = setting("paper", "how: a name in conf/mixing, or a .yaml file")
    size: int = setting(100_000, "mixtures in one pass", least=1, most=10**12)
    memory_gib: float | None = setting(
        None,
        "null: the bank is in memory; else its sounds are read as they are needed, and so much of them is kept by the "
        "workers of each rank together",
        above=0,
        most=MOST_GIB,
    )
    weight: float = setting(1.0, "share in the stream, beside the other corpora's", least=0, most=1e9)
    balance: float = setting(
        0.0,
        "share of its clips that is drawn evenly over its classes (of shards; mixtures have their recipe's `choose`)",
        least=0,
        most=1,
    )
    validation: str | None = setting(None, "a folder of shards to validate on; null: validation/ beside train/")

    def with_splits(self, validate: bool = True) -> CorpusConfig:
        """With the folders (or URLs) of shards themselves.

        Where `path` is no corpus and PATH/train is, that is trained on, and PATH/validation, if it is there, validates
        unless another `validation` is given. Everything else is left as it is, also what will turn out to be a mistake.
        validate: False leaves PATH/validation alone.
        """
        if self.bank or not self.path or place_of(self.path).is_corpus():
            return self
        train, validation = (f"{self.path.rstrip('/')}/{split}" for split in ("train", "validation"))
        if not place_of(train).is_corpus():
            return self
        chosen = self.validation or (validation if validate and place_of(validation).is_corpus() else None)
        return replace(self, path=train, validation=chosen)


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how.

    captions, frames, tags are `data.global`, `data.frame` and `data.weak`; global_batch to accumulate stand at the top
    of the configuration.
    """

    captions: dict[str, CorpusConfig]
    frames: dict[str, CorpusConfig]
    tags: dict[str, CorpusConfig]
    global_batch: int = setting(
        0, "clips with captions a step, over all ranks; 0 switches them off", least=0, most=MOST_CLIPS
    )
    frame_batch: int = setting(
        0, "clips with events a step, over all ranks; 0 switches them off", least=0, most=MOST_CLIPS
    )
    weak_batch: int = setting(
        0, "clips with tags a step, over all ranks; 0 switches them off", least=0, most=MOST_CLIPS
    )
    accumulate: int = setting(
        1, "micro-batches of each rank's share of them; 1: the whole batch at once", least=1, most=MOST_CLIPS
    )
    phrases_per_clip: int = setting(5, "of each clip up to so many of its concepts enter the batch", least=1, most=1000)
    block_shards: int = setting(4, "shards whose samples are shuffled together", least=1, most=10**6)
    workers: int | None = setting(
        None,
        "loader processes of each rank; null: one for each core the rank has to itself, at most 8",
        least=0,
        most=1024,
    )
    prefetch: int = setting(2, "steps that each worker holds ready", least=1, most=1000)
    verify: bool = setting(False, "compare every shard's sha256 at the start")
    validation_batch: int = setting(16, "clips", least=1, most=MOST_CLIPS)
    cache_folder: str | None = setting(
        None, "where shards that lie behind a URL are kept on this machine; null: TMPDIR/flam-shards-UID"
    )
    cache_gib: float = setting(50.0, "how much of them, by all processes of the machine", above=0, most=MOST_GIB)
    cache_ahead: int = setting(100, "of how many coming steps they are fetched meanwhile", least=0, most=10**6)
    bad_shards: str = setting(
        "stop",
        "a shard is missing, cut off or altered on a node: `stop` at the start, or `skip` its samples, which count as "
        "bad (`loss.max_bad_share`)",
        choices=("stop", "skip"),
    )
    exclude: tuple[str, ...] | None = setting(
        None, "files of the samples that are not trained on (`data.shards.exclusion`); validation keeps them"
    )

    def __post_init__(self) -> None:
        settle(self, "data")
        for kind, (_, corpora) in self.streams.items():
            for name, entry in corpora.items():
                settle(entry, f"data.{kind}.{name}")
        if self.tags and not self.weak_batch:
            raise ValueError(
                f"data/weak selects {', '.join(self.tags)}, but weak_batch=0: say how many of its clips a step takes, "
                'weak_batch=32, or select none, "data/weak=[]"'
            )
        if self.global_batch + self.frame_batch + self.weak_batch == 0:
            raise ValueError("global_batch=0, frame_batch=0 and weak_batch=0: one must be over 0")
        if self.global_batch == 1:
            raise ValueError(
                "global_batch=1: the global loss compares the clips of a batch, of one it is 0: set it to at least 2, "
                "or to 0"
            )

    @property
    def streams(self) -> dict[str, tuple[int, dict[str, CorpusConfig]]]:
        """{"global", "frame" and "weak": (clips a step over all ranks, its corpora)}."""
        return {
            "global": (self.global_batch, self.captions),
            "frame": (self.frame_batch, self.frames),
            "weak": (self.weak_batch, self.tags),
        }

    @property
    def validations(self) -> dict[str, tuple[str, str]]:
        """{name, as in `val/NAME/...`: (the setting that names it, the folder or URL)}, of entries `with_splits`."""
        out: dict[str, tuple[str, str]] = {}
        for kind in ("frame", "global", "weak"):
            for name, entry in self.streams[kind][1].items():
                if entry.validation and out.get(name, ("", ""))[1] != entry.validation:
                    # One corpus may be validated on different shards for its events and for its captions.
                    place = f"data.{kind}.{name}.validation", entry.validation
                    out[f"{name}-{kind}" if name in out else name] = place
        return out

    def with_splits(self) -> DataConfig:
        """With those of its entries; tags validate on nothing that is not named."""

        def split(kind: str, validate: bool = True) -> dict[str, CorpusConfig]:
            out = {}
            for name, entry in self.streams[kind][1].items():
                with named(f"data.{kind}.{name}.path"):
                    out[name] = entry.with_splits(validate)
            return out

        return replace(self, captions=split("global"), frames=split("frame"), tags=split("weak", validate=False))
