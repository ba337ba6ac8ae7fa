"""Pages about rules: the same text for `--explain`, `--list-rules`, the docs and SARIF's help."""

from __future__ import annotations

from collections.abc import Iterable

from tiecli.linting.rule import Cure, Format, Need, Rule
from tiecli.render.lines import Line, Span, align_columns, line

SCHEMA = "tiecli.rules/1"
_CURES: dict[Cure, str] = {
    "none": "none",
    "safe": "safe, with --fix",
    "unsafe": "unsafe, with --unsafe-fixes",
    "either": "safe or unsafe, by what is found",
}
_NEEDS: dict[Need, str] = {
    "header": "headers and metadata",
    "data": "array data",
    "config": "config.json",
    "tokenizer": "tokenizer.json",
}

_FORMATS: dict[Format, str] = {"safetensors": "safetensors", "orbax": "Orbax"}


def rules_to_text(rules: Iterable[Rule]) -> list[Line]:
    """Shows one line a rule."""
    rows: list[list[str | Span]] = [
        [
            (rule.code, "label"),
            rule.name,
            rule.severity,
            "+".join(rule.needs),
            "" if rule.cure == "none" else f"fix: {rule.cure}",
            ("" if rule.default else "opt-in", "dim"),
        ]
        for rule in rules
    ]
    return align_columns(rows)


def rules_to_json(rules: Iterable[Rule]) -> dict[str, object]:
    """Gives rules as data; see docs/schemas/rules.schema.json."""
    return {"schema": SCHEMA, "rules": [_rule_to_json(rule) for rule in rules]}


def rule_to_lines(rule: Rule) -> list[Line]:
    """Shows the page about one rule."""
    return [line((text, "title") if not n else text) for n, text in enumerate(rule_to_text(rule).splitlines())]


def rule_to_text(rule: Rule) -> str:
    """Gives the page about one rule as plain text."""
    parts = [f"{rule.code} {rule.name}", _facts(rule)]
    for title, body in _sections(rule):
        parts.append(f"{title}\n{_indent(body)}")
    return "\n\n".join(parts) + "\n"


def rule_to_markdown(rule: Rule) -> str:
    """Gives the page about one rule as Markdown."""
    parts = [f"# {rule.code} {rule.name}", _facts(rule)]
    for title, body in _sections(rule):
        code = title.endswith("example")
        parts.append(f"## {title}\n\n" + (f"```\n{body}\n```" if code else body))
    return "\n\n".join(parts) + "\n"


def index_to_markdown(rules: Iterable[Rule]) -> str:
    """Gives the table of all rules, each with a link to its page."""
    rows = [
        f"| [{rule.code}]({rule.code}.md) | {rule.name}{'' if rule.default else ' (opt-in)'} | {rule.severity} "
        f"| {', '.join(rule.needs)} | {', '.join(rule.formats)} | {rule.cure} |"
        for rule in rules
    ]
    head = [
        "# Rules of `tiecli lint`",
        "",
        "Codes and names are permanent; settings take either. [How to choose among them](../lint.md).",
        "",
        "| code | name | severity | reads | formats | fix |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _facts(rule: Rule) -> str:
    reads = " and ".join(_NEEDS[need] for need in rule.needs)
    formats = " and ".join(_FORMATS[name] for name in rule.formats)
    facts = [f"Severity: {rule.severity}", f"reads {reads}", f"of {formats} checkpoints"]
    told = f"{', '.join(facts)}. Fix: {_CURES[rule.cure]}."
    return told if rule.default else f"{told} Opt-in: runs only when selected."


def _sections(rule: Rule) -> list[tuple[str, str]]:
    sections = [
        ("What it finds", rule.what),
        ("Why this is bad", rule.why),
        ("What to do", rule.mend),
        ("Bad example", rule.bad),
        ("Good example", rule.good),
    ]
    if rule.threads:
        sections.append(("Seen in", ", ".join(rule.threads)))
    return sections


def _indent(body: str) -> str:
    return "\n".join(f"  {text}".rstrip() for text in body.splitlines())


def _rule_to_json(rule: Rule) -> dict[str, object]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity,
        "needs": list(rule.needs),
        "formats": list(rule.formats),
        "fix": rule.cure,
        "default": rule.default,
        "what": rule.what,
        "why": rule.why,
        "mend": rule.mend,
        "bad": rule.bad,
        "good": rule.good,
        "threads": list(rule.threads),
    }
