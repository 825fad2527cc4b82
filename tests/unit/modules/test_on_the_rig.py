"""Code that runs on the rig needs only an old Python and its standard library."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from provision.remote.options import Option
from provision.ssh import worker_bundle

ROOT = Path(__file__).parents[3]
SHARED = [ROOT / f"agent/readings/{name}.py" for name in ("pcie", "command_line")]
FILES = [*sorted((ROOT / "provision/remote").rglob("*.py")), *SHARED]
MODULES = sorted(path.stem for path in (ROOT / "provision/remote/modules").glob("[a-z]*.py"))
OURS = ("provision.remote", "agent.readings")
# Facts have their own tests, a reboot is the lab's, and systemd is systemd_service.
TESTED_ELSEWHERE = ("reboot", "setup", "systemd")
KINDS = ("str", "path", "int", "float", "bool", "list", "dict", "mode", "raw")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rig_code_runs_with_python_3_8_and_its_standard_library(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not sent along"
            names = [str(node.module)]
        for name in names:
            is_sent = name.startswith(OURS) or name.split(".")[0] == "packaging"
            assert is_sent or name.split(".")[0] in sys.stdlib_module_names, name
    if path.name != "__init__.py":
        assert "from __future__ import annotations" in text
    assert len(text.splitlines()) <= 400


def test_bundled_library_runs_with_python_3_8() -> None:
    sources, _, _ = worker_bundle._contents()
    library = [text for name, text in sources.items() if name.startswith("packaging.")]
    assert len(library) > 5
    for text in library:
        ast.parse(text, feature_version=(3, 8))


@pytest.mark.parametrize("name", MODULES)
def test_module_defines_options_and_run(name: str) -> None:
    module = importlib.import_module(f"provision.remote.modules.{name}")
    assert callable(module.run)
    assert module.__doc__
    seen: set[str] = set()
    for option_name, option in module.OPTIONS.items():
        assert isinstance(option, Option)
        assert option.kind in KINDS
        words = {option_name, *option.aliases}
        assert not words & seen, f"{words & seen} twice"
        seen |= words


@pytest.mark.parametrize("name", [name for name in MODULES if name not in TESTED_ELSEWHERE])
def test_a_module_has_cases(name: str) -> None:
    folder = ROOT / "tests/unit/modules" / name
    assert list(folder.glob("*.yml")), f"no case for {name}"


def test_options_match_the_documentation_of_ansible(ansible_modules: Path | None) -> None:
    """Every option's name and aliases are in Ansible's documentation of the module."""
    if ansible_modules is None:
        pytest.skip("ansible-core is not installed")
    import yaml

    fragments = {
        "mode",
        "owner",
        "group",
        "backup",
        "validate",
        "checksum_algorithm",
        "get_checksum",
    }
    for name in MODULES:
        text = (ansible_modules / f"{name}.py").read_text()
        tree = ast.parse(text)
        documentation = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "DOCUMENTATION"
        )
        options = yaml.safe_load(documentation)["options"]
        aliases = {alias for option in options.values() for alias in option.get("aliases", [])}
        module = importlib.import_module(f"provision.remote.modules.{name}")
        internal = {*getattr(module, "INTERNAL", ()), *FREE_FORM}
        unknown = set(module.OPTIONS) - set(options) - aliases - fragments - internal
        assert not unknown, f"{name}: Ansible has no {unknown}"


# The command line itself; and what Ansible's shell takes without saying so.
FREE_FORM = {"_raw_params", "strip_empty_ends"}


@pytest.fixture
def ansible_modules() -> Path | None:
    spec = importlib.util.find_spec("ansible")
    return Path(str(spec.origin)).parent / "modules" if spec else None
