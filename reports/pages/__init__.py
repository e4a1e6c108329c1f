"""The report's pages and tables: ``index.html``, ``samples.html``, ``summary.md``."""
