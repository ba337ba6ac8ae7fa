"""What crash tests that run a command thousands of times have in common."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for the disk: a killed process takes nothing along that it wrote, and power cuts are not tested."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
