"""The lab: test hosts made of Debian packages, in podman containers, that can lose power and cables."""
