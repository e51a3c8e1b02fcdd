from .channels import Channel as Channel, channel_levels as channel_levels, channel_of as channel_of
from .faults import Unusable as Unusable
from .length import Length as Length
from .opening import measure as measure, opened as opened
from .reading import read as read
