"""Train, fine-tune and evaluate FLAM: frame-wise language-audio models that find any phrase in any recording."""

__version__ = "0.1.0"
