"""A population by seed: who pays whom, on ordinary days and by fraud. For training, evaluation and rehearsal alone.

Everything is drawn from the seed; nothing is taken from any person. docs/risk_evaluation.md says how it is shaped.
"""
