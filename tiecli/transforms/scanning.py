"""Scanning: a position in the text of a transform, and the few ways to move on from it."""

from __future__ import annotations

from tiecli.errors import TransformSyntaxError

HINT = (
    "Steps are joined by `|`: same, transpose, transpose(1,0,2), 'v d -> d v', [:50257], reshape(a,b), flip(axis), "
    "pad(axis,before,after), repeat(axis,n), concat(axis), stack(axis), scale(x), neg, cast(dtype), conj."
)
DIGITS = "0123456789"

_HEX_DIGITS = "0123456789abcdefABCDEF"
_MAX_LITERAL = 64
_MAX_SHOWN = 80


class Scanner:
    """A position in a text, and the few ways to move on from it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    @property
    def mark(self) -> str:
        """The character at the position; empty at the end."""
        return self.text[self.position : self.position + 1]

    def skip_spaces(self) -> None:
        """Moves on to what is not a space."""
        while self.mark == " ":
            self.position += 1

    def accept(self, mark: str) -> bool:
        """Takes one character if it is the next one; says whether it was."""
        self.skip_spaces()
        if self.mark != mark:
            return False
        self.position += 1
        return True

    def expect(self, mark: str) -> None:
        """Takes one character, which has to be the next one."""
        if not self.accept(mark):
            raise self.error(f"`{mark}`")

    def take(self, alphabet: str) -> str:
        """Takes the characters of an alphabet that stand here, none if none do."""
        start = self.position
        while self.mark and self.mark in alphabet:
            self.position += 1
        return self.text[start : self.position]

    def integer(self) -> int:
        """Takes an integer in decimal digits."""
        self.skip_spaces()
        start = self.position
        sign = -1 if self.accept("-") else 1
        digits = self.take(DIGITS)
        if not digits or len(digits) > _MAX_LITERAL:
            raise self.error("an integer", start)
        return sign * int(digits)

    def word(self) -> str:
        """Takes the ASCII letters, digits and underscores that stand here, none if none do."""
        self.skip_spaces()
        start = self.position
        while self.mark == "_" or (self.mark.isascii() and self.mark.isalnum()):
            self.position += 1
        return self.text[start : self.position]

    def error(self, expected: str, position: int | None = None) -> TransformSyntaxError:
        """Words the error of something else than was expected, here or at another position."""
        at = self.position if position is None else position
        return TransformSyntaxError(f"`{self.shown}` is no transform: expected {expected} at position {at}", HINT)

    @property
    def shown(self) -> str:
        """The text as an error quotes it: not too long, and without control characters."""
        text = self.text if len(self.text) <= _MAX_SHOWN else f"{self.text[: _MAX_SHOWN - 1]}…"
        return "".join(mark if mark.isprintable() else "�" for mark in text)


def parse_number(scanner: Scanner) -> float:
    """Takes a number: decimal, hexadecimal float, or a fraction of two integers.

    Raises:
        TransformSyntaxError: There is none here.
        OverflowError: It is too large for a float.
        ZeroDivisionError: It is a fraction of zero.
    """
    start = scanner.position
    if scanner.text[start : start + 2] in ("0x", "0X"):
        scanner.position += 2
        return float.fromhex("0x" + _parse_digits(scanner, _HEX_DIGITS, "pP"))
    literal = _parse_digits(scanner, DIGITS, "eE")
    if literal.isdigit() and scanner.accept("/"):
        scanner.skip_spaces()
        below = scanner.take(DIGITS)
        if not 0 < len(below) <= _MAX_LITERAL:
            raise scanner.error("the lower number of a fraction")
        # True division of integers rounds once, whatever their size.
        return int(literal) / int(below)
    return float(literal)


def _parse_digits(scanner: Scanner, alphabet: str, exponent_marks: str) -> str:
    start = scanner.position
    whole = scanner.take(alphabet)
    part = scanner.take(alphabet) if (dot := scanner.mark == "." and scanner.accept(".")) else ""
    if not whole + part:
        raise scanner.error("a number such as 0.5, 1/8 or 0x1p-3", start)
    literal = f"{whole or '0'}.{part or '0'}" if dot else whole
    if scanner.mark and scanner.mark in exponent_marks:
        letter = scanner.take(exponent_marks)
        sign = scanner.take("+-")
        digits = scanner.take(DIGITS)
        if len(letter) > 1 or len(sign) > 1 or not digits:
            raise scanner.error("an exponent")
        literal += letter + sign + digits
    if scanner.position - start > _MAX_LITERAL:
        raise scanner.error(f"a number of at most {_MAX_LITERAL} characters", start)
    return literal
