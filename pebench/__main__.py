"""The command line by `python -m pebench`, where the folder of the command `pebench` is on no PATH."""

from pebench.suite.cli import main

main()
