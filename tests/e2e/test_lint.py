"""`tiecli lint`, as a user and as CI types it; what single rules find is tested in tests/lint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiecli
from tests.lint.building import llama, write_file, write_json, write_llama, write_shards
from tiecli.errors import SettingsError, UnreadableFileError
from tiecli.linting import checking, engine, registry, workers
from tiecli.linting.rule import Finding, Rule

Run = Callable[..., Any]
FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs every command in a directory of its own, so that no settings file of this repository counts."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sized(elsewhere: Path) -> Path:
    """Writes a checkpoint with one warning: IDX005, whose fix is safe."""
    leaves = llama()
    names = list(leaves)
    shards = {
        "model-00001-of-00002.safetensors": {name: leaves[name] for name in names[:5]},
        "model-00002-of-00002.safetensors": {name: leaves[name] for name in names[5:]},
    }
    write_llama(elsewhere / "sized")
    (elsewhere / "sized" / "model.safetensors").unlink()
    return write_shards(elsewhere / "sized", shards, total_size=7)


@pytest.fixture
def cut(elsewhere: Path) -> Path:
    """Writes a checkpoint with one error: STF001."""
    path = write_llama(elsewhere / "cut") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    return path.parent


@pytest.fixture
def good(elsewhere: Path) -> Path:
    """Writes a checkpoint without fault."""
    return write_llama(elsewhere / "good")


def codes(outcome: Any) -> list[str]:
    """Lists the rules that found something, of a report in JSON."""
    return [finding["code"] for finding in outcome.json["findings"]]


def test_nothing_found_is_0_and_says_what_was_not_checked(run: Run, good: Path) -> None:
    """Green is not to be taken for verified."""
    outcome = run("lint", "good")

    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("1 checkpoint, nothing found.")
    assert "--level data" in outcome.stdout
    document = run("lint", good, "--json").json
    assert {row["code"] for row in document["not_checked"]} >= {"NUM001", "DUP001", "CFG002"}
    assert all(row["checkpoints"] == ["good"] for row in document["not_checked"])
    assert {row["code"] for row in run("lint", good, "--level", "data", "--json").json["not_checked"]} == {"CFG002"}


def test_a_finding_is_1_and_names_file_and_rule(run: Run, sized: Path) -> None:
    """The path is one that an editor can open."""
    outcome = run("lint", "sized")

    assert outcome.code == 1
    assert outcome.stdout.startswith("sized/model.safetensors.index.json: warning IDX005 wrong-total-size [fixable]\n")


def test_fail_on_is_inclusive(run: Run, sized: Path, cut: Path) -> None:
    """From its severity upwards; `never` is for reports."""
    for severity, code in (("error", 0), ("warning", 1), ("info", 1), ("never", 0)):
        assert run("lint", sized, "--fail-on", severity).code == code
    assert run("lint", cut, "--fail-on", "error").code == 1
    assert run("lint", cut, "--fail-on", "never").code == 0


def test_what_cannot_be_linted_is_2_and_the_rest_is_reported(run: Run, sized: Path, good: Path) -> None:
    """A mistyped path must not pass, and 2 outranks 1."""
    (good.parent / "empty").mkdir()
    outcome = run("lint", "gone", sized, "empty", good, "--json")

    assert outcome.code == 2
    assert outcome.json["checkpoints"] == ["good", "sized"]
    assert codes(outcome) == ["IDX005"]
    assert [failure["path"] for failure in outcome.json["failures"]] == ["gone", "empty"]
    text = run("lint", "gone", "good").stdout
    assert "gone: error: no such file or directory\n" in text
    assert "1 could not be linted" in text


@pytest.mark.parametrize(
    "arguments", [(), ("empty",), ("*.safetensors",), ("",), ("notes.txt",), ("a\0b",), ("x" * 5000,)]
)
def test_nothing_to_lint_is_never_0(run: Run, elsewhere: Path, arguments: tuple[str, ...]) -> None:
    """No path, a directory without checkpoints, a glob without matches, what is no name at all."""
    (elsewhere / "empty").mkdir()
    (elsewhere / "notes.txt").write_text("none")
    if arguments == ("",):
        # As of a variable that is not set: never the working directory.
        write_llama(elsewhere)

    assert run("lint", *arguments).code == 2


def test_many_paths_lead_to_each_checkpoint_once(run: Run, sized: Path, good: Path) -> None:
    """Directories, globs, single files, and the same again."""
    (good / "deep").mkdir()
    shutil.copytree(FIXTURES / "orbax" / "nodes", good / "deep" / "orbax")
    everything = ["good", "good/deep/orbax", "sized"]

    assert run("lint", ".", "--json").json["checkpoints"] == everything
    assert run("lint", "**", "good/config.json", "sized/", "--json").json["checkpoints"] == everything
    assert run("lint", *sized.iterdir(), "--json").json["checkpoints"] == ["sized"]
    assert run("lint", "good/deep/orbax/_METADATA", "--json").json["checkpoints"] == ["good/deep/orbax"]


def test_a_rule_that_crashes_is_2_and_the_others_run(
    run: Run, sized: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and so is the leaf that it was looking at."""

    def fail(subject: Any) -> Iterator[Finding]:
        for name in subject.specs:
            if name == "model.norm.weight":
                raise KeyError("nothing")
        yield Finding("never")

    crashing = registry.find_rule("STF013")
    rules = {code: registry.find_rule(code) for code in registry.CODES}
    rules["STF013"] = Rule(
        "STF013", crashing.name, "error", ("header",), ("safetensors",), "none", fail, *["text" for _ in range(5)]
    )
    monkeypatch.setattr(checking, "find_rule", rules.__getitem__)
    monkeypatch.setattr(checking, "_list_selected", checking._list_selected.__wrapped__)
    outcome = run("lint", sized, good, "--json")

    assert outcome.code == 2
    assert codes(outcome) == ["IDX005"]
    assert [(it["path"], it["code"]) for it in outcome.json["failures"]] == [("good", "STF013"), ("sized", "STF013")]
    assert outcome.json["failures"][0]["message"] == "`no-tensors` failed at `model.norm.weight`: KeyError: 'nothing'"


def test_an_interrupt_is_no_crash_of_a_rule(run: Run, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the run."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_find_missing", interrupt)

    assert run("lint", good).code == 130


def test_selecting_rules(run: Run, sized: Path, cut: Path) -> None:
    """By code, beginning, name and ALL; the more specific wins."""
    assert codes(run("lint", sized, cut, "--select", "IDX", "--json")) == ["IDX005"]
    assert codes(run("lint", sized, cut, "--select", "truncated-file,IDX001", "--json")) == ["STF001"]
    assert codes(run("lint", sized, cut, "--ignore", "STF,IDX005", "--json")) == []
    assert codes(run("lint", sized, cut, "--select", "STF001", "--ignore", "STF", "--json")) == ["STF001"]
    assert codes(run("lint", sized, cut, "--ignore", "ALL", "--extend-select", "IDX005", "--json")) == ["IDX005"]


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("--select", "TIE03"), "TIE003"),
        (("--ignore", "drifted-ties"), "`drifted-tie`"),
        (("--extend-select", "stf001"), "STF001"),
        (("--explain", "TIE030"), "TIE0"),
        (("--select", ""), "--list-rules"),
        (("--ignore", "ALL"), "no rule is left"),
        (("--select", "STF", "--ignore", "STF"), "no rule is left"),
        (("--fail-on", "fatal"), ""),
        (("--shard", "0/4"), "1/4"),
        (("--shard", "5/4"), "1/4"),
        (("--shard", "half"), "1/4"),
        (("--jobs", "0"), ""),
        (("--config", "gone.toml"), "gone.toml"),
        (("--config", "x.toml", "--no-config"), "exclude"),
        (("--baseline", "gone.json"), "gone.json"),
        (("--baseline", "a", "--write-baseline", "b"), "exclude"),
        (("--json", "--output-format", "text"), "exclude"),
    ],
)
def test_options_that_cannot_be_meant_are_2(run: Run, good: Path, arguments: tuple[str, ...], near: str) -> None:
    """With what was probably meant; as JSON if that is wanted."""
    outcome = run("lint", good, *arguments)

    assert outcome.code == 2
    assert near in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["[]", '{"vocab_size": ', "[" * 100_000])
def test_a_damaged_text_beside_the_weights_is_2(run: Run, good: Path, name: str, text: str) -> None:
    """Rules that ask it are not said to lack it; it is told of once, and the other rules run."""
    (good / name).write_text(text, encoding="utf-8")
    (good / "model.safetensors").write_bytes((good / "model.safetensors").read_bytes() + b"tail")
    outcome = run("lint", good, "--json")

    assert outcome.code == 2
    assert [failure["message"] for failure in outcome.json["failures"]] == [f"`{name}` is not a JSON object"]
    assert codes(outcome) == ["STF002"]
    assert f"needs {name}" not in [row["reason"] for row in outcome.json["not_checked"]]


def test_settings_of_the_nearest_file_count_and_options_win(
    run: Run, sized: Path, cut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upwards from the working directory; a pyproject without `[tool.tiecli]` says nothing."""
    project = sized.parent
    (project / "pyproject.toml").write_text('[tool.tiecli.lint]\nignore = ["IDX005"]\nfail-on = "never"\n')
    inner = project / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text('[project]\nname = "tiecli-user"\n')
    monkeypatch.chdir(inner)

    assert codes(run("lint", sized, cut, "--json")) == ["STF001"]
    assert run("lint", cut).code == 0
    assert run("lint", cut, "--fail-on", "error").code == 1
    assert codes(run("lint", sized, "--select", "IDX", "--json")) == ["IDX005"]
    assert codes(run("lint", sized, "--no-config", "--json")) == ["IDX005"]
    (inner / "tiecli.toml").write_text('[lint]\nselect = ["STF"]\n')
    assert run("lint", sized, cut, "--json").json["summary"]["fail_on"] == "warning"
    assert codes(run("lint", sized, cut, "--config", project / "pyproject.toml", "--json")) == ["STF001"]


def test_settings_change_severities_and_silence_places_and_leaves(run: Run, sized: Path, cut: Path) -> None:
    """Globs count from the file's directory."""
    settings = sized.parent / "tiecli.toml"
    settings.write_text('[lint.severity]\nIDX = "info"\nwrong-total-size = "error"\n')
    assert [finding["severity"] for finding in run("lint", sized, "--json").json["findings"]] == ["error"]

    settings.write_text('[lint.per-path-ignores]\n"cut/**" = ["ALL"]\n"*.index.json" = ["IDX"]\n')
    assert codes(run("lint", sized, cut, "--json")) == []

    resized = write_llama(sized.parent / "resized", vocab_size=48)
    assert codes(run("lint", resized, "--json")) == ["CFG001"]
    settings.write_text('[lint.per-leaf-ignores]\n"model.embed_*.weight" = ["CFG"]\n')
    assert codes(run("lint", resized, "--json")) == []


def test_settings_declare_ties(run: Run, elsewhere: Path) -> None:
    """For models that no config describes; on the paths that they are meant for."""
    for place in ("mine/a", "other/a"):
        write_file(elsewhere / place / "model.safetensors", {"in.w": ("F32", (4, 2)), "out.w": ("F32", (3, 2))})
    tie = '[[ties]]\nsrc = "in.w"\ndst = "out.w"\npath = "mine/**"\n'
    (elsewhere / "tiecli.toml").write_text(tie)

    found = run("lint", ".", "--json").json["findings"]
    assert [(finding["code"], finding["checkpoint"]) for finding in found] == [("TIE013", "mine/a")]


def test_a_declared_tie_that_stands_for_nothing_is_told(run: Run, elsewhere: Path) -> None:
    """A misspelled name would pass as a tie that holds; one of two checkpoints that has the leaves is enough."""
    for place, name in (("mine/a", "in.w"), ("mine/b", "other"), ("apart", "in.w")):
        write_file(elsewhere / place / "model.safetensors", {name: ("F32", (4, 2)), "out.w": ("F32", (4, 2))})
    ties = [("in.w", "out.w", ""), ("in.v", "out.v", ""), ("x.*", "y.*", "mine/**"), ("x", "y", "nowhere/**")]
    text = "".join(f'[[ties]]\nsrc = "{src}"\ndst = "{dst}"\npath = "{path}"\n' for src, dst, path in ties)
    (elsewhere / "tiecli.toml").write_text(text.replace('path = ""\n', 'transform = "neg"\n'))

    report = run("lint", ".", "--json").json

    assert report["notices"] == [
        "the declared tie `out.v = in.v | neg` matches no leaf of any of 3 checkpoints",
        "the declared tie `y.* = x.*` matches no leaf of any of 2 checkpoints",
    ]
    assert "note: the declared tie `out.v = in.v | neg`" in run("lint", ".").stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[lint]\nselekt = ["TIE"]', ("`lint.selekt`", "`select`")),
        ('[lint]\nselect = ["TIE099"]', ("`lint.select`", "TIE099", "TIE009")),
        ("[lint]\nignore = 3", ("`lint.ignore`", "a number")),
        ("[linting]", ("`linting`", "`lint`")),
        ('[lint.severity]\nTIE001 = "fatal"', ("`lint.severity.TIE001`", "`fatal`")),
        ('[[ties]]\nsrc = "a"', ("`ties[1].dst`", "missing")),
        ("[lint", ("no TOML",)),
    ],
)
def test_settings_that_cannot_be_understood_are_2(run: Run, good: Path, text: str, words: tuple[str, ...]) -> None:
    """The message names file, key and the nearest name."""
    (good.parent / "tiecli.toml").write_text(text)
    outcome = run("lint", good)

    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "`tiecli.toml`" in outcome.stderr
    for word in words:
        assert word in outcome.stderr


def test_a_baseline_holds_back_what_is_known(run: Run, sized: Path, cut: Path) -> None:
    """Only new findings fail; entries that are found no more are counted."""
    assert run("lint", sized, cut, "--write-baseline", "known.json").code == 0
    known = run("lint", sized, cut, "--baseline", "known.json", "--json")
    assert known.code == 0
    assert (known.json["summary"]["suppressed"], known.json["summary"]["stale"]) == (2, 0)

    write_llama(cut)
    shutil.copytree(sized, cut.parent / "another")
    after = run("lint", ".", "--baseline", "known.json", "--json")

    assert after.code == 1
    assert [finding["checkpoint"] for finding in after.json["findings"]] == ["another"]
    assert (after.json["summary"]["suppressed"], after.json["summary"]["stale"]) == (1, 1)


def test_a_baseline_follows_a_checkpoint_that_moves_or_is_saved_again(run: Run, sized: Path) -> None:
    """Neither place nor bytes tell a finding from others."""
    assert run("lint", sized, "--write-baseline", "known.json").code == 0
    shutil.move(sized, sized.parent / "elsewhere")
    index = sized.parent / "elsewhere" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace(": 7\n", ": 9\n"))

    assert '"total_size": 9' in index.read_text()
    assert run("lint", "elsewhere", "--baseline", "known.json").code == 0


def test_a_baseline_counts_as_stale_only_what_was_looked_at(run: Run, sized: Path, cut: Path) -> None:
    """Another level, other rules and other checkpoints say nothing about an entry."""
    assert run("lint", sized, cut, "--write-baseline", "known.json").code == 0
    write_llama(cut)

    for arguments, stale in (((sized,), 0), ((cut, "--select", "IDX"), 0), ((cut,), 1), ((".",), 1)):
        assert run("lint", *arguments, "--baseline", "known.json", "--json").json["summary"]["stale"] == stale
    shutil.rmtree(cut)
    assert run("lint", sized, "--baseline", "known.json", "--json").json["summary"]["stale"] == 1


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "tiecli.lint-baseline/2", "findings": []}', '{"schema": "tiecli.lint-baseline/1"}']
)
def test_a_baseline_that_cannot_be_read_is_2(run: Run, good: Path, text: str) -> None:
    """Otherwise everything would be new, or nothing."""
    Path("known.json").write_text(text)
    outcome = run("lint", good, "--baseline", "known.json")

    assert outcome.code == 2
    assert "known.json" in outcome.stderr
    Path("known.json").write_text('{"schema": "tiecli.lint-baseline/1", "findings": [{"code": 3}]}')
    assert "finding 1" in run("lint", good, "--baseline", "known.json").stderr


def test_a_baseline_is_written_whole_or_not_at_all(run: Run, sized: Path) -> None:
    """What could not be linted would be new tomorrow; one that is there is replaced."""
    Path("known.json").write_text("old")
    assert run("lint", sized, "gone", "--write-baseline", "known.json").code == 2
    assert Path("known.json").read_text() == "old"
    assert run("lint", sized, "--write-baseline", "known.json").code == 0
    assert len(json.loads(Path("known.json").read_text())["findings"]) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["known.json", "sized"]


def test_shards_take_turns_and_their_reports_are_put_together(run: Run, sized: Path) -> None:
    """Every checkpoint is in one part; lines of JSON of all parts are those of one run."""
    for number in range(7):
        shutil.copytree(sized, f"runs/{number}")
    lines: list[dict[str, Any]] = []
    for part in (1, 2, 3):
        outcome = run("lint", "runs", "--shard", f"{part}/3", "--output-format", "jsonl")
        assert outcome.code == 1
        lines += map(json.loads, outcome.stdout.splitlines())

    assert sorted(it["path"] for it in lines if it["record"] == "checkpoint") == [f"runs/{n}" for n in range(7)]
    assert sorted(it["checkpoint"] for it in lines if it["record"] == "finding") == [f"runs/{n}" for n in range(7)]
    assert run("lint", "runs", "--shard", "9/9").code == 0


def test_several_processes_find_what_one_finds(run: Run, sized: Path, cut: Path) -> None:
    """In the same order, with the settings of the run."""
    (sized / "notes").mkdir()
    for number in range(300):
        place = Path(f"runs/{number}")
        place.mkdir(parents=True)
        for path in (cut if number % 7 == 0 else sized).iterdir():
            if path.is_file():
                (place / path.name).symlink_to(path)
        write_json(place / "tokenizer.json", {"number": number})
    arguments = ("lint", "runs", "--ignore", "IDX006", "--json")
    alone, together = (run(*arguments, "--jobs", jobs) for jobs in ("1", "2"))

    assert alone.code == together.code == 1
    assert alone.stdout == together.stdout
    assert alone.json["summary"]["checkpoints"] == 300


def test_a_process_that_dies_is_2(run: Run, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when memory runs out; what it was given is named."""
    for number in range(3):
        shutil.copytree(good, f"runs/{number}")
        write_json(Path(f"runs/{number}/tokenizer.json"), {"number": number})
    monkeypatch.setattr(workers, "_start", _die)
    outcome = run("lint", "runs", "--level", "data", "--jobs", "2", "--json")

    assert outcome.code == 2
    assert [failure["path"] for failure in outcome.json["failures"]] == ["runs/0", "runs/1", "runs/2"]
    assert "--jobs 1" in outcome.json["failures"][0]["hint"]


def _die(_: object) -> None:
    """Ends the process that calls it."""
    import os

    os._exit(9)


def test_rules_are_listed_and_explained(run: Run) -> None:
    """The same text as on the page, as text and as data."""
    listed = run("lint", "--list-rules")
    assert (listed.code, len(listed.stdout.splitlines())) == (0, len(registry.CODES))
    for name in ("STF001", "truncated-file"):
        explained = run("lint", "--explain", name)
        assert explained.code == 0
        assert explained.stdout.startswith("STF001 truncated-file\n")
    assert [rule["code"] for rule in run("lint", "--list-rules", "--json").json["rules"]] == list(registry.CODES)
    assert run("lint", "--explain", "STF001", "--json").json["rules"][0]["name"] == "truncated-file"


def test_a_report_goes_into_a_file_and_text_to_the_terminal(run: Run, sized: Path) -> None:
    """Another report that is there is replaced, its mode kept."""
    Path("out.sarif").write_text("old")
    Path("out.sarif").chmod(0o640)
    outcome = run("lint", sized, "--output-format", "sarif", "--output-file", "out.sarif")

    assert outcome.code == 1
    assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"
    assert Path("out.sarif").stat().st_mode & 0o777 == 0o640
    assert "IDX005" in outcome.stdout
    assert "wrote out.sarif" in outcome.stderr
    assert run("lint", sized, "-o", "gone/out.txt").code == 2


def test_fixing_shows_a_plan_or_mends_and_looks_again(run: Run, sized: Path) -> None:
    """`--diff` writes nothing and exits 1; what is held back by a baseline is left alone."""
    index = sized / "model.safetensors.index.json"
    before = index.read_bytes()
    plan = run("lint", sized, "--diff", "--json")
    assert (plan.code, index.read_bytes()) == (1, before)
    assert [(fix["code"], fix["applied"]) for fix in plan.json["fixes"]] == [("IDX005", False)]

    assert run("lint", sized, "--write-baseline", "known.json").code == 0
    assert run("lint", sized, "--fix", "--baseline", "known.json", "--json").json["fixes"] == []
    assert index.read_bytes() == before

    mended = run("lint", sized, "--fix", "--json")
    assert mended.code == 0
    assert [(fix["checkpoint"], fix["code"], fix["applied"]) for fix in mended.json["fixes"]] == [
        ("sized", "IDX005", True)
    ]
    assert mended.json["findings"] == []
    assert run("lint", sized, "--diff").code == 0


def test_what_several_checkpoints_share_is_told_once(run: Run, elsewhere: Path) -> None:
    """A config beside three files is one config."""
    place = write_llama(elsewhere / "many", tie_word_embeddings=...)
    for name in ("a.safetensors", "b.safetensors"):
        write_file(place / name, llama())

    outcome = run("lint", place, "--select", "TIE006", "--json")
    assert outcome.json["summary"]["checkpoints"] == 3
    assert [finding["path"] for finding in outcome.json["findings"]] == ["many/config.json"]


def test_lint_from_python(sized: Path, good: Path) -> None:
    """The same verb as a function: a report, nothing printed, errors raised for options only."""
    report = tiecli.lint([sized, str(good), "gone"], tiecli.LintOptions(select=("IDX",), fail_on="error"))

    assert report.checkpoints == ("good", "sized")
    assert [(finding.code, finding.leaves) for finding in report.findings] == [("IDX005", ())]
    assert [failure.path for failure in report.failures] == ["gone"]
    assert not report.fails
    assert tiecli.lint("sized").checkpoints == tiecli.lint(Path("sized")).checkpoints == ("sized",)
    with pytest.raises(SettingsError, match="TIE999"):
        tiecli.lint([good], tiecli.LintOptions(select=("TIE999",)))
    with pytest.raises(SettingsError, match="part 3 of 2"):
        tiecli.lint([good], tiecli.LintOptions(shard=(3, 2)))
    with pytest.raises(UnreadableFileError):
        tiecli.lint([good], tiecli.LintOptions(baseline=good))


def test_a_shard_with_a_number_beyond_the_others_takes_the_one_that_is_free(run: Run) -> None:
    """The others keep their names, which its new one would have to be otherwise."""
    names = [f"model-{number:05}-of-00004.safetensors" for number in (1, 3, 4, 9)]
    write_shards(Path("nine"), {name: {f"{name[6:11]}.weight": ("F32", (2, 2))} for name in names})
    outcome = run("lint", "nine", "--fix", "--json")

    assert outcome.code == 0
    assert [fix["code"] for fix in outcome.json["fixes"]] == ["IDX007"]
    assert sorted(path.name[6:11] for path in Path("nine").glob("*.safetensors")) == [
        "00001",
        "00002",
        "00003",
        "00004",
    ]


def test_a_fix_of_a_shared_config_is_seen_by_all_beside_it(run: Run, elsewhere: Path) -> None:
    """What is shown after fixing is what is there then."""
    place = write_llama(elsewhere / "many", tie_word_embeddings=...)
    write_file(place / "other.safetensors", llama())

    mended = run("lint", place, "--select", "TIE006", "--fix", "--json")
    assert (mended.code, mended.json["findings"]) == (0, [])
    assert [fix["code"] for fix in mended.json["fixes"]] == ["TIE006"]
    assert run("lint", place, "--select", "TIE006", "--fail-on", "info").code == 0


def test_what_cannot_be_fixed_is_2_and_stays_a_finding(run: Run, sized: Path) -> None:
    """A link must not be replaced, as in the cache of the hub."""
    index = sized / "model.safetensors.index.json"
    index.rename(sized / "blob")
    index.symlink_to("blob")
    outcome = run("lint", sized, "--fix", "--json")

    assert outcome.code == 2
    assert codes(outcome) == ["IDX005"]
    assert outcome.json["failures"][0]["message"].startswith("not fixed: ")
