"""The compose file and the image: commands and settings in them exist, nothing is open to the network, nothing floats."""

from __future__ import annotations

import importlib
import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click
import pytest

from streamgauge.console.frame import root
from streamgauge.console.gateway_settings import GatewaySettings
from streamgauge.console.options import PARTS, known_settings
from streamgauge.processors.key_sources import FileSource, SettingSource, key_source
from streamgauge.processors.settings import ProcessorSettings
from streamgauge.schemas.errors import SettingsError
from streamgauge.schemas.settings import PREFIX, load
from streamgauge.sinks.settings import SinkSettings

ROOT = Path(__file__).parents[2]
yaml: Any = importlib.import_module("yaml")  # it ships no types
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Mapping[str, Any] = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one}
THEIRS = {name: one for name, one in SERVICES.items() if "build" not in one}
ONE_SHOT = {"topics", "migrate"}
VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")


def env_file() -> dict[str, str]:
    """What `.env.example` sets, and to what."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines if line and line[0] != "#")}


def environment(service: str, given: Mapping[str, str]) -> dict[str, str]:
    """A service's environment as the container sees it, with these values in `.env`."""
    raw = cast("Mapping[str, Any]", SERVICES[service].get("environment", {}))

    def value(match: re.Match[str]) -> str:
        return given.get(match[1]) or (match[3] if match[2] == ":-" else "")

    return {name: VARIABLE.sub(value, str(text)) for name, text in raw.items()}


def images() -> Iterator[tuple[str, str]]:
    for name, one in SERVICES.items():
        yield name, VARIABLE.sub(lambda match: match[3], str(one["image"]))
    for line in DOCKERFILE.splitlines():
        if line.startswith("ARG PYTHON="):
            yield "Dockerfile", f"python:{line.partition('=')[2]}"


@pytest.mark.parametrize("service", OURS)
def test_a_service_of_ours_runs_a_command_that_exists_with_options_it_has(service: str) -> None:
    name, *options = OURS[service]["command"]
    context = click.Context(root, info_name="streamgauge")
    command = root.get_command(context, name)

    assert command is not None, name
    command.make_context(name, options, parent=context)


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_ours_exists(service: str) -> None:
    ours = {name for name in SERVICES[service].get("environment", {}) if name.startswith(PREFIX)}

    assert {name.removeprefix(PREFIX).lower() for name in ours} <= known_settings(PARTS)


def test_processor_and_sink_start_with_what_the_example_says() -> None:
    given = {name: value or "5b" * 32 for name, value in env_file().items()} | {"STREAMGAUGE_KEYS": ""}
    known = known_settings(PARTS)
    worker = load(ProcessorSettings, environ=environment("processor", given), known=known)
    sink = load(SinkSettings, environ=environment("sink", given), known=known)

    assert worker.brokers == sink.brokers == ("kafka:9092",)
    assert worker.region == sink.region == "local"
    assert (worker.pseudonym_key.reveal(), sink.store_password.reveal()) == ("5b" * 32, "5b" * 32)
    assert isinstance(key_source(worker.keys, worker.pseudonym_key), SettingSource)
    assert worker.time_policy().retention_ms == (
        sink.retention_10s,
        sink.retention_1m,
        sink.retention_1h,
        sink.retention_1d,
    )
    assert sink.retention_10s == 3 * 86_400_000
    assert sink.store_user == environment("clickhouse", given)["CLICKHOUSE_USER"]
    assert sink.database == environment("clickhouse", given)["CLICKHOUSE_DB"]


def test_the_worker_takes_a_ring_from_its_volume_instead_and_never_neither_nor_both() -> None:
    def worker(key: str, ring: str) -> ProcessorSettings:
        given = env_file() | {"STREAMGAUGE_PSEUDONYM_KEY": key, "STREAMGAUGE_KEYS": ring}
        return load(ProcessorSettings, environ=environment("processor", given), known=known_settings(PARTS))

    found = worker("", "/keys/ring.json")
    assert key_source(found.keys, found.pseudonym_key) == FileSource(Path("/keys/ring.json"))
    assert "keys:/keys" in SERVICES["processor"]["volumes"]
    assert re.search(r"^RUN install -d -o 10001 -g 10001 -m 0700 /keys$", DOCKERFILE, re.MULTILINE)
    for key, ring in (("", ""), ("5b" * 32, "/keys/ring.json")):
        refused = worker(key, ring)
        with pytest.raises(SettingsError, match="STREAMGAUGE_KEYS"):
            key_source(refused.keys, refused.pseudonym_key)


def test_the_gateway_starts_with_what_the_example_says_and_only_with_a_token() -> None:
    given = {name: value or "5b" * 32 for name, value in env_file().items()}
    command = SERVICES["gateway"]["command"]
    flags = {name[2:].replace("-", "_"): value for name, value in zip(command[1::2], command[2::2], strict=True)}
    known = known_settings(PARTS)

    load(GatewaySettings, flags, environment("gateway", given), known=known).check()
    with pytest.raises(SettingsError, match="GATEWAY_TOKEN"):
        load(GatewaySettings, flags, {}, known=known).check()


def test_only_the_worker_has_the_pseudonym_key_and_only_the_stores_sides_have_its_password() -> None:
    def holders(word: str) -> set[str]:
        return {name for name, one in SERVICES.items() if word in str(one)}

    assert holders("STREAMGAUGE_PSEUDONYM_KEY") == holders("STREAMGAUGE_KEYS") == holders("/keys") == {"processor"}
    assert holders("STREAMGAUGE_GATEWAY_TOKEN") == {"gateway"}
    assert holders("${CLICKHOUSE_PASSWORD") == {"clickhouse", "migrate", "sink"}
    assert holders("${CLICKHOUSE_READER_PASSWORD") == {"clickhouse", "grafana", "verify"}


def test_secrets_are_demanded_and_every_variable_stands_in_the_example() -> None:
    used = {(match[1], match[2]) for match in VARIABLE.finditer(TEXT)}
    example = env_file()
    secrets = {name for name, _ in used if re.search("KEY$|PASSWORD|TOKEN", name)}

    assert len(secrets) == 4
    # the key may be empty where there is a ring: the worker itself refuses to start with neither
    demanded = {(name, "?" if name.endswith("KEY") else ":?") for name in secrets}
    assert {one for one in used if "?" in (one[1] or "") or one[0] in secrets} == demanded
    assert {name for name, value in example.items() if not value} == secrets | {"STREAMGAUGE_KEYS"}
    assert {name for name, _ in used} - {"SG_IMAGE"} == example.keys()


def test_ports_are_open_on_loopback_only() -> None:
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]

    assert ports
    assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == []
    assert "network_mode" not in TEXT
    assert "privileged" not in TEXT


def test_every_image_has_a_version() -> None:
    found = dict(images())

    assert found.keys() == {*SERVICES, "Dockerfile"}
    assert [image for image in found.values() if not re.fullmatch(r"[\w./-]+:\d[\w.-]*", image)] == []


@pytest.mark.parametrize("service", THEIRS)
def test_a_server_says_whether_it_is_healthy(service: str) -> None:
    check = SERVICES[service]["healthcheck"]

    assert check["test"][0] == "CMD-SHELL"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


def test_who_depends_on_a_server_waits_for_its_health_and_who_depends_on_a_task_for_its_success() -> None:
    for name, one in SERVICES.items():
        for other, how in one.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how["condition"] == wanted, (name, other)
    assert SERVICES["processor"]["depends_on"].keys() >= {"topics"}
    assert SERVICES["sink"]["depends_on"].keys() == ONE_SHOT


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_bounded_and_starts_again_unless_it_is_a_task(service: str) -> None:
    one = SERVICES[service]

    assert one["restart"] == ("no" if service in ONE_SHOT else "unless-stopped")
    assert re.fullmatch(r"\d+[mg]", one["mem_limit"])
    assert one["logging"]["options"]["max-size"]


@pytest.mark.parametrize("service", OURS)
def test_a_service_of_ours_has_no_rights_that_it_does_not_need(service: str) -> None:
    one = OURS[service]

    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in one["security_opt"]


def test_every_volume_is_named_or_a_file_that_is_here_and_cannot_be_written() -> None:
    for one in SERVICES.values():
        for volume in one.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert mode == ["ro"]
            else:
                assert source in COMPOSE["volumes"]


def test_kafka_makes_no_topics_by_itself_and_keeps_its_data() -> None:
    kafka = SERVICES["kafka"]["environment"]
    replicated = {name: value for name, value in kafka.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))}

    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert set(replicated.values()) == {1}
    assert {
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
    } <= replicated.keys()
    assert f"kafka-data:{kafka['KAFKA_LOG_DIRS']}" in SERVICES["kafka"]["volumes"]
    listeners = dict(one.split("://") for one in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert listeners == {"INTERNAL": "kafka:9092", "HOST": "127.0.0.1:29092"}


def test_the_image_installs_by_hash_and_does_not_run_as_root() -> None:
    installs = re.findall(r"pip install (.*?)(?: \\| &&|$)", DOCKERFILE, re.MULTILINE)
    requirements = [one for one in installs if "-r " in one]
    last = DOCKERFILE.split("\nFROM ")[-1]

    assert len(requirements) == 2
    assert [one for one in requirements if "--require-hashes" not in one] == []
    assert [one for one in installs if one not in requirements and "--no-deps" not in one] == []
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert 'ENTRYPOINT ["streamgauge"]' in last


def test_everything_that_the_image_copies_is_here_and_reaches_the_build() -> None:
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
    allowed = {line[1:] for line in ignore if line.startswith("!")}

    assert ignore[0] == "*"
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in allowed, source


def test_what_the_image_leaves_out_is_in_the_lock() -> None:
    pattern = re.search(r"!~ /\^\(([\w|-]+)\)==/", DOCKERFILE)
    lock = (ROOT / "requirements" / "embedded.lock").read_text()

    assert pattern is not None
    assert [name for name in pattern[1].split("|") if not re.search(rf"^{name}==", lock, re.MULTILINE)] == []


def test_grafana_and_its_clickhouse_user_fit_together() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "streamgauge.yaml"
    (source,) = yaml.safe_load(provisioning.read_text())["datasources"]
    users = ElementTree.parse(ROOT / "deploy" / "clickhouse" / "reader.xml").getroot()
    reader = users.find(f"users/{source['jsonData']['username']}")

    assert reader is not None
    assert f"GRANT SELECT ON {source['jsonData']['defaultDatabase']}.*" in [one.text for one in reader.iter("query")]
    password = reader.find("password")
    assert password is not None
    assert source["secureJsonData"]["password"] == f"${password.get('from_env')}"
    assert (source["jsonData"]["host"], source["jsonData"]["port"]) == ("clickhouse", 8123)
    profile = users.find(f"profiles/{reader.findtext('profile')}")
    assert profile is not None
    assert profile.findtext("readonly") == "2"
