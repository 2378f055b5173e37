"""Text as a detector reads it: one width, one kind of digit, nothing invisible, and decoded once."""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from base64 import b64decode

MAX_CHARS = 2_048
"""What is longer is dropped whole: the work for one value is bounded."""

_ZERO_WIDTH = (
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x2800, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xE0000, 0xE0080),
)
_LOOKALIKES = {
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0x2043, 0xFE58, 0xFE63, 0xFF0D, 0x30FC], "-"),
    **dict.fromkeys([0x3002, 0xFF61, 0x2024, 0x00B7, 0x2022, 0xFF0E], "."),
    **dict.fromkeys([0x2028, 0x2029, 0x0085], "\n"),
}
UNSEEN: dict[int, str | None] = {**dict.fromkeys(_ZERO_WIDTH), **_LOOKALIKES}
"""Characters of no width, which people and programs put into addresses, and other signs for dash, dot and line end."""
_FOREIGN_DIGIT = re.compile(r"[^\x00-\x7f\D]")
_JSON = re.compile(r"""\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([nrtbf"'/\\]))""")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY = re.compile(r"&(?:#\d{1,7};?|#[xX][0-9A-Fa-f]{1,6};?|[A-Za-z]{2,8}[0-9]{0,2};)")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_\-])(?:[A-Za-z0-9+/_\-]{4}){2,}(?:[A-Za-z0-9+/_\-]{2}==|[A-Za-z0-9+/_\-]{3}=)(?!=)"
)
_READABLE = re.compile(r"[ -~\t\r\n]+")
_SHORT = {"n": "\n", "r": "\n", "t": "\t", "b": " ", "f": " "}
ENCODED = (
    r"%[0-9A-Fa-f]{2}",
    r"&#[0-9xX]",
    r"&[A-Za-z0-9]{2,10};",
    r"""\\[unrtbfx"'/\\]""",
    r"[A-Za-z0-9+/_-]={1,2}(?:$|[^=0-9A-Za-z])",
)
"""Patterns of RE2, one of which holds in every text that `decoded` changes."""
_URL_SAFE = str.maketrans("-_", "+/")
_TOKEN = re.compile(r"\[[a-z][a-z_]{1,23}\]")


def folded(text: str) -> str:
    """The text in compatibility form with ASCII digits, without characters that nobody sees."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text.translate(UNSEEN)).translate(UNSEEN)
    return _FOREIGN_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


def decoded(text: str) -> str:
    """The text with percent, entity and JSON escapes and padded base64 undone once, and folded."""
    if "%" in text:
        text = _PERCENT.sub(lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    if "=" in text:
        text = _BASE64.sub(_unpacked, text)
    if "\\" in text:
        text = _JSON.sub(_unescaped, text)
        if _SURROGATE.search(text):  # two make a character; one alone is none, and no message can carry it
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return folded(text)


def _unpacked(match: re.Match[str]) -> str:
    """What padded base64 holds, if that is something to read."""
    try:
        plain = b64decode(match[0].translate(_URL_SAFE), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
    return plain if _READABLE.fullmatch(plain) else match[0]


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _SHORT.get(match[3], match[3])


def is_token(text: str) -> bool:
    """Whether this is what stands for something that was found: `[email]`."""
    return _TOKEN.fullmatch(text) is not None
