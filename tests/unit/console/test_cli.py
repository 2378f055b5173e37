"""The command line: quick help, exit codes that mean something, settings from every source, no values in errors."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from streamgauge.console.cli import main
from streamgauge.console.frame import COMMANDS, LazyGroup, root
from streamgauge.console.interrupts import deferred_interrupt
from streamgauge.console.options import resolve, with_settings
from streamgauge.console.settings import DEV_FILE, ConsoleSettings
from streamgauge.schemas.errors import BrokerUnavailable, InputError, SettingsError
from streamgauge.schemas.settings import Secret

DEV = {
    "brokers": "127.0.0.1:9",
    "region": "lab",
    "store": "http://127.0.0.1:8",
    "database": "lab",
    "page": "http://127.0.0.1:7",
    "embedded": True,
    "process_group": "lab-process",
}


def group_that_raises(error: BaseException) -> click.Group:
    @click.command(name="go")
    def go() -> None:
        raise error

    group = click.Group()
    group.add_command(go)
    return group


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None:
                found.append(((*path, name), command))
                found += every_command(command, (*path, name)) if isinstance(command, click.Group) else []
    return found


def own_group() -> LazyGroup:
    ours = {name: place for name, place in COMMANDS.items() if place[0].split(":")[0] in OWN_MODULES}
    return LazyGroup(table=ours)


OWN_MODULES = {
    f"streamgauge.console.commands_{name}"
    for name in ("contract", "dead", "query", "replay", "tail", "topics", "version")
}


def test_the_help_imports_nothing_heavy() -> None:
    heavy = {"polars", "numpy", "confluent_kafka", "clickhouse_connect", "rich", "faust", "aiohttp"}
    code = (
        "import sys; from streamgauge.console.cli import main; code = main(['--help']);"
        f"sys.exit(code or len(sys.modules.keys() & {heavy!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


def test_every_command_shows_an_example() -> None:
    commands = every_command(own_group())
    assert ("contract", "infer") in [path for path, _ in commands]
    assert [path for path, command in commands if "Example: streamgauge" not in (command.help or "")] == []


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flow"]) == 2
    assert "flow" in capsys.readouterr().err


def test_a_command_whose_package_is_missing_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    group = LazyGroup(table={"fly": ("no_such_package_here:fly", "Fly.")})
    assert main(["fly"], group) == 1
    assert "no_such_package_here" in (said := capsys.readouterr().err)
    assert "pip install" in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BrokerUnavailable("nobody at host:1; start one"), 1),
        (InputError("no such column"), 2),
        (SettingsError(["first problem", "second problem"]), 2),
    ],
)
def test_an_error_is_its_text_and_an_exit_code(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["go"], group_that_raises(error)) == code
    said = capsys.readouterr()
    assert str(error) in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_traceback_is_shown_only_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    group = group_that_raises(BrokerUnavailable("nobody"))
    assert main(["go", "--debug"], group) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_foreign_error_never_shows_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["go"], group_that_raises(ValueError("could not parse jane@example.com"))) == 1
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "jane" not in said


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["go"], group_that_raises(KeyboardInterrupt())) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_what_a_command_returns_is_the_exit_code() -> None:
    group = click.Group()
    group.add_command(click.Command("go", callback=lambda: 1))
    assert main(["go"], group) == 1


def settings_at(
    here: Path, flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> ConsoleSettings:
    return resolve(ConsoleSettings, flags or {}, environ or {}, file, here)


def dev_file(here: Path) -> None:
    (here / DEV_FILE).parent.mkdir()
    (here / DEV_FILE).write_text(json.dumps(DEV))


def test_settings_come_from_flag_then_environment_then_file_then_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('brokers = "file:1"\nregion = "file"\nstore = "http://file:1"\n')
    found = settings_at(
        tmp_path, {"brokers": "flag:1"}, {"STREAMGAUGE_BROKERS": "environ:1", "STREAMGAUGE_REGION": "environ"}, file
    )
    assert (found.brokers, found.region, found.store, found.database) == (
        ("flag:1",),
        "environ",
        "http://file:1",
        "streamgauge",
    )


def test_a_running_dev_is_found_from_below_its_directory(tmp_path: Path) -> None:
    dev_file(tmp_path)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = settings_at(below)
    assert (found.brokers, found.region, found.embedded, found.process_group) == (
        ("127.0.0.1:9",),
        "lab",
        True,
        "lab-process",
    )
    assert (found.store, found.database) == ("http://127.0.0.1:8", "lab")


def test_brokers_given_elsewhere_never_meet_the_region_of_dev(tmp_path: Path) -> None:
    dev_file(tmp_path)
    found = settings_at(tmp_path, {"brokers": "production:9092"})
    assert (found.brokers, found.region, found.embedded, found.process_group) == (
        ("production:9092",),
        "local",
        False,
        "",
    )
    assert found.store == "http://127.0.0.1:8"


def test_a_store_given_elsewhere_never_meets_the_database_of_dev(tmp_path: Path) -> None:
    dev_file(tmp_path)
    found = settings_at(tmp_path, environ={"STREAMGAUGE_STORE": "http://production:8123"})
    assert (found.store, found.database, found.region) == ("http://production:8123", "streamgauge", "lab")


def test_an_explicit_region_wins_over_that_of_dev(tmp_path: Path) -> None:
    dev_file(tmp_path)
    assert settings_at(tmp_path, {"region": "eu"}).region == "eu"


def test_all_problems_of_settings_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_at(
            tmp_path, environ={"STREAMGAUGE_BROKER": "x", "STREAMGAUGE_REGION": "a b", "STREAMGAUGE_KAFKA": "x"}
        )
    assert len(caught.value.problems) == 3


def test_settings_of_other_parts_may_stand_in_the_environment(tmp_path: Path) -> None:
    assert settings_at(tmp_path, environ={"STREAMGAUGE_FLUSH_INTERVAL": "5s"}).region == "local"


def test_a_broken_dev_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / DEV_FILE).parent.mkdir()
    (tmp_path / DEV_FILE).write_text("{")
    with pytest.raises(SettingsError, match="streamgauge dev"):
        settings_at(tmp_path)


def test_passwords_are_no_flags_and_never_shown(tmp_path: Path) -> None:
    @click.command()
    @with_settings(ConsoleSettings)
    def go(settings: ConsoleSettings) -> None:
        click.echo(repr(settings))

    assert not [option for option in go.params if "password" in (option.name or "")]
    found = settings_at(tmp_path, environ={"STREAMGAUGE_KAFKA_PASSWORD": "hush", "STREAMGAUGE_STORE_PASSWORD": "hush"})
    assert found.kafka_password == Secret("hush")
    assert "hush" not in repr(found)
    with pytest.raises(SettingsError, match="STORE_PASSWORD"):
        settings_at(tmp_path, {"store": "http://jane:hush@127.0.0.1:8123"})
    with pytest.raises(SettingsError, match="KAFKA_PASSWORD"):
        settings_at(tmp_path, {"kafka": "sasl.password=hush"})


def test_a_command_gets_its_settings_from_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ConsoleSettings] = []

    @click.command(name="go")
    @with_settings(ConsoleSettings, "brokers", "store_user")
    def go(settings: ConsoleSettings) -> None:
        seen.append(settings)

    monkeypatch.chdir(tmp_path)
    group = click.Group()
    group.add_command(go)
    assert main(["go", "--brokers", "a:1,b:2", "--store-user", "reader"], group) == 0
    assert (seen[0].brokers, seen[0].store_user) == (("a:1", "b:2"), "reader")
    assert main(["go", "--region", "eu"], group) == 2


def test_version_names_the_libraries_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["librdkafka"][0].isdigit()
    assert {"streamgauge", "faust-streaming", "clickhouse-connect", "python"} <= found.keys()


@pytest.mark.parametrize(
    ("sql", "advice"),
    [
        ("INSERT INTO t VALUES (1)", "that read"),
        ("\n-- SELECT\nDROP TABLE t", "that read"),
        ("/* */ DROP TABLE t /* */ SELECT 1", "that read"),
        ("SELECT {x:UInt8}", "--param x="),
        ("SELECT 1", "no place {y:Type}"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_before_anyone_is_called(
    sql: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = ["--param", "y=1"] if "{y" in advice else []
    assert main(["query", sql, *parameters, "--store", "http://127.0.0.1:1"]) == 2
    assert advice in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "SELECT 1", "--store", "http://127.0.0.1:1"]) == 1
    said = capsys.readouterr().err
    assert "http://127.0.0.1:1" in said
    assert "streamgauge dev" in said


def test_the_root_help_lists_no_command_that_cannot_be_imported() -> None:
    with click.Context(root) as context:
        assert [name for name in COMMANDS if root.get_command(context, name) is None] == []


def test_an_interrupt_waits_until_the_code_is_ready_and_a_second_one_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
        check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
