"""completion: what completes the command in a shell, generated from its parser.

Experiments are completed by the shell itself, from the names in the results folder: no Python is started for a key. Words that
are known when it is generated (commands, options, pictures, schedulers, searchers, forms) stand in it. Only the trials of an
experiment are asked for, where a command takes them.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from typing import Any

EXAMPLES = """\
  source <(fasttune completion bash)                    in ~/.bashrc
  source <(fasttune completion zsh)                     in ~/.zshrc, behind compinit"""

SHELLS = ("bash", "zsh")
ALIVE = "status in PENDING,RUNNING,PAUSED"  # trials that can be stopped
MOST_TRIALS = 1000  # that are offered

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

_fasttune_trials() {
    local ids
    ids=$("${COMP_WORDS[0]}" ls "$1" --columns trial_id --filter @ALIVE@ --limit @MOST@ --csv 2>/dev/null | tail -n +2)
    COMPREPLY=($(compgen -W "$ids" -- "$2"))
}

_fasttune() {
    local current=${COMP_WORDS[COMP_CWORD]} before="" called="" options="" values="" word i
    local takes="" given="" n=0 skip="" kind="" more="" kinds=()
    [ "$COMP_CWORD" -gt 0 ] && before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in -*) ;; *) called=$word; break ;; esac
    done
    local first=$((i + 1))
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
    for ((i = first; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [ -n "$skip" ]; then skip=""; continue; fi
        case $word in
            -*) case " $takes " in *" $word "*) skip=1 ;; esac ;;
            *) n=$((n + 1)); [ "$n" = 1 ] && given=$word ;;
        esac
    done
    [ "${#kinds[@]}" -gt 0 ] || return 0
    [ -n "$more" ] && [ "$n" -ge "${#kinds[@]}" ] && n=$((${#kinds[@]} - 1))
    [ "$n" -lt "${#kinds[@]}" ] && kind=${kinds[n]}
    case $kind in
        experiment) _fasttune_experiments "$current" ;;
        trials) _fasttune_trials "$given" "$current" ;;
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
        takes = [text for action in parser._actions if action.nargs not in (0, "?") for text in action.option_strings]
        kinds = " ".join(shlex.quote(kind) for kind in kinds_of(one.module, parser))
        commands.append(
            f"        {'|'.join(names)}) options={shlex.quote(' '.join(options))} takes={shlex.quote(' '.join(takes))} "
            f"kinds=({kinds}){' more=1' if has_more(parser) else ''} ;;"
        )
        for action in parser._actions:
            if not action.option_strings or action.nargs == 0:
                continue
            patterns = "|".join(f'"{name} {text}"' for name in names for text in action.option_strings)
            words = words_of(one.module, action)
            if words:
                values.append(f"        {patterns}) values={shlex.quote(' '.join(words))} ;;")
            elif action.nargs != "?":
                values.append(f"        {patterns}) return ;;")  # a value of one's own, or a file
    top = " ".join([*(one.names.split()[0] for one in COMMANDS), "--help", "--version"])
    filled = FUNCTION.replace("@COMMANDS@", "\n".join(commands)).replace("@VALUES@", "\n".join(values))
    filled = filled.replace("@ALIVE@", shlex.quote(ALIVE)).replace("@MOST@", str(MOST_TRIALS))
    return filled.replace("@NAMES@", shlex.quote(top))


def kinds_of(command: str, parser: argparse.ArgumentParser) -> list[str]:
    """What its positional arguments are, one after the other: experiments, trials, one of some words, or ("") files."""
    kinds = {"EXP": "experiment", "TRIAL": "trials"}
    positional = [action for action in parser._actions if not action.option_strings]
    return [kinds.get(str(action.metavar)) or " ".join(words_of(command, action)) for action in positional]


def has_more(parser: argparse.ArgumentParser) -> bool:
    """Whether the last of them may be many."""
    return any(not action.option_strings and action.nargs in ("*", "+") for action in parser._actions)


def words_of(command: str, action: argparse.Action) -> list[str]:
    """The values of an argument that are known; [] where it takes any."""
    if action.choices is not None:
        return [str(one) for one in action.choices]
    known = KNOWN.get((command, action.dest))
    return [] if known is None else known()


def pictures() -> list[str]:
    """What ``fasttune plot`` draws."""
    from fasttune.plot import PICTURES

    return list(PICTURES)


def schedulers() -> list[str]:
    """What ``--scheduler`` takes."""
    from fasttune.schedulers import scheduler_names

    return scheduler_names()


def searchers() -> list[str]:
    """What ``--search`` takes."""
    from fasttune.search import searcher_names

    return searcher_names()


def executors() -> list[str]:
    """What ``--executor`` takes."""
    from fasttune.executors import executor_names

    return executor_names()


def loggers() -> list[str]:
    """What ``fasttune log --to`` takes, but for loggers of one's own."""
    from fasttune.logger import BEHIND

    return [kind.key for kind in BEHIND]


KNOWN: dict[tuple[str, str], Callable[[], list[str]]] = {  # command and argument -> the words that it may be
    ("log", "to"): loggers,
    ("plot", "name"): pictures,
    ("run", "executor"): executors,
    ("run", "scheduler"): schedulers,
    ("run", "search"): searchers,
}


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands by name."""
    found: Any = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)
