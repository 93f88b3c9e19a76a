"""`python -m latentgate`: the command `latentgate`."""

import sys

from latentgate.cli import main

if __name__ == "__main__":
    sys.exit(main())
