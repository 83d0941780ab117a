import subprocess

import pytest

from tests.inputs import COMMON, PARTS, ROOT, inputs, used

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
    return used({name: text.encode() for name, text in FILES.items()}, store)


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


def test_the_project_s_own_parts_are_found():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    places = (*COMMON, *PARTS, "inventories", "molecule/dsync")
    files = {name: (ROOT / name).read_bytes() for name in listed if name.startswith(places) and (ROOT / name).is_file()}
    roles = {name.split("/")[1] for name in used(files, "dsync") if name.startswith("roles/")}
    assert roles >= {"preflight", "base", "pki", "dovecot_backend", "dovecot_replication", "pacemaker", "prove"}
    assert {"library/pacemaker_cib.py", "module_utils/cib.py", "library/device_content.py"} <= used(files, "dsync")
    assert not roles & {"drbd", "gfs2"}
    assert "roles/dovecot_replication/tasks/main.yml" not in used(files, "nfs")
    assert "roles/gfs2/tasks/main.yml" in used(files, "drbd_gfs2")


def test_a_store_on_drbd_is_made_of_what_the_store_drbd_is_made_of():
    both = names("drbd_gfs2")
    assert "playbooks/tasks/store_drbd.yml" in both
    assert "roles/drbd/tasks/main.yml" in both
    assert not any("store_dsync" in name for name in both)
