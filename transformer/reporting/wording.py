"""Numbers as a reader wants them."""

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def count(value: int | float) -> str:
    """1,234,567."""
    return f"{value:,.0f}"


def power(value: int | float) -> str:
    """Two digits and a power of ten: 3.3 × 10¹⁸."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def share(part: int | float, whole: int | float) -> str:
    """A percentage with two digits at least: 0.021 %, 12 %, 100 %."""
    percent = 100 * part / whole
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def duration(seconds: int | float) -> str:
    """Its two largest units: 45 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        whole, left = divmod(left, size)
        if whole or parts or unit == "s":
            parts.append(f"{whole} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ") or len(parts) == 1)


def hours(value: int | float) -> str:
    """Hours with two digits at least: 0.045, 3.5, 1,234."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"
