"""The set, and everything that must be true of it."""
