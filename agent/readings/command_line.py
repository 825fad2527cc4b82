"""The parameters of a kernel's command line, which may have a list after commas.

Runs on the rig under Python 3.8, too. Source: the kernel's admin-guide/kernel-parameters, `pci=`.
"""

from __future__ import annotations

from typing import Iterable


def list_parameters(words: Iterable[str]) -> list[str]:
    """Return each parameter of a command line, those of a list one by one.

    >>> list_parameters(["ro", "pci=nomsi,noaer"])
    ['ro', 'pci=nomsi', 'pci=noaer']
    """
    parameters = []
    for word in words:
        name, equals, options = word.partition("=")
        parameters += [f"{name}={option}" for option in options.split(",")] if equals else [word]
    return parameters
