from .export import load_export as load_export, save_export as save_export
from .initial import initialise as initialise
from .openflam import from_openflam as from_openflam, read_state as read_state, to_openflam as to_openflam
