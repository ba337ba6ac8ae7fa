"""Importing: functions of the user's own, by name, and what goes wrong in them as one line."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from tiecli.errors import LossError, TiecliError

_NAME = re.compile(r"(?!\d)\w+(\.(?!\d)\w+)*:(?!\d)\w+(\.(?!\d)\w+)*")
_HINT = "It is called as `function(tree, key)`, with nested dicts and lists of float64 leaves and a PRNG key."


@contextmanager
def working_directory_first() -> Iterator[None]:
    """Lets modules be found in the working directory; what they print does not mix with results."""
    entry = str(Path.cwd())
    sys.path.insert(0, entry)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def import_function(name: str) -> Callable[..., Any]:
    """Imports a function by name.

    Args:
        name: `module:function`; the module is looked for in the working directory first.

    Raises:
        LossError: There is no such module or function, or importing it raised.
    """
    if _NAME.fullmatch(name) is None:
        raise LossError(f"`{name:.100}` names no function, expected `module:function`")
    module_name, _, attributes = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the module is the user's, and may raise anything, SystemExit too
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise LossError(
                f"there is no module `{error.name}`", "It is looked for in the working directory, then as installed."
            ) from error
        raise LossError(f"`{module_name}` cannot be imported: {word_error(error)}") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise LossError(f"`{module_name}` has no function `{attributes}`")
        found = getattr(found, attribute)
    if not callable(found):
        raise LossError(f"`{name}` is {word_type(found)}, which cannot be called")
    function: Callable[..., Any] = found
    return function


@contextmanager
def blaming(name: str, doing: str) -> Iterator[None]:
    """Turns whatever a function of the user's own raises into one line that names it.

    Args:
        name: The function.
        doing: What it could not do: `raised`, `cannot be differentiated:`, ….

    Raises:
        LossError: It raised.
    """
    try:
        yield
    except (TiecliError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the function is the user's, and may raise anything
        raise LossError(f"`{name}` {doing} {word_error(error)}{_place(error, name)}", _HINT) from error


def word_error(error: BaseException) -> str:
    """Words an exception in one short line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(".")
    text = text if len(text) <= 200 else f"{text[:200]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def word_type(value: object) -> str:
    """Words what a value is: `a dict`, `an int`."""
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def _place(error: BaseException, name: str) -> str:
    """Says where in the function's own module an exception came up."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
