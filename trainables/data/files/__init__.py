"""Files of rows: where they lie, how they are packed, and what each row of them holds."""
