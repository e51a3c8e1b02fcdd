"""What a trained model finds in a set: protocols, their numbers, the table.

In: an export and shards. Out: a `Result` a protocol, as JSON, and tables and figures of them. Four floors: what hears
(`embeddings.py`, `frame_embeddings.py`: one pass over the audio, kept), what measures (`scores.py`, `sed.py`,
`retrieval.py`, `zero_shot.py`; how sure: `drawn.py`, `resampled.py`, `compared.py`, and over
seeds `seeds.py`), report/, and above them
`protocol.py` (the files of conf/eval) and `card.py` (what is told of a model). Read `result.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
