"""Documents: what a page of the documentation promises: commands, snippets, queries, links, tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
_TEST = re.compile(r"tests/[\w/]+\.py::\w+")
SHELLS = {"console", "sh", "bash", "shell"}


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block of a page. `line` is that of its first line."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Call:
    """Words of a command line that a page shows, and whether they are meant to be typed as they stand."""

    where: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.where} {' '.join(self.words)}"


def pages() -> list[Path]:
    """Every page that people read, the generated ones among them."""
    own = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    parts = [*ROOT.glob("*/README.md"), *(ROOT / "deploy").rglob("*.md"), *(ROOT / "docs").rglob("*.md")]
    hidden = {path for path in parts if any(part.startswith(".") for part in path.relative_to(ROOT).parts)}
    return sorted({path for path in (*own, *parts) if path.is_file()} - hidden)


def name_of(page: Path) -> str:
    """A page by its path in the repository."""
    return str(page.relative_to(ROOT))


def snippets(page: Path, *languages: str) -> list[Snippet]:
    """The fenced blocks of these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(name_of(page), text.count("\n", 0, found.start(2)) + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
        if found[1] in languages
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def lines_of(snippet: Snippet) -> Iterator[str]:
    """Command lines of a shell block: those with a prompt where it has any; continued ones as one."""
    text = snippet.text.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    prompted = [line[2:].strip() for line in lines if line.startswith("$ ")]
    yield from prompted or ([] if snippet.language == "console" else lines)


def words_of(line: str) -> tuple[str, ...]:
    """The words of a simple command, without variables before it and without what is redirected or piped."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|>&;"):
            break
        words.append(word)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return tuple(words)


def calls(page: Path, program: str) -> Iterator[Call]:
    """Every call of a program that a page shows, in blocks and in its prose."""
    for snippet in snippets(page, *SHELLS):
        for line in lines_of(snippet):
            words = words_of(line)
            if words and Path(words[0]).name == program:
                yield Call(str(snippet), words[1:], True)
    for code in _INLINE.findall(prose(page)):
        if code == program or code.startswith(f"{program} "):
            yield Call(name_of(page), words_of(code)[1:], False)


def links(page: Path) -> list[str]:
    """Targets of a page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make."""
    slugs: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slugs.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return slugs


def cited_tests(page: Path) -> list[str]:
    """Tests that a page names as `path::name`."""
    return _TEST.findall(page.read_text(encoding="utf-8"))
