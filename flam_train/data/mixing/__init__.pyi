from .bank import Bank as Bank
from .draw import MixSpec as MixSpec, Piece as Piece
from .item_cache import ItemCache as ItemCache
from .levels import level_of as level_of, sounding_extent as sounding_extent
from .recipe import MixRecipe as MixRecipe
from .source import (
    MixtureSource as MixtureSource,
    pieces as pieces,
    record as record,
    render_one as render_one,
    silence as silence,
)
