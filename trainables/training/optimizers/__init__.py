"""The torch classes of optimizers that no library has in a form which resumes exactly, and how a trainer gets them."""
