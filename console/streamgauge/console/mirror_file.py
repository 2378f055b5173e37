"""Mirror file: the flows that a properties file of MirrorMaker 2 describes, read as Java and MirrorMaker read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streamgauge.schemas.errors import InputError

CONNECTOR = "MirrorSourceConnector"
_FLOW = re.compile(r"([^>\s]+?)->([A-Za-z0-9_\-]+)\.(.+)")
_SEPARATOR = re.compile(r"((?:[^\\=:\s]|\\.)*)\s*[=:]?\s*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Flow:
    """What goes from one cluster to another. `settings` are those in force: the flow's own, else those for all flows."""

    source: str
    target: str
    enabled: bool
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        """As the file names it."""
        return f"{self.source}->{self.target}"

    def patterns(self, *names: str) -> tuple[str, ...] | None:
        """A comma-separated list of patterns under the first of these names that is set; None where none is."""
        for name in names:
            if name in self.settings:
                return tuple(filter(None, map(str.strip, self.settings[name].split(","))))
        return None

    def on(self, name: str, default: bool) -> bool:
        """A switch."""
        return self.settings[name].strip().lower() == "true" if name in self.settings else default


def properties(text: str) -> dict[str, str]:
    """Keys and values of a Java properties file. A backslash before any other character is taken away."""
    found: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _SEPARATOR.fullmatch(line)
        if match:
            found[_unescaped(match[1])] = _unescaped(match[2])
    return found


def _logical_lines(text: str) -> Iterator[str]:
    held = ""
    for line in re.split(r"\r\n|\r|\n", text):
        part = line.lstrip(" \t\f")
        if not held and (not part or part[0] in "#!"):
            continue
        if (len(part) - len(part.rstrip("\\"))) % 2:
            held += part[:-1]
            continue
        yield held + part
        held = ""
    if held:
        yield held


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        letter = match[1]
        return chr(int(letter[1:], 16)) if len(letter) == 5 else _LETTERS.get(letter, letter)

    return _ESCAPE.sub(plain, text)


def flows(found: Mapping[str, str]) -> list[Flow]:
    """Every flow that is enabled or mentioned, in order. Raises InputError for a file that describes none."""
    if found.get("connector.class", "").rpartition(".")[2] == CONNECTOR:
        source, target = (found.get(f"{end}.cluster.alias", end) for end in ("source", "target"))
        return [Flow(source, target, found.get("enabled", "true").strip().lower() != "false", found)]
    clusters = [one for one in map(str.strip, found.get("clusters", "").split(",")) if one]
    pairs = {(a, b): dict[str, str]() for a in clusters for b in clusters if a != b}
    common: dict[str, str] = {}
    mentioned: set[tuple[str, str]] = set()
    for key, value in found.items():
        pair = next((pair for pair in pairs if key.startswith(f"{pair[0]}->{pair[1]}.")), None)
        if pair is None and (match := _FLOW.fullmatch(key)):
            pair = match[1], match[2]
        if pair is None:
            common[key] = value
        else:
            mentioned.add(pair)
            pairs.setdefault(pair, {})[key.removeprefix(f"{pair[0]}->{pair[1]}.")] = value
    if not pairs:
        raise InputError("this describes no flow: a file of MirrorMaker 2 names `clusters` and `a->b.enabled`")
    made = [
        Flow(*pair, (own.get("enabled", common.get("enabled", "false"))).strip().lower() == "true", {**common, **own})
        for pair, own in pairs.items()
    ]
    return [one for one in made if one.enabled or (one.source, one.target) in mentioned]
