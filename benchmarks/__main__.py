"""``python -m benchmarks``.

Every round's process imports this file again (multiprocessing's spawn does), so it imports nothing unless it is the
command itself.
"""

if __name__ == "__main__":
    import sys

    from benchmarks.command import main

    sys.exit(main())
