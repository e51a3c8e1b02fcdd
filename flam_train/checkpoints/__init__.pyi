from .export import (
    load_export as load_export,
    read_config as read_config,
    read_provenance as read_provenance,
    save_export as save_export,
)
from .foreign import recognise as recognise
from .hf_clap import save_hf_clap as save_hf_clap
from .initial import initialise as initialise
from .onnx import save_onnx as save_onnx
from .openflam import from_openflam as from_openflam, to_openflam as to_openflam
from .reading import read_state as read_state
