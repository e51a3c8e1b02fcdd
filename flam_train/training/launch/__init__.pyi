from .meeting import Launch as Launch, launched as launched
from .node import Findings as Findings, find_on_node as find_on_node
