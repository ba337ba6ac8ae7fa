"""Mending: what a fix of the linter changes in a checkpoint, damaged or not, is written here.

`changes` gathers what many fixes want and refuses contradictions; drafts decide every file in
full; `publishing` puts them in place, all at once.
"""

from __future__ import annotations
