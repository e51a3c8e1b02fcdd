from .model import OpenFLAM as OpenFLAM, load as load
