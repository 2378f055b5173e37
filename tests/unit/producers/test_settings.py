"""Settings of a producer: which source wins, what is refused, and what never shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamgauge.producers import ProducerSettings, get_default, producer_settings, set_default
from streamgauge.producers.settings import DEFAULT_BROKERS, dev_values, otel_values, usable_settings
from streamgauge.producers.transport import kafka_config
from streamgauge.schemas.errors import SettingsError


def test_a_laptop_needs_no_settings(tmp_path: Path) -> None:
    settings = producer_settings({}, tmp_path)
    assert (settings.brokers, settings.region, settings.environment) == (DEFAULT_BROKERS, "local", "development")
    assert settings.raises
    assert settings.context("i-1") == {
        "service": "unknown_service",
        "environment": "development",
        "instance": "i-1",
        "region": "local",
    }


def test_our_variables_win_over_opentelemetrys(tmp_path: Path) -> None:
    environ = {
        "STREAMGAUGE_BROKERS": "kafka:9092",
        "STREAMGAUGE_REGION": "ap",
        "STREAMGAUGE_VERSION": "2.0",
        "OTEL_SERVICE_NAME": "checkout",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,service.version=1.4.2,deployment.environment.name=production,"
        "cloud.region=ap-southeast-2,service.instance.id=pod%2F7,tenant=t1,junk, country = AU",
    }
    settings = producer_settings(environ, tmp_path)
    assert settings.brokers == "kafka:9092"
    assert not settings.raises
    assert settings.context("pod/7-x") == {
        "service": "checkout",
        "environment": "production",
        "version": "2.0",
        "instance": "pod/7-x",
        "region": "ap-southeast-2",
        "tenant": "t1",
        "country": "AU",
    }
    assert settings.instance == "pod/7"


def test_the_newer_name_of_the_environment_wins() -> None:
    both = "deployment.environment=old,deployment.environment.name=new"
    assert otel_values({"OTEL_RESOURCE_ATTRIBUTES": both}) == {"environment": "new"}
    assert otel_values({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=old"}) == {"environment": "old"}


def test_durations_sizes_and_flags_are_read_from_text(tmp_path: Path) -> None:
    settings = producer_settings(
        {
            "STREAMGAUGE_FLUSH_INTERVAL": "10s",
            "STREAMGAUGE_OUTBOX_BYTES": "1MiB",
            "STREAMGAUGE_STRICT": "yes",
            "STREAMGAUGE_ENVIRONMENT": "production",
        },
        tmp_path,
    )
    assert (settings.flush_interval, settings.outbox_bytes, settings.raises) == (10_000, 1 << 20, True)


def test_the_file_of_dev_is_found_from_a_folder_below(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".streamgauge").mkdir()
    (tmp_path / ".streamgauge" / "dev.json").write_text(json.dumps({"brokers": "127.0.0.1:53211", "region": "eu"}))
    assert dev_values(below) == {"brokers": "127.0.0.1:53211", "region": "eu"}
    settings = producer_settings({}, below)
    assert (settings.brokers, settings.region) == ("127.0.0.1:53211", "eu")
    assert producer_settings({"STREAMGAUGE_REGION": "us"}, below).region == "us"
    chosen = producer_settings({"STREAMGAUGE_BROKERS": "kafka:9092"}, below)
    assert (chosen.brokers, chosen.region) == ("kafka:9092", "local")


def test_a_broken_file_of_dev_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".streamgauge").mkdir()
    (tmp_path / ".streamgauge" / "dev.json").write_text("{")
    with pytest.raises(SettingsError, match="delete it"):
        producer_settings({}, tmp_path)


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        producer_settings(
            {
                "STREAMGAUGE_FLUSH_INTERVAL": "often",
                "STREAMGAUGE_MAX_BATCH": "0",
                "STREAMGAUGE_REGION": "ap southeast",
                "STREAMGAUGE_KAFKA": "sasl.username=u,sasl.password=p",
            },
            tmp_path,
        )
    said = str(raised.value)
    for name in ("FLUSH_INTERVAL", "MAX_BATCH", "REGION", "KAFKA: sasl.password would be shown"):
        assert f"STREAMGAUGE_{name}" in said
    assert "STREAMGAUGE_KAFKA_PASSWORD" in said


def test_variables_of_other_parts_may_stand_beside_unless_names_are_checked(tmp_path: Path) -> None:
    environ = {"STREAMGAUGE_STORE": "http://127.0.0.1:8123"}
    assert producer_settings(environ, tmp_path) == producer_settings({}, tmp_path)
    assert producer_settings(environ, tmp_path, known=["store"]) == producer_settings({}, tmp_path)
    with pytest.raises(SettingsError, match="STREAMGAUGE_STORE: there is no such setting"):
        producer_settings(environ, tmp_path, known=[])


def test_the_password_reaches_kafka_and_nothing_else(tmp_path: Path) -> None:
    settings = producer_settings(
        {
            "STREAMGAUGE_BROKERS": "kafka:9093",
            "STREAMGAUGE_KAFKA": "security.protocol=SASL_SSL,sasl.username=u",
            "STREAMGAUGE_KAFKA_PASSWORD": "hunter2",
        },
        tmp_path,
    )
    assert "hunter2" not in repr(settings)
    config = kafka_config(settings)
    assert (config["sasl.password"], config["security.protocol"]) == ("hunter2", "SASL_SSL")


def test_half_characters_of_the_environment_and_long_values_still_travel() -> None:
    context = ProducerSettings(service="caf\udce9", version="v" * 1_000).context("i")
    assert context["service"] == "caf?"
    assert len(context["version"]) == 256


def test_a_process_that_must_start_uses_what_is_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings, problems = usable_settings({"STREAMGAUGE_MAX_BATCH": "many", "STREAMGAUGE_SERVICE": "shop"})
    assert (settings.service, settings.max_batch) == ("shop", 2_000)
    assert len(problems) == 1


def test_wrong_settings_raise_in_development_and_are_logged_in_production(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMGAUGE_MAX_BATCH", "many")
    set_default(None)
    try:
        with pytest.raises(SettingsError, match="STREAMGAUGE_MAX_BATCH"):
            get_default()
        monkeypatch.setenv("STREAMGAUGE_ENVIRONMENT", "production")
        producer = get_default()
        assert producer.settings.max_batch == 2_000
        assert "STREAMGAUGE_MAX_BATCH" in caplog.text
        producer.close(0)
    finally:
        set_default(None)
