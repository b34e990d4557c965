"""Print a script that completes edge-se's commands and options in bash or zsh.

In ~/.bashrc: eval "$(edge-se completion bash)". In ~/.zshrc, after compinit: eval "$(edge-se
completion zsh)". The script knows what the commands of this installation accept; where the shell
should start faster, write it into a file once and make it anew after an upgrade.
"""

import argparse
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from edge_se.options import is_path

Parsers = Mapping[str, argparse.ArgumentParser]

GENERAL = ("--help", "--version")

BASH = """\
_edge_se() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words=
    if ((COMP_CWORD == 1)); then
        words='{commands}'
    elif [[ $current == -* ]]; then
        case "${{COMP_WORDS[1]}}" in
{options}
        esac
    else
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{values}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _edge_se edge-se"""

ZSH = """\
_edge_se() {{
    local -a commands=(
{commands}
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    case $words[1] in
{options}
    esac
}}
compdef _edge_se edge-se"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SCRIPTS, help="whose script to print")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    print(SCRIPTS[arguments.shell](load_parsers()))
    return 0


def load_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of every command that is installed, by the command's name."""
    from edge_se.cli import build_parser, find_commands

    parsers = {}
    for name, module in find_commands().items():
        try:
            parsers[name] = build_parser(name, importlib.import_module(module))
        except ModuleNotFoundError:  # its room or one of its extras is not there
            continue
    return parsers


def flags(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a command, as they are typed."""
    return [flag for option in _options(parser) for flag in option.option_strings]


def bash_script(parsers: Parsers) -> str:
    """A script for bash; files are completed where it has nothing better."""
    options, values = [], []
    for name, parser in parsers.items():
        options.append(f"        {name}) words='{' '.join(flags(parser))}' ;;")
        # The first word after the command follows the command's own name.
        before = {name: _words(parser)}
        before |= {flag: _choices(o) for o in _options(parser) for flag in o.option_strings}
        values += [
            f"        '{name} {word}') words='{choices}' ;;"
            for word, choices in before.items()
            if choices
        ]
    return BASH.format(
        commands=" ".join((*parsers, *GENERAL)),
        options="\n".join(options),
        values="\n".join(values),
    )


def zsh_script(parsers: Parsers) -> str:
    """A script for zsh, with the help of every option."""
    commands = [
        f"        {_quoted(f'{name}:{_escaped(parser.description)}')}"
        for name, parser in parsers.items()
    ]
    options = [
        f"    {name}) _arguments -s {' '.join(map(_quoted, _zsh_specs(parser)))} ;;"
        for name, parser in parsers.items()
    ]
    return ZSH.format(commands="\n".join(commands), options="\n".join(options))


SCRIPTS = {"bash": bash_script, "zsh": zsh_script}


def _zsh_specs(parser: argparse.ArgumentParser) -> Iterator[str]:
    for option in _options(parser):
        value = f":{_escaped(option.metavar or option.dest)}:{_zsh_values(option)}"
        for flag in option.option_strings:
            again = "*" if isinstance(option, argparse._AppendAction) else ""
            yield f"{again}{flag}[{_help(parser, option)}]{'' if option.nargs == 0 else value}"
    words = _words(parser)
    yield f"*:argument:{f'({words})' if words else '_files'}"


def _zsh_values(option: argparse.Action) -> str:
    if option.choices:
        return f"({_choices(option)})"
    return "_files" if option.type is Path or is_path(option.type) else " "


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options of a parser and of the actions below it."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    parsers = [parser, *(child for action in below for child in action.choices.values())]
    named = {
        a.option_strings[-1]: a for p in reversed(parsers) for a in p._actions if a.option_strings
    }
    return list(named.values())


def _words(parser: argparse.ArgumentParser) -> str:
    """What may stand in place of a file: the choices of arguments that are no options."""
    positionals = (action for action in parser._actions if not action.option_strings)
    return " ".join(filter(None, map(_choices, positionals)))


def _choices(action: argparse.Action) -> str:
    choices: Iterable[object] = action.choices or ()
    return " ".join(map(str, choices))


def _help(parser: argparse.ArgumentParser, option: argparse.Action) -> str:
    """The help of an option, with its default filled in."""
    values = {**vars(option), "prog": parser.prog}
    return _escaped((option.help or "") % values)


def _escaped(text: object) -> str:
    """Text inside a specification of zsh's, where brackets and colons have a meaning."""
    return "".join(f"\\{c}" if c in "\\[]:" else c for c in str(text or ""))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
