"""Chaos: real processes, faults by a seeded schedule, and checkers that judge what was seen."""
