"""Numbers: as the axes of charts spell them."""

from __future__ import annotations

_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def power_of_ten(exponent: int) -> str:
    """Spells a power of ten.

    Example:
        >>> power_of_ten(-12), power_of_ten(0)
        ('10⁻¹²', '1')
    """
    return "10" + str(exponent).translate(_RAISED) if exponent else "1"
