"""``python -m ecomp_deap`` is the command ``ecomp-deap``."""

import sys

from ecomp_deap.cli import main

if __name__ == "__main__":
    sys.exit(main())
