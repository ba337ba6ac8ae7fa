"""What docs/lint.md shows and no session replays: its settings are settings."""

from __future__ import annotations

import re
from pathlib import Path

from tiecli.linting.settings import Choices, combine
from tiecli.linting.settingsfile import parse_settings

PAGE = (Path(__file__).parents[2] / "docs" / "lint.md").read_text()
(EXAMPLE,) = re.findall(r"^```toml\n(\[tool\.tiecli\.lint\].*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_that_are_shown_say_what_the_page_says() -> None:
    """Selected, ignored, re-levelled and declared; by place and by leaf."""
    found = parse_settings(EXAMPLE.encode(), "pyproject.toml", "/project")
    settings = combine(found, Choices())

    assert "TIE018" in settings.codes
    assert settings.codes.isdisjoint({"DUP001", "IDX006"})
    assert (settings.level, settings.fail_on, settings.severities) == ("data", "error", {"TIE004": "error"})
    assert settings.is_ignored("STF011", "/project/runs/2023-05/a/model.safetensors", ())
    assert not settings.is_ignored("STF011", "/project/runs/2024-05/a/model.safetensors", ())
    assert settings.is_ignored("NUM003", "/project/a", ("base.h.0.q.lora_B.weight",))
    assert settings.is_ignored("NUM001", "/project/a", ("vision_tower.h.0.q",))
    assert not settings.is_ignored("NUM001", "/project/a", ("language_model.h.0.q",))
    (tie,) = settings.declared_for("/project/runs/7/checkpoint")
    assert (tie.dst, tie.transform) == ("params.decoder.logits_dense.kernel", "transpose")
    assert settings.declared_for("/project/other") == ()


def test_a_file_of_its_own_says_the_same_without_the_prefix() -> None:
    """`tiecli.toml` has `[lint]` and `[[ties]]`."""
    assert parse_settings(EXAMPLE.replace("tool.tiecli.", "").encode(), "tiecli.toml", "/project") == parse_settings(
        EXAMPLE.encode(), "pyproject.toml", "/project"
    )
