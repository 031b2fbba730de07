"""Evaluation: samples answered through the same `SkillRunner` as a client's call, scored with intervals."""
