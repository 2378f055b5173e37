"""Bodies of HTTP requests, unpacked within a bound. Pure."""

from __future__ import annotations

import zlib

from streamgauge.console.gateway_account import Refusal

_WINDOWS = {"gzip": 31, "deflate": 15}
ENCODINGS = ", ".join(_WINDOWS)


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before it was packed. Raises Refusal: `too_large`, `bad_encoding` or `unknown_encoding`."""
    word = encoding.strip().lower()
    if word in {"", "identity"}:
        if len(body) > limit:
            raise Refusal("too_large", f"the body has more than {limit} bytes")
        return body
    if word not in _WINDOWS:
        raise Refusal("unknown_encoding", f"the body's encoding is none of {ENCODINGS}")
    reader = zlib.decompressobj(_WINDOWS[word])
    try:
        found = reader.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal("bad_encoding", f"the body is not {word}") from None
    if len(found) > limit:
        raise Refusal("too_large", f"the unpacked body has more than {limit} bytes")
    if not reader.eof:
        raise Refusal("bad_encoding", f"the body ends before its {word} stream does")
    return found
