"""Checks of counts: what no array can have is refused in a sentence, before JAX sees it."""


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuses a count that is too small, or does not fit in 32 bits.

    Args:
        name: what is counted, for the message.
        value: the number.
        least: the smallest allowed.

    Raises:
        ValueError: if it is below that, or 2**31 or more.
    """
    if not least <= value < 2**31:
        raise ValueError(f"{name} must be at least {least} and below 2**31; got {value}")
