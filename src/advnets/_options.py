"""Command-line options: parsed with tyro, explained in groups, with errors of one sentence."""

import ast
import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from advnets import _terminal
from advnets._extras import needed_for

Kind = TypeVar("Kind")
METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}
# The width of the column of options, and the largest width of the page.
LEFT, WIDEST = 26, 100
HELP, HELP_ALL = ("-h", "--help"), "--help-all"
# An attribute in a docstring, with its text, which may span lines.
ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
# The characters with which tyro draws a box around a message.
BOX = re.compile("[╭╮╰╯│]|\x1b\\[[0-9;]*m")
# The lines in it, of ASCII where the output can't show others.
RULE = re.compile("[-─ ]*")
# What tyro says of a value that an option does not take, and of one that is missing.
NO_VALUE = re.compile(
    r"Error parsing (?P<name>\S+): (?:invalid literal for int\(\) with base 10|"
    r"could not convert string to float|Could not find valid parse for arguments|"
    r"no type matching .* could be instantiated from):? (?P<got>.*)"
)
NO_CHOICE = re.compile(
    r"invalid choice (?P<got>.*) for argument '(?P<name>\S+)'\. Expected one of \((?P<of>.*)\)\.?"
)
MISSING = re.compile(r"Missing value for argument '(?P<name>\S+)'.*")
TAKEN = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "INT...": "whole numbers",
    "FLOAT...": "numbers",
}


@dataclasses.dataclass(frozen=True)
class Option:
    """An option as help shows it.

    Attributes:
        name: its name, such as `--generator.hidden-sizes`; for a positional one, its metavar.
        takes: the metavar of its value; empty for a flag.
        text: what it does.
        default: its default, if it is worth showing.
        owner: what it is a part of, such as `generator`; empty for one of the command itself.
        settings: the class that has it.
    """

    name: str
    takes: str
    text: str
    default: str
    owner: str
    settings: type

    @property
    def given(self) -> str:
        """The option with the metavar of its value."""
        return f"{self.name} {self.takes}".strip()


@functools.cache
def _tyro() -> Any:
    with needed_for("the command line"):
        import tyro
    return tyro


def parsed(
    kind: type[Kind], arguments: Sequence[str], *, prog: str, default: Kind | None = None
) -> Kind:
    """Parses command-line arguments.

    Args:
        kind: a dataclass of options.
        arguments: the arguments.
        prog: the command before them.
        default: the options that they change; the class's defaults unless given.

    Returns:
        The options.

    Raises:
        ValueError: for an unknown option, with the nearest known one in the message; for a value
            that an option does not take.
    """
    known = list(options(kind, default))
    stderr = io.StringIO()
    more = {} if default is None else {"default": default}
    read: Any = _tyro().cli
    try:
        with contextlib.redirect_stderr(stderr):
            found, unknown = read(kind, args=arguments, prog=prog, return_unknown_args=True, **more)
    except SystemExit as ended:
        if not ended.code:  # it has printed shell completions
            raise
        raise ValueError(_sentence(stderr.getvalue(), arguments, known, prog)) from None
    if unknown:
        raise ValueError(_unknown(unknown, known, prog))
    for option in known:
        several = option.takes.endswith("...") and not (option.owner or option.default)
        if several and _is_bare(option.name, arguments):
            raise ValueError(f"{option.name} needs at least one value, or leave it out")
    return found


def _is_bare(name: str, arguments: Sequence[str]) -> bool:
    """Whether an option is given without a value."""
    return any(
        one.replace("_", "-") == name and after.startswith("--")
        for one, after in itertools.pairwise([*arguments, "--"])
    )


def _sentence(box: str, arguments: Sequence[str], known: list[Option], prog: str) -> str:
    """What tyro says in a box, as a sentence."""
    slips = [a for a in arguments if a.startswith("--") and not _is_known(a, known)]
    if slips:  # probably why something else is missing
        return _unknown(slips, known, prog)
    plain = (BOX.sub("", line) for line in box.splitlines())
    title, *lines = ("" if RULE.fullmatch(line) else line.strip(" ─") for line in plain)
    while lines and not lines[0]:
        lines.pop(0)
    until = next((number for number, line in enumerate(lines) if not line), len(lines))
    message = " ".join(lines[:until]) or title
    takes = {option.name: option.takes for option in known}
    if (no := NO_VALUE.fullmatch(message)) and no["name"] in takes:
        wanted = TAKEN.get(takes[no["name"]], takes[no["name"]])
        message = f"{no['name']} takes {wanted}; got {no['got'].strip('[].')}"
    elif no := NO_CHOICE.fullmatch(message):
        of = no["of"].replace("'", "").rstrip(",")
        message = f"{no['name']} takes one of {of}; got {no['got']}"
    elif none := MISSING.fullmatch(message):
        message = f"{none['name']} needs a value"
    named = [o for o in known if re.search(rf"{re.escape(o.name)}(?![\w.-])", message)]
    has_option_text = "(required)" in message  # with the option's text
    explained = "" if has_option_text else "".join(f" ({o.given}: {o.text})" for o in named[:1])
    return f"{message.rstrip('.')}{explained}"


def _is_known(argument: str, known: list[Option]) -> bool:
    name = argument.partition("=")[0].replace("_", "-")
    names = {option.name for option in known}
    return name in names or name.replace("--no-", "--", 1) in names


def _unknown(unknown: Sequence[str], known: list[Option], prog: str) -> str:
    first = next((text for text in unknown if text.startswith("-")), unknown[0])
    if not first.startswith("-"):
        return f"{first!r} belongs to no option; {prog} {HELP_ALL} lists them"
    name = first.partition("=")[0]
    near = nearest(name, [option.name for option in known])
    meant = f"did you mean {near}?" if near else f"{prog} {HELP_ALL} lists them"
    return f"there is no option {name}; {meant}"


def with_names(message: str, known: Sequence[Option], arguments: Sequence[str]) -> str:
    """A message in which settings that are named as in Python are named as options.

    Args:
        message: the message.
        known: the options.
        arguments: what the user typed; their own words are kept.

    Returns:
        The message with `--num-samples` in the place of `num_samples`.
    """
    for option in known:
        name = option.name.removeprefix("--").replace("-", "_")
        if "_" in name and not any(name in argument for argument in arguments):
            message = re.sub(
                rf"(?<![\w.\-/(]){re.escape(name)}(?![\w=(/\-]| =)", option.name, message
            )
    return message


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The option that a mistyped one was probably meant for.

    Args:
        name: what was given, such as `--lr`.
        known: the options.

    Returns:
        One of them, such as `--learning-rate`; None if none is near.
    """
    given = name.strip("-").replace("_", "-").lower()
    by_length = sorted((option for option in known if option.startswith("--")), key=len)
    for alike in (
        lambda short: short == given,
        lambda short: "".join(word[:1] for word in re.split(r"[-.]", short)) == given,
        lambda short: len(given) > 2 and short.startswith(given),
    ):
        for option in by_length:
            if alike(option[2:]) or alike(option.rpartition(".")[2].lstrip("-")):
                return option
    shorts = {option.rpartition(".")[2].lstrip("-"): option for option in reversed(by_length)}
    shorts |= {option[2:]: option for option in by_length}
    close = difflib.get_close_matches(given, shorts, 1)
    if close:
        return shorts[close[0]]
    words = [set(given.split("-")) & set(re.split(r"[-.]", option[2:])) for option in by_length]
    return next((o for o, both in zip(by_length, words, strict=True) if both), None)


def options(kind: Any, value: Any = None, prefix: str = "--", owner: str = "") -> Iterator[Option]:
    """The options of a dataclass, including those of nested dataclasses.

    Args:
        kind: the dataclass, which may be a generic one with its arguments.
        value: the defaults; the class's unless given.
        prefix: the prefix of their names.
        owner: what they are a part of.

    Yields:
        Each option.
    """
    plain = typing.get_origin(kind) or kind
    hints = typing.get_type_hints(plain, include_extras=True)
    texts = _texts(plain)
    for field in dataclasses.fields(plain):
        hint, marks = _unmarked(hints[field.name])
        default = getattr(value, field.name, _default(field))
        unnamed = any(getattr(mark, "name", None) == "" for mark in marks)
        name = field.name.replace("_", "-")
        parts = {name: default}
        if isinstance(default, tuple):
            parts = {f"{name}.{number}": part for number, part in enumerate(default)}
        if parts and all(dataclasses.is_dataclass(part) for part in parts.values()):
            for part, own in parts.items():
                below = prefix if unnamed else f"{prefix}{part}."
                yield from options(type(own), own, below, owner if unnamed else below[2:-1])
            continue
        metavar = next((m.metavar for m in marks if getattr(m, "metavar", None)), None)
        positional = _tyro().conf.Positional in marks
        takes = metavar or _metavar(hint)
        if takes == "...":  # its parts take no value, but have options
            continue
        yield Option(
            name=takes if positional else f"{prefix}{name}",
            takes="" if positional else takes,
            text=texts.get(field.name, ""),
            default=_shown(default),
            owner=owner,
            settings=plain,
        )


def _default(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _unmarked(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type, and its annotations."""
    marks: tuple[Any, ...] = ()
    while typing.get_origin(hint) is typing.Annotated:
        hint, *more = typing.get_args(hint)
        marks += tuple(more)
    return hint, marks


def _metavar(hint: Any) -> str:
    """The metavar of a type's values; None is left out, as it is given by omitting the option."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) is Literal:
        return f"{{{','.join(map(str, parts))}}}"
    if typing.get_origin(hint) is tuple:
        return f"{_metavar(parts[0])}..."
    if parts:  # a union
        return "|".join(dict.fromkeys(map(_metavar, parts)))
    return "" if hint is bool or dataclasses.is_dataclass(hint) else METAVARS.get(hint, "VALUE")


def _shown(default: Any) -> str:
    """A default as it would be given; empty where leaving the option out says enough."""
    if default is None or default is False or default == () or default == "":
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


@functools.cache
def _texts(kind: type) -> Mapping[str, str]:
    """The text of each field of a class: from below it, or from a docstring of the class."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        _, _, attributes = (inspect.getdoc(one) or "").partition("\nAttributes:\n")
        for name, text in ATTRIBUTE.findall(attributes.partition("\n\n")[0]):
            found[name] = f"{text[:1].upper()}{' '.join(text[1:].split())}"
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        except (OSError, TypeError, SyntaxError):  # the class has no source file
            continue
        body = getattr(tree, "body", [])
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                value = getattr(text.value, "value", None)
                if isinstance(value, str) and isinstance(field.target, ast.Name):
                    found[field.target.id] = " ".join(value.split())
    return found


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether arguments ask for help rather than for work."""
    return any(argument in (*HELP, HELP_ALL) for argument in arguments)


def page(
    known: Sequence[Option],
    arguments: Sequence[str],
    *,
    prog: str,
    example: str,
    text: str,
    groups: Mapping[str, Sequence[str]],
) -> str:
    """The page that explains options.

    Args:
        known: the options.
        arguments: those that ask for the page: `--help`, or `--help-all` for all options.
        prog: the command.
        example: a command line to begin with.
        text: what the command does.
        groups: for each title, the options that most people need; if empty, all are shown.

    Returns:
        The page.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    by_name = {option.name: option for option in known}
    shown = {
        title: [by_name[name] for name in names if name in by_name]
        for title, names in groups.items()
    }
    common = {option.name for group in shown.values() for option in group}
    rest: dict[str, list[Option]] = {}
    for option in known:
        if option.name not in common:
            rest.setdefault(_title(option, bool(common)), []).append(option)
    all_of_them = HELP_ALL in arguments or not common
    lines = [f"Example: {_terminal.styled(example, 'bold')}", ""]
    lines += textwrap.wrap(text, width) if text else []
    for title, group in (shown | (rest if all_of_them else {})).items():
        if group:
            lines += ["", _terminal.styled(title, "bold")]
            lines += [line for option in group for line in _lines(option, width)]
    if not all_of_them:
        left = sum(map(len, rest.values()))
        lines += ["", f"{left} more options: {prog} {HELP_ALL}"]
    return "\n".join(lines)


def _title(option: Option, beside_others: bool) -> str:
    """The title of a group of options that belong to one thing."""
    what = (inspect.getdoc(option.settings) or "").partition(". ")[0].partition("\n")[0].rstrip(".")
    if option.owner:
        return f"{option.owner}: {what}"
    return f"More: {what}" if beside_others else "Options"


def _lines(option: Option, width: int) -> list[str]:
    default = f" (default: {option.default})" if option.default else ""
    room = max(width - LEFT - 2, 20)
    text = textwrap.wrap(f"{option.text}{default}".strip(), room, break_on_hyphens=False)
    left = f"  {option.given}"
    first = [f"{left:<{LEFT}}  {text[0]}"] if text and len(left) <= LEFT else [left]
    rest = text[1:] if len(first[0]) > len(left) else text
    return first + [f"{'':<{LEFT}}  {line}" for line in rest]
