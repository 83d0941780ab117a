def test_nothing_was_touched(host):
    """A check that changes something is none."""
    assert not host.file("/etc/ssl/dovecluster").exists
    assert not host.file("/etc/dovecluster").exists
