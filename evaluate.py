"""Measure: python evaluate.py {ref,metrics,table,report} --help"""

import sys

from edm2lite.cli import EVALUATE, main

if __name__ == "__main__":
    sys.exit(main(EVALUATE, "evaluate.py"))
