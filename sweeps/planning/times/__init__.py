"""How long a sweep will take, by what trials like its own took on this machine."""
