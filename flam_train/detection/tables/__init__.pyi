from .formats import FORMATS as FORMATS, Format as Format, write as write
from .recorded import VERSION as VERSION, Recorded as Recorded
from .rows import columns_of as columns_of, rows_of as rows_of
