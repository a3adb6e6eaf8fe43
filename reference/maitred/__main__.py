"""`python -m maitred`: the `maitred` command, for those who name their interpreter."""

import sys

from maitred.cli import main

if __name__ == "__main__":
    sys.exit(main())
