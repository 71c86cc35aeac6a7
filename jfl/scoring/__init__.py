"""How likely a language network finds texts: continuations, choices, whole texts."""
