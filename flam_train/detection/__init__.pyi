from .detections import Detections as Detections
from .embedding import Windows as Windows, embed as embed
from .events import Detection as Detection, Rules as Rules, events_of as events_of
from .live import events_as_they_end as events_as_they_end
from .scoring import Listening as Listening, Scores as Scores, Time as Time, score as score
from .tables import FORMATS as FORMATS, Recorded as Recorded
