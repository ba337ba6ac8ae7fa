"""Entry: one boundary, where a command starts and where errors become messages and exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tiecli.cli.console import PipeClosedError, show_json, show_notice
from tiecli.cli.exits import ExitCode
from tiecli.errors import TiecliError, UsageError
from tiecli.render.errors import error_to_json, error_to_text
from tiecli.render.lines import line


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name; None for those of the process.

    Returns:
        The exit code; see docs/exit-codes.md.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # A command makes few cycles and ends soon; looking for them in 20,000 leaves takes longer.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _guard(arguments)
    except (BrokenPipeError, PipeClosedError):
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED
    finally:
        if collecting:
            gc.enable()


def _guard(arguments: list[str]) -> int:
    """Runs one command; whatever goes wrong becomes a message and an exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except TiecliError as error:
        return _refuse(error, arguments)
    except KeyboardInterrupt:
        show_notice(line(("interrupted:", "error"), " whatever was not published by then is gone, the rest is whole"))
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, PipeClosedError):
        raise
    except Exception as error:  # noqa: BLE001  # the boundary: nothing may pass as a traceback
        if hasattr(error, "format_message"):
            return _refuse(_usage_error(error), arguments)
        return _report_bug(error)


def _run(arguments: list[str]) -> int:
    match arguments:
        # Importing typer takes 60 ms, more than this whole command.
        case ["inspect", path, *flags] if not path.startswith("-") and set(flags) <= {"--json", "--table"}:
            from tiecli.cli.showing import show_inspection

            return show_inspection(Path(path), table="--table" in flags, as_json="--json" in flags)
        case _:
            from tiecli.cli.app import app

            code = int(app(arguments, prog_name="tiecli", standalone_mode=False) or 0)
            if code == ExitCode.INTERRUPTED:
                # typer swallows the interrupt and gives its exit code.
                raise KeyboardInterrupt
            return code


def _refuse(error: TiecliError, arguments: Sequence[str]) -> int:
    if "--json" in arguments:
        show_json(error_to_json(error))
    else:
        show_notice(*error_to_text(error))
    return ExitCode.REFUSED


def _usage_error(error: Exception) -> UsageError:
    """Turns an error of the argument parser into one of ours."""
    message = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]  # typer's own class moved between releases
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tiecli"
    return UsageError(message[:1].lower() + message[1:], f"`{command} --help` lists the options.")


def _report_bug(error: Exception) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="tiecli-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    show_notice(
        line(("bug:", "error"), f" tiecli failed unexpectedly: {type(error).__name__}: {error}"),
        line(("hint:", "hint"), f" Please report it with {log.name}; the source was not changed."),
    )
    return ExitCode.BUG


def run() -> NoReturn:
    """Runs the command of this process and ends it."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All files are closed; taking 20,000 leaves apart one by one would only take time.
    os._exit(code)
