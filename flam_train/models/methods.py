"""By what an embedding of a frame and of a phrase become a score: `flam.frame_score` says what each computes."""

METHODS = ("unbiased", "approximate", "biased", "cosine")
