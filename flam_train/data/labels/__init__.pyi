from .attached import Attached as Attached, Labelled as Labelled
from .judged import Judged as Judged, read_judged as read_judged
from .recognise import FORMATS as FORMATS, Recognised as Recognised
from .rows import Caption as Caption, Labels as Labels, Named as Named, Row as Row, Wanted as Wanted
