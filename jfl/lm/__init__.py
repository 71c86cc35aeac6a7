"""Networks of language from raw text on: tokenizer, data, training."""
