"""What strangers send: seeded mutations of good input through every parser.

`FUZZ_N` sets how many inputs each parser gets (20,000 unless set; `make fuzz` takes 200,000), `FUZZ_SEED` the
first seed.
"""
