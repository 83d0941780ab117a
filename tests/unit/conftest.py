"""Lets tests import modules that import the project's module_utils as Ansible offers them."""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).parents[2] / "module_utils"))
