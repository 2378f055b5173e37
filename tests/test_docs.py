"""The documentation is true: its commands exist, its snippets run, its queries are answered, its links lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from streamgauge.console.frame import root
from streamgauge.producers import own_metrics
from streamgauge.producers.default import set_default
from streamgauge.producers.testing import captured_producer
from streamgauge.schemas.batches import MetricHead
from streamgauge.schemas.contracts import Contract, Field, parse_contract
from streamgauge.schemas.decoding import EventBatch, MetricBatch, decode
from streamgauge.schemas.events import contract_of
from streamgauge.schemas.small_cells import SmallCells
from streamgauge.sinks.migrations import migrate
from streamgauge.sinks.retention import Retention
from streamgauge.sinks.views import ensure_views
from tests.support import documents, reference, snippets, tutorial, wire_examples
from tests.support.documents import ROOT, Call, Snippet

PAGES = documents.pages()
README = ROOT / "README.md"
CALLS = [call for page in PAGES for call in documents.calls(page, "streamgauge")]
SQL = [snippet for page in PAGES for snippet in documents.snippets(page, "sql")]
PYTHON = [snippet for page in PAGES for snippet in documents.snippets(page, "python")]
CODE = [
    path for part in ("schemas", "producers", "processors", "sinks", "console") for path in (ROOT / part).rglob("*.py")
]
FLIGHT = Contract(
    "flight",
    1,
    {
        "carrier": Field("dimension"),
        "origin": Field("dimension"),
        "dep_delay": Field("measure", "number"),
        "tailnum": Field("unique"),
    },
    granularity="1h",
    time="time_hour",
)


def resolve(words: tuple[str, ...], whole: bool) -> None:
    """Parse a call as click would before it runs anything. Raises click.ClickException."""
    group: click.Group = root
    path, rest = "streamgauge", list(words)
    context = click.Context(root, info_name=path, **root.context_settings)
    while rest:
        command = group.get_command(context, rest[0])
        if command is None:
            raise click.UsageError(f"{path} has no command {rest[0]!r}")
        path, rest = f"{path} {rest[0]}", rest[1:]
        if isinstance(command, click.Group):
            group, context = command, click.Context(command, parent=context, info_name=path)
            continue
        if whole:
            command.make_context(path, rest, parent=context)
        else:
            known = {name for one in command.params if isinstance(one, click.Option) for name in one.opts} | {"--help"}
            if strange := [word for word in rest if word.startswith("--") and word.partition("=")[0] not in known]:
                raise click.UsageError(f"{path} has no {', '.join(strange)}")
        return


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_every_command_that_is_shown_exists_with_its_options(call: Call) -> None:
    words = tuple(word for word in call.words if word != "--debug")
    if words and words[0].startswith("<"):
        return  # a placeholder: `streamgauge <command> --help`
    resolve(words, call.whole)


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("diagnose", False),
        ("replay file.csv --contract c.json --speed 3", True),
        ("replay file.csv", True),
        ("replay file.csv --contract c.json --rate fast", True),
        ("contract bless", False),
        ("verify --since yesterday", False),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, whole: bool) -> None:
    with pytest.raises(click.ClickException):
        resolve(documents.words_of(line), whole)


def test_the_pages_show_the_commands_at_all() -> None:
    whole = {call.words[0] for call in CALLS if call.whole and call.words}

    assert whole >= {"dev", "query", "topics", "migrate", "process", "sink", "replay", "contract", "verify", "doctor"}


def make_words() -> Iterator[tuple[str, tuple[str, ...]]]:
    for page in PAGES:
        for call in documents.calls(page, "make"):
            yield call.where, call.words


def test_every_make_target_that_is_shown_exists_and_its_demo_arguments_are_the_demos() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = list(make_words())

    assert any(words[0] == "demo" and len(words) > 1 for _, words in shown if words)
    for where, words in shown:
        assert {word for word in words if "=" not in word} <= targets, where
        for word in words:
            if word.startswith("DEMO_ARGS=") and "--help" not in word:
                resolve(("demo", *shlex.split(word.removeprefix("DEMO_ARGS="))), True)


def test_errors_and_help_name_only_commands_that_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: streamgauge {word}"
        for path in CODE
        for word in re.findall(r"[`:] ?streamgauge ([a-z][a-z-]+)\b", path.read_text(encoding="utf-8"))
        if word not in root.list_commands(click.Context(root))
    ]

    assert wrong == []


def test_pages_that_errors_point_to_exist() -> None:
    named = {
        (path, name)
        for path in CODE
        for name in re.findall(r"docs/[\w/-]+\w(?:\.md)?", path.read_text(encoding="utf-8"))
    }

    assert any(name == "docs/how-to/cardinality" for _, name in named)
    assert [f"{path}: {name}" for path, name in named if not (ROOT / f"{name.removesuffix('.md')}.md").is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=documents.name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead: list[str] = []
    for link in documents.links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in documents.anchors(file)):
            dead.append(link)

    assert dead == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = {README}, [README]
    while todo:
        page = todo.pop()
        targets = [
            (page.parent / link.partition("#")[0]).resolve() for link in documents.links(page) if "://" not in link
        ]
        fresh = {file for file in targets if file.suffix == ".md" and file.is_file()} - reached
        reached |= fresh
        todo += fresh

    parts = set(ROOT.glob("*/README.md"))  # whoever opens the folder sees it

    assert [documents.name_of(page) for page in PAGES if page not in reached | parts] == []


@pytest.mark.parametrize("page", PAGES, ids=documents.name_of)
def test_every_test_that_is_cited_exists(page: Path) -> None:
    missing: list[str] = []
    for cited in documents.cited_tests(page):
        file, _, name = cited.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8")) if (ROOT / file).is_file() else ast.parse("")
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        if name not in functions:
            missing.append(cited)

    assert missing == []


def test_every_guarantee_cites_a_test() -> None:
    table = README.read_text(encoding="utf-8").partition("## What is guaranteed")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]

    assert len(rows) >= 5
    assert [row for row in rows if "tests/" not in row] == []


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_python_snippets_compile(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec")


@pytest.mark.parametrize(
    "line",
    [one for page in PAGES for s in documents.snippets(page, *documents.SHELLS) for one in documents.lines_of(s)],
)
def test_python_on_command_lines_compiles(line: str) -> None:
    words = documents.words_of(line)
    if words[:2] == ("python", "-c"):
        compile(words[2], line, "exec")


def run_service() -> tuple[list[MetricHead], Contract, Any]:
    """The README's service snippet with a transport that keeps what it sends: its metrics, its contract, the transport."""
    producer, transport, _ = captured_producer()
    module = types.ModuleType("checkout_of_the_readme")
    sys.modules[module.__name__] = module  # where the class looks for what its annotations name
    set_default(producer)
    try:
        exec(documents.snippets(README, "python")[0].text, module.__dict__)
        assert producer.flush(5).left == 0
    finally:
        set_default(None)
        del sys.modules[module.__name__]
    batches = [decode(one.value) for one in transport.delivered]
    heads = [head for batch in batches if isinstance(batch, MetricBatch) for head in batch.metrics]
    return heads, contract_of(module.__dict__["OrderPlaced"]), transport


def test_the_service_of_the_readme_emits_what_it_says() -> None:
    heads, contract, transport = run_service()
    sums = transport.sums()

    assert {head.name: head.labels for head in heads} == {
        "checkout_requests": ("endpoint", "status"),
        "checkout_latency_seconds": ("endpoint",),
    }
    assert sums["checkout_requests"] == 1.0
    assert transport.events("order_placed") == [{"country": "JP", "amount": 42.5, "customer_id": "c-981"}]
    events = [batch for one in transport.delivered if isinstance(batch := decode(one.value), EventBatch)]
    assert [(batch.event, batch.contract) for batch in events] == [(contract.name, contract.version)]


def test_the_contract_in_the_readme_is_that_of_its_class() -> None:
    (shown,) = documents.snippets(README, "json")

    assert parse_contract(shown.text.encode()) == run_service()[1]


def test_the_readme_of_producers_shows_the_same_service() -> None:
    theirs = documents.snippets(ROOT / "producers" / "README.md", "python")[0]
    ours = documents.snippets(README, "python")[0]

    assert ast.dump(ast.parse(theirs.text)) == ast.dump(ast.parse(ours.text))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[reference.Engine]:
    """A store with the tables and views that the pages speak of."""
    engine = reference.Engine(tmp_path_factory.mktemp("store"))
    heads, contract, _ = run_service()
    for program in (tutorial.TIMING, tutorial.PROMETHEUS, tutorial.OPENTELEMETRY):
        if not tutorial.missing(program):
            heads += tutorial.ran(program, "150", "0").heads()
    migrate(engine, Retention(), "streamgauge")
    business = snippets.events_of(ROOT / "docs" / "how-to" / "business-events.md")
    heads += [*own_metrics.HEADS.values(), *snippets.bridge_heads()]
    shown = replace(contract, small_cells=SmallCells(5, "customer_id"))
    ensure_views(engine, "streamgauge", heads, [shown, FLIGHT, *business])
    engine.command("USE streamgauge")
    yield engine
    engine.close()


@pytest.mark.clickhouse
@pytest.mark.parametrize("snippet", SQL, ids=str)
def test_queries_are_answered(engine: reference.Engine, snippet: Snippet) -> None:
    statements = [one for one in snippet.text.split(";\n") if one.strip()]

    assert statements
    for statement in statements:
        engine.query_rows(statement)


def shown_queries() -> list[tuple[str, str, dict[str, str]]]:
    """SQL on command lines and in Python snippets, with its parameters."""
    found: list[tuple[str, str, dict[str, str]]] = []
    for call in CALLS:
        if call.whole and call.words[:1] == ("query",):
            given = [value for word, value in zip(call.words, call.words[1:], strict=False) if word == "--param"]
            found.append((call.where, call.words[1], dict(pair.split("=", 1) for pair in given)))
    for page in PAGES:
        for call in documents.calls(page, "curl"):
            found += [
                (call.where, value, {})
                for word, value in zip(call.words, call.words[1:], strict=False)
                if word == "--data-binary"
            ]
    for snippet in PYTHON:
        for node in ast.walk(ast.parse(snippet.text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("SELECT "):
                found.append((str(snippet), node.value, {"environment": "production"}))
    return found


@pytest.mark.clickhouse
@pytest.mark.parametrize("shown", shown_queries(), ids=lambda shown: shown[0])
def test_queries_on_command_lines_and_in_programs_are_answered(
    engine: reference.Engine, shown: tuple[str, str, dict[str, str]]
) -> None:
    _, sql, parameters = shown
    engine.query_rows(sql, parameters or None)


@pytest.mark.clickhouse
def test_a_query_over_a_column_that_no_view_has_is_found(engine: reference.Engine) -> None:
    with pytest.raises(Exception, match="UNKNOWN_IDENTIFIER"):
        engine.query_rows("SELECT customer FROM checkout_requests_1m")


STALE = "run: python -m tests.support.reference"


@pytest.mark.parametrize("page", reference.pages(), ids=documents.name_of)
def test_generated_sections_are_what_would_be_generated_now(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert reference.renewed(text, reference.plain_sections()) == text, STALE


@pytest.mark.clickhouse
def test_the_columns_of_the_reference_are_those_of_the_engine(engine: reference.Engine) -> None:
    page = ROOT / "docs" / "reference" / "tables.md"
    text = page.read_text(encoding="utf-8")
    sections = reference.table_sections(engine)

    assert {match[2] for match in reference.SECTION.finditer(text)} == sections.keys()
    assert reference.renewed(text, sections) == text, STALE


def test_every_default_of_the_reference_reads_back_as_itself() -> None:
    for part, cls in reference.PARTS.items():
        for name, one in cls.__dataclass_fields__.items():
            parse = one.metadata["parse"]
            text = reference.setting_text(parse, one.default)
            if text:
                assert parse(text) == one.default, f"{part} {name}"


def test_every_kind_of_message_is_shown_and_read_by_its_decoder() -> None:
    text = (ROOT / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
    shown = {
        match[2].removeprefix("wire."): json.loads(match[0].partition("```json\n")[2].partition("```")[0])
        for match in reference.SECTION.finditer(text)
    }

    assert shown.keys() == wire_examples.READERS.keys()
    for kind, body in shown.items():
        read = wire_examples.READERS[kind]
        assert repr(read(json.dumps(body).encode())) == repr(read(wire_examples.EXAMPLES[kind])), kind


@pytest.mark.parametrize("page", PAGES, ids=documents.name_of)
def test_no_page_names_a_setting_that_does_not_exist(page: Path) -> None:
    known = {f"STREAMGAUGE_{name}".upper() for cls in reference.PARTS.values() for name in cls.__dataclass_fields__}
    tests_own = {"STREAMGAUGE_TEST_KAFKA", "STREAMGAUGE_TEST_SEED", "STREAMGAUGE_TESTS_REQUIRE"}
    named = set(re.findall(r"STREAMGAUGE_[A-Z0-9_]+\b", page.read_text(encoding="utf-8")))

    assert named - known - tests_own == set()


def test_decisions_are_short_and_listed() -> None:
    listed = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Decisions")[2]
    for record in (ROOT / "docs" / "decisions").glob("*.md"):
        paragraphs = [one for one in record.read_text(encoding="utf-8").split("\n\n") if one.strip()]

        assert f"docs/decisions/{record.name}" in listed
        assert len(paragraphs) <= 10, record.name
