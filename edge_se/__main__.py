"""`python -m edge_se` is the command line, too."""

import sys

from edge_se.cli import main

if __name__ == "__main__":
    sys.exit(main())
