"""Our layers beside their peers from PyPI: ``python -m benchmarks``, from the root of a checkout.

The workload between two processes (``xproc``) comes with the first layer that processes can share.
"""
