"""Checks of counts, with a sentence for those that no array can have; and counts in words."""


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


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is 1.

    Args:
        number: the number.
        noun: what is counted, in the singular; one whose plural adds an s.

    Returns:
        The words.

    Example:
        >>> from advnets._counts import counted
        >>> counted(1, "epoch"), counted(2000, "epoch")
        ('1 epoch', '2,000 epochs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
