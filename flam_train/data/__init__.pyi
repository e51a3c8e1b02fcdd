from .shards import (
    Corpus as Corpus,
    Event as Event,
    Record as Record,
    index_folder as index_folder,
    read_recording as read_recording,
    write_manifest as write_manifest,
    write_shard as write_shard,
)
