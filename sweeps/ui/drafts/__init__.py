"""Drafts of specs: a text that is kept, edited by a form or by hand, checked and started."""
