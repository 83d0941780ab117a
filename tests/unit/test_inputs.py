import subprocess

import pytest

from tests.inputs import COMMON, OF_ARCHITECTURES, inputs, made_of, used

OWN = ["molecule/dsync", *COMMON, *OF_ARCHITECTURES]
FILES = {
    "molecule/dsync/converge.yml": "- import_playbook: ../../playbooks/site.yml\n",
    "molecule/dsync/molecule.yml": "env:\n  PROOFS: power_loss front_end\n",
    "tests/proofs/__main__.py": "from .proof import Proof\n",
    "tests/proofs/proof.py": "",
    "tests/proofs/power_loss.py": "",
    "tests/proofs/front_end.py": "from .lab import Lab\n",
    "tests/proofs/lab.py": "",
    "tests/proofs/another.py": "",
    "playbooks/bench.yml": "- role: base\n",
    "playbooks/site.yml": """
- name: Store mail
  hosts: all
  roles:
    - role: base
  tasks:
    - include_tasks: tasks/store_{{ mail_store }}.yml
- name: Let clients in
  hosts: front_ends:mta
  tasks:
    - name: By proxy
      include_role:
        name: proxy
      when: mail_front_end == 'proxy'
    - name: By balancer
      include_role:
        name: balancer
      when: mail_front_end == 'balancer'
- name: Serve webmail
  hosts: webmail
  roles:
    - role: webmail
""",
    "playbooks/group_vars/all.yml": "a: b\n",
    "playbooks/group_vars/mta/main.yml": "a: b\n",
    "playbooks/group_vars/webmail.yml": "a: b\n",
    "playbooks/tasks/store_dsync.yml": "- import_role:\n    name: replicas\n",
    "playbooks/tasks/store_drbd.yml": "- import_role:\n    name: drbd\n",
    "roles/base/tasks/main.yml": '- name: Make it so\n  cluster_thing:\n    a: "{{ b | cluster_names }}"\n',
    "filter_plugins/cluster.py": "class F:\n  def filters(self):\n    return {'cluster_names': 1, 'sizes': 2}\n",
    "filter_plugins/balance.py": "class F:\n  def filters(self):\n    return {'balanced': 1}\n",
    "roles/replicas/tasks/main.yml": "- ansible.builtin.ping:\n",
    "roles/drbd/tasks/main.yml": "- drbd_resource:\n",
    "roles/proxy/tasks/main.yml": "- ansible.builtin.ping:\n",
    "roles/balancer/tasks/main.yml": "- ansible.builtin.ping:\n",
    "roles/webmail/tasks/main.yml": "- ansible.builtin.ping:\n",
    "library/cluster_thing.py": "from ansible.module_utils.things import plan\n",
    "library/drbd_resource.py": "from ansible.module_utils.drbd import plan\n",
    "module_utils/things.py": "from ansible.module_utils import deep, deeper\n",
    "module_utils/drbd.py": "",
    "module_utils/deep.py": "",
    "module_utils/deeper.py": "",
}


def names(store):
    return used({name: text.encode() for name, text in FILES.items()}, OWN, store)


def test_an_architecture_is_made_of_what_it_names_and_of_its_own_store():
    unnamed = {"playbooks/bench.yml", "tests/proofs/another.py", "filter_plugins/balance.py"}
    assert names("dsync") == set(FILES) - unnamed - {name for name in FILES if "drbd" in name}
    assert names("drbd") == set(FILES) - unnamed - {
        name for name in FILES if "store_dsync" in name or "replicas" in name
    }


@pytest.fixture
def project(tmp_path):
    (tmp_path / "inventories/dsync/group_vars/all").mkdir(parents=True)
    (tmp_path / "inventories/dsync/group_vars/all/site.yml").write_text("mail_store: dsync\nmail_front_end: proxy\n")
    (tmp_path / "inventories/dsync/hosts.yml").write_text("all: {children: {pod: {children: {mta: {hosts: {}}}}}}\n")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("roles/base/tasks/main.yml", True),
        ("tests/proofs/__main__.py", True),
        ("tests/proofs/front_end.py", True),
        ("tests/proofs/lab.py", True),
        ("tests/proofs/another.py", False),
        ("module_utils/deeper.py", True),
        ("filter_plugins/cluster.py", True),
        ("filter_plugins/balance.py", False),
        ("playbooks/tasks/store_dsync.yml", True),
        ("inventories/dsync/group_vars/all/site.yml", True),
        ("playbooks/bench.yml", False),
        ("roles/drbd/tasks/main.yml", False),
        ("module_utils/drbd.py", False),
        ("playbooks/tasks/store_drbd.yml", False),
        ("roles/proxy/tasks/main.yml", True),
        ("roles/balancer/tasks/main.yml", False),
        ("roles/webmail/tasks/main.yml", False),
        ("playbooks/group_vars/all.yml", True),
        ("playbooks/group_vars/mta/main.yml", True),
        ("playbooks/group_vars/webmail.yml", False),
    ],
)
def test_a_change_counts_where_it_is_used(project, name, counts):
    before = inputs("dsync", "dsync", project)
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert (inputs("dsync", "dsync", project) != before) == counts


def test_a_proof_that_changes_the_front_end_brings_the_other_s_role(project):
    (project / "molecule/dsync/molecule.yml").write_text("env:\n  PROOFS: to_balancer power_loss\n")
    before = inputs("dsync", "dsync", project)
    (project / "roles/balancer/tasks/main.yml").write_text("")
    assert inputs("dsync", "dsync", project) != before


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("hosts: webmail", "gather_facts: false\n  hosts: webmail", False),
        ("name: balancer\n", "name: balancer\n        public: true\n", False),
        ("name: proxy\n", "name: proxy\n        public: true\n", True),
        ("hosts: front_ends:mta", "gather_facts: false\n  hosts: front_ends:mta", True),
    ],
)
def test_what_site_yml_does_elsewhere_does_not_count(project, old, new, counts):
    before = inputs("dsync", "dsync", project)
    site = project / "playbooks/site.yml"
    assert old in site.read_text()
    site.write_text(site.read_text().replace(old, new))
    assert (inputs("dsync", "dsync", project) != before) == counts


def roles_of(files):
    return {name.split("/")[1] for name in files if name.startswith("roles/")}


def test_the_project_s_own_parts_are_found():
    files = set(made_of("dsync", "dsync"))
    assert roles_of(files) >= {"preflight", "base", "pki", "dovecot_backend", "dovecot_replication", "pacemaker"}
    assert {"library/pacemaker_cib.py", "module_utils/cib.py", "library/device_content.py"} <= files
    assert not roles_of(files) & {"drbd", "gfs2", "perdition", "lvs", "user_dns", "openldap"}
    assert "dovecot_replication" not in roles_of(made_of("nfs", "nfs"))
    assert "gfs2" in roles_of(made_of("drbd_gfs2", "drbd_gfs2"))
    assert "perdition" in roles_of(made_of("dsync_perdition", "dsync"))
    assert "user_dns" in roles_of(made_of("dsync_dns", "dsync_dns"))
    assert "openldap" in roles_of(made_of("dsync_ldap", "dsync_ldap"))


@pytest.mark.parametrize(
    ("scenario", "roles"),
    [
        ("pki", {"pki"}),
        ("pacemaker", {"pacemaker", "fencing", "corosync", "qdevice"}),
        ("gfs2", {"gfs2", "pacemaker", "fencing", "corosync", "qdevice"}),
        ("drbd_role", {"drbd"}),
        ("prove", {"prove", "directory", "dovecot_backend", "pki"}),
    ],
)
def test_a_role_s_scenario_here_is_made_of_its_roles(scenario, roles):
    assert roles_of(made_of(scenario)) == roles


def test_a_store_on_drbd_is_made_of_what_the_store_drbd_is_made_of():
    both = names("drbd_gfs2")
    assert "playbooks/tasks/store_drbd.yml" in both
    assert "roles/drbd/tasks/main.yml" in both
    assert not any("store_dsync" in name for name in both)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("molecule/drbd_role/converge.yml", True),
        ("roles/drbd/tasks/main.yml", True),
        ("module_utils/drbd.py", True),
        ("molecule/dsync/converge.yml", False),
        ("roles/base/tasks/main.yml", False),
        ("tests/proofs/__main__.py", False),
        ("inventories/dsync/group_vars/all/site.yml", False),
    ],
)
def test_a_role_s_scenario_is_made_of_what_it_names(project, name, counts):
    scenario = project / "molecule/drbd_role/converge.yml"
    scenario.parent.mkdir()
    scenario.write_text("roles:\n  - role: drbd\n")
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    before = inputs("drbd_role", root=project)
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert (inputs("drbd_role", root=project) != before) == counts
