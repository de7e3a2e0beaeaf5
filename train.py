"""Train a model: python train.py -c configs/digits/main.yaml"""

import sys

from edm2lite.cli import TRAIN, main

if __name__ == "__main__":
    sys.exit(main(TRAIN, "train.py"))
