"""``python -m soak``. Every worker imports this file again, so it does nothing unless it is the command itself."""

if __name__ == "__main__":
    import sys

    from soak.command import main

    sys.exit(main())
