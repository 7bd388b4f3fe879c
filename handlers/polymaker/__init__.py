"""The PolyMaker Command Center: runs, trades, metrics and markets, reported as its own client does."""
