"""Every command line of README and docs is parsed by its own program; what running text names is there."""

from __future__ import annotations

import re

import pytest
from doc_lines import command_lines, pages, spans
from doc_programs import check_command, exempt
from doc_spans import LINK, check_link, check_span, says_something
from doc_tables import EXEMPT, PLACEHOLDERS

LINES = [line for page, text in pages().items() for line in command_lines(page, text)]
SPANS = list(
    {s.text: s for page, text in pages().items() for s in spans(page, text) if says_something(s.text)}.values()
)
LINKS = [(page, target) for page, text in pages().items() for target in LINK.findall(text)]


@pytest.mark.parametrize("line", LINES, ids=str)
def test_command_line(line):
    for command in line.commands:
        if not exempt(line.text):
            check_command(command)


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_code_in_running_text(span):
    check_span(span)


def test_links():
    for page, target in LINKS:
        check_link(page, target)


@pytest.mark.parametrize("page", pages())
def test_nothing_is_left_to_fill_in(page):
    for number, row in enumerate(pages()[page].splitlines(), 1):
        left = re.search(r"\b(TIME|TODO|TBD|XXX)\b", row)
        assert left is None, f"{page}:{number}: {left[0]}"


def test_no_row_of_a_table_is_stale():
    texts = {str(command) for line in LINES for command in line.commands} | {line.text for line in LINES}
    texts |= {span.text for page, text in pages().items() for span in spans(page, text)}
    for pattern, reason in EXEMPT:
        assert any(re.match(pattern, text) for text in texts), f"EXEMPT: no line needs {pattern!r} ({reason})"
    for word in PLACEHOLDERS:
        assert any(word in re.split(r"[\s=]", text) or word in text.split() for text in texts), (
            f"PLACEHOLDERS: {word!r}"
        )
