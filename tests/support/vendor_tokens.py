"""Secrets as they travel: tokens of vendors, passwords behind their keys, signed tokens, private keys."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from random import Random

Make = Callable[[Random], str]


def digits(source: Random, count: int) -> str:
    """So many random digits."""
    return "".join(source.choices(string.digits, k=count))


def text_of(source: Random, alphabet: str, count: int) -> str:
    """So many characters of an alphabet."""
    return "".join(source.choices(alphabet, k=count))


ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
TOKENS: dict[str, Make] = {
    "aws": lambda r: "AKIA" + text_of(r, string.ascii_uppercase + "234567", 16),
    "aws temporary": lambda r: "ASIA" + text_of(r, string.ascii_uppercase + "234567", 16),
    "github": lambda r: r.choice(["ghp", "gho", "ghu", "ghs", "ghr"]) + "_" + text_of(r, ALNUM, 36),
    "github fine": lambda r: f"github_pat_{text_of(r, ALNUM, 22)}_{text_of(r, ALNUM, 59)}",
    "gitlab": lambda r: "glpat-" + text_of(r, URLSAFE, 19) + "x",
    "slack": lambda r: f"xox{r.choice('bp')}-{digits(r, 12)}-{digits(r, 12)}-{text_of(r, ALNUM, 24)}",
    "slack hook": lambda r: (
        f"https://hooks.slack.com/services/T{text_of(r, ALNUM, 9)}/B{text_of(r, ALNUM, 9)}/{text_of(r, ALNUM, 24)}"
    ),
    "stripe": lambda r: f"{r.choice(['sk', 'rk'])}_{r.choice(['live', 'test'])}_{text_of(r, ALNUM, 24)}",
    "google": lambda r: "AIza" + text_of(r, URLSAFE, 34) + "x",
    "openai": lambda r: "sk-" + text_of(r, ALNUM, 20) + "T3BlbkFJ" + text_of(r, ALNUM, 20),
    "openai project": lambda r: "sk-proj-" + text_of(r, URLSAFE, 60) + "1",
    "anthropic": lambda r: "sk-ant-api03-" + text_of(r, URLSAFE, 93) + "AA",
    "sendgrid": lambda r: f"SG.{text_of(r, ALNUM, 22)}.{text_of(r, ALNUM, 43)}",
    "twilio": lambda r: "SK" + text_of(r, HEX, 32),
    "npm": lambda r: "npm_" + text_of(r, ALNUM, 36),
    "pypi": lambda r: "pypi-AgEIcHlwaS5vcmc" + text_of(r, ALNUM, 80),
    "telegram": lambda r: f"{digits(r, 9)}:AA{text_of(r, ALNUM, 33)}",
    "hugging face": lambda r: "hf_" + text_of(r, string.ascii_letters, 34),
    "digitalocean": lambda r: "dop_v1_" + text_of(r, HEX, 64),
    "shopify": lambda r: "shpat_" + text_of(r, HEX, 32),
    "docker": lambda r: "dckr_pat_" + text_of(r, ALNUM, 27),
    "grafana": lambda r: "glsa_" + text_of(r, ALNUM, 32) + "_" + text_of(r, HEX, 8),
    "vault": lambda r: "hvs." + text_of(r, ALNUM, 90),
    "mailgun": lambda r: "key-" + text_of(r, HEX, 32),
    "bearer": lambda r: "Bearer " + text_of(r, ALNUM, 32),
    "basic": lambda r: "Basic " + base64.b64encode(f"user:{text_of(r, ALNUM, 12)}".encode()).decode(),
}


def secret(source: Random) -> str:
    """A token of some vendor's."""
    return TOKENS[source.choice(sorted(TOKENS))](source)


SECRET_KEYS = (
    *("password", "passwd", "pwd", "secret", "api_key", "apiKey", "X-Api-Key", "access_token", "client_secret"),
    *("refreshToken", "aws_secret_access_key", "DB_PASSWORD", "auth_token", "private_key"),
)


def named_secret(source: Random) -> str:
    """A value behind a key that says that it is secret."""
    key = source.choice(SECRET_KEYS)
    frame = source.choice(["{}={}", '"{}":"{}"', '"{}": "{}"', "{}: {}", "/x?{}={}&n=1", "{} = '{}'"])
    return frame.format(key, text_of(source, ALNUM + "!.~^", source.randrange(8, 30)) + "7")


def jwt(source: Random) -> str:
    """A signed token."""

    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    head, body = part('{"alg":"HS256","typ":"JWT"}'), part(f'{{"sub":"{digits(source, 8)}"}}')
    return f"{head}.{body}.{text_of(source, URLSAFE, 42)}x"


def private_key(source: Random) -> str:
    """A key in its frame, on lines or on one."""
    kind = source.choice(["RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "])
    between = source.choice(["\n", "\\n", " "])
    return between.join(
        [
            f"-----BEGIN {kind}PRIVATE KEY-----",
            *(text_of(source, ALNUM + "+/", 64) for _ in range(5)),
            f"-----END {kind}PRIVATE KEY-----",
        ]
    )


def credentials(source: Random) -> str:
    """An address of a service with name and password in it."""
    scheme = source.choice(["https", "postgres", "mysql", "redis", "amqp", "mongodb+srv", "ftp"])
    user = source.choice(["", "app", "root", "jane.doe"])
    return f"{scheme}://{user}:{text_of(source, ALNUM + '!$%.', 10)}@db.example.com:{source.randrange(1000, 9999)}/x"
