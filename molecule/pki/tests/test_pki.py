FOLDER = "/etc/ssl/dovecluster"


def test_certificate_is_the_host_s_own(host):
    name = host.check_output("hostname")
    host.check_output(
        f"openssl verify -CAfile {FOLDER}/ca.pem -verify_hostname {name}.nodes.example.org {FOLDER}/host.pem"
    )
    host.check_output(f"openssl verify -CAfile {FOLDER}/ca.pem -verify_ip 192.0.2.1 {FOLDER}/host.pem")
    certified = host.check_output(f"openssl x509 -in {FOLDER}/host.pem -noout -pubkey")
    assert certified == host.check_output(f"openssl pkey -in {FOLDER}/host.key -pubout")


def test_another_name_is_refused(host):
    assert host.run(f"openssl verify -CAfile {FOLDER}/ca.pem -verify_hostname evil.org {FOLDER}/host.pem").rc != 0


def test_key_is_for_its_group_only(host):
    key = host.file(f"{FOLDER}/host.key")
    assert (key.user, key.group, key.mode) == ("root", "ssl-cert", 0o640)
