import subprocess

import pytest

from tests.inputs import COMMON, OF_ARCHITECTURES, PARTS, ROOT, inputs, used

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
    "playbooks/site.yml": "roles:\n  - role: base\ntasks:\n  - include_tasks: tasks/store_{{ mail_store }}.yml\n",
    "playbooks/tasks/store_dsync.yml": "- import_role:\n    name: replicas\n",
    "playbooks/tasks/store_drbd.yml": "- import_role:\n    name: drbd\n",
    "roles/base/tasks/main.yml": "- name: Make it so\n  cluster_thing:\n    a: 1\n",
    "roles/replicas/tasks/main.yml": "- ansible.builtin.ping:\n",
    "roles/drbd/tasks/main.yml": "- drbd_resource:\n",
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
    unnamed = {"playbooks/bench.yml", "tests/proofs/another.py"}
    assert names("dsync") == set(FILES) - unnamed - {name for name in FILES if "drbd" in name}
    assert names("drbd") == set(FILES) - unnamed - {
        name for name in FILES if "store_dsync" in name or "replicas" in name
    }


@pytest.fixture
def project(tmp_path):
    (tmp_path / "inventories/dsync/group_vars/all").mkdir(parents=True)
    (tmp_path / "inventories/dsync/group_vars/all/site.yml").write_text("mail_store: dsync\n")
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
        ("playbooks/tasks/store_dsync.yml", True),
        ("inventories/dsync/group_vars/all/site.yml", True),
        ("playbooks/site.yml", True),
        ("playbooks/bench.yml", False),
        ("roles/drbd/tasks/main.yml", False),
        ("module_utils/drbd.py", False),
        ("playbooks/tasks/store_drbd.yml", False),
    ],
)
def test_a_change_counts_where_it_is_used(project, name, counts):
    before = inputs("dsync", "dsync", project)
    with (project / name).open("a") as file:
        file.write("# changed\n")
    assert (inputs("dsync", "dsync", project) != before) == counts


def files_of(scenario, store=None):
    own = [f"molecule/{scenario}", *COMMON, *(OF_ARCHITECTURES if store else [])]
    command = ["git", "ls-files", *own, *PARTS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return used({name: (ROOT / name).read_bytes() for name in listed if (ROOT / name).is_file()}, own, store)


def roles_of(files):
    return {name.split("/")[1] for name in files if name.startswith("roles/")}


def test_the_project_s_own_parts_are_found():
    files = files_of("dsync", "dsync")
    assert roles_of(files) >= {"preflight", "base", "pki", "dovecot_backend", "dovecot_replication", "pacemaker"}
    assert {"library/pacemaker_cib.py", "module_utils/cib.py", "library/device_content.py"} <= files
    assert not roles_of(files) & {"drbd", "gfs2"}
    assert "dovecot_replication" not in roles_of(files_of("nfs", "nfs"))
    assert "gfs2" in roles_of(files_of("drbd_gfs2", "drbd_gfs2"))


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
    assert roles_of(files_of(scenario)) == roles


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
