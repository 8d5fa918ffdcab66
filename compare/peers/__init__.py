"""Adapters to peers that have other verbs than a channel layer."""
