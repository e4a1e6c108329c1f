"""The report of a sweep: what each method costs in memory, what quality it gives, and how sure that is.

Reads run folders through ``trainables.results`` and nothing else of the project; needs neither torch nor Ray.
``analysis`` compares, ``plots`` draws, ``pages`` words and lays out, ``write`` writes the files.
"""
