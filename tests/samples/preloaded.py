"""What the server that ranks and workers of the tests are forked from has imported: all that is slow to import."""

PRELOADED = ["flam_train.training.run", "flam_train.data.mixing.source", "flam_train.data.preparation.verification"]
