"""Starts a worker."""

import sys

from service.workers.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
