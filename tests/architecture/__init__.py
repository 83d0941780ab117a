"""Tests that every architecture's scenario runs on its hosts, beside its own."""
