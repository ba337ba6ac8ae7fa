"""tiecli: weight tying in checkpoints: find ties, write them down, prove them, undo them.

The verbs of the command line as typed functions that return reports:

```python
from pathlib import Path

import tiecli

report = tiecli.tie(
    "model.safetensors",
    [tiecli.TieRequest("model.embed_tokens.weight", "lm_head.weight")],
    tiecli.Target(Path("tied.safetensors")),
)
print(report.bytes_before - report.bytes_after)
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiecli.checkpoints import open_reader as open_reader
    from tiecli.checkpoints.protocol import Target as Target
    from tiecli.conversion import ConvertReport as ConvertReport
    from tiecli.copies import CopyReport as CopyReport
    from tiecli.copies import CopyRequest as CopyRequest
    from tiecli.detect import FindReport as FindReport
    from tiecli.diffs import DiffReport as DiffReport
    from tiecli.errors import TiecliError as TiecliError
    from tiecli.keypaths import KeyPath as KeyPath
    from tiecli.leaves import LeafSpec as LeafSpec
    from tiecli.linting.report import LintReport as LintReport
    from tiecli.manifest import Manifest as Manifest
    from tiecli.plan import TieRequest as TieRequest
    from tiecli.reports import ApplyReport as ApplyReport
    from tiecli.ties import Tie as Tie
    from tiecli.ties import TieSet as TieSet
    from tiecli.transforms import Transform as Transform
    from tiecli.verbs.convert import convert as convert
    from tiecli.verbs.copy import copy as copy
    from tiecli.verbs.diff import diff as diff
    from tiecli.verbs.find import find as find
    from tiecli.verbs.inspect import InspectReport as InspectReport
    from tiecli.verbs.inspect import inspect as inspect
    from tiecli.verbs.lint import LintOptions as LintOptions
    from tiecli.verbs.lint import lint as lint
    from tiecli.verbs.tie import tie as tie
    from tiecli.verbs.untie import untie as untie
    from tiecli.verbs.verify import Computing as Computing
    from tiecli.verbs.verify import Exercise as Exercise
    from tiecli.verbs.verify import verify as verify
    from tiecli.verification.verdicts import VerifyReport as VerifyReport

# Imported at first use: `tiecli --help` must not load what only `find` needs.
_HOMES = {
    "ApplyReport": "tiecli.reports",
    "Computing": "tiecli.verbs.verify",
    "ConvertReport": "tiecli.conversion",
    "CopyReport": "tiecli.copies",
    "CopyRequest": "tiecli.copies",
    "DiffReport": "tiecli.diffs",
    "Exercise": "tiecli.verbs.verify",
    "FindReport": "tiecli.detect",
    "InspectReport": "tiecli.verbs.inspect",
    "KeyPath": "tiecli.keypaths",
    "LeafSpec": "tiecli.leaves",
    "LintOptions": "tiecli.verbs.lint",
    "LintReport": "tiecli.linting.report",
    "Manifest": "tiecli.manifest",
    "Target": "tiecli.checkpoints.protocol",
    "Tie": "tiecli.ties",
    "TieRequest": "tiecli.plan",
    "TieSet": "tiecli.ties",
    "TiecliError": "tiecli.errors",
    "Transform": "tiecli.transforms",
    "VerifyReport": "tiecli.verification.verdicts",
    "convert": "tiecli.verbs.convert",
    "copy": "tiecli.verbs.copy",
    "diff": "tiecli.verbs.diff",
    "find": "tiecli.verbs.find",
    "inspect": "tiecli.verbs.inspect",
    "lint": "tiecli.verbs.lint",
    "open_reader": "tiecli.checkpoints",
    "tie": "tiecli.verbs.tie",
    "untie": "tiecli.verbs.untie",
    "verify": "tiecli.verbs.verify",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  # spelled once, above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tiecli' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
