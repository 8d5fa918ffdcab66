"""Our layers beside their peers from PyPI: ``python -m benchmarks``, from the root of a checkout."""
