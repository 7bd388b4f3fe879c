"""The daemon as a service of a real systemd, booted in namespaces."""
