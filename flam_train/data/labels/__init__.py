"""Label files of any of the formats people have: one file of code a format, `recognise` to tell them apart.

A parser is a pure function (bytes, file name for messages, Wanted) -> Labels; it raises ValueError that names file, row
and fix, and nothing else.
"""
