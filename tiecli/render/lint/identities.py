"""Identities: what tells one finding of a run from every other, and stays the same from run to run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from tiecli.linting.report import ReportedFinding


def identify_findings(findings: Iterable[ReportedFinding]) -> Iterator[tuple[ReportedFinding, str]]:
    """Gives each finding with 16 hex digits of its own.

    GitLab and GitHub take findings with equal fingerprints for one. Checkpoints that are alike
    give equal ones, since a fingerprint does not know where its checkpoint lies; an identity does.
    """
    seen = Counter[str]()
    for finding in findings:
        identity = digest(finding.fingerprint, finding.path)
        seen[identity] += 1
        yield finding, identity if seen[identity] == 1 else digest(identity, str(seen[identity]))


def digest(*parts: str) -> str:
    """Gives 16 hex digits that depend on all parts; names of files may hold what is no text."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
