"""What is wrong with a command line itself, in the one line that all other errors have."""

from __future__ import annotations

import re
import sys
from typing import Any

from service.faults import in_one_line
from worker.schema import did_you_mean


def say(error: Any) -> None:
    """Prints what Typer found; where no command was given, all that there are.

    Args:
        error: of Typer, which has carried the classes of its errors under changing names.
    """
    if getattr(error, "param", None) is None and "\n" in error.message:
        print(error.message)  # noqa: T201
        print("error: command: missing", file=sys.stderr)  # noqa: T201
    else:
        print(f"error: {_in_words(error)}", file=sys.stderr)  # noqa: T201


def _in_words(error: Any) -> str:
    where = "" if error.ctx is None else f"; see `{error.ctx.command_path} --help`"
    return f"{_fault(error)}{where}"


def _fault(error: Any) -> str:
    if getattr(error, "param", None) is not None:
        return f"{_name(error.param)}: {_of_parameter(error)}"
    if hasattr(error, "possibilities"):
        params = error.ctx.command.params
        arguments = [param for param in params if param.param_type_name == "argument"]
        wanted = _bare(error.option_name).replace("-", "_")
        if any(wanted in (param.name, _name(param)) for param in arguments):
            return f"{error.option_name}: an argument, which is given without its name"
        options = [_bare(option) for param in params if param.param_type_name == "option" for option in param.opts]
        guess = did_you_mean(_bare(error.option_name), options).replace("mean ", "mean --")
        return f"{error.option_name}: unknown option{guess}"
    if found := re.match("No such command '(.*?)'", error.message):
        commands = error.ctx.command.list_commands(error.ctx)
        return f"{found[1]}: unknown command{did_you_mean(found[1], commands)}"
    return f"{error.message[:1].lower()}{error.message[1:].rstrip('.')}"


def _name(param: Any) -> str:
    """An option without its dashes, and an argument as the usage shows it."""
    if param.param_type_name == "option":
        return _bare(max(param.opts, key=len))
    return str(param.metavar or param.name).lower()


def _bare(option: str) -> str:
    return option.lstrip("-")


def _of_parameter(error: Any) -> str:
    if hasattr(error, "param_type"):
        return "missing"
    if found := re.search("'(.*)' is not one of (.*)", error.message):
        choices = re.findall("'(.*?)'", found[2])
        return f"must be {', '.join(choices)}, got {found[1]!r}{did_you_mean(found[1], choices)}"
    cause = error.__cause__
    return in_one_line(cause.errors()[0]) if hasattr(cause, "errors") else " ".join(error.message.split())
