"""A program in this process, as far as its arguments are parsed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from doc_stale import Stale


@dataclass(frozen=True)
class Call:
    """What is run in the end, and its arguments as it understood them, where it is one of the project's."""

    program: str
    arguments: tuple[str, ...]
    values: argparse.Namespace | None = None
    options: frozenset[str] = frozenset()  # that its parser knows


class Parsed(BaseException):
    """The arguments are parsed, and that is enough. Programs catch none of its kind."""

    def __init__(self, values: argparse.Namespace, parser: argparse.ArgumentParser):
        self.values, self.parser = values, parser


@contextmanager
def only_parsing(name: str, arguments: tuple[str, ...], more: bool = False) -> Iterator[None]:
    """In it a program ends with Parsed where its parser has understood the arguments. more: some may be missing."""

    def stopping(parse: Callable) -> Callable:
        def parsed(self, args=None, namespace=None):
            if more:
                all_optional(self)
            raise Parsed(parse(self, args, namespace), self)

        return parsed

    one, other = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_intermixed_args
    with (
        patch.object(argparse.ArgumentParser, "parse_args", stopping(one)),
        patch.object(argparse.ArgumentParser, "parse_intermixed_args", stopping(other)),
        patch.object(sys, "argv", [name, *arguments]),
    ):
        yield


def stopped(name: str, arguments: tuple[str, ...], main: Callable[[], object], more: bool = False) -> Call:
    """main: the program. Raises Stale with its own words for arguments that it refuses."""
    said = StringIO()
    try:
        with only_parsing(name, arguments, more), redirect_stdout(StringIO()), redirect_stderr(said):
            main()
    except Parsed as parsed:
        return Call(name, arguments, parsed.values, options_of(parsed.parser))
    except SystemExit as left:
        if left.code in (0, None):  # --help
            return Call(name, arguments)
        raise Stale(said.getvalue().strip()[-400:]) from None
    raise Stale(f"{name} did not parse its arguments, but did something")


def all_optional(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        action.required = False
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                all_optional(inner)
        elif not action.option_strings:
            action.nargs = {None: "?", "+": "*"}.get(action.nargs, action.nargs)


def options_of(parser: argparse.ArgumentParser) -> frozenset[str]:
    inner = [p for a in parser._actions if isinstance(a, argparse._SubParsersAction) for p in a.choices.values()]
    return frozenset(parser._option_string_actions).union(*(options_of(p) for p in inner))
