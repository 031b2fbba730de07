"""What hostile text inside a document does to labels and fields, measured: a corpus of injections, and its effect.

`python -m bench.injections` puts every injection of `corpus.jsonl` into short texts whose right answer is known, runs
them through the same `SkillRunner` as a client's call, and compares the answers with those to the clean texts.
"""
