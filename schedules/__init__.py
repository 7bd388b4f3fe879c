"""Jobs on an interval; none yet."""
