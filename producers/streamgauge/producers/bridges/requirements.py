"""Requirements: what a bridge imports, or an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from streamgauge.schemas.errors import StreamgaugeError


class MissingLibrary(StreamgaugeError, ImportError):
    """A bridge was imported without the library it is for. The text says what to install."""


def need(module: str, package: str) -> Any:
    """The module of a library. Raises MissingLibrary, with the command that installs `package`, where there is none."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the library is there, and lacks something itself
        library = module.partition(".")[0]
        raise MissingLibrary(
            f"this bridge needs {library}, which is not installed: pip install '{package}'",
            name=error.name,
        ) from error
