"""App: the `tiecli` command; one boundary where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from tiecli.cli.commands import diff, find, inspect, tie, untie
from tiecli.cli.console import show_json, show_notice
from tiecli.cli.exits import ExitCode
from tiecli.errors import TiecliError, UsageError
from tiecli.render.errors import error_to_json, error_to_text
from tiecli.render.lines import line

app = typer.Typer(
    name="tiecli",
    help="Weight tying in checkpoints: find ties, write them down, prove them, undo them.",
    no_args_is_help=True,
    # Start-up time: rich's help and tracebacks cost more than most commands take.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("inspect")(inspect.run_inspect)
app.command("find")(find.run_find)
app.command("tie")(tie.run_tie)
app.command("untie")(untie.run_untie)
app.command("diff")(diff.run_diff)


@app.callback(invoke_without_command=True)
def show_version(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """Weight tying in checkpoints: find ties, write them down, prove them, undo them."""
    if version:
        from importlib.metadata import version as read_version

        typer.echo(f"tiecli {read_version('tiecli')}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Without the program's name; None for those of the process.

    Returns:
        The exit code; see docs/exit-codes.md.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app(list(arguments), prog_name="tiecli", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except TiecliError as error:
        return _refuse(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        show_notice(line(("interrupted:", "error"), " nothing was published"))
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # the boundary: nothing may pass as a traceback
        if hasattr(error, "format_message"):
            return _refuse(_usage_error(error), arguments)
        return _report_bug(error)


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
