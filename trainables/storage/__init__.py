"""Files that survive crashes, and the same at URLs; caches, locks, and outages of the storage."""
