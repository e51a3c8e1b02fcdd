"""Results as people read them: tables beside published numbers, a page, figures, and whether they reach what is asked.

In: results, and what was kept of a set. Out: Markdown, LaTeX, CSV, HTML and pictures. Read `table.py` first; the
published numbers are in eval/paper_table.yaml.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
