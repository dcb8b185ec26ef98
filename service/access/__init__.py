"""Access control: API keys, tokens of an identity provider, scopes, rates. Knows no HTTP."""
