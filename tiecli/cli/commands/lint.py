"""`tiecli lint`: what would break, or silently mis-train, a consumer of a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tiecli.cli.console import show_count, show_json, show_lines, show_notice, show_progress, show_text
from tiecli.cli.exits import ExitCode
from tiecli.cli.linting import (
    BaselineOption,
    Config,
    Diff,
    Explain,
    ExtendSelect,
    FailOnOption,
    FixOption,
    Ignore,
    Jobs,
    LevelOption,
    ListRules,
    NoConfig,
    OutputFile,
    Paths,
    Select,
    Shard,
    SkipOthers,
    Style,
    StyleOption,
    UnsafeFixes,
    WriteBaseline,
    choose_style,
    count_cores,
    parse_shard,
    split_selectors,
)
from tiecli.cli.options import Json, replace_text
from tiecli.errors import UsageError

if TYPE_CHECKING:
    from tiecli.linting.report import LintReport
    from tiecli.linting.settings import FileSettings


def run_lint(
    paths: Paths = None,
    level: LevelOption = None,
    select: Select = [],  # noqa: B006  # typer reads the default, nobody changes it
    extend_select: ExtendSelect = [],  # noqa: B006
    ignore: Ignore = [],  # noqa: B006
    fail_on: FailOnOption = None,
    config: Config = None,
    no_config: NoConfig = False,
    baseline: BaselineOption = None,
    write_baseline: WriteBaseline = None,
    fix: FixOption = False,
    unsafe_fixes: UnsafeFixes = False,
    diff: Diff = False,
    jobs: Jobs = None,
    shard: Shard = None,
    skip_others: SkipOthers = False,
    output_format: StyleOption = None,
    output_file: OutputFile = None,
    explain: Explain = None,
    list_rules: ListRules = False,
    as_json: Json = False,
) -> int:
    """Find what would break, or silently mis-train, a consumer of checkpoints.

    Exits 0 if nothing is found, 1 if something is, 2 if something could not be linted.

    Example: tiecli lint 'checkpoints/**' --level data --output-format sarif -o lint.sarif
    """
    if explain is not None or list_rules:
        return _show_rules(explain, as_json=as_json)
    if not paths:
        raise UsageError("no checkpoint is given", "Give files or directories: `tiecli lint .`.")
    if baseline is not None and write_baseline is not None:
        raise UsageError("--baseline and --write-baseline exclude each other", "Give one of them.")
    from tiecli.verbs.lint import LintOptions, lint

    style = choose_style(output_format, as_json=as_json)
    options = LintOptions(
        select=split_selectors(select) if select else None,
        extend_select=split_selectors(extend_select),
        ignore=split_selectors(ignore),
        fail_on=None if fail_on is None else fail_on.value,
        level=None if level is None else level.value,
        settings=_read_settings(config, no_config=no_config),
        baseline=baseline,
        fix="unsafe" if unsafe_fixes else "safe" if fix or diff else "none",
        dry=diff,
        jobs=jobs or count_cores(),
        shard=parse_shard(shard),
        skip_others=skip_others,
    )
    report = lint(paths, options, track=show_progress, count=show_count)
    if write_baseline is not None:
        report = _write_baseline(report, write_baseline)
    _show_report(report, style, output_file)
    if report.failures:
        return ExitCode.REFUSED
    return ExitCode.NO if report.fails or (report.dry and report.fixes) else ExitCode.OK


def _read_settings(config: Path | None, *, no_config: bool) -> FileSettings | None:
    from tiecli.linting.settingsfile import find_settings, load_settings

    if no_config and config is not None:
        raise UsageError("--config and --no-config exclude each other", "Give one of them.")
    if config is not None:
        return load_settings(config)
    return None if no_config else find_settings(Path.cwd())


def _show_rules(explain: str | None, *, as_json: bool) -> int:
    """Shows the page about one rule, or the list of all."""
    from tiecli.linting import registry
    from tiecli.render.lint.pages import rule_to_lines, rules_to_json, rules_to_text

    if explain is not None:
        from tiecli.linting.selection import find_code

        rules = [registry.find_rule(find_code(explain, "--explain"))]
    else:
        rules = list(registry.list_rules())
    if as_json:
        show_json(rules_to_json(rules))
    else:
        show_lines(rules_to_text(rules) if explain is None else rule_to_lines(rules[0]))
    return ExitCode.OK


def _write_baseline(report: LintReport, path: Path) -> LintReport:
    """Writes what was found as known, and gives the report without it."""
    import json

    from tiecli.linting.baseline import baseline_to_json

    if report.failures:
        # What could not be looked at would be new tomorrow.
        show_notice((("not written", "warning"), (f" {path}: something could not be linted", "")))
        return report
    document = baseline_to_json(report.findings, str(path.absolute().parent))
    replace_text(path, json.dumps(document, indent=2) + "\n")
    show_notice((("wrote", "good"), (f" {path}", "")))
    return replace(report, findings=(), suppressed=len(report.findings))


def _show_report(report: LintReport, style: Style, output_file: Path | None) -> None:
    """Shows the report, and writes it where it is wanted."""
    from tiecli.render.lint import STYLES, render_lint
    from tiecli.render.lint.text import lint_to_text

    shown = next(known for known in STYLES if known == style)
    if output_file is not None:
        replace_text(output_file, render_lint(report, shown))
    if output_file is not None or style in (Style.TEXT, Style.FULL):
        show_lines(lint_to_text(report, full=style == Style.FULL))
    else:
        show_text(render_lint(report, shown))
    for notice in report.notices:
        show_notice((("note:", "hint"), (f" {notice}", "")))
    if output_file is not None:
        show_notice((("wrote", "good"), (f" {output_file}", "")))
