"""Label files as careless hands and broken programs make them, for the tests of everything that reads one."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NASTY = [
    *(
        "",
        "\t",
        ",",
        ";",
        "\n",
        "\r\n",
        "\r",
        '"',
        '""',
        "'",
        "\\",
        "\0",
        "\ufeff",
        "\u2028",
        "\x0b",
        "\x85",
        "\xa0",
        "\x1d",
    ),
    *("nan", "inf", "-inf", "1e999", "-1e999", "1e-400", "-1", "0", "1_0", "٣", "½", "0x10", "1,5", "1.5.2", "-0.0"),
    *("9" * 400, "9" * 5000, "[", "]", "{", "}", "[" * 3000, "null", "true", "NaN", "Infinity", "\\ud800", "\\u0000"),
    *("<", ">", "&", "&lt;", "<!DOCTYPE x>", '<!DOCTYPE x [<!ENTITY a "b">]>', "<!-- -->", "<![CDATA[", "<exists>"),
    *("<absent>", "IntervalTier", "TextTier", "size = 999999999", "ts1", "a1", "a2", "!", "#", "dog", "café", "🐕"),
    *("onset", "offset", "label", "filename", "duration", "events", "captions", "namespace", "data", "time", "value"),
]

OTHERS = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**400,
        -(10**400),
        float("nan"),
        float("inf"),
        "",
        " ",
        "x",
        "1.5",
        "nan",
        "a.wav",
    ),
    *("\ud800", "\0", "00:01:02.5", "9" * 400, [], {}, [[]], [{}], {"": ""}, {"a": None}, [1, 2], ["x", 1], [None]),
    *({"start": 0, "end": 1}, [{"start": 0, "end": 1, "labels": [""]}], {"0": {"fid_list": ["1"]}}, "data:x.wav"),
]


def mutated(text: str, rng: random.Random) -> str:
    """A few random edits, as careless hands and broken programs make them."""
    for _ in range(rng.choice((1, 1, 2, 4, 9))):
        i, j = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        lines = re.split(r"(?<=\n)", text)
        match rng.randrange(9):
            case 0:
                text = text[:i] + rng.choice(NASTY) + text[i:]
            case 1:
                text = text[:i] + rng.choice(NASTY) + text[i + rng.randrange(1, 6) :]
            case 2:
                text = text[:i] + text[min(j, i + 30) :]
            case 3:
                text = text[:i]
            case 4:
                rng.shuffle(lines)
                text = "".join(lines)
            case 5:
                text = text[:i] + text[i:j] * 2 + text[j:]
            case 6:  # a value in the place of another
                words = [m.span() for m in re.finditer(r'[^\s,;\t"<>={}\[\]:]+', text)]
                if words:
                    a, b = rng.choice(words)
                    text = text[:a] + rng.choice(NASTY) + text[b:]
            case 7:
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
                text = "".join(lines)
            case 8:
                text = (
                    text[:i] + chr(rng.choice((0, 9, 10, 34, 44, 92, 127, 160, 233, 0x2028, 0x1F415))) + text[i + 1 :]
                )
        text = text[:20_000]
    return text


def warped(value: Any, rng: random.Random) -> Any:
    """JSON with a few values of another kind in the place of its own, or gone: what no edit of its text makes often."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = [
            (value, key)
            for value in _containers(value)
            for key in (value if isinstance(value, dict) else range(len(value)))
        ]
        if places:
            holder, key = rng.choice(places)
            if rng.random() < 0.2:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(rng.choice(OTHERS))
    return value


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def encoded(text: str, rng: random.Random) -> bytes:
    """Mostly UTF-8, sometimes another encoding, sometimes with bytes gone or changed."""
    data = text.encode(rng.choice(("utf-8",) * 6 + ("utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32")), "replace")
    if rng.random() < 0.2 and data:
        i = rng.randrange(len(data))
        data = data[:i] + rng.randbytes(rng.randrange(4)) + data[i + rng.randrange(3) :]
    return data


def malformed(good: str, examples: int, use: Callable[[bytes, random.Random], None]) -> None:
    """Calls `use` with so many files, the same ones every time: edits of a good one, and what is no label file at all.
    The generator is for choices that go with the file."""

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32 - 1), st.one_of(st.none(), st.none(), st.none(), st.binary(max_size=300), st.text()))
    def one(seed: int, raw: bytes | str | None) -> None:
        rng = random.Random(seed)
        if raw is None:
            data = encoded(mutated(good, rng), rng)
        else:
            data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace")
        use(data, rng)

    one()
