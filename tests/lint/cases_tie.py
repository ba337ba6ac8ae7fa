"""Cases of the rules about ties."""

from __future__ import annotations

from tests.lint import cases_tie_data as data
from tests.lint import cases_tie_header as header

CASES = [*header.CASES, *data.CASES]
