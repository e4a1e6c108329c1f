"""A result made ready for others: merged or not, checked against its trial, with card, license and upload."""
