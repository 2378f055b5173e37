"""Validation: prometheus_client's own rules for names, labels and exemplars, by the setting that it keeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from prometheus_client import validation
from prometheus_client.validation import (
    disable_legacy_validation,
    enable_legacy_validation,
    get_legacy_validation,
)

MAX_EXEMPLAR_CHARS = 128
_rules = cast("Any", validation)


def validate_metric_name(name: str) -> None:
    """Raise ValueError if a metric cannot be called so."""
    _rules._validate_metric_name(name)


def validate_labelnames(labelnames: Iterable[str], reserved: Sequence[str]) -> tuple[str, ...]:
    """The label names; ValueError if one is not allowed."""
    names = tuple(labelnames)
    for name in names:
        _rules._validate_labelname(name)
        if name in reserved:
            raise ValueError(f"Reserved label metric name: {name}")
    return names


def validate_exemplar(exemplar: Mapping[str, str]) -> None:
    """Raise ValueError if an exemplar's labels are not allowed or too long."""
    chars = 0
    for name, value in exemplar.items():
        _rules._validate_labelname(name)
        chars += len(name) + len(value)
    if chars > MAX_EXEMPLAR_CHARS:
        raise ValueError(
            f"Exemplar labels have {chars} UTF-8 characters, exceeding the limit of {MAX_EXEMPLAR_CHARS}: "
            "name the trace, not its content"
        )


def __getattr__(name: str) -> Any:
    return getattr(validation, name)


__all__ = [
    "disable_legacy_validation",
    "enable_legacy_validation",
    "get_legacy_validation",
    "validate_exemplar",
    "validate_labelnames",
    "validate_metric_name",
]
