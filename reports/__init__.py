"""What came of a sweep: who compares well, at what cost, and how sure that is.

Reads run folders through ``trainables.results`` and nothing else of the project; needs neither torch nor ray.
"""
