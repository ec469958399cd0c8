"""Bytes and frames that nobody honest would send: `python -m tests.fuzz --help`."""
