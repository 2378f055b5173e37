"""Logs: a logging handler that counts records, and measures the numbers that they carry where that is declared.

    logging.getLogger().addHandler(MetricsHandler(measures={"rows": "{row}", "seconds": "s"}))
    log.info("imported", extra={"rows": 1200, "seconds": 3.4})

| metric | unit | labels |
|---|---|---|
| `log_records` (counter) | {record} | `level`, `logger`, `error_type`: the class of the exception that was logged |
| `log_<field>` (histogram), for each declared field | as declared | `level`, `logger` |

No text of a record is looked at. Our own loggers are left out, and so is what is logged while a record is handled. The
handler has no lock, so it cannot hang where logging does.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

from streamgauge.producers.metrics import Counter, Histogram

if TYPE_CHECKING:
    from streamgauge.producers.producer import Producer

OURS = "streamgauge"


class MetricsHandler(logging.Handler):
    """Counts every record it gets. `measures` are fields of records (`extra`) with the unit of each.

    It never raises and never logs. Raises DeclarationError when a field cannot be the name of a metric.
    """

    def __init__(
        self,
        level: int | str = logging.NOTSET,
        *,
        measures: Mapping[str, str] | None = None,
        producer: Producer | None = None,
    ) -> None:
        super().__init__(level)
        self._inside = threading.local()
        self._records = Counter(
            "log_records", "Records logged", ["level", "logger", "error_type"], unit="{record}", producer=producer
        )
        self._measures = {
            field: Histogram(
                f"log_{field}", f"Field {field} of records", ["level", "logger"], unit=unit, producer=producer
            )
            for field, unit in (measures or {}).items()
        }

    def handle(self, record: logging.LogRecord) -> bool:
        """Count a record that the filters let pass."""
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        if record.name == OURS or record.name.startswith(f"{OURS}.") or getattr(self._inside, "held", False):
            return
        self._inside.held = True
        try:
            self._count(record)
        except Exception:  # noqa: S110  # a telemetry call never takes the application down; logging it would come back here
            pass
        finally:
            self._inside.held = False

    def _count(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        kind = record.exc_info[0] if record.exc_info else None
        self._records.labels(level, record.name, "" if kind is None else kind.__qualname__).inc()
        for field, histogram in self._measures.items():
            value: Any = record.__dict__.get(field)
            if type(value) is not bool and isinstance(value, Real | Decimal) and math.isfinite(value):
                histogram.labels(level, record.name).observe(float(value))
