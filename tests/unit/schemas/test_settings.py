"""Settings: where values come from, that all errors come at once, and that secrets stay hidden."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamgauge.schemas.errors import SettingsError, StreamgaugeError
from streamgauge.schemas.settings import (
    FOR_EVER,
    Secret,
    duration_ms,
    flag,
    load,
    names,
    pairs,
    paths,
    read_file,
    setting,
    size_bytes,
    text,
    variable,
)


@dataclass(frozen=True, slots=True)
class Small:
    """Some settings."""

    brokers: tuple[str, ...] = setting(("127.0.0.1:9092",), "brokers", names)
    flush_every: int = setting(2_000, "time between flushes", duration_ms)
    enabled: bool = setting(True, "whether", flag)
    kafka: tuple[tuple[str, str], ...] = setting((), "properties", pairs)
    region: str = setting("local", "region")
    password: Secret = setting(Secret(""), "password", Secret)


def problems(**sources: Any) -> list[str]:
    """What is wrong with settings from these sources."""
    with pytest.raises(SettingsError) as caught:
        load(Small, **sources)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert isinstance(caught.value, StreamgaugeError)
    return caught.value.problems


@pytest.mark.parametrize(
    ("sources", "region"),
    [
        ((), "local"),
        (("file",), "file"),
        (("environ",), "environ"),
        (("flags",), "flags"),
        (("file", "environ"), "environ"),
        (("file", "flags"), "flags"),
        (("environ", "flags"), "flags"),
        (("file", "environ", "flags"), "flags"),
    ],
)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(sources: tuple[str, ...], region: str) -> None:
    given = {name: {variable("region") if name == "environ" else "region": name} for name in sources}
    assert load(Small, **given).region == region


def test_a_flag_that_is_not_given_does_not_hide_the_environment() -> None:
    assert load(Small, {"region": None}, {"STREAMGAUGE_REGION": "ap"}).region == "ap"


def test_an_empty_variable_is_given_and_wins() -> None:
    assert load(Small, None, {"STREAMGAUGE_REGION": " "}, {"region": "eu"}).region == ""


def test_texts_are_parsed_and_values_taken_as_they_are() -> None:
    got = load(
        Small,
        {"flush_every": 7, "enabled": False},
        {"STREAMGAUGE_BROKERS": "a:1, b:2,", "STREAMGAUGE_PASSWORD": "hunter2"},
        {"kafka": "linger.ms=5"},
    )
    assert got == Small(("a:1", "b:2"), 7, False, (("linger.ms", "5"),), "local", Secret("hunter2"))


def test_every_problem_of_every_source_is_named_at_once() -> None:
    found = problems(
        flags={"enabled": "maybe"},
        environ={"STREAMGAUGE_FLUSH_EVERY": "soon", "STREAMGAUGE_FLUSHEVERY": "1s", "PATH": "/bin"},
        file={"kafka": "linger.ms", "regions": "ap"},
    )
    assert found == [
        "STREAMGAUGE_FLUSHEVERY: there is no such setting",
        "regions (settings file): there is no such setting",
        "STREAMGAUGE_FLUSH_EVERY: say a number and a unit (ms, s, m, h, d), for instance 90s, or forever",
        "--enabled: say true or false",
        "kafka (settings file): expected name=value, comma-separated; there is no = in part 1",
    ]


def test_a_wrong_value_of_a_weaker_source_does_not_matter() -> None:
    assert load(Small, {"enabled": "no"}, {"STREAMGAUGE_ENABLED": "maybe"}).enabled is False


def test_settings_of_other_parts_may_stand_beside_ours() -> None:
    sources: dict[str, Any] = {"environ": {"STREAMGAUGE_STORE": "x"}, "file": {"store": "x"}}
    assert load(Small, **sources, known=["store"]) == Small()
    assert len(problems(**sources)) == 2


@pytest.mark.parametrize("name", ["STREAMGAUGE_region", "STREAMGAUGE_Region", "STREAMGAUGE_", "STREAMGAUGE_REGION_"])
def test_a_variable_that_would_not_be_read_is_refused(name: str) -> None:
    assert problems(environ={name: "ap"}) == [f"{name}: there is no such setting"]


def test_variables_of_others_are_not_ours() -> None:
    assert load(Small, environ={"STREAMGAUGEX": "1", "streamgauge_region": "ap", "REGION": "ap"}) == Small()


# values


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE", " Yes ", "oN"])
def test_words_for_true(word: str) -> None:
    assert flag(word) is True


@pytest.mark.parametrize("word", ["0", "false", "no", "off", "", "FALSE", " No ", "  "])
def test_words_for_false(word: str) -> None:
    assert flag(word) is False


@pytest.mark.parametrize("word", ["2", "maybe", "y", "t", "None"])
def test_other_words_are_neither_true_nor_false(word: str) -> None:
    with pytest.raises(ValueError, match="say true or false"):
        flag(word)


@pytest.mark.parametrize(
    ("word", "ms"),
    [
        ("250ms", 250),
        ("10s", 10_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("30d", 2_592_000_000),
        (" 90 S ", 90_000),
        ("0s", 0),
        ("forever", FOR_EVER),
        ("for ever", FOR_EVER),
        ("-1", FOR_EVER),
    ],
)
def test_durations(word: str, ms: int) -> None:
    assert duration_ms(word) == ms


@pytest.mark.parametrize("word", ["", "10", "1.5s", "-5s", "5 minutes", "1h30m", "s", "1w", "ever"])
def test_what_is_no_duration_is_refused_with_an_example(word: str) -> None:
    with pytest.raises(ValueError, match="for instance 90s, or forever"):
        duration_ms(word)


@pytest.mark.parametrize(
    ("word", "size"), [("0", 0), ("512", 512), ("1KiB", 1 << 10), ("64 MiB", 64 << 20), (" 2GiB ", 2 << 30)]
)
def test_sizes(word: str, size: int) -> None:
    assert size_bytes(word) == size


@pytest.mark.parametrize("word", ["", "64MB", "64mib", "-1", "1.5KiB", "KiB", "1TiB"])
def test_what_is_no_size_is_refused_with_the_units_there_are(word: str) -> None:
    with pytest.raises(ValueError, match="KiB, MiB, GiB"):
        size_bytes(word)


def test_lists_pairs_and_paths() -> None:
    assert text("  a b ") == "a b"
    assert names(" a, b ,,c,") == ("a", "b", "c")
    assert names("") == ()
    assert paths("a/b.json, c") == (Path("a/b.json"), Path("c"))
    assert pairs("a=1, b = 2=3 ,c=") == (("a", "1"), ("b", "2=3"), ("c", ""))


def test_a_pair_without_a_value_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match=r"there is no = in part 2, 4$") as caught:
        pairs("sasl.password=hunter2,hunter2-more,a=b,hunter2")
    assert "hunter2" not in str(caught.value)


# secrets


def test_a_secret_shows_nowhere() -> None:
    settings = Small(password=Secret("hunter2"))
    secret = settings.password
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", "%s %r" % (secret, secret), f"{settings}"]  # noqa: UP031  # as log calls format
    shown += [repr(settings), str(asdict(settings)), repr([secret]), repr({secret: 1})]
    shown += [json.dumps(asdict(settings), default=str), orjson.dumps({"p": secret}, default=str).decode()]
    shown += [logging.LogRecord("x", 20, "", 0, "%s", (secret,), None).getMessage()]
    assert all("hunter2" not in one for one in shown)
    assert all("Secret(" in one for one in shown)
    assert repr(Secret("")) == "Secret()"
    assert secret.reveal() == "hunter2"


def test_a_secret_takes_no_format_that_could_cut_it_out() -> None:
    with pytest.raises(TypeError) as caught:
        format(Secret("hunter2"), ">10")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_never_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="a secret is not pickled") as caught:
        pickle.dumps(Small(password=Secret("hunter2")), protocol)
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))


def test_settings_with_a_secret_can_still_be_copied() -> None:
    settings = Small(password=Secret("hunter2"))
    for again in (copy.copy(settings), copy.deepcopy(settings), replace(settings), Small(**asdict(settings))):
        assert again == settings
        assert again.password.reveal() == "hunter2"


def test_a_wrong_setting_beside_a_secret_does_not_show_it() -> None:
    environ = {"STREAMGAUGE_PASSWORD": "hunter2", "STREAMGAUGE_FLUSH_EVERY": "soon"}
    assert "hunter2" not in "\n".join(problems(environ=environ))


def test_secrets_compare_by_text_and_an_empty_one_is_false() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert (bool(Secret("")), bool(Secret("a"))) == (False, True)
    assert not hasattr(Secret("a"), "__dict__")


# files


def test_a_file_is_read_as_texts(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        'region = "ap-süd"\nenabled = true\nflush_every = "5s"\nbrokers = ["a:1", "b:2"]\n[kafka]\n'
        '"linger.ms" = 5\nacks = "all"\n',
        encoding="utf-8",
    )
    assert load(Small, file=read_file(file)) == Small(
        ("a:1", "b:2"), 5_000, True, (("linger.ms", "5"), ("acks", "all")), "ap-süd"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"region = ]\n", "line 2"), (b"region = 1\nregion = 2\n", "line 3"), (b"region = '\xff'", "not UTF-8")],
)
def test_a_file_that_cannot_be_read_says_so_without_its_content(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"password = 'hunter2'\n" + content)
    with pytest.raises(SettingsError) as caught:
        read_file(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: No such file or directory"):
        read_file(tmp_path / "absent.toml")
