"""`python -m wegent.runner MODULE:FUNCTION`: speaks the runner protocol (§7.2) for an agent written in Python."""

import sys

from wegent.runner.main import run_reference

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m wegent.runner MODULE:FUNCTION")
    run_reference(sys.argv[1])
