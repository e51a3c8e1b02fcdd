from .openflam import OpenFLAM as OpenFLAM, load as load

__version__: str
