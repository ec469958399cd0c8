"""The same questions asked of us and of what people would use instead: see `__main__.py`."""
