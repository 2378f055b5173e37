"""What each rule finds and leaves: telephones, banks, states, machines, secrets, what keys say, and what hides in encodings."""

from __future__ import annotations

import random

import pytest

from streamgauge.processors.detectors import DETECTORS, scrub_text
from streamgauge.processors.detectors_context import HINTS
from streamgauge.processors.detectors_ids import is_social_security_number
from streamgauge.processors.detectors_rule import MAX_VALIDATIONS, Look, Tangled, Unchecked
from streamgauge.processors.detectors_secrets import VENDORS
from tests.support.personal import IBANS, TEST_CARDS
from tests.support.vendor_tokens import TOKENS


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("+61 412 345 678", "[phone]"),
        ("+61412345678", "[phone]"),
        ("+44 (0)20 7946 0958", "[phone]"),
        ("+1 (415) 555-2671", "[phone]"),
        ("+1.415.555.2671", "[phone]"),
        ("tel:+1-415-555-2671", "tel:[phone]"),
        ("0061 412 345 678", "[phone]"),
        ("k=+44(0)1632960540", "k=[phone]"),
        ("+45 05 60 86 56", "[phone]"),
        ("(741)354-9909x29", "[phone]"),
        ("1-858-073-0215", "[phone]"),
        ("75 92200-3322", "[phone]"),
        ('{"v": "661 573 681"}', '{"v": "[phone]"}'),
        ("sent to +4915123456789.", "sent to [phone]."),
        ("+14155552671 200 12 ms", "[phone] 200 12 ms"),
        ("(415) 555-2671", "[phone]"),
        ("(415)555-2671", "[phone]"),
        ("415.555.2671", "[phone]"),
        ("1-415-555-2671", "[phone]"),
        ("415-555-2671 x123", "[phone]"),
        ("0412 345 678", "[phone]"),
        ("(02) 9374 4000", "[phone]"),
        ("03-1234-5678", "[phone]"),
        ("03(1234)5678", "[phone]"),
        ("0812-3456-78901", "[phone]"),
        ("090-1234-5678 090-1234-5678", "[phone] [phone]"),
        ("06 12 34 56 78", "[phone]"),
        ("020 7946 0958", "[phone]"),
        ("0171/1234567", "[phone]"),
        ("9123 4567", "[phone]"),
        ("98765 43210", "[phone]"),
        ("call 9123 4567 now", "call [phone] now"),
        ("138 0013 8000", "[phone]"),
        ("8 (495) 123-45-67", "[phone]"),
        ("(11) 91234-5678", "[phone]"),
        ("phone=0412345678", "phone=[phone]"),
        ('{"userPhone": "4155552671"}', '{"userPhone": "[phone]"}'),
        ("電話番号は090-1234-5678です", "電話番号は[phone]です"),
    ],
)
def test_telephone_numbers_are_found(text: str, clean: str) -> None:
    assert scrub_text(text) == (clean, ("phone",))


@pytest.mark.parametrize(
    "text",
    [
        "4155552671",
        "0412345678",
        "ORD-4155552671",
        "12345678",
        "1755302400",
        "2024-01-15 12",
        "2024-01-15 12:30",
        "05.01.2024 10",
        "01-02-2024 10 11",
        "00:40:08.848358",
        "+00:00",
        "+10485760 bytes",
        "1 234 567 890",
        "10 000 000",
        "200 512 1024",
        "call 1755302400",
        "bytes 0-499/1234567",
    ],
)
def test_bare_digits_dates_and_counts_are_no_telephone_numbers(text: str) -> None:
    assert scrub_text(text) == (text, ())


@pytest.mark.parametrize("number", IBANS)
def test_the_examples_of_the_registry_of_ibans_are_found(number: str) -> None:
    grouped = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    for text in (number, grouped, f"to {grouped} today", number.lower()):
        clean, rules = scrub_text(text)
        assert rules == ("iban",), text
        assert number[8:14].lower() not in clean.lower().replace(" ", "")


@pytest.mark.parametrize("text", ["DE00370400440532013000", "ZZ89370400440532013000", "DE8937040044053201300"])
def test_an_iban_of_a_wrong_checksum_country_or_length_stays(text: str) -> None:
    assert scrub_text(text) == (text, ())


def test_every_serial_of_a_social_security_number_is_found() -> None:
    missed = [n for n in range(1, 10_000) if not is_social_security_number(f"078-05-{n:04d}")]
    assert missed == []
    assert all(scrub_text(f"078-05-{n:04d}")[0] == "[national_id]" for n in range(1, 10_000, 7))


@pytest.mark.parametrize(
    "text", ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "078051120"]
)
def test_what_was_never_issued_as_a_social_security_number_stays(text: str) -> None:
    assert scrub_text(text) == (text, ())


@pytest.mark.parametrize(
    "number",
    [
        "529.982.247-25",
        "12.531.909-2",
        "85.07.30-033.28",
        "756.9217.0769.85",
        "19850709-9805",
        "131052-308T",
        "710319/2745",
        "161175-19997",
        "971013-9019902",
        "770305-02-1234",
        "20-05536168-2",
        "1-2345-45678-78-1",
        "112-233-445 95",
        "RSSMRA85T10A562S",
        "BOXW310820HNERXN09",
        "S1234567D",
        "G1234567X",
        "A123456(3)",
        "A123456789",
        "440204195009118146",
        "ABCPE1234F",
        "2341 2341 2346",
        "11010519491231002X",
        "1 85 05 78 006 084 91",
        "AB 12 34 56 C",
        "12345678Z",
        "X1234567L",
    ],
)
def test_numbers_of_states_are_found_as_they_are_written_there(number: str) -> None:
    clean, rules = scrub_text(f"id {number}, checked")
    assert (clean, rules) == ("id [national_id], checked", ("national_id",))


@pytest.mark.parametrize("number", TEST_CARDS)
def test_published_test_cards_are_found(number: str) -> None:
    grouped = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    assert scrub_text(number) == ("[card]", ("card",))
    assert scrub_text(grouped)[1] == ("card",)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("00:1a:2b:3c:4d:5e", "[mac]"),
        ("mac:00:1a:2b:3c:4d:5e", "mac:[mac]"),
        ("00-1A-2B-3C-4D-5E", "[mac]"),
        ("001a.2b3c.4d5e", "[mac]"),
    ],
)
def test_addresses_of_interfaces_are_found(text: str, clean: str) -> None:
    assert scrub_text(text) == (clean, ("mac",))


@pytest.mark.parametrize("pairs", [5, 7, 10, 16, 20, 32])
def test_other_runs_of_pairs_are_no_addresses_of_interfaces(pairs: int) -> None:
    source = random.Random(pairs)
    for _ in range(50):
        text = ":".join(f"{source.randrange(256):02x}" for _ in range(pairs))
        assert scrub_text(text) == (text, ())


@pytest.mark.parametrize("kind", sorted(TOKENS))
def test_tokens_of_every_vendor_are_found_and_nothing_of_them_stays(kind: str) -> None:
    source = random.Random(kind)
    for frame in ("{}", "token {} used", "x={}", '{{"k":"{}"}}', "https://h.example/x?k={}&n=1"):
        token = TOKENS[kind](source)
        clean, rules = scrub_text(frame.format(token))
        assert rules == ("secret",), frame
        assert token[-12:] not in clean


def test_a_vendors_prefix_in_front_of_words_is_no_token() -> None:
    for text in (
        "sk-learn-contrib-estimators",
        "task-runner",
        "pat_123",
        "npm_config_cache",
        "AKIA",
        "hf_transfer",
        "glpat",
    ):
        assert scrub_text(text) == (text, ())
    assert len(VENDORS) > 50


@pytest.mark.parametrize(
    ("text", "clean", "rule"),
    [
        ("postgres://app:secret@db.example.com/x", "postgres://[credentials]@db.example.com/x", "credentials"),
        ("https://u:p@ss@h.example.com/x", "https://[credentials]@h.example.com/x", "credentials"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", "[jwt]", "jwt"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "[private_key] x", "private_key"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[private_key]", "private_key"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [secret]", "secret"),
        ("authorization=Basic dXNlcjpwYXNz", "authorization=Basic [secret]", "secret"),
        ("https://h.example/x?token=abc&y=1", "https://h.example/x?token=[secret]&y=1", "secret"),
        ("?X-Amz-Signature=abcdef0123456789&n=1", "?X-Amz-Signature=[secret]&n=1", "secret"),
        ('{"password":"hunter2","n":1}', '{"password":"[secret]","n":1}', "secret"),
        ('{\\"password\\":\\"hunter2\\"}', '{\\"password\\":\\"[secret]\\"}', "secret"),
        ('{"password":"hunter2', '{"password":"[secret]', "secret"),
        ('{"password":"hun\\"ter2"}', '{"password":"[secret]"}', "secret"),
        ("password: hunter2", "password: [secret]", "secret"),
        ("DB_PASSWORD='hunter 2'", "DB_PASSWORD='[secret]'", "secret"),
        ("Server=db;Pwd=hunter2;Port=1", "Server=db;Pwd=[secret];Port=1", "secret"),
        ("apiKey=42", "apiKey=[secret]", "secret"),
    ],
)
def test_secrets_are_found_where_protocols_and_keys_put_them(text: str, clean: str, rule: str) -> None:
    assert scrub_text(text) == (clean, (rule,))


@pytest.mark.parametrize(
    "text",
    [
        "WHERE password = ?",
        "password = $1",
        "token=:token",
        "key=%s",
        "password=********",
        "password={password}",
        "token=null",
        "secret=[secret]",
        "max_tokens=4096",
        "token_count=17",
        "secret_name=db",
        "password_reset=true",
        "unexpected token: identifier",
        "code=404&state=NSW",
        "key=cache",
        "session=12",
        "keyboard=us",
        "compass: n",
        "author=ann",
        "session_minutes=9",
        "checkout:v0:session:317964334:9395b9f5",
        "Bearer realm",
        "git@github.com:org/repo.git",
        "ssh://git@github.com/org/repo",
    ],
)
def test_what_stands_for_a_secret_or_is_called_like_one_stays(text: str) -> None:
    assert scrub_text(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("jane%40example.com", "[email]"),
        ("q=jane%2Edoe%40example%2Ecom", "q=[email]"),
        ("%2B61412345678", "[phone]"),
        ("4111%201111%201111%201111", "[card]"),
        ("jane&#64;example.com", "[email]"),
        ("jane&#x40;example&period;com", "[email]"),
        ("jane\\u0040example.com", "[email]"),
        ("\\n4111111111111111\\n", "\n[card]\n"),
        ("jane [at] example [dot] com", "[email]"),
        ("jane(at)example.com", "[email]"),
        ("jane at example dot com", "[email]"),
        ("jane＠example。com", "[email]"),
        ("+61\u00a0412\u00a0345\u00a0678", "[phone]"),
        ("4111‑1111‑1111‑1111", "[card]"),
        ("０７８－０５－１１２０", "[national_id]"),
        ("41\u200b11111111111111", "[card]"),
        ("jane%2540example.com", "[email]"),
        ("amFuZUBleGFtcGxlLmNvbQ==", "[email]"),
        ("user=amFuZUBleGFtcGxlLmNvbQ==&n=1", "user=[email]&n=1"),
    ],
)
def test_encodings_hide_nothing(text: str, clean: str) -> None:
    assert scrub_text(text)[0] == clean


def test_an_encoded_text_in_which_nothing_is_found_comes_back_as_it_was() -> None:
    for text in ("a%20b", "x &amp; y", "C:\\new\\table", "ｅxample", "100%25"):
        assert scrub_text(text) == (text, ())


@pytest.mark.parametrize(
    ("hint", "texts"),
    [
        ("phone", ["0412345678", "4155552671", "(02) 9374 4000", "61412345678", "tel:4155552671"]),
        ("card", ["4111111111111112", "1234 5678 9012 3456"]),
        ("iban", ["DE00370400440532013000"]),
        ("national_id", ["078051120", "123456782", "AB123456C", "12.345.678-9"]),
        ("passport", ["X1234567", "123456789", "PA1234567", "C01X00T47"]),
        ("ip", ["1.2.3.4", "2001:db8::1", "10.2.0.4:443"]),
        ("secret", ["hunter2", "correct horse battery staple", "42"]),
        ("email", ["root@localhost"]),
    ],
)
def test_what_a_key_says_is_believed_by_form_alone(hint: str, texts: list[str]) -> None:
    for text in texts:
        assert scrub_text(text, hint) == (f"[{hint}]", (hint,)), text
        assert scrub_text(f"[{hint}]", hint) == (f"[{hint}]", ())


@pytest.mark.parametrize(
    ("hint", "texts"),
    [
        ("phone", ["iPhone 15", "unknown", "12", ""]),
        ("card", ["visa", "4242"]),
        ("national_id", ["none", "0.70710678"]),
        ("passport", ["0.4.1", "local"]),
        ("ip", ["unknown", "127.0.0.1"]),
        ("secret", ["null", "***", "", "[email]"]),
        ("version", ["203.0.113.7", "1.2.3.4-rc.1", "120.44.33.12"]),
        ("id", ["415-555-2671", "S1234567D"]),
        ("number", ["61412345678", "12.5", "078051120"]),
    ],
)
def test_what_a_key_says_does_not_make_everything_personal(hint: str, texts: list[str]) -> None:
    for text in texts:
        assert scrub_text(text, hint) == (text, ()), text


@pytest.mark.parametrize("hint", sorted(HINTS))
def test_a_card_is_one_under_any_name(hint: str) -> None:
    assert "4111" not in scrub_text("4111111111111111", hint)[0]


@pytest.mark.parametrize("hint", sorted(HINTS))
def test_no_hint_lets_an_address_of_mail_through(hint: str) -> None:
    assert "jane@example.com" not in scrub_text("mail jane@example.com now", hint)[0]


def test_a_quantity_in_other_text_is_searched_all_the_same() -> None:
    assert scrub_text("card 4111111111111111", "number") == ("card [card]", ("card",))


def test_a_look_counts_what_it_asks_of_libraries() -> None:
    look = Look("", budget=1)
    look.validate()
    with pytest.raises(Unchecked):
        look.validate()
    tired = Look("", validations=MAX_VALIDATIONS)
    with pytest.raises(Tangled):
        tired.validate()


def test_every_rule_has_gates_that_let_its_own_findings_through() -> None:
    assert all(one.gates for one in DETECTORS)
    assert len({one.rule for one in DETECTORS}) >= 12
