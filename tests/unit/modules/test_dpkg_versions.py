"""The order of versions matches dpkg, also for odd versions."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provision.remote import dpkg

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("dpkg"), reason="no dpkg on this machine"),
]
#: Prints lt, eq or gt for each line "VERSION VERSION": one shell for many pairs.
COMPARE = """
while read -r one other; do
    for relation in lt eq gt; do
        dpkg --compare-versions "$one" "$relation" "$other" && echo "$relation"
    done
done
"""
SIGNS = {"lt": -1, "eq": 0, "gt": 1}
#: Few characters, so that many pairs begin alike and differ late.
PART = st.text("019ab.+~", max_size=6)
UPSTREAM = st.builds("{}{}".format, st.sampled_from("019"), PART)
REVISION = st.one_of(
    st.just(""), st.builds("-{}".format, st.text("01ab.+~", min_size=1, max_size=4))
)
EPOCH = st.sampled_from(["", "0:", "1:", "2:"])
VERSION = st.builds("{}{}{}".format, EPOCH, UPSTREAM, REVISION)
#: Also pairs that differ in their ends only.
PAIR = st.one_of(
    st.tuples(VERSION, VERSION),
    st.builds(lambda version, end: (version, version + end), VERSION, PART),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(PAIR, min_size=1, max_size=40))
def test_version_order_matches_dpkg(pairs: list[tuple[str, str]]) -> None:
    done = subprocess.run(
        ["sh", "-c", COMPARE],
        input="".join(f"{version} {other}\n" for version, other in pairs),
        capture_output=True,
        text=True,
        check=False,
    )
    expected = [SIGNS[word] for word in done.stdout.split()]
    assert len(expected) == len(pairs), done.stderr
    results = [dpkg.compare(version, other) for version, other in pairs]
    assert [(sign > 0) - (sign < 0) for sign in results] == expected
