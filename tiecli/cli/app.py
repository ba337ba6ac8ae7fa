"""App: the commands and their options, as typer parses them."""

from __future__ import annotations

import typer

from tiecli.cli.commands import convert, copy, diff, find, inspect, lint, tie, untie, verify

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
app.command("verify")(verify.run_verify)
app.command("convert")(convert.run_convert)
app.command("copy")(copy.run_copy)
app.command("lint")(lint.run_lint)


@app.callback(invoke_without_command=True)
def show_version(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    """Weight tying in checkpoints: find ties, write them down, prove them, undo them."""
    if version:
        from importlib.metadata import version as read_version

        typer.echo(f"tiecli {read_version('tiecli')}")
        raise typer.Exit
