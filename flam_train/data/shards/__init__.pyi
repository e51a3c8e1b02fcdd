from .audio import read_recording as read_recording
from .cache import ShardCache as ShardCache
from .corpus import Corpus as Corpus
from .exclusion import read_excluded as read_excluded, write_excluded as write_excluded
from .schema import Event as Event, Record as Record, Tag as Tag
from .tars import ShardEntry as ShardEntry
from .writing import index_folder as index_folder, write_manifest as write_manifest, write_shard as write_shard
