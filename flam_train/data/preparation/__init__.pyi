from .corpus_writer import CorpusPlan as CorpusPlan, write_corpus as write_corpus
from .listing import (
    KINDS as KINDS,
    MISSING as MISSING,
    Listing as Listing,
    Options as Options,
    part_folder as part_folder,
    prepare as prepare,
    read_missing as read_missing,
    too_many as too_many,
    write_missing as write_missing,
)
from .published import Archive as Archive
from .recordings import Recording as Recording, as_key as as_key
from .verification import Report as Report, check_corpus as check_corpus
