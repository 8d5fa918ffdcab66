"""Settings of the documentation: ``sphinx-build -W -n -b html docs docs/_build/html``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whatever is installed

import channel_layers

project = "channel_layers"
author = "The channel_layers authors"
copyright = author
version = release = channel_layers.__version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build", "tables"]  # the tables are included elsewhere
highlight_language = "python"
toc_object_entries_show_parents = "hide"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    # Types of the standard library in signatures: the build needs no network to look them up.
    ("py:class", r"(_?asyncio|collections(\.abc)?|re|types)\..*"),
]

html_theme = "furo"
html_title = f"channel_layers {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_theme_options = {"navigation_with_keys": True}
html_show_copyright = False
html_copy_source = False
