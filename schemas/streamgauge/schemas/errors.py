"""Errors: everything streamgauge raises on purpose.

StreamgaugeError
├── SettingsError           one or more settings are wrong; all of them are named at once
├── DeclarationError        a metric, event or contract is declared wrongly
│   └── UndeclaredLabelError
├── ContractError           a contract file is wrong, or differs from its class
├── InputError              a file or argument that a person gave cannot be used
├── BrokerUnavailable       no broker answers
├── StoreUnavailable        the store does not answer, or refuses for good
├── PositionLost            offsets are missing: what was not read is gone, or the group's offsets are
└── Refused                 one batch (or some of its rows) cannot be used; carries the reason it is counted under
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType


class StreamgaugeError(Exception):
    """Base of all errors raised on purpose. The text says what is wrong and what to do."""


class SettingsError(StreamgaugeError):
    """Settings that cannot be used. `problems` names every one of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DeclarationError(StreamgaugeError):
    """A metric or an event is declared in a way that cannot work."""


class UndeclaredLabelError(DeclarationError):
    """A metric was called with other labels than it declares."""


class ContractError(StreamgaugeError):
    """A contract is not well formed, or differs from the class it was generated from."""


class InputError(StreamgaugeError):
    """A file or an argument given by a person cannot be used."""


class BrokerUnavailable(StreamgaugeError):
    """No Kafka broker answers at the configured addresses."""


class StoreUnavailable(StreamgaugeError):
    """ClickHouse does not answer, or refuses in a way that trying again cannot heal."""


class PositionLost(StreamgaugeError):
    """Offsets are missing from a topic or from a consumer group. Nothing was skipped."""


DECODING_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "empty": "the message has no bytes",
        "too_large": "more bytes, or more histogram buckets, than are read",
        "bad_json": "not JSON, not UTF-8, or nested too deeply",
        "duplicate_key": "an object, or the labels of a metric, name something twice",
        "unknown_version": "a wire version that this release does not read",
        "unknown_kind": "a kind that does not belong into this topic",
        "missing_key": "a key that must be there is not",
        "wrong_type": "something has another JSON type, or another shape, than it must have",
        "bad_name": "the name of an event, a field, a metric or a label is not a name",
        "bad_base64": "a packed column is not base64",
        "wrong_length": "a packed column, or a list, has another length than its rows",
        "index_out_of_range": "an index points past the end of what it indexes, or a bucket key is none",
        "not_finite": "a number is NaN or infinite",
        "out_of_range": "an integer is negative, or larger than it can be",
        "time_out_of_range": "an instant before 1970, or after what windows can hold (2106): a mistake of units",
    }
)
"""Why decoding refuses a message: all the reasons there are, with what they mean. (Workers refuse rows for reasons of
their own beside these.)"""


class Refused(StreamgaugeError):
    """A batch, or rows of it, cannot be used. `reason` is the word it is counted under; it never holds a value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def place_of(error: BaseException) -> str:
    """The kind of an unforeseen error and the line that raised it, for logs. Its text may hold what was being worked on."""
    trace = error.__traceback__
    if trace is None:
        return type(error).__name__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_name}, {os.path.basename(code.co_filename)}:{trace.tb_lineno}"
