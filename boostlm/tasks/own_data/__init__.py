"""Questions and answers from a file of the user's own."""
