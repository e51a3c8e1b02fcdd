from . import classes as classes, corpus_figures as corpus_figures, figures as figures
from .formats import latex as latex, markdown as markdown, to_csv as to_csv
from .html import to_html as to_html
from .over_seeds import seed_csv as seed_csv, seed_figure as seed_figure, seed_tables as seed_tables
from .published import paper_tables as paper_tables
from .table import Table as Table, result_tables as result_tables
