from .corpus_writer import CorpusPlan as CorpusPlan, write_corpus as write_corpus
from .listing import (
    Listing as Listing,
    Options as Options,
    prepare as prepare,
    read_missing as read_missing,
    write_missing as write_missing,
)
from .published import Archive as Archive
from .recordings import Recording as Recording, Unusable as Unusable, as_key as as_key
from .verification import Report as Report, check_corpus as check_corpus
