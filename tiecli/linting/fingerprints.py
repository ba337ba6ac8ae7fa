"""Fingerprints: what tells a finding from others, and stays when its checkpoint is moved or saved again."""

from __future__ import annotations

from tiecli.linting.rule import Finding


def take_fingerprint(code: str, finding: Finding) -> str:
    """Gives 16 hex digits for a finding of a rule.

    They depend on the rule, the file within the checkpoint, the leaves and the finding's own
    fact; not on the checkpoint, which may lie elsewhere tomorrow, nor on offsets or messages.

    Example:
        >>> take_fingerprint("TIE002", Finding("", ("a", "b"))) == take_fingerprint("TIE002", Finding("x", ("b", "a")))
        True
    """
    # Most runs find nothing, and need not wait for the import.
    from hashlib import sha256

    # Every part ends in a mark that no part can hold as text, so that none runs into the next.
    parts = (code, finding.file, finding.fact, *sorted(finding.leaves))
    raw = b"".join(part.encode("utf-8", "surrogatepass") + b"\xff" for part in parts)
    return sha256(raw).hexdigest()[:16]
