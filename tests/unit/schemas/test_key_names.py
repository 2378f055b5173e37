"""Names of labels and fields: the ones of people and secrets act in every spelling, their look-alikes never do."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.schemas.key_names import FORMS, STATISTICS, hints, table, tokens, verdict, word_set

ACT = {
    "email": "email userEmail user_email user.email USER-EMAIL emailAddress email_address e-mail e_mail EMail contactEmail "
    "customer_email_1 email2 emailHash email_sha256 useremail email_of_customer",
    "phone": "phone phoneNumber phone_number phone-no phoneno mobileNumber mobile_phone telephone tel fax msisdn cellPhone "
    "customer.phone",
    "card": "credit_card creditCard CreditCardNumber cardNumber card_no cvv cvc ccNumber cc-num debitCard card_number_masked",
    "iban": "iban IBAN customer_iban ibanValue",
    "account": "bankAccount bank_account_number accountNumber routing_number",
    "national_id": "ssn SSN customer_ssn social_security_number socialSecurity nino national_id taxId pesel "
    "driversLicense license_plate",
    "passport": "passport passportNumber passport_no",
    "ip": "ip client_ip clientIP clientIp client.address client_address remote_addr remoteAddr X-Forwarded-For userIPv4 "
    "ip_address ipAddress IPAddress src_ip peer_address ipv6 client_ip_raw source.address",
    "secret": "pwd passwd password userPassword PASSWORD dbPassword x-api-key xApiKey X_API_KEY apikey api_key apiKey "
    "authorization Authorization http.request.header.authorization set-cookie setCookie cookie access_token accessToken "
    "ACCESS_TOKEN refreshToken jwt bearer client_secret secretKey private_key credentials passphrase otp pin_code csrf "
    "password_hash connection_string token",
    "session": "session_id sessionId sessionID SESSIONID JSESSIONID phpsessid session",
    "device": "device_id deviceId imei IMEI idfa macAddress mac_address serialNumber advertising_id",
    "user": "user userId user_id userID UserID username userName user_name customerId customer_id patient_id visitor_id "
    "employeeNumber customer person distinct_id",
    "name": "first_name firstName FirstName lastname surname fullName full_name cardholder card_holder_name maiden_name "
    "customerName",
    "address": "street street_address homeAddress shipping_address billingAddress zip_code zipcode postcode postalCode "
    "address_1 address2",
    "birth": "dob dateOfBirth date_of_birth birthday birthDate",
    "sensitive": "gender religion ethnicity maritalStatus",
    "location": "latitude longitude lat lng geohash gps_coordinates",
}
SURVIVE = word_set(
    "author authored_by auth_method auth_type authority session_minutes session_count sessions session_duration_seconds "
    "shipping_id shipping_method keyboard keyboard_layout compass monkey key_count key_type n_cookies_sold cookies_enabled "
    "token_count tokens max_tokens input_tokens tokenizer email_count emails_sent email_domain email_verified ip_version "
    "ip_count iptables card_type card_brand cards_issued cardinality phone_model phone_os phonetic password_resets_total "
    "password_length passwordless has_password is_email num_users n_users user_count user_type users_online description "
    "subscription postal_region status status_code method route region service country tenant operation order_id "
    "product_id sku version name display_name host node pod zone queue topic partition consumer_group error_type "
    "expiry pinned pins spinner compassion passed bypass pass_rate secretary embassy assignee_count mailbox_size mailing "
    "telemetry telegram telescope faxes_total taxonomy tax_rate address_family memory_address server_address server.ip "
    "k8s.pod.ip birthrate ages age_band race_condition latency platform template longitudinal streetwear addressable "
    "customer_tier customer_segment nameless username_length accountable account_type accounts_total signature_algorithm "
    "encryption keyspace hotkey turkey donkey macro machine macos simcity hash etag trace_id span_id request_id uuid "
    "payment_method currency amount discovery cvs"
)


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, text in ACT.items() for name in text.split()])
def test_names_of_people_and_secrets_act_in_every_spelling(rule: str, name: str) -> None:
    assert verdict(name).rule == rule
    assert verdict(name).token == f"[{rule}]"


@pytest.mark.parametrize("name", sorted(SURVIVE))
def test_look_alikes_survive(name: str) -> None:
    assert verdict(name).rule == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("userEmail", "user email"),
        ("x-api-key", "x api key"),
        ("HTTPRequestURL", "http request url"),
        ("userID", "user id"),
        ("clientIPAddress", "client ip address"),
        ("IPv4Address", "ipv4 address"),
        ("userIPv6", "user ipv6"),
        ("SHA256Sum", "sha256 sum"),
        ("k8s.pod.name", "k8s pod name"),
        ("address1", "address 1"),
        ("p99_ms", "p 99 ms"),
        ("__hidden__", "hidden"),
        ("a..b--c  d/e", "a b c d e"),
        ("ＵｓｅｒＥmail", "user email"),
        ("user\u200bEmail", "user email"),
        ("größeÄndern", "größeändern"),
        ("", ""),
        ("._-", ""),
    ],
)
def test_names_are_split_into_words(name: str, words: str) -> None:
    assert tokens(name) == tuple(words.split())


plain_words = st.lists(
    st.text(string.ascii_lowercase, min_size=2, max_size=8).filter(lambda word: word not in {"ipv", "md", "sha"}),
    min_size=1,
    max_size=5,
)


@given(plain_words)
def test_every_spelling_of_the_same_words_says_the_same(words: list[str]) -> None:
    spellings = {
        "_".join(words), "-".join(words), ".".join(words), " ".join(words), "_".join(words).upper(),
        "".join(word.capitalize() for word in words), words[0] + "".join(word.capitalize() for word in words[1:]),
    }  # fmt: skip
    assert {tokens(one) for one in spellings} == {tuple(words)}
    assert len({verdict(one) for one in spellings}) == 1


@given(st.text(max_size=80))
def test_any_name_is_split_without_error_and_splitting_the_words_again_changes_nothing(name: str) -> None:
    words = tokens(name)
    assert all(word and word == word.lower() for word in words)
    verdict(name)


@given(st.sampled_from([" ".join(one) for words in table().values() for one in words]), st.sampled_from(["zq", "zqzq"]))
def test_a_word_acts_only_as_a_whole(phrase: str, letters: str) -> None:
    assert verdict(phrase).rule
    first, *_, last = (phrase.split() * 2)[: max(2, len(phrase.split()))]
    if len(phrase.split()) == 1:
        assert verdict(f"{letters}{first}").rule == verdict(f"{last}{letters}").rule == ""
    assert verdict(f"big_{phrase}").rule, "whatever stands before it"
    assert verdict(f"{phrase}_zq").rule == "", "what counts is the end"
    assert all(verdict(f"{one}_{phrase}").rule == "" for one in STATISTICS), "a number or a yes"
    assert all(verdict(f"{phrase}_{one}").rule for one in FORMS), "however it is written"


def test_no_phrase_belongs_to_two_rules() -> None:
    for known in (table(), hints()):
        phrases = [phrase for words in known.values() for phrase in words]
        assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("order_id", "id"),
        ("trace_id", "id"),
        ("app_version", "version"),
        ("ip_version", "version"),
        ("build", "version"),
        ("retry_count", "number"),
        ("started_ms", "number"),
        ("recipient", "email"),
        ("mobile", "phone"),
        ("server.address", "ip"),
        ("pod_ip", "ip"),
        ("cache_key", "secret"),
        ("country", ""),
        ("email", "email"),
        ("ssn", "national_id"),
    ],
)
def test_where_the_name_decides_nothing_it_tells_detectors_what_to_expect(name: str, hint: str) -> None:
    assert verdict(name).hint == hint


def test_a_very_long_name_takes_no_longer() -> None:
    assert verdict("a" * 1_000_000 + "_email").rule == ""
    assert len(tokens("a_" * 1_000_000)) == 256
