"""One figure a file: a group of the comparison goes in, a drawing comes out (``None``: nothing to draw)."""
