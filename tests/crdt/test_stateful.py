"""The set against the textbook; see machine.py."""

from __future__ import annotations

from tests.crdt.machine import ClippedAgainstJournal, MembersAgainstTextbook

TestMembersAgainstTextbook = MembersAgainstTextbook.TestCase
TestClippedAgainstJournal = ClippedAgainstJournal.TestCase
