"""Start of `./dev`: `python -m deploy.devtool COMMAND …` in the checkout's root."""

import sys

from deploy.devtool.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
