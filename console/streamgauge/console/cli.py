"""The entry point `streamgauge`: runs a command and turns what happens into text and an exit code.

0: done. 1: a finding, or something did not work. 2: the call, a setting or a given file is wrong. 130: interrupted.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streamgauge.schemas.errors import ContractError, InputError, SettingsError, StreamgaugeError

if TYPE_CHECKING:
    import click

FINDING, USAGE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None, group: click.Group | None = None) -> int:
    """Run one command (of `group` instead of ours) and return its exit code. A traceback only with `--debug`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != "--debug"]
    debug = len(words) < len(given)
    for library in (
        "clickhouse_connect",
        "urllib3.connectionpool",
    ):  # they log what is raised here all the same, and said better
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        import click

        from streamgauge.console.frame import root
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs {error.name}: pip install 'streamgauge[console]'", error, FINDING, debug)
    try:
        done: object = (group or root).main(words, prog_name="streamgauge", standalone_mode=False)
    except click.ClickException as error:
        if debug:
            traceback.print_exception(error)
        error.show(sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except (SettingsError, ContractError, InputError) as error:
        return _fail(str(error), error, USAGE, debug)
    except StreamgaugeError as error:
        return _fail(str(error), error, FINDING, debug)
    except Exception as error:  # the text of a foreign error may hold a value, so only its name is shown
        return _fail(f"internal error {type(error).__name__}; run again with --debug", error, FINDING, debug)
    return done if isinstance(done, int) else 0


def _fail(text: str, error: BaseException, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"error: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
