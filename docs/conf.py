"""How the documentation is built: `python -m sphinx -W -n docs build/docs` (extra `docs`)."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

from reve_middleware import __version__

project = "reve-middleware"
author = "the authors of reve-middleware"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click", "tables"]
exclude_patterns = ["build"]
nitpicky = True
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

default_role = "code"  # docstrings are written with single backticks
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False

html_theme = "furo"
html_title = f"reve-middleware {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
