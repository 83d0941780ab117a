"""Front ends of a site that had another kind of front end before."""

import re

testinfra_hosts = ["ansible://front_ends"]
LISTENS = {
    "proxy": {"dovecot"},
    "director": {"dovecot"},
    "haproxy": {"haproxy"},
    "perdition": {"perdition"},
    "lvs": set(),
}
PROGRAM = re.compile(r'\(\("([^"]+)"')
UNITS = {
    "director": "director-check.service",
    "haproxy": "haproxy.service",
    "lvs": "ldirectord.service",
    "perdition": "perdition@imaps.service perdition@pop3s.service perdition-map.socket",
}


def front_end(host):
    return host.ansible.get_variables()["mail_front_end"]


def test_clients_are_let_in_by_what_the_inventory_says_and_nothing_else(host):
    wanted = LISTENS[front_end(host)]
    for port in (993, 995, 4190):
        shown = host.check_output(f"ss --listening --tcp --numeric --processes --no-header 'sport = :{port}'")
        found = set(PROGRAM.findall(shown))
        # ss may not name perdition: it has given up root's rights, and test hosts' root may not look into it.
        assert found == wanted or (front_end(host) == "perdition" and not found), shown
        assert bool(shown) == (front_end(host) != "lvs"), f"port {port}: {shown}"


def test_what_another_front_end_needs_does_not_run(host):
    for name, units in UNITS.items():
        active = host.run(f"systemctl is-active {units}").stdout.split()
        enabled = host.run(f"systemctl is-enabled {units}").stdout.split()
        if name == front_end(host):
            assert set(active) == {"active"}, units
            assert "disabled" not in enabled, units
        else:
            assert "active" not in active, units
            assert "enabled" not in enabled, units
