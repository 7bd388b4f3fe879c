"""Settings: the model, the file, the layers over it."""
