"""The commands, and what scripts share: arguments in, exit codes out (1 failed, 2 your mistake, 75 again, 130 stopped).

`train.py` is flam-train, `convert.py` flam-convert, `scripts.py` flam-eval; `prepare.py` and `evaluate.py` are what the
scripts of data_prep/ and eval/ have in common, `answers.py` is what they say when they fail. Nothing else in the
package parses arguments.
"""
