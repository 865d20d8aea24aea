"""`python -m swarmproof`: the same as the command `swarmproof`."""

from swarmproof.cli import main

if __name__ == "__main__":
    main()
