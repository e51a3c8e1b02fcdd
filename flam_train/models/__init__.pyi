from .flam import FLAM as FLAM, FLAMConfig as FLAMConfig
from .frontend import Frontend as Frontend, FrontendConfig as FrontendConfig
from .htsat import HTSAT as HTSAT, HTSATConfig as HTSATConfig
from .text import TextConfig as TextConfig, Tokenizer as Tokenizer
