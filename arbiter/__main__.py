"""`python -m arbiter` is the `arbiter` command."""

from arbiter.cli.main import main

if __name__ == "__main__":
    main()
