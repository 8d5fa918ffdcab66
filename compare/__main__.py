"""``python -m compare``.

Every scenario's process imports this file again (multiprocessing's spawn does), so it imports nothing unless it is the
command itself.
"""

if __name__ == "__main__":
    import sys

    from compare.command import main

    sys.exit(main())
