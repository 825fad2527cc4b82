"""Print deeprig's own facts as JSON: what /etc/ansible/facts.d/deeprig.fact runs."""

from __future__ import annotations

import json
import sys

from provision.remote import dpkg
from provision.remote.facts.rig import rig
from provision.remote.facts.tree import Tree
from provision.remote.host import ModuleHost

if __name__ == "__main__":
    json.dump(rig(Tree(), dpkg.database(ModuleHost())), sys.stdout, indent=1)
    print()
