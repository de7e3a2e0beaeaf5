"""Sample images: python sample.py --main.path runs/digits/main --seeds 0-63 --outdir out"""

import sys

from edm2lite.cli import SAMPLE, main

if __name__ == "__main__":
    sys.exit(main(SAMPLE, "sample.py"))
