"""The engine: events and `now` in, effects out. The only place that decides. Pure."""
