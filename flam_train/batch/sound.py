"""What a sample of audio is, everywhere in the project."""

SAMPLE_RATE = 48_000
"""Hz. Shards, waveforms and the encoder all run at this rate; nothing resamples after preparation."""

INT16_SCALE = 32_768.0
"""int16 waveform / INT16_SCALE is the float waveform in [-1, 1)."""
