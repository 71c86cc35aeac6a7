"""Words for networks: tokenizers, chat templates and their masks, texts and windows of them."""
