"""Export check: whether the flows of a MirrorMaker 2 file take anything out of a region but its rollups. Pure.

Only exact names are accepted. A pattern is refused whatever it matches today: MirrorMaker looks for new topics all the time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from streamgauge.console.mirror_file import Flow
from streamgauge.schemas.packing import Json
from streamgauge.schemas.topics import ROLLUPS, TOPICS

EXCLUDED = (r".*[\-\.]internal", r".*\.replica", "__.*")
"""What MirrorMaker leaves out where a file does not say."""
FILTER = "DefaultTopicFilter"
MAX_TOLD = 12
_OURS = re.compile(r"sg\.([A-Za-z0-9_\-]+)\.([a-z_]+)\.v[0-9]+")
_EXPORTABLE = re.compile(rf"sg\.[A-Za-z0-9_\-]+\.{ROLLUPS.kind}\.v{ROLLUPS.version}")
_PIECE = re.compile(r"\\Q(.*?)\\E|\\([^A-Za-z0-9])|\[([.])\]|([A-Za-z0-9_\-.])", re.DOTALL)
_REGION = re.compile(r"sg(?:\\|\[|\.|\])+([A-Za-z0-9_\-]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a flow. `refused`: it may not run like this. `would` are topics of ours that would leave."""

    flow: str
    setting: str
    refused: bool
    text: str
    would: tuple[str, ...] = ()

    def json(self) -> Json:
        """As a JSON object."""
        body: Json = {"flow": self.flow, "setting": self.setting, "refused": self.refused, "text": self.text}
        return body | {"would": list(self.would)} if self.would else body

    def line(self) -> str:
        """For people."""
        told = self.would[:MAX_TOLD]
        more = f" and {len(self.would) - len(told)} more" if len(self.would) > len(told) else ""
        would = f". It takes {', '.join(told)}{more}" if told else ""
        return f"{'refused' if self.refused else 'note   '}  {self.flow}  {self.setting}: {self.text}{would}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A flow that is enabled, with what is said of it and the topics that it may take."""

    flow: Flow
    findings: tuple[Finding, ...]
    topics: tuple[str, ...]


def check_flow(flow: Flow, regions: Collection[str] = ()) -> Checked:
    """What an enabled flow takes. `regions` are those whose rollups may leave; empty: any region's."""
    topics: list[str] = []
    return Checked(flow, (*_topics(flow, regions, topics), *_beside(flow)), tuple(topics))


def exact(pattern: str) -> tuple[str, bool] | None:
    """The one name that a Java pattern stands for, and whether a bare dot in it could be any character; None for others."""
    body = pattern.removeprefix("^")
    if body.endswith("$") and not body.endswith("\\$"):
        body = body[:-1]
    name, bare, at = "", False, 0
    while at < len(body):
        piece = _PIECE.match(body, at)
        if piece is None:
            return None
        quoted, escaped, boxed, plain = piece.groups()
        name += next(one for one in (quoted, escaped, boxed, plain) if one is not None)
        bare = bare or plain == "."
        at = piece.end()
    return (name, bare) if name else None


def _topics(flow: Flow, regions: Collection[str], accepted: list[str]) -> Iterator[Finding]:
    def refused(setting: str, text: str, would: tuple[str, ...] = ()) -> Finding:
        return Finding(flow.name, setting, True, text, would)

    advice = "name the topic itself, such as sg\\\\.eu\\\\.rollups\\\\.v1"
    chosen = flow.settings.get("topic.filter.class", FILTER)
    if chosen.strip().rpartition(".")[2] != FILTER:
        yield refused("topic.filter.class", "a filter of your own decides, and cannot be checked; take it out")
    patterns = flow.patterns("topics", "topics.whitelist")
    if not patterns:
        said = "is missing, which means .*" if patterns is None else "is empty; some versions take that for .*"
        yield refused("topics", f"{said}: {advice}", _would(flow, (".*",), regions))
    for pattern in patterns or ():
        if "${" in pattern:
            yield refused("topics", f"{pattern!r} is filled in elsewhere, and cannot be checked; {advice}")
        elif (one := exact(pattern)) is None:
            text = f"{pattern!r} is a pattern, and MirrorMaker looks for new topics all the time; {advice}"
            yield refused("topics", text, _would(flow, (pattern,), regions))
        elif not _EXPORTABLE.fullmatch(one[0]):
            yield refused("topics", f"{one[0]} {_what(one[0])}; only rollups may leave a region")
        elif regions and one[0] not in {ROLLUPS.name(region) for region in regions}:
            yield refused("topics", f"{one[0]} is another region's than {', '.join(sorted(regions))}")
        else:
            accepted.append(one[0])
            if one[1]:
                text = f"a dot in {pattern!r} may be any character. No topic of ours is meant by that; write \\\\. to be exact"
                yield Finding(flow.name, "topics", False, text)


def _what(topic: str) -> str:
    match = _OURS.fullmatch(topic)
    known = {one.kind: one.purpose for one in TOPICS}
    if match and match[2] in known:
        return f"holds {known[match[2]]}"
    return "is no rollups topic of this version"


def _would(flow: Flow, patterns: tuple[str, ...], regions: Collection[str]) -> tuple[str, ...]:
    """Topics of ours, exportable ones aside, that patterns match and no exclusion takes out."""
    places = sorted(regions) or _REGION.findall(" ".join(patterns)) or [flow.source]
    excluded = flow.patterns("topics.exclude", "topics.blacklist")
    out = EXCLUDED if excluded is None else excluded
    ours = [topic.name(place) for place in dict.fromkeys(places) for topic in TOPICS if topic is not ROLLUPS]
    return tuple(one for one in ours if _matches(patterns, one, True) and not _matches(out, one, False))


def _matches(patterns: tuple[str, ...], topic: str, unreadable: bool) -> bool:
    """Whether one of some Java patterns takes a topic; one that cannot be read here counts as `unreadable`."""
    for pattern in patterns:
        plain = re.sub(r"\\Q(.*?)\\E", lambda match: re.escape(match[1]), pattern)
        try:
            if re.fullmatch(plain, topic):
                return True
        except re.error:
            if unreadable:
                return True
    return False


def _beside(flow: Flow) -> Iterator[Finding]:
    """What goes along with the topics."""

    def said(setting: str, text: str) -> Finding:
        return Finding(flow.name, setting, False, text)

    levels = (f"{flow.source}.consumer", "consumer", "source.consumer")
    if not any(flow.settings.get(f"{one}.isolation.level", "").strip() == "read_committed" for one in levels):
        yield said(
            f"{flow.source}.consumer.isolation.level", "is not read_committed: what workers took back is copied too"
        )
    if flow.on("sync.topic.acls.enabled", True):
        yield said("sync.topic.acls.enabled", "is on: rights go along with the names of those who have them")
    groups = flow.patterns("groups")
    exactly = groups is not None and all(exact(one) is not None for one in groups)
    if not exactly and (flow.on("emit.checkpoints.enabled", True) or flow.on("sync.group.offsets.enabled", False)):
        yield said(
            "groups", "is a pattern: names and positions of consumer groups go along; or no emit.checkpoints.enabled"
        )
