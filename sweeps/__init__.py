"""Many trials: the spec, its plan, the search, Ray, run folders, and the commands of ``paretune``."""
