"""`python -m everychip` is `everychip`."""

from everychip.cli import main

if __name__ == "__main__":  # worker processes import this file, too
    main()
