from .calibrating import calibrate as calibrate
from .calibration import CALIBRATION as CALIBRATION, Calibration as Calibration
from .clips import (
    Chosen as Chosen,
    check_clips as check_clips,
    choose as choose,
    cut as cut,
    write_clips as write_clips,
)
from .clock import (
    Clock as Clock, Hour as Hour, clock_of as clock_of, events_by_hour as events_by_hour, given_clock as given_clock,
    time_of_day as time_of_day, time_text as time_text, zone_of as zone_of,
)  # fmt: skip
from .detections import Detections as Detections
from .embedding import Windows as Windows, embed as embed
from .drafts import writing as writing
from .events import Detection as Detection, Rules as Rules, events_of as events_of
from .kept import Keeping as Keeping, Kept as Kept, kept_frames as kept_frames, read_kept as read_kept
from .labelled import Data as Data, Labelled as Labelled, read_labelled as read_labelled
from .live import events_as_they_end as events_as_they_end
from .phrases import cut_phrases as cut_phrases, phrases_of as phrases_of
from .recordings import Recording as Recording, part_of as part_of, recordings_of as recordings_of
from .results import EACH as EACH, Outcome as Outcome, Results as Results
from .scoring import Frames as Frames, Listening as Listening, Scores as Scores, Time as Time, score as score
from .tables import FORMATS as FORMATS, Recorded as Recorded
from .summary import Outcomes as Outcomes, join as join
from .wanted import Analysis as Analysis, Clocks as Clocks
from .job import Job as Job, work as work
