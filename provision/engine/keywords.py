"""The keywords of plays and tasks: their types, and advice on those that deeprig does not have.

A keyword of Ansible's that is not in these tables is an error with its line: ignoring one would
make a playbook mean something else here than there.
"""

from __future__ import annotations

from typing import NamedTuple

from provision.errors import SourceError
from provision.inventory.yaml_source import YamlMapping, YamlSequence, is_template
from provision.remote.options import suggestion


class Keyword(NamedTuple):
    """What a keyword's value may be: bool, text, int, mapping, list, text-or-list, condition."""

    kind: str


_COMMON = {
    "name": Keyword("text"),
    "become": Keyword("bool"),
    "become_user": Keyword("text"),
    "check_mode": Keyword("bool"),
    "diff": Keyword("bool"),
    "environment": Keyword("mapping-or-list"),
    "ignore_errors": Keyword("bool"),
    "no_log": Keyword("bool"),
    "tags": Keyword("text-or-list"),
    "vars": Keyword("mapping"),
}

PLAY = {
    **_COMMON,
    "hosts": Keyword("text-or-list"),
    "gather_facts": Keyword("bool"),
    "handlers": Keyword("list"),
    "pre_tasks": Keyword("list"),
    "tasks": Keyword("list"),
    "post_tasks": Keyword("list"),
    "vars_files": Keyword("text-or-list"),
}

TASK = {
    **_COMMON,
    "args": Keyword("mapping"),
    "changed_when": Keyword("condition"),
    "failed_when": Keyword("condition"),
    "listen": Keyword("text-or-list"),
    "loop": Keyword("any"),
    "loop_control": Keyword("mapping"),
    "notify": Keyword("text-or-list"),
    "register": Keyword("text"),
    "when": Keyword("condition"),
}

BLOCK = {**_COMMON, "when": TASK["when"]}
IMPORTED_TASKS = {**BLOCK, "args": TASK["args"]}
IMPORTED_PLAYS = {name: BLOCK[name] for name in ("name", "tags", "vars", "when")}

# Ansible's keywords that deeprig does not have, with advice on what to do instead.
NOT_HERE = {
    "any_errors_fatal": "hosts are independent of each other here",
    "async": "a task may take as long as it needs: its progress is shown",
    "become_method": "deeprig uses sudo",
    "connection": "deeprig uses SSH",
    "delegate_to": "make it a play of that host",
    "rescue": "let the task fail with a clear message, or use failed_when",
    "always": "put the tasks after the block",
    "gather_subset": "all facts are gathered, in one go",
    "include": "use import_tasks",
    "poll": "a task may take as long as it needs",
    "roles": "import playbooks (import_playbook) or task files (import_tasks)",
    "run_once": "hosts are independent of each other here",
    "serial": "hosts are independent of each other here",
    "strategy": "hosts are independent of each other here",
    "until": "use the module's own timeout or retries",
    "vars_prompt": "use -e name=value",
    "with_dict": "use loop with '| dict2items'",
    "with_fileglob": "use loop with a list",
    "with_items": "use loop",
    "with_list": "use loop",
}

# What decides what is played, before there is a host whose variables could be put in.
CONSTANT = frozenset(("tags", "listen", "register", "hosts", "vars_files"))

_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "text": (str,),
    "mapping": (YamlMapping,),
    "list": (YamlSequence,),
    "text-or-list": (str, YamlSequence),
    "mapping-or-list": (YamlMapping, YamlSequence),
    "condition": (str, bool, YamlSequence),
}


def check_keywords(
    entry: YamlMapping,
    table: dict[str, Keyword],
    what: str,
    extra: frozenset[str] = frozenset(),
    only_near_misses: bool = False,
) -> None:
    """Raise SourceError for a keyword that `table` does not have, or of the wrong type."""
    task = str(entry.get("name", ""))
    for key, value in entry.items():
        if key in extra:
            continue
        if key in NOT_HERE:
            raise SourceError(
                f"the keyword '{key}' is Ansible's, but not deeprig's",
                entry.at(key),
                f"Instead: {NOT_HERE[key]}. Or play this file with ansible-playbook.",
                task,
            )
        if key not in table:
            hint = suggestion(str(key), table)
            if key in TASK:
                hint = "; write it at each of the tasks"
            if hint or not only_near_misses:
                raise SourceError(f"{what} has no keyword '{key}'{hint}", entry.at(key), task=task)
            continue
        kind = table[key].kind
        if kind != "any" and value is not None and not isinstance(value, _TYPES[kind]):
            if key == "name" and isinstance(value, (int, float)):
                continue
            advice = "A template is not possible here." if is_template(value) else ""
            raise SourceError(
                f"'{key}' must be {_type_in_words(kind)}", entry.at(key), advice, task
            )
        for word in value if isinstance(value, YamlSequence) else [value]:
            if key in CONSTANT and (is_template(word) or isinstance(word, (dict, list))):
                raise SourceError(
                    f"'{key}' takes plain words, no templates", entry.at(key), task=task
                )


def _type_in_words(kind: str) -> str:
    words = {
        "bool": "true or false",
        "text-or-list": "text or a list",
        "mapping-or-list": "a mapping or a list",
        "condition": "a condition or a list of conditions",
    }
    return words.get(kind, f"a {kind}" if kind != "text" else "text")
