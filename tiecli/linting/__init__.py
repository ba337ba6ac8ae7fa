"""Lint: what would break, or silently mis-train, a consumer of a checkpoint.

A rule is one file in `rules/`: what it finds, why that is bad, and a function that looks at a
`Subject` and yields findings. Rules only look; what a fix would change is data, too.
"""

from __future__ import annotations
