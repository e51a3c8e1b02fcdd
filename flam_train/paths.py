"""Where configuration and scripts lie: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The folder that holds `train.yaml`. Raises FileNotFoundError when neither place has it."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"flam_train's configuration is missing: no train.yaml in {package / 'conf'} or {package.parent / 'conf'}"
    )


def eval_dir() -> Path:
    """The folder of the evaluation scripts and of the published table. Raises FileNotFoundError when neither has it."""
    package = Path(__file__).resolve().parent
    for folder in (package / "eval", package.parent / "eval"):
        if (folder / "paper_table.yaml").is_file():
            return folder
    raise FileNotFoundError(f"flam_train's evaluation scripts are missing: neither {package / 'eval'} nor beside it")


def conf_file(group: str, name: str) -> Path:
    """`name` as a path if it is one, else `conf/GROUP/NAME.yaml`; a ValueError lists what there is."""
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        if given.is_file():
            return given
        raise ValueError(f"no such file: {given}")
    folder = conf_dir() / group
    found = folder / f"{name}.yaml"
    if not found.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
        raise ValueError(f"no {group} named {name!r}: {folder} has {known}; or give the path of a .yaml file")
    return found
