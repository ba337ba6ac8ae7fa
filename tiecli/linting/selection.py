"""Selection: which rules run, out of what settings and options select and ignore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tiecli.errors import SettingsError
from tiecli.linting.registry import CODES, list_rules

ALL = "ALL"


def expand_selector(selector: str) -> tuple[tuple[str, ...], int]:
    """Lists the rules that a selector stands for, and says how specific it is.

    Args:
        selector: A code, the beginning of codes, the name of a rule, or `ALL`.

    Returns:
        No rules if it stands for none.

    Example:
        >>> expand_selector("CFG")
        (('CFG001', 'CFG002'), 3)
    """
    if selector == ALL:
        return CODES, 0
    codes = tuple(code for code in CODES if code.startswith(selector)) if selector else ()
    if codes:
        return codes, len(selector)
    return tuple(rule.code for rule in list_rules() if rule.name == selector), len(CODES[0])


def check_selectors(selectors: Iterable[str], origin: str) -> None:
    """Checks that each selector stands for a rule.

    Args:
        selectors: The selectors.
        origin: Where they stand, for the error: a key of a settings file, or an option.

    Raises:
        SettingsError: One does not; the hint has the nearest ones.
    """
    for selector in selectors:
        if not expand_selector(selector)[0]:
            raise _unknown(selector, origin)


def find_code(text: str, origin: str) -> str:
    """Finds the one rule that a code or a name means.

    Raises:
        SettingsError: There is none.
    """
    codes, weight = expand_selector(text)
    if len(codes) != 1 or weight != len(codes[0]):
        raise _unknown(text, origin)
    return codes[0]


def select_codes(select: Iterable[str], ignore: Iterable[str]) -> frozenset[str]:
    """Works out which rules are selected and not ignored; the more specific selector wins, then `ignore`.

    Example:
        >>> sorted(select_codes(("CFG001", "KEY"), ("CFG", "KEY002")))
        ['CFG001', 'KEY001', 'KEY003']
    """
    wanted, unwanted = weigh_selectors(select), weigh_selectors(ignore)
    return frozenset(code for code, weight in wanted.items() if weight > unwanted.get(code, -1))


def weigh_selectors(selectors: Iterable[str]) -> dict[str, int]:
    """Says of every rule that some selectors stand for how specific the most specific one is."""
    weights: dict[str, int] = {}
    for selector in selectors:
        codes, weight = expand_selector(selector)
        for code in codes:
            weights[code] = max(weight, weights.get(code, 0))
    return weights


def list_defaults() -> frozenset[str]:
    """Lists the rules that run where nothing is selected."""
    return frozenset(rule.code for rule in list_rules() if rule.default)


def suggest(text: str, known: Sequence[str]) -> str:
    """Words the nearest of some names as a question; empty if none is near.

    Example:
        >>> suggest("ignroe", ("select", "ignore"))
        'Did you mean `ignore`?'
    """
    import difflib

    near = difflib.get_close_matches(text[:100], known, 2, 0.5)
    return f"Did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""


def _unknown(selector: str, origin: str) -> SettingsError:
    known = [ALL, *CODES, *dict.fromkeys(code[:3] for code in CODES), *(rule.name for rule in list_rules())]
    near = suggest(selector.upper(), known) if selector[:3].isalpha() and len(selector) < 7 else ""
    hint = f"{near or suggest(selector, known)} `tiecli lint --list-rules` shows all rules.".lstrip()
    return SettingsError(f"{origin}: no rule is called `{selector[:100]}`", hint)
