"""Surveys: what can be told of a checkpoint, damaged or not; nothing is refused here, and nothing is trusted.

The readers next door refuse what is wrong at the first sight of it. A survey reads on and
lists every damage, for the linter, which has to name all of them.
"""

from __future__ import annotations
