"""`python benchmarks/evidence EXPERIMENT DATA`: see benchmarks/README.md."""

import sys
from pathlib import Path

# scripts beside the package, not part of it
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence.cli import main

if __name__ == "__main__":
    sys.exit(main())
