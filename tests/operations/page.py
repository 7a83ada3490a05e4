"""Blocks of a page of the documentation: what the rehearsals run is what operators copy."""

import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str) -> dict[str, str]:
    """The fenced blocks with a name, in the page's order, such as "haproxy", or "fence" for ```sh fence."""
    found: dict[str, str] = {}
    text = (DOCS / page).read_text(encoding="utf-8")
    for language, name, body in re.findall(r"^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", text, re.M | re.S):
        key = name or language
        if key in found and name:
            raise SystemExit(f"docs/{page} has two blocks of the name {key}")
        found.setdefault(key, body)
    return found


def first_block(page: str, heading: str) -> str:
    """The first fenced block below a heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    _, found, below = text.partition(f"\n## {heading}\n")
    block = re.search(r"^```\w+\n(.*?)^```$", below, re.M | re.S)
    if not found or not block:
        raise SystemExit(f"docs/{page} has no block below the heading {heading}")
    return block.group(1)


def fill_in(configuration: str, values: dict[str, str]) -> str:
    """Puts this machine's addresses in place of a page's. Each must be there."""
    for written in values:
        if written not in configuration:
            raise SystemExit(f"a block of the page does not contain {written!r}:\n{configuration}")
    # In one pass: what was put in is not replaced again.
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match.group()], configuration)
