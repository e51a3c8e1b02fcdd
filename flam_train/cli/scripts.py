"""flam-eval: the scripts of eval/ by their names, also where only the wheel is installed."""

from __future__ import annotations

import ast
import runpy
import sys

from flam_train.cli.answers import printing
from flam_train.paths import eval_dir
from flam_train.settings import nearest


@printing()
def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    scripts = {path.stem.replace("_", "-"): path for path in sorted(eval_dir().glob("*.py"))}
    if not argv or argv[0] in ("-h", "--help"):
        print("flam-eval NAME ...  (flam-eval NAME --help tells more)\n")
        for name, path in scripts.items():
            about = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
            print(f"  {name:<12} {about}")
        sys.exit(0 if argv else 2)
    name = argv[0].replace("_", "-")
    if name not in scripts:
        print(f"error: flam-eval {argv[0]}: {nearest(name, scripts)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"flam-eval {name}", *argv[1:]]
    runpy.run_path(str(scripts[name]), run_name="__main__")
