"""Files that survive crashes, on disks and at URLs; cached folders, locks, and outages of the storage."""
