"""Rules: one file each, named after its code; `registry` finds them."""

from __future__ import annotations
