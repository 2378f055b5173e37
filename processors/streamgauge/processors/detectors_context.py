"""Context: what the name of a key says about its value, be it the key of a label or one within a text (`"phone": "…"`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from streamgauge.processors.detectors_phones import is_phone_shaped
from streamgauge.processors.detectors_rule import Confirm, Detector, Look, Span, when
from streamgauge.processors.detectors_text import is_token

HINTS = frozenset(
    {"", "email", "phone", "card", "iban", "national_id", "passport", "ip", "secret", "version", "id", "number"}
)
"""What a key's name may say about a value. The empty one says nothing; the last three say what a value is not: a version
is no address, an id no telephone number, and a quantity that is a bare number neither. A card is one under any name."""

_ONE_WORD = re.compile(r"\S+")
_BARE_NUMBER = re.compile(r"[+\-]?\d+(?:\.\d+)?(?:[eE][+\-]?\d+)?")
_ID = re.compile(r"[A-Za-z0-9](?:[ ./()+\-]{0,2}[A-Za-z0-9]){4,23}\)?")
_PASSPORT = re.compile(r"[A-Za-z]{0,3}[ \-]?\d{4,9}[A-Za-z]{0,2}\d{0,2}|[A-Za-z0-9]{6,12}")
_BARE_FRACTION = re.compile(r"\d*\.\d*")
_QUIET = {
    "version": (_ONE_WORD, frozenset({"ip", "phone", "national_id", "mac"})),
    "id": (_ONE_WORD, frozenset({"phone", "national_id"})),
    "number": (_BARE_NUMBER, frozenset({"ip", "phone", "national_id"})),
}
_NONE: frozenset[str] = frozenset()
_PLACEHOLDERS_WORDS = (
    "null none nil true false undefined redacted masked hidden filtered empty unset missing invalid required "
    "expired yes no n/a na unknown changed incorrect wrong is must not too has does should field reset mismatch "
    "cannot ok bearer basic string str text rejected denied valid failed error for authentication"
)
_PLACEHOLDERS = frozenset(_PLACEHOLDERS_WORDS.split())
_PARAMETER = re.compile(
    r"[*x•.#?_-]*|\$\d+|:\w+|%(?:\(\w+\))?s|\{\{?[\w.\s-]*\}?\}?|\$\{?[\w.-]*\}?|<[\w\s.-]*>|@p?\d+|\[\w*\]?",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\\\"(?P<e>[^\"\\]{1,1024})|\"(?P<q>(?:[^\"\\]|\\.){1,1024})|'(?P<s>(?:[^'\\]|\\.){1,1024})"
    r"|(?P<x>[^\s&;\"'<>\\]{1,1024})"
)
"""A value: in quotes, which need not end, or up to a blank."""
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SURE_WORDS = (
    "password passwd pwd passphrase passcode secret token apikey authtoken accesstoken authorization credential "
    "credentials privatekey secretkey accesskey apisecret sharedkey accountkey sessionid jsessionid phpsessid "
    "csrftoken xsrf otp cvv cvc cvv2 signature sig pass passwort contraseña motdepasse"
)
_SURE = frozenset(_SURE_WORDS.split())
_SURE_PAIRS_WORDS = (
    "api:key access:key secret:key private:key account:key auth:key session:id session:key phpsess:id "
    "encryption:key signing:key license:key key:id auth:token shared:key master:key client:secret sess:id"
)
_SURE_PAIRS = frozenset(_SURE_PAIRS_WORDS.split())
_PASSWORDS = frozenset({"password", "passwd", "pwd", "passphrase", "passcode", "pass"})
_WEAK = frozenset({"session", "sid", "auth", "cookie", "code", "state", "key", "nonce", "jwt", "hash", "sess"})
_ENDS = (
    *(
        "pass",
        "password",
        "passwd",
        "pwd",
        "phrase",
        "code",
        "secret",
        "token",
        "key",
        "authorization",
        "auth",
        "credential",
    ),
    *(
        "credentials",
        "session",
        "sess",
        "sid",
        "session_id",
        "session-id",
        "sessionid",
        "key_id",
        "keyid",
        "otp",
        "cvv",
        "cvc",
    ),
    *("sig", "signature", "xsrf", "cookie", "state", "nonce", "jwt", "hash", "passwort", "contraseña", "passe"),
)
"""How keys end that may say so."""
_IN_URL = frozenset({"code", "state", "key", "nonce", "hash"})


def quiet(hint: str, text: str) -> frozenset[str]:
    """Rules that do not apply to a text of which the hint says what it is."""
    form, rules = _QUIET.get(hint, (_BARE_NUMBER, _NONE))
    return rules if rules and form.fullmatch(text.strip()) else _NONE


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _is_card_shaped(text: str) -> bool:
    return 12 <= _digits(text) <= 19 and re.fullmatch(r"\d(?:[ ./\-]{0,3}\d)+", text) is not None


def _is_iban_shaped(text: str) -> bool:
    return re.fullmatch(r"(?i)[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){8,31}", text) is not None


def is_id_shaped(text: str) -> bool:
    """Whether a text whose key says so is a number of a state's: at least five digits, and little else."""
    return _digits(text) >= 5 and not _BARE_FRACTION.fullmatch(text) and _ID.fullmatch(text) is not None


def is_passport_shaped(text: str) -> bool:
    """Whether a text whose key says so is a number of a passport: six to twelve letters and digits, mostly digits."""
    return _digits(text) >= 4 and _PASSPORT.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return re.fullmatch(r"\d{8,10}|\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?", text) is not None
    return text not in {"127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104  # nobody's


def is_secret_shaped(text: str) -> bool:
    """Whether a text whose key says so may be a secret: anything that does not stand for one."""
    return bool(text) and text.lower() not in _PLACEHOLDERS and _PARAMETER.fullmatch(text) is None


SHAPES: dict[str, Callable[[str], bool]] = {
    "email": lambda text: "@" in text and " " not in text,
    "phone": is_phone_shaped,
    "card": _is_card_shaped,
    "iban": _is_iban_shaped,
    "national_id": is_id_shaped,
    "passport": is_passport_shaped,
    "ip": _is_address,
    "secret": is_secret_shaped,
}


def is_hinted(hint: str, text: str) -> bool:
    """Whether the whole text is what its key says, by form alone: no checksum is asked where a name vouches."""
    shape = SHAPES.get(hint)
    if shape is None:
        return False
    text = text.strip()
    return not is_token(text) and shape(text)


def says_secret(key: str) -> str:
    """What a key's name says by its last words: `sure`, `weak` (many values under it are no secrets) or nothing."""
    tokens = [token.lower() for token in _TOKENS.findall(key)]
    while tokens and tokens[-1].isdigit():
        tokens.pop()
    if not tokens:
        return ""
    last = tokens[-1]
    if last in _SURE or "".join(tokens) in _SURE or ":".join(tokens[-2:]) in _SURE_PAIRS:
        return "sure"
    return "weak" if last in _WEAK else ""


def _assigned(match: re.Match[str], look: Look) -> Span | None:
    """The value of `key=value`, `"key": "value"` and the like, where the key says that it is a secret."""
    key = match["key"]
    if not key.rstrip("0123456789").lower().endswith(_ENDS):
        return None
    said = says_secret(key)
    if not said:
        return None
    found = _VALUE.match(match.string, match.end())
    if found is None:
        return None
    group = found.lastgroup or "x"
    value = found[group]
    if not is_secret_shaped(value) or is_token(value):
        return None
    last = _TOKENS.findall(key)[-1].lower()
    strong = len(value) >= 16 and any(map(str.isdigit, value)) and not value.isdigit()
    # neither quotes nor an equals sign: prose, or a path of names with colons
    loose = group == "x" and not match["quote"] and match["sign"].strip() == ":"
    if said == "weak":
        in_url = match.start() > 0 and match.string[match.start() - 1] in "?&"
        if not strong or match["sign"] == ":" or not (in_url or last not in _IN_URL):
            return None
    elif (last in {"signature", "sig", "id"} and len(value) < 8) or (last == "pass" and value.isdigit()):
        return None
    elif (
        loose
        and last not in _PASSWORDS
        and (value.isalpha() or match["sign"] == ":")
        and (len(value) < 16 or ":" in value)
    ):
        # `unexpected token: identifier`
        return None
    return found.span(group)


def _named(names: str, shape: Callable[[str], bool], body: str) -> tuple[re.Pattern[str], Confirm]:
    """What finds a value behind one of these names, glued to it as a key or as in a sentence, and confirms it by its shape."""
    pattern = re.compile(
        rf"(?:(?<![A-Za-z])|(?-i:(?<=[a-z])(?=[A-Z])))(?:{names})(?:[ _\-.]?(?:number|num|no|nr|id|code))?\.?"
        r"(?:\\?[\"']?\s{0,2}(?:=>|:=|[=:#])\s{0,2}\\?[\"']?|\s(?:is\s|was\s|number\s|no\.?\s|\#\s?)?)"
        rf"(?P<x>{body})(?![A-Za-z0-9])",
        re.IGNORECASE,
    )
    return pattern, when(shape)


_STATE = (
    r"ssn|social[ _\-]?(?:security|insurance)|national[ _\-]?(?:id|insurance)|nino|tfn|itin|nif|dni|cpf|curp|pesel|bsn|nric"
    r"|tax[ _\-]?(?:id|file|payer[ _\-]?id)|hkid|aadhaa?r|nhs|medicare|ird|my_?number|rrn|personnummer|hetu|cnic|egn|oib|amka"
    r"|f[øo]dselsnummer|codice[ _\-]?fiscale|steuer[ _\-]?id|identity[ _\-]?(?:card|number)|id[ _\-]?card|cuit|cuil|tckn|snils"
    r"|マイナンバー"
)
_STATE_PATTERN, _STATE_CONFIRM = _named(
    _STATE, is_id_shaped, r"[A-Za-z]{0,6}\d[0-9A-Za-z]*(?:[ ./\-][0-9A-Za-z]*\d[0-9A-Za-z]*){0,5}"
)
_TRAVEL = "passport|pass(?:e|a)port(?:e|o)?|pasaporte|reisepass|旅券"
_TRAVEL_PATTERN, _TRAVEL_CONFIRM = _named(_TRAVEL, is_passport_shaped, r"[A-Za-z]{0,3}[ \-]?\d[0-9A-Za-z]{4,11}")

CONTEXT = (
    Detector(
        "secret",
        (rf"(?i)(?:{'|'.join(_ENDS)})[0-9]{{0,3}}\\?[\"'\]]{{0,2}}\s{{0,2}}[=:]",),
        re.compile(
            r"(?<![A-Za-z0-9_.\-])(?P<key>[A-Za-z_][\w.\-]{0,63})\\?(?P<quote>[\"']?)\]?"
            r"(?P<sign>\s{0,2}(?:=>|:=|[=:])\s{0,2})"
        ),
        _assigned,
    ),
    Detector("national_id", (rf"(?i)(?:{_STATE})[^0-9]{{1,16}}[0-9]",), _STATE_PATTERN, _STATE_CONFIRM, yields=True),
    Detector("passport", (rf"(?i)(?:{_TRAVEL})",), _TRAVEL_PATTERN, _TRAVEL_CONFIRM, yields=True),
)
