"""Ask a language model about every row of a file: once, with an answer of a fixed shape, within a budget."""
