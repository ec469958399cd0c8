"""The set that can be merged in any order. Pure: no clock, no dice, no I/O."""
