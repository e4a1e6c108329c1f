"""From rows to tokens, tables of tokens that are kept between runs, and batches."""
