"""`lint/selection.py`, `settings.py`, `settingsfile.py`: which rules run, and where they are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiecli.errors import SettingsError
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.registry import CODES
from tiecli.linting.selection import check_selectors, find_code, list_defaults, select_codes
from tiecli.linting.settings import Choices, FileSettings, Ignore, Settings, combine
from tiecli.linting.settingsfile import find_settings, load_settings, parse_settings


def test_a_selector_stands_for_all_that_it_matches() -> None:
    """Opt-in rules included: whoever selects them wants them."""
    assert select_codes(("ALL",), ()) == frozenset(CODES)
    assert {"TIE018", "STF014"} <= select_codes(("TIE", "STF"), ())
    assert select_codes(("truncated-file",), ()) == {"STF001"}
    assert frozenset({"TIE018", "STF014", "NUM004"}).isdisjoint(list_defaults())


@pytest.mark.parametrize(
    ("select", "ignore", "code", "runs"),
    [
        (("ALL",), ("TIE",), "TIE001", False),
        (("ALL", "TIE001"), ("TIE",), "TIE001", True),
        (("TIE001",), ("truncated-file", "TIE001"), "TIE001", False),
        (("TIE0",), ("TIE",), "TIE001", True),
        (("TIE",), ("ALL",), "TIE001", True),
        (("untied-head-missing",), ("TIE00",), "TIE001", True),
    ],
)
def test_the_more_specific_selector_wins(
    select: tuple[str, ...], ignore: tuple[str, ...], code: str, runs: bool
) -> None:
    """Whatever their order; of two alike, the one that ignores."""
    assert (code in select_codes(select, ignore)) is runs


def test_only_whole_codes_and_names_mean_one_rule() -> None:
    """`DUP` matches one rule today; tomorrow it may be two."""
    assert find_code("DUP001", "--explain") == find_code("duplicate-tensor", "--explain") == "DUP001"
    for text in ("DUP", "ALL", "", "dup001"):
        with pytest.raises(SettingsError, match="--explain: no rule"):
            find_code(text, "--explain")


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\x1b[2J", "\udc80"])
def test_absurd_selectors_are_refused_in_few_words(text: str) -> None:
    """They come from files, too."""
    with pytest.raises(SettingsError) as refused:
        check_selectors([text], "`tiecli.toml`")
    assert len(refused.value.message) < 200


def test_options_win_over_the_file() -> None:
    """`select` takes the place of all that the file says; the others change it."""
    file = FileSettings("/", Choices(("TIE", "STF"), ("CFG",), ("TIE003",), "error", "data"))

    assert combine(file, Choices()).codes == select_codes(("TIE", "STF", "CFG"), ("TIE003",))
    assert combine(file, Choices(("TIE003",))).codes == {"TIE003"}
    assert combine(file, Choices(extend_select=("TIE003",))).codes == select_codes(("TIE", "STF", "CFG"), ())
    assert combine(file, Choices(ignore=("TIE", "STF"))).codes == {"CFG001", "CFG002"}
    assert combine(file, Choices(extend_select=("TIE",), ignore=("TIE001",))).codes >= {"TIE003", "STF001"}
    assert "TIE001" not in combine(file, Choices(extend_select=("TIE",), ignore=("TIE001",))).codes
    assert (combine(file, Choices()).fail_on, combine(file, Choices(fail_on="info")).fail_on) == ("error", "info")
    assert (combine(file, Choices()).level, combine(file, Choices(level="header")).level) == ("data", "header")
    assert combine(None, Choices()).codes == list_defaults()
    assert combine(None, Choices()).fail_on == "warning"


def test_a_finding_is_silenced_by_its_place_or_its_leaves() -> None:
    """Of a pair one leaf is enough, of many all have to match."""
    ignores = (Ignore("head.*", frozenset({"TIE002"})), Ignore("a", frozenset({"TIE002"})))
    settings = Settings(frozenset(CODES), leaf_ignores=ignores, path_ignores=(Ignore("old", frozenset({"STF001"})),))

    assert settings.is_ignored("TIE002", "/x", ("head.w",))
    assert settings.is_ignored("TIE002", "/x", ("embed", "head.w"))
    assert not settings.is_ignored("TIE002", "/x", ("embed", "head.w", "head.b"))
    assert settings.is_ignored("TIE002", "/x", ("a", "head.w", "head.b"))
    assert not settings.is_ignored("TIE002", "/x", ())
    assert not settings.is_ignored("TIE003", "/x", ("head.w",))
    assert not settings.is_ignored("TIE002", "/x", ("head." + "w" * 100_000,))
    assert settings.is_ignored("STF001", "/runs/old/model.safetensors", ())
    assert not settings.is_ignored("STF001", "/runs/older/model.safetensors", ())


def test_severities_of_single_rules_win_over_those_of_families() -> None:
    """In whatever order they stand."""
    raw = b'[lint.severity]\nTIE003 = "info"\nTIE = "error"\nALL = "warning"\n'
    found = parse_settings(raw, "tiecli.toml", "/")

    assert found is not None
    assert [found.severities[code] for code in ("TIE003", "TIE006", "STF011")] == ["info", "error", "warning"]


def test_ties_are_declared_for_paths() -> None:
    """Without a path, for all."""
    raw = (
        b'[[ties]]\nsrc = "a"\ndst = "b"\n[[ties]]\nsrc = "(q, k)"\ndst = "qk"\ntransform = "concat(0)"\npath = "m/*"\n'
    )
    settings = combine(parse_settings(raw, "tiecli.toml", "/work"), Choices(), (DeclaredPair("x", "y"),))

    assert [pair.dst for pair in settings.declared_for("/work/m/1")] == ["b", "qk", "y"]
    assert [pair.dst for pair in settings.declared_for("/work/n/1")] == ["b", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lint = 3", "`lint` is a number, expected a table"),
        ("[lint]\nselect = 'TIE'", "`lint.select` is a string, expected a list"),
        ("[lint]\nselect = ['TIE', 3]", "`lint.select` is a list, expected a list of codes"),
        ("[lint]\nfail-on = 1979-05-27", "`lint.fail-on` is a date or time, expected one of `error`"),
        ("[lint]\nlevel = []", "`lint.level` is a list, expected one of `header`, `data`"),
        ("[lint]\nper-path-ignores = ['x']", "`lint.per-path-ignores` is a list"),
        ("[lint.per-path-ignores]\nx = 'TIE'", "`lint.per-path-ignores.x` is a string"),
        ("[lint.per-leaf-ignores]\n'a{' = ['TIE']", "`lint.per-leaf-ignores` cannot be read: `a{` is no pattern"),
        ("[lint]\nseverity = true", "`lint.severity` is a truth value"),
        ("ties = 3", "`ties` is a number, expected an array"),
        ("ties = [3]", "`ties[1]` is a number, expected a table"),
        ("[[ties]]\nsrc = 'a'\ndst = ''", "`ties[1].dst` is missing"),
        ("[[ties]]\nsrc = 'a'\ndst = 'b'\nto = 'c'", "`ties[1].to` is no setting"),
        ("[[ties]]\nsrc = 'a'\ndst = 'b'\ntransform = 'turn'", "`ties[1].transform` cannot be read"),
        ("x = " + "[" * 100_000, "is no TOML"),
    ],
)
def test_every_wrong_value_is_named(text: str, message: str) -> None:
    """With file and key, as a person finds it."""
    with pytest.raises(SettingsError) as refused:
        parse_settings(text.encode(), "tiecli.toml", "/")
    assert refused.value.message.startswith("`tiecli.toml`")
    assert message in refused.value.message


def test_settings_are_looked_for_upwards(tmp_path: Path) -> None:
    """The first file that says something to tiecli; of two in one directory, its own."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.tiecli.lint]\nlevel = 'data'\n")
    (inner / "pyproject.toml").write_text("[project]\nname = 'user'\n[tool.other]\ntiecli = 1\n")

    found = find_settings(inner)
    assert found is not None
    assert (found.base, found.choices.level) == (str(tmp_path), "data")
    (tmp_path / "tiecli.toml").write_text("[lint]\nlevel = 'header'\n")
    assert find_settings(inner) == FileSettings(str(tmp_path), Choices(level="header"))
    (tmp_path / "tiecli.toml").write_text("[lint]\nlevl = 'header'\n")
    with pytest.raises(SettingsError, match=str(tmp_path / "tiecli.toml")):
        find_settings(inner)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    """One without settings says nothing, which is no error."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")

    assert load_settings(tmp_path / "pyproject.toml") == FileSettings(str(tmp_path))
    with pytest.raises(SettingsError, match="is not there"):
        load_settings(tmp_path / "other.toml")
