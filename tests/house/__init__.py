"""What holds for the whole tree: its public surface, its documents, its manners."""
