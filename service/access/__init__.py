"""Access control, without HTTP: API keys, identity provider tokens, scopes, rates."""
