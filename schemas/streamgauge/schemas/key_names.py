"""Key names: what a label's or a field's own name says about its values, by whole words and never by parts of them.

`userEmail`, `x-api-key` and `pwd` name a person or a secret; `author`, `session_minutes` and `compass` do not, and neither
does `email_count`: what counts is the word at the end, which says what the value is. Pure, without regard to values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

MAX_CHARS = 512
"""Nothing is read beyond this many characters of a name."""


def word_set(text: str) -> frozenset[str]:
    """The words of a text, which are parted by blanks."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a name says. `rule` is the class of person-related or secret values it names: they are replaced whole by
    `token`. `hint` tells detectors what to expect where the name alone decides nothing. Both may be empty."""

    rule: str = ""
    hint: str = ""

    @property
    def token(self) -> str:
        """What stands for the values: the rule's name in brackets."""
        return f"[{self.rule}]"


_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "email": "email emails mail mailto courriel correo; e mail; email address; email addr; mail address; "
        "mail addr; email id; user email; customer email; contact email; reply to",
        "phone": "phone phones telephone tel fax msisdn cellphone telefon telefono telefone handynummer; phone number; "
        "phone no; mobile number; mobile no; mobile phone; cell phone; cell number; fax number; "
        "telephone number; phone num; contact number; user phone; customer phone; whatsapp number; tel no; "
        "home phone; work phone",
        "card": "cvv cvc ccv ccn kreditkarte; credit card; debit card; payment card; card number; card no; card num; "
        "cc number; cc num; credit card number; card pan; card last; card expiry; security code",
        "iban": "iban",
        "account": "sortcode; bank account; bank account number; account number; account no; acct number; acct no; "
        "acct num; routing number; sort code",
        "national_id": "ssn nino aadhaar aadhar cpf dni bsn pesel codicefiscale sozialversicherungsnummer personalausweis; "
        "social security; social security number; ssn last; social insurance number; national id; "
        "national insurance; national insurance number; national identifier; tax id; tax number; "
        "personal number; identity card; identity number; id card; personal id; nhs number; driver license; "
        "drivers license; driver licence; drivers licence; driving licence; driving license; license plate; "
        "licence plate; number plate; medical record; medical record number; codice fiscale; "
        "national id number; taxpayer id; drivers license no; drivers licence no; driver license number; "
        "drivers license number; drivers licence number",
        "passport": "passport; passport number; passport no; passport num; passport id",
        "ip": "ip ips ipaddr ipv4 ipv6 xff; ip address; ip addr; ipv4 address; ipv6 address; remote addr; "
        "remote address; remote ip; remote host; client addr; client address; client host; peer addr; "
        "peer address; source address; forwarded for; x forwarded for; user address; client ip; user ip; "
        "peer ip; source ip; real ip",
        "secret": "password passwords passwd pwd pswd psw passphrase passcode passwort kennwort contrasena senha mdp "
        "secret secrets token jwt bearer authorization credential credentials cookie cookies otp totp csrf "
        "xsrf salt pin htpasswd keytab; api key; apikey value; access key; secret key; private key; "
        "signing key; encryption key; ssh key; master key; shared key; api secret; auth header; pin code; "
        "set cookie; connection string; auth code; access token; refresh token; auth token; id token; "
        "session token; bearer token; csrf token; user password; db password; database password; "
        "recovery code; backup code; verification code; activation code; magic link; access key id; db pass; "
        "user pass; basic auth; www authenticate; proxy authenticate; webhook secret",
        "session": "session sessid jsessionid phpsessid; session id; session key; session identifier; sess id; "
        "cookie id; previous session id",
        "device": "idfa gaid aaid imei imsi iccid meid udid adid; device id; device identifier; installation id; "
        "install id; advertising id; advertiser id; serial number; device serial; mac address; mac addr; "
        "device fingerprint; browser fingerprint; device token; push token; device uuid; serial no; gps adid",
        "user": "user username enduser customer patient person employee visitor subscriber passenger screenname; "
        "user id; user ids; user name; user identifier; user uuid; user guid; user key; login name; "
        "customer id; customer number; customer no; customer key; customer uuid; member id; patient id; "
        "person id; subscriber id; visitor id; employee id; employee number; passenger id; student id; "
        "contact id; end user; anonymous id; distinct id; user login; member number; member no; "
        "account holder id",
        "name": "surname forename firstname lastname fullname givenname familyname middlename nickname vorname "
        "nachname prenom apellido apellidos cognome cardholder fname lname; first name; last name; "
        "middle name; given name; family name; full name; maiden name; legal name; real name; nick name; "
        "customer name; patient name; person name; employee name; contact name; member name; guest name; "
        "passenger name; student name; holder name; recipient name; sender name; card holder; account holder; "
        "card holder name; father name; mother name; mothers maiden name; name first; name last",
        "address": "street postcode zipcode postalcode plz zip; street address; home address; shipping address; "
        "billing address; mailing address; postal address; delivery address; residential address; "
        "customer address; address line; address 1; address 2; street name; street number; house number; "
        "zip code; post code; postal code; addr 1; addr 2; addr line",
        "birth": "dob birthdate birthday geburtsdatum; birth date; birth day; date of birth; birth year; year of birth",
        "sensitive": "gender ethnicity religion salary nationality sex; marital status; sexual orientation; blood type; "
        "health condition; race ethnicity",
        "location": "latitude longitude lat lon lng geohash gps coordinates; lat lng; lat lon; lat long; gps coordinates; "
        "geo point; geo location; location lat; location lon; geo coordinates",
    }
)  # fmt: skip
"""Rules and the words, or sequences of words, at the end of a name that are theirs. Sequences count written as one word
too (`phonenumber`)."""

_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "email": "sender recipient from to cc bcc contact",
        "phone": "mobile cell whatsapp",
        "card": "card pan",
        "ip": "address addr host hostname peer remote client; server ip; host ip; pod ip; node ip; local ip",
        "secret": "key auth signature sig pass",
        "version": "version versions ver release build sku oid semver revision rev tag; os version; ip version",
        "id": "id ids uuid guid uid hash digest checksum fingerprint etag sha md5 sha1 sha256 commit ref sid",
        "number": "number no num nr count counts total totals sum size bytes length len port code status rank score "
        "level offset index position seconds minutes hours days ms us ns millis micros nanos duration time "
        "timestamp ts epoch amount quantity qty price cost ratio percent rate weight height width depth limit "
        "quota line column seq sequence ordinal order",
    }
)  # fmt: skip
"""What detectors may expect under the word at the end of a name, where values are not replaced whole."""

_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
_WITH_DIGITS = "ipv4|ipv6|oauth2|sha1|sha256|sha512|md5|k8s|e164|x509|utf8|base64|b64|base32|i18n|l10n|http2|s3|ec2|h2"
_SPLIT = re.compile(rf"(?:{_WITH_DIGITS})(?![a-z])|[^\W\d_]+|\d+", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\d)(?=[A-Z][a-z])")
_IPV = re.compile(r"IPv(?=[46])")

FORMS = word_set(
    "value val raw text txt str string plain plaintext original normalized normalised lower lowercase upper uppercase "
    "field param parameter header hash hashed md5 sha1 sha256 sha512 encrypted masked enc b64 base64 e164 primary "
    "secondary alt"
)
"""Words at the end of a name that say how a value is written, not what it is: an unkeyed hash of an address is one still."""

STATISTICS = word_set("is has had n p num count total max min avg mean median sum can should enable enabled allow")
"""Words at the beginning of a name that make its value a number or a yes, whatever comes after."""

_PREPOSITIONS = word_set("of per by for with without in")
_OWN_MACHINES = word_set("server host pod node local upstream internal bind listen gateway proxy container")


def tokens(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: `userEmail`, `user_email`, `user.email` and `USER-EMAIL` are all (user, email).

    Digits are words of their own, except in words that are written with them, such as `ipv4` and `sha256`.
    """
    name = name[:MAX_CHARS]
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name.translate(_UNSEEN))[:MAX_CHARS]
    spaced = _CAMEL.sub(" ", _IPV.sub(" Ipv", name))
    return tuple(word.lower() for word in _SPLIT.findall(spaced))


def verdict(name: str) -> Verdict:
    """What the name of a label or field says about its values."""
    words = tokens(name)
    rule, start = _ending(words)
    if rule and start and (words[0] in STATISTICS or words[start - 1] in STATISTICS):
        rule = ""
    if rule == "ip" and start and words[start - 1] in _OWN_MACHINES:
        rule = ""
    return Verdict(rule, _HINT_OF_RULE.get(rule, "")) if rule else Verdict("", _hint(words))


def table() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """Every rule with its words: for documents, and to tell one edition of the rules from another."""
    return {rule: tuple(_phrases(text)) for rule, text in _WORDS.items()}


def hints() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """Every hint with its words."""
    return {hint: tuple(_phrases(text)) for hint, text in _HINTS.items()}


def _ending(words: tuple[str, ...]) -> tuple[str, int]:
    """The rule of the longest known sequence of words at the end, and where it begins.

    Or at the end without forms and numbers, or before a preposition.
    """
    bare = _without_forms(words)
    joint = _before_preposition(words, bare)
    for last in (*range(len(words), bare - 1, -1), joint):
        # in `logins by user` what comes after the preposition is not what the value is
        for length in range(min(LONGEST, last), last - joint - 1 if joint and last > joint else 0, -1):
            if found := _RULES.get(words[last - length : last]):
                return found, last - length
    return "", 0


def _without_forms(words: tuple[str, ...]) -> int:
    end = len(words)
    while end > 1 and (words[end - 1] in FORMS or words[end - 1].isdecimal()):
        end -= 1
    return end


def _before_preposition(words: tuple[str, ...], end: int) -> int:
    """Where the first part of `email of customer` ends; 0 where there is no such thing."""
    for place in range(1, end - 1):
        if words[place] in _PREPOSITIONS:
            return place
    return 0


def _hint(words: tuple[str, ...]) -> str:
    for last in (len(words), _without_forms(words)):
        for length in (2, 1):
            if found := _HINT_WORDS.get(words[max(0, last - length) : last]):
                return found
    return ""


def _phrases(text: str) -> Iterable[tuple[str, ...]]:
    """`a b; c d` is the words a and b, and the sequence (c, d)."""
    single, *sequences = text.split(";")
    yield from ((word,) for word in single.split())
    yield from (tuple(one.split()) for one in sequences)


def _known(words: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    known: dict[tuple[str, ...], str] = {}
    for rule, text in words.items():
        for phrase in _phrases(text):
            known[phrase] = rule
            known.setdefault(("".join(phrase),), rule)
    return known


_RULES = _known(_WORDS)
_HINT_WORDS = _known(_HINTS)
LONGEST = max(map(len, _RULES))
_HINT_OF_RULE: Mapping[str, str] = MappingProxyType(
    {rule: rule for rule in ("email", "phone", "card", "iban", "national_id", "passport", "ip", "secret")}
    | {"user": "id", "session": "id", "device": "id", "account": "number"}
)
