from .asked import Asked as Asked, check_monitor as check_monitor
from .corpus import CorpusValidation as CorpusValidation
from .located import Located as Located
