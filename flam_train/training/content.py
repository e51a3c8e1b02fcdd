"""What a run's data is, said by its content: so a folder may move, and other shards at the same path are noticed.

All of it is plain data that a checkpoint keeps: `Content` has, for each place in the settings (`data.frame.esc10`,
`val/esc10`), what stands there, one entry a corpus.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from flam_train.checkpoints import hub
from flam_train.checkpoints.foreign import fetched
from flam_train.checkpoints.reading import FOLDER_FILES
from flam_train.data.mixing.recipe import MixRecipe
from flam_train.data.shards.corpus import Corpus
from flam_train.data.shards.tars import sha256_of

Content = dict[str, list[dict[str, str]]]

PARTS = {
    "shards": "has other shards",
    "labels": "has other classes, phrasings or annotations",
    "recipe": "is mixed by another recipe",
    "left_out": "data.exclude leaves out other clips",
}
"""Of an entry: what is compared, and how a difference is told. `name`, the corpus' own, is for messages."""

OTHERWISE = "go on with the same data, give another run_dir or name, or start anew with overwrite=true"


def facts_of(corpus: Corpus, left_out: str = "", recipe: MixRecipe | None = None) -> dict[str, str]:
    """One entry. left_out: the fingerprint of the rows that are (`exclusion.Kept`); recipe: of a bank's mixtures."""
    classes = corpus.vocabulary.classes
    said = [[label, c.id, *sorted(c.phrasings), "held out", *sorted(c.held_out)] for label, c in classes.items()]
    about = corpus.provenance()
    return {
        "name": about["name"],
        "shards": about["sha256"],
        "labels": _sha256([said, sorted(corpus.annotates)]),
        "recipe": "" if recipe is None else _sha256(recipe.to_dict()),
        "left_out": left_out,
    }


def check_same_content(before: Content, now: Content) -> None:
    """Raises ValueError that names the place, the corpus and what of it differs."""
    for where in sorted(before.keys() | now.keys()):
        was, new = before.get(where, []), now.get(where, [])
        names = [", ".join(fact["name"] for fact in facts) or "nothing" for facts in (was, new)]
        if len(was) != len(new):
            raise ValueError(f"{where}: this run began with {names[0]}, here is {names[1]}: {OTHERWISE}")
        for then, fact in zip(was, new, strict=True):
            for part, differs in PARTS.items():
                if then.get(part, "") != fact.get(part, ""):
                    raise ValueError(f"{where}: {fact['name']}: {differs} than when this run began: {OTHERWISE}")


INDEX = "model.safetensors.index.json"


def init_commit(init: str | None) -> str | None:
    """Of what a run starts from, where it is on a hub."""
    return fetched(init).name if init and hub.is_hub(init) else None


def init_sha256(init: str | None) -> str | None:
    """Of the weights that a run starts from; None where there is nothing on this disk."""
    path = fetched(init) if init else Path()
    if not init or not path.exists():
        return None
    if path.is_file():
        return sha256_of(path)
    names = [name for name in FOLDER_FILES if (path / name).is_file()][:1]
    names += sorted(part.name for part in path.glob("model-*.safetensors")) if names == [INDEX] else []
    found = [sha256_of(path / name) for name in names]
    return found[0] if len(found) == 1 else _sha256(found)


def check_same_init(init: str | None, was: str | None, before: str | None) -> None:
    """was: what `init` said when the run began, before: `init_sha256` of then. It need not be there any more.

    Raises ValueError where it is something else.
    """
    # What a hub has by now does not matter to a run that has begun.
    now = None if init and hub.is_hub(init) else init_sha256(init)
    moved_away = now is None and init == was
    if not moved_away and now != before:
        what = "is not there to compare with" if now is None else "has other weights than"
        raise ValueError(f"init={init}: {what} init={was}, which this run began with: leave init as it was")


def _sha256(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
