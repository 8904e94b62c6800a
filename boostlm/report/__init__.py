"""From metrics to a page, a picture and a table."""
