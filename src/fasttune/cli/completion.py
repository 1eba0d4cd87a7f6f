"""completion: what completes the command in a shell, generated from its parser.

Experiments are completed by the shell itself, from the names in the results folder: no Python is started for a key.
"""

from __future__ import annotations

import argparse
import shlex
from typing import Any

EXAMPLES = """\
  source <(fasttune completion bash)                    in ~/.bashrc
  source <(fasttune completion zsh)                     in ~/.zshrc, behind compinit"""

SHELLS = ("bash", "zsh")

FUNCTION = """\
_fasttune_experiments() {
    local place name
    for place in "${FASTTUNE_RESULTS_DIR:-$HOME/fasttune_results}"/*/experiment.db; do
        [ -e "$place" ] || continue
        place=${place%/experiment.db}
        name=${place##*/}
        case $name in "$1"*) COMPREPLY+=("$(printf '%q' "$name")") ;; esac
    done
    case latest in "$1"*) COMPREPLY+=(latest) ;; esac
}

_fasttune() {
    local current=${COMP_WORDS[COMP_CWORD]} before="" called="" options="" kind="" values="" word i
    [ "$COMP_CWORD" -gt 0 ] && before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in -*) ;; *) called=$word; break ;; esac
    done
    case $called in
@COMMANDS@
        *) COMPREPLY=($(compgen -W @NAMES@ -- "$current")); return ;;
    esac
    case "$called $before" in
@VALUES@
    esac
    if [ -n "$values" ]; then
        COMPREPLY=($(compgen -W "$values" -- "$current"))
        return
    fi
    case $current in -*) COMPREPLY=($(compgen -W "$options" -- "$current")); return ;; esac
    case $kind in
        experiment) _fasttune_experiments "$current" ;;
        ?*) COMPREPLY=($(compgen -W "$kind" -- "$current")) ;;
    esac
}

complete -o default -F _fasttune fasttune
"""

ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
autoload -Uz bashcompinit && bashcompinit
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("shell", choices=SHELLS)


def run(asked: argparse.Namespace) -> int:
    """Print it."""
    print((ZSH if asked.shell == "zsh" else "") + function(), end="")
    return 0


def function() -> str:
    """The shell function that completes."""
    from fasttune.cli import COMMANDS, parser_of

    parsers = commands_of(parser_of(None))
    commands, values = [], []
    for one in COMMANDS:
        names = one.names.split()
        parser = parsers[names[0]]
        options = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
        commands.append(f"        {'|'.join(names)}) options={shlex.quote(' '.join(options))} kind={kind_of(parser)} ;;")
        for action in parser._actions:
            if not action.option_strings or action.nargs == 0:
                continue
            patterns = "|".join(f'"{name} {text}"' for name in names for text in action.option_strings)
            if action.choices is not None:
                values.append(f"        {patterns}) values={shlex.quote(' '.join(map(str, action.choices)))} ;;")
            elif action.nargs != "?":
                values.append(f"        {patterns}) return ;;")  # a value of one's own, or a file
    top = " ".join([*(one.names.split()[0] for one in COMMANDS), "--help", "--version"])
    filled = FUNCTION.replace("@COMMANDS@", "\n".join(commands)).replace("@VALUES@", "\n".join(values))
    return filled.replace("@NAMES@", shlex.quote(top))


def kind_of(parser: argparse.ArgumentParser) -> str:
    """What its positional arguments are: experiments, one of some words, or ("") files."""
    for action in parser._actions:
        if action.option_strings:
            continue
        if action.metavar == "EXP":
            return "experiment"
        return shlex.quote(" ".join(map(str, action.choices))) if action.choices else "''"
    return "''"


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    found: Any = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)
