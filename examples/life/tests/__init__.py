"""Unit tests: `python3 -m unittest discover -s tests -t .` in `examples/life`."""
