"""Ask a service of this host's own for a document, and print it. Runs from its text: python3 -c."""

from __future__ import annotations

import ssl
import sys
import urllib.request


def main(url: str) -> None:
    """Print the document at the URL, or exit with the reason of the failure."""
    trust = ssl._create_unverified_context()  # itself, on its own loopback  # nosec B323
    try:
        answer = urllib.request.urlopen(url, timeout=10, context=trust)  # ours  # nosec B310
        print(answer.read().decode())
    except OSError as error:
        sys.exit(str(getattr(error, "reason", error)))


if __name__ == "__main__":
    main(sys.argv[1])
