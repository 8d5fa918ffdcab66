"""Every layer of the package beside those from PyPI: what each does in the situations that users complain about."""
