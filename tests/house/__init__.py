"""The house rules of DESIGN, each checked."""
